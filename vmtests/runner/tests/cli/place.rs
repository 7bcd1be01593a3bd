// SPDX-License-Identifier: GPL-2.0-or-later
//! A folder in which `vmtest` can be run without a kernel: an artifact index, scenarios, and a
//! program that plays QEMU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use assert_cmd::Command;

/// What a fake QEMU needs to answer QMP: descriptor 3 is the console, 4 QMP, 5 the agent's port.
pub const SPEAK_QMP: &str = r#"
printf '{"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":9},"package":""},"capabilities":[]}}\n' >&4
answer() { while read -r line <&4; do printf '{"return":{}}\n' >&4; done; }
"#;

/// A scenario that is right.
pub const SCENARIO: &str = "name: first\nabout: Something is mounted.\nneeds:\n  images: [small]\n\
                            steps:\n  - mount: {image: small, at: /mnt}\n";

/// The folder.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Index, one scenario, no QEMU.
    pub fn new() -> Self {
        let place = Place {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in ["bin", "scenarios"] {
            fs::create_dir(place.at(folder)).unwrap();
        }
        for file in ["bzImage", "initramfs", "small.erofs", "c.ko"] {
            fs::write(place.at(file), file).unwrap();
        }
        fs::write(place.at("small.manifest.json"), "{}").unwrap();
        let index = serde_json::json!({
            "schema": 1, "kernel": "6.12", "release": "6.12.117", "profile": "release",
            "mutant": null, "bzimage": place.at("bzImage"), "vmlinux": place.at("vmlinux"),
            "initramfs": place.at("initramfs"), "modules": {"c": place.at("c.ko")},
            "mutants": {}, "images": {"small": {
                "blobs": [{"fsid": "small", "path": place.at("small.erofs")}],
                "manifest": place.at("small.manifest.json"), "device": null}},
        });
        fs::write(place.at("index.json"), index.to_string()).unwrap();
        place.scenario("first", SCENARIO);
        place
    }

    /// A path in the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a scenario file.
    pub fn scenario(&self, name: &str, text: &str) {
        fs::write(self.at("scenarios").join(format!("{name}.yaml")), text).unwrap();
    }

    /// Puts a shell script in QEMU's place.
    pub fn qemu(&self, script: &str) {
        let file = self.at("bin").join("qemu-system-x86_64");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// `vmtest run` in this folder, with nothing in PATH but the fake QEMU and the system's tools.
    pub fn run(&self) -> Command {
        self.run_to("out")
    }

    /// The same, with the results in a folder of this name.
    pub fn run_to(&self, out: &str) -> Command {
        let mut command = Command::cargo_bin("vmtest").unwrap();
        let usual = self.at("out");
        let arguments = self.arguments("run").into_iter();
        command.args(arguments.map(|argument| match argument == usual {
            true => self.at(out).into(),
            false => argument,
        }));
        command.env("PATH", self.path());
        command.env("CACHEFILES_RS_CACHE", self.at("cache"));
        for name in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"] {
            command.env_remove(name);
        }
        command.timeout(std::time::Duration::from_secs(60));
        command
    }

    /// PATH for [`Place::run`]: without the real QEMU, wherever it is installed.
    pub fn path(&self) -> std::ffi::OsString {
        let tools = self.at("tools");
        if !tools.exists() {
            fs::create_dir(&tools).unwrap();
            for tool in ["sh", "sleep", "mkfs.ext4", "cat"] {
                let found = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"]
                    .iter()
                    .map(|dir| Path::new(dir).join(tool))
                    .find(|path| path.exists())
                    .unwrap();
                std::os::unix::fs::symlink(found, tools.join(tool)).unwrap();
            }
        }
        std::env::join_paths([self.at("bin"), tools]).unwrap()
    }

    /// Arguments for a subcommand in this folder.
    pub fn arguments(&self, verb: &str) -> Vec<std::ffi::OsString> {
        let splats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/splats");
        let mut arguments: Vec<std::ffi::OsString> = vec![verb.into()];
        for (flag, value) in [
            ("--artifacts", self.at("index.json")),
            ("--scenarios", self.at("scenarios")),
            ("--splats", splats),
            ("--out", self.at("out")),
            ("--accel", "tcg".into()),
        ] {
            arguments.push(flag.into());
            arguments.push(value.into());
        }
        arguments
    }

    /// The only run of results.json.
    pub fn result(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.at("out/results.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let runs = value["runs"].as_array().unwrap();
        runs.iter()
            .find(|run| run["module"] == "c")
            .unwrap()
            .clone()
    }
}
