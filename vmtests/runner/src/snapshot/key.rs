// SPDX-License-Identifier: GPL-2.0-or-later
//! What a memory snapshot depends on.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::Context;
use images::digest;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;
use vmtest_protocol::PROTOCOL_VERSION;
use vmtest_protocol::message::ModuleFile;

use crate::accel::Accel;
use crate::qemu;
use crate::qemu::Machine;

/// Everything that, changed, makes another machine. Files count by their contents.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    layout: u32,
    protocol: u32,
    qemu: String,
    kernel: String,
    initramfs: String,
    append: String,
    modules: Vec<ModuleFile>,
    cpus: u64,
    memory: u64,
    ports: usize,
    accel: Accel,
    /// The processor, where guest instructions run on it.
    host: String,
}

impl Key {
    /// The key of `machine` after these modules were loaded.
    pub fn of(
        machine: &Machine<'_>,
        modules: &[ModuleFile],
        digests: &Digests,
    ) -> anyhow::Result<Key> {
        let initramfs = match machine.initramfs {
            Some(file) => digests.of(file)?,
            None => String::new(),
        };
        Ok(Key {
            layout: qemu::LAYOUT,
            protocol: PROTOCOL_VERSION,
            qemu: digests.of(machine.program)?,
            kernel: digests.of(machine.kernel)?,
            initramfs,
            append: machine.append.clone(),
            modules: modules.to_vec(),
            cpus: machine.cpus,
            memory: machine.memory,
            ports: machine.ports,
            accel: machine.accel,
            host: match machine.accel {
                Accel::Tcg | Accel::Counted => String::new(),
                Accel::Kvm => processor(),
            },
        })
    }

    /// The snapshot's folder name.
    pub fn name(&self) -> String {
        // Serializing plain values cannot fail; a key without them would fit nothing.
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(Sha256::digest(text))[..32].to_owned()
    }
}

/// What the host's processor can do, and with which microcode.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let wanted = ["vendor_id", "model", "stepping", "microcode", "flags"];
    text.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Digests of files, each taken once.
#[derive(Debug, Default)]
pub struct Digests {
    known: Mutex<HashMap<PathBuf, String>>,
}

impl Digests {
    /// SHA-256 of a file, as hexadecimal digits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(&self, file: &Path) -> anyhow::Result<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(file) {
            return Ok(digest.clone());
        }
        let digest = File::open(file)
            .and_then(|mut file| digest::reader_sha256(&mut file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        known.insert(file.to_owned(), digest.clone());
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::devices;

    #[test]
    fn a_key_changes_with_every_part_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (qemu, kernel, root) = (file("q", "q"), file("k", "k"), file("i", "i"));
        let machine = |name: &'static str| Machine {
            program: &qemu,
            name,
            accel: Accel::Tcg,
            cpus: 2,
            memory: 512 << 20,
            ports: 8,
            kernel: &kernel,
            initramfs: Some(&root),
            append: String::new(),
            equipment: devices::NOTHING,
            folders: &[],
            incoming: false,
            gdb: None,
            console_log: Path::new("/console.log"),
        };
        let module = |params: &str| ModuleFile {
            path: "/lib/modules/a.ko".to_owned(),
            params: params.to_owned(),
            load: true,
        };
        let name = |machine: Machine<'_>, modules: &[ModuleFile]| {
            Key::of(&machine, modules, &Digests::default())
                .unwrap()
                .name()
        };
        let first = name(machine("a"), &[module("")]);
        assert_eq!(
            first,
            name(machine("b"), &[module("")]),
            "the run's name is none of it"
        );
        let others = [
            name(machine("a"), &[]),
            name(machine("a"), &[module("debug=1")]),
            name(
                Machine {
                    cpus: 1,
                    ..machine("a")
                },
                &[module("")],
            ),
            name(
                Machine {
                    memory: 1 << 30,
                    ..machine("a")
                },
                &[module("")],
            ),
            name(
                Machine {
                    ports: 16,
                    ..machine("a")
                },
                &[module("")],
            ),
            name(
                Machine {
                    append: "nokaslr".to_owned(),
                    ..machine("a")
                },
                &[module("")],
            ),
            name(
                Machine {
                    accel: Accel::Kvm,
                    ..machine("a")
                },
                &[module("")],
            ),
            name(
                Machine {
                    initramfs: None,
                    ..machine("a")
                },
                &[module("")],
            ),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(&first, other, "{number}");
        }
        for file in [&qemu, &kernel, &root] {
            let before = std::fs::read(file).unwrap();
            std::fs::write(file, "another").unwrap();
            assert_ne!(
                first,
                name(machine("a"), &[module("")]),
                "{}",
                file.display()
            );
            std::fs::write(file, before).unwrap();
        }
    }
}
