// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps about the kernel as a whole: its settings and caches.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::step::Sysctl;
use vmtest_protocol::template::Var;

use super::child::Verdict;
use super::child::judge;

/// Carries out a `sysctl` step.
pub fn sysctl(step: &Sysctl) -> Result<Verdict> {
    let path = setting(&step.key)?;
    let value = match &step.value {
        Var::Number(number) => number.to_string(),
        Var::Text(text) => text.clone(),
    };
    let result = OpenOptions::new()
        .write(true)
        .open(&path)
        // One write: the kernel takes each for a whole value.
        .and_then(|mut file| file.write(value.as_bytes()))
        .map(|_| ());
    let what = format!("writing `{value}` to {}", path.display());
    Ok(judge(&what, result, &step.expect_errno))
}

/// The file of a setting. The first separator says which of the two separates: names of network
/// devices may have dots in them.
fn setting(key: &str) -> Result<PathBuf> {
    let separator = key.find(['.', '/']).map(|at| &key[at..=at]);
    let below = match separator {
        Some("/") => key.to_owned(),
        _ => key.replace('.', "/"),
    };
    let wrong = |part: &str| part.is_empty() || part == "..";
    if below.split('/').any(wrong) {
        bail!("`{key}` is no name of a setting, such as vm.drop_caches");
    }
    Ok(Path::new("/proc/sys").join(below))
}

/// Carries out a `drop_caches` step.
pub fn drop_caches() -> Result<Verdict> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3")
        .context("cannot write to /proc/sys/vm/drop_caches")?;
    Ok(Verdict::passed())
}

#[cfg(test)]
mod tests {
    use super::super::testing::failed;
    use super::super::testing::passed;
    use super::super::testing::step;
    use super::*;

    #[test]
    fn settings_have_dots_or_slashes() {
        let path = |key| setting(key).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(path("vm.drop_caches").unwrap(), "/proc/sys/vm/drop_caches");
        assert_eq!(path("fs/nr_open").unwrap(), "/proc/sys/fs/nr_open");
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.1/forwarding"
        );
        for key in ["", "../../etc/passwd", "/etc/passwd", "vm..x"] {
            assert!(path(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_setting_that_is_not_there_cannot_be_written() {
        let json = r#"{"key":"vm.no_such_setting","value":1}"#;
        let said = failed(sysctl(&step(json)));
        assert!(
            said.contains("/proc/sys/vm/no_such_setting: ENOENT"),
            "{said}"
        );
        let json = json.replace('}', r#","expect_errno":"ENOENT"}"#);
        passed(sysctl(&step(json)));
    }
}
