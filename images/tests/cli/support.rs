// SPDX-License-Identifier: GPL-2.0-or-later
//! A world in a folder for tests of the command line: a checkout with one kernel lock, a Debian
//! archive that serves it, a kernel whose Makefile takes no time, and the tools it asks for.
//!
//! What stands in is the world around `images`: apt-get and apt-cache (no network), the kernel's
//! Makefile and the compilers (no minutes). tar, dpkg-deb, make and git are the real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use sha2::Digest;
use tempfile::TempDir;

/// The world.
pub struct World {
    dir: TempDir,
}

/// The kernel's Makefile. It does what the files in the folder `$KNOBS` tell it to.
const MAKEFILE: &str = "\
.RECIPEPREFIX = >
allnoconfig:
> if [ -e $(KNOBS)/drop ]; then grep -v \"$$(cat $(KNOBS)/drop)\" $(KCONFIG_ALLCONFIG) > $(O)/.config; \\
> else cp $(KCONFIG_ALLCONFIG) $(O)/.config; fi
bzImage:
> echo run >> $(KNOBS)/runs
> if [ -e $(KNOBS)/slow ]; then sleep \"$$(cat $(KNOBS)/slow)\"; fi
> if [ -e $(KNOBS)/broken ]; then seq 1 50; echo 'fs/x.c: error: no'; exit 1; fi
> mkdir -p $(O)/arch/x86/boot $(O)/include/config $(O)/fs
> cp image.c $(O)/arch/x86/boot/bzImage
> echo elf > $(O)/vmlinux
> echo symbols > $(O)/Module.symvers
> echo 6.12.1 > $(O)/include/config/kernel.release
> cp kbuild.mk $(O)/Makefile
modules: bzImage
> echo c > $(O)/fs/cachefiles.ko
> echo object > $(O)/fs/cachefiles.o
> echo fs/cachefiles.o > $(O)/modules.order
";

/// What builds external modules against the kernel.
const KBUILD: &str = "\
.RECIPEPREFIX = >
modules:
> test ! -e $(M)/broken.rs
> cat $(M)/main.rs > $(M)/cachefiles_rs.ko
> echo mutant=$(MUTANT) >> $(M)/cachefiles_rs.ko
";

const APT_GET: &str = "\
#!/bin/sh
for word; do last=$word; done
case $last in
update) exit 0 ;;
esac
cp \"$KNOBS/package.deb\" linux-source-x_1_all.deb
";

const APT_CACHE: &str = "\
#!/bin/sh
while read -r version; do echo \"linux-source-x | $version | archive\"; done < \"$KNOBS/versions\"
";

impl World {
    /// A world where all is well.
    pub fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (name, text) in [
            ("Makefile", MAKEFILE),
            ("kbuild.mk", KBUILD),
            ("Kconfig", ""),
        ] {
            world.write(&format!("linux/{name}"), text);
        }
        world.write("linux/Kconfig", "config A\nconfig B\n");
        world.write("linux/image.c", "an image");
        world.write("tools/library/core/src/lib.rs", "");
        world.tool("clang-19", "#!/bin/sh\necho clang 19\n");
        world.tool("ld.lld-19", "#!/bin/sh\necho lld 19\n");
        world.tool("rustc", "#!/bin/sh\necho rustc 1.96\n");
        world.tool("bindgen", "#!/bin/sh\necho bindgen 0.73\n");
        world.tool("apt-get", APT_GET);
        world.tool("apt-cache", APT_CACHE);
        world.write(
            "apt/sources.list",
            "deb http://archive.example/debian bookworm main\n",
        );
        world.write(
            "checkout/configs/fragments/base.config",
            "# why\nCONFIG_A=y\nCONFIG_B=m\n",
        );
        world.write("checkout/configs/kernels/other.yaml", "not read\n");
        world.write("checkout/configs/profiles/release.yaml", "fragments: []\n");
        world.write("checkout/kernel/core/lib.rs", "// core\n");
        world.write(
            "checkout/kernel/module/main.rs",
            "#[cfg(cachefiles_mutant = \"scale\")]\nfn bug() {}\n",
        );
        world.publish("1-1");
        let digest = world.archive();
        world.lock("1-1", &digest);
        world
    }

    /// A path in the world.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a file of the world.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn tool(&self, name: &str, script: &str) {
        self.write(&format!("tools/{name}"), script);
        let path = self.path(&format!("tools/{name}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Tells the kernel's Makefile something; see [`MAKEFILE`].
    pub fn knob(&self, name: &str, text: &str) {
        self.write(&format!("knobs/{name}"), text);
    }

    /// Takes a knob back.
    pub fn remove_knob(&self, name: &str) {
        fs::remove_file(self.path(&format!("knobs/{name}"))).unwrap();
    }

    /// How often the kernel was built.
    pub fn runs(&self) -> usize {
        fs::read_to_string(self.path("knobs/runs")).map_or(0, |text| text.lines().count())
    }

    /// Which versions the archive says it has.
    pub fn publish(&self, versions: &str) {
        self.knob("versions", &format!("{versions}\n"));
    }

    /// Packs the kernel's tree as it is into the archive; returns the tarball's digest.
    pub fn archive(&self) -> String {
        let package = self.path("package");
        let _ = fs::remove_dir_all(&package);
        self.write(
            "package/DEBIAN/control",
            "Package: linux-source-x\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example>\n\
             Description: t\n",
        );
        fs::create_dir_all(package.join("usr/src")).unwrap();
        let tarball = package.join("usr/src/linux.tar");
        run(Command::new("tar")
            .arg("-cf")
            .arg(&tarball)
            .arg("-C")
            .arg(self.dir.path())
            .arg("linux"));
        let out = self.path("knobs/package.deb");
        run(Command::new("dpkg-deb")
            .args(["-b", "-Znone"])
            .arg(&package)
            .arg(out));
        hex::encode(sha2::Sha256::digest(fs::read(tarball).unwrap()))
    }

    /// Writes the kernel lock.
    pub fn lock(&self, version: &str, sha256: &str) {
        self.write(
            "checkout/configs/kernels/fake.yaml",
            &format!(
                "# kept\nversion: 6.12.1\npackage: linux-source-x\npackage-version: {version}\n\
                 suite: bookworm\ncomponent: main\ntarball: usr/src/linux.tar\nsha256: {sha256}\n\
                 base: allnoconfig\nfragments: [base]\n"
            ),
        );
    }

    /// `images` with these arguments, in this world, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_images"));
        let path = format!("{}:/usr/bin:/bin", self.path("tools").display());
        command
            .args(arguments)
            .current_dir(self.path("checkout"))
            .env("PATH", path)
            .env("KNOBS", self.path("knobs"))
            .env("CACHEFILES_RS_CACHE", self.path("cache"))
            .env("CACHEFILES_RS_APT", self.path("apt"))
            .env("CACHEFILES_RS_RUSTC", self.path("tools/rustc"))
            .env("CACHEFILES_RS_LLVM", "-19");
        command
    }

    /// `images` with these arguments, in this world.
    pub fn images(&self, arguments: &[&str]) -> assert_cmd::Command {
        assert_cmd::Command::from_std(self.command(arguments))
    }

    /// The finished entries of one kind in the cache.
    pub fn entries(&self, kind: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("cache").join(kind)) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.contains('.')).collect()
    }
}

fn run(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Runs git in a folder.
pub fn git(folder: &Path, arguments: &[&str]) {
    run(Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example"])
        .args(arguments));
}
