// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads what the C module made of vmtests/golden/golden.yaml off the disk of that run, and writes it
//! to tests/golden/6.12.txt. `cargo make golden` runs the scenario and then this, with the run's
//! folder as the argument.
//!
//! The disk is read with debugfs, which e2fsprogs has: the host's kernel need not mount it.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ATTRIBUTE: &str = "user.CacheFiles.cache";

/// What the scenario acquired, by the size that makes it known.
struct Key {
    key: String,
    aux: String,
}

fn main() -> Result<()> {
    let folder = env::args()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("name the folder of a run of vmtests/golden/golden.yaml")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenario = here.join("../../vmtests/golden/golden.yaml");
    let text = fs::read_to_string(&scenario)
        .map_err(|e| format!("reading {}: {e}", scenario.display()))?;
    let keys = keys(&text)?;
    let disk = Disk(find(&folder, "cache.img")?);

    let mut out = String::from(
        "# SPDX-License-Identifier: GPL-2.0-or-later\n\
         # What fs/cachefiles of Linux 6.12 makes of keys; made by `cargo make golden`.\n\
         # object KEY AUX DIRECTORY NAME RECORD and volume NAME RECORD, all but names in hexadecimal\n\
         # digits; - for nothing.\n",
    );
    let mut seen = 0;
    for mode in ["classic", "ondemand"] {
        for volume in disk.list(&format!("/{mode}/cache"))? {
            writeln!(out, "volume {} {}", volume.name, disk.record(&volume)?)?;
            for folder in disk.list_of(&volume)? {
                for object in disk.list_of(&folder)? {
                    let record = disk.record(&object)?;
                    let size = record
                        .get(..16)
                        .ok_or_else(|| format!("{}: no record", object.name))?;
                    let size = u64::from_str_radix(size, 16)?;
                    // On demand the size is the daemon's, and the keys are told in the test.
                    let nothing = Key {
                        key: "-".into(),
                        aux: "-".into(),
                    };
                    let key = keys.get(&size).unwrap_or(&nothing);
                    writeln!(
                        out,
                        "object {} {} {} {} {record}",
                        key.key, key.aux, folder.name, object.name
                    )?;
                    seen += usize::from(keys.contains_key(&size));
                }
            }
        }
    }
    if seen != keys.len() {
        return Err(format!(
            "{} keys were acquired but {seen} files are on the disk",
            keys.len()
        )
        .into());
    }
    let to = here.join("tests/golden/6.12.txt");
    fs::write(&to, out).map_err(|e| format!("writing {}: {e}", to.display()))?;
    println!("golden: {seen} objects in tests/golden/6.12.txt");
    Ok(())
}

/// The scenario's keys of classic mode: the lines with a size.
fn keys(scenario: &str) -> Result<BTreeMap<u64, Key>> {
    let mut keys = BTreeMap::new();
    for line in scenario.lines() {
        let field = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            let end = rest.find([',', '}'])?;
            Some(rest[..end].trim().trim_matches('"').to_owned())
        };
        if let (Some(size), Some(key)) = (field(" size: "), field(" key_hex: ")) {
            let aux = field(" aux: ").unwrap_or_else(|| "-".into());
            if keys.insert(size.parse()?, Key { key, aux }).is_some() {
                return Err(format!("two keys have the size {size}").into());
            }
        }
    }
    Ok(keys)
}

/// The file of that name in a folder or below it.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).map_err(|e| format!("listing {}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|found| found == name) {
                return Ok(path);
            }
        }
    }
    Err(format!(
        "{} has no {name}: has the scenario passed?",
        folder.display()
    )
    .into())
}

/// An ext4 image.
struct Disk(PathBuf);

struct Entry {
    inode: String,
    name: String,
}

impl Disk {
    fn ask(&self, request: &str) -> Result<String> {
        let output = Command::new("debugfs")
            .arg("-R")
            .arg(request)
            .arg(&self.0)
            .env("PATH", format!("{}:/usr/sbin:/sbin", env::var("PATH")?))
            .output()
            .map_err(|e| format!("starting debugfs, which e2fsprogs has: {e}"))?;
        if !output.status.success() {
            return Err(format!("debugfs {request}: {}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What is in a directory, sorted by name: the lines are /inode/mode/uid/gid/name/size/.
    fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let text = self.ask(&format!("ls -p {folder}"))?;
        let mut entries: Vec<Entry> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split('/').skip(1);
                let inode = fields.next()?.to_owned();
                let name = fields.nth(3)?.to_owned();
                (name != "." && name != "..").then_some(Entry { inode, name })
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if entries.is_empty() && folder.starts_with('/') {
            return Err(format!("{folder} is empty or not there").into());
        }
        Ok(entries)
    }

    fn list_of(&self, folder: &Entry) -> Result<Vec<Entry>> {
        self.list(&format!("<{}>", folder.inode))
    }

    /// The record in hexadecimal digits; - when there is none.
    fn record(&self, file: &Entry) -> Result<String> {
        let text = self.ask(&format!("ea_get -x <{}> {ATTRIBUTE}", file.inode))?;
        let digits: String = match text.split_once('=') {
            Some((_, value)) => value.chars().filter(char::is_ascii_hexdigit).collect(),
            None => String::new(),
        };
        Ok(if digits.is_empty() {
            "-".into()
        } else {
            digits
        })
    }
}
