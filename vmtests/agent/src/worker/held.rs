// SPDX-License-Identifier: GPL-2.0-or-later
//! Files that a worker keeps open, and perhaps mapped.

use std::collections::HashMap;
use std::fs::File;
use std::fs::OpenOptions;

use anyhow::Context;
use anyhow::Result;
use vmtest_protocol::message::Measurement;
use vmtest_protocol::step::CloseHeld;
use vmtest_protocol::step::HoldOpen;

use super::child::Verdict;
use super::child::describe;
use super::child::judge;
use crate::sys::Mapping;

/// The files that `hold_open` keeps open in this process, by their names.
#[derive(Default)]
pub struct Held(HashMap<String, (File, Option<Mapping>)>);

impl Held {
    /// Carries out a `hold_open` step.
    pub fn open(&mut self, step: &HoldOpen) -> Result<Verdict> {
        let what = format!("opening {} to hold it", step.path);
        let file = match OpenOptions::new()
            .read(true)
            .write(step.write)
            .open(&step.path)
        {
            Ok(file) => file,
            Err(error) => return Ok(judge(&what, Err(error), &step.expect_errno)),
        };
        if step.expect_errno.is_some() {
            return Ok(judge(&what, Ok(()), &step.expect_errno));
        }
        let mut measurements = Vec::new();
        let mut mapping = None;
        if step.mmap {
            let mapped = match Mapping::of(&file, step.write) {
                Ok(mapped) => mapped,
                Err(error) => {
                    return Ok(Verdict::Failed(format!(
                        "mapping {}: {}",
                        step.path,
                        describe(&error)
                    )));
                }
            };
            if step.touch {
                measurements.push(Measurement {
                    name: "touched".to_owned(),
                    value: mapped.touch() as f64,
                    unit: "pages".to_owned(),
                });
            }
            mapping = Some(mapped);
        }
        self.0.insert(step.name.clone(), (file, mapping));
        Ok(Verdict::Passed(measurements))
    }

    /// Carries out a `close_held` step.
    pub fn close(&mut self, step: &CloseHeld) -> Result<Verdict> {
        self.0
            .remove(&step.name)
            .with_context(|| format!("no file is held under the name `{}`", step.name))?;
        Ok(Verdict::passed())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn a_held_file_is_mapped_touched_and_closed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![1; 3 * rustix::param::page_size() + 1]).unwrap();
        let at = path.display();
        let mut held = Held::default();
        let verdict = held.open(&step(format!(
            r#"{{"name":"h","path":"{at}","write":true,"mmap":true,"touch":true}}"#
        )));
        match verdict.unwrap() {
            Verdict::Passed(found) => assert_eq!(found[0].value, 4.0),
            Verdict::Failed(reason) => panic!("{reason}"),
        }
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let name = path.to_string_lossy().into_owned();
        let line = maps.lines().find(|line| line.ends_with(&name)).unwrap();
        assert!(line.contains(" rw-s "), "{line}");
        passed(held.close(&step(r#"{"name":"h"}"#)));
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(&name));
        let error = held.close(&step(r#"{"name":"h"}"#)).err().unwrap();
        assert!(error.to_string().contains("no file is held"));
    }

    #[test]
    fn a_file_that_must_not_open_and_does_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let at = path.display();
        let json = format!(r#"{{"name":"h","path":"{at}","expect_errno":"ENOENT"}}"#);
        let mut held = Held::default();
        passed(held.open(&step(&json)));
        fs::write(&path, "").unwrap();
        let said = failed(held.open(&step(&json)));
        assert!(said.contains("succeeded, ENOENT was expected"), "{said}");
        let said = failed(held.open(&step(format!(
            r#"{{"name":"h","path":"{at}","mmap":true}}"#
        ))));
        assert!(
            said.contains("mapping") && said.contains("EINVAL"),
            "{said}"
        );
    }
}
