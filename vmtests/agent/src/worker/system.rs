// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps about the kernel as a whole: its modules and settings.

use std::ffi::CString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use vmtest_protocol::message::ModuleFile;
use vmtest_protocol::step::LoadModule;
use vmtest_protocol::step::Sysctl;
use vmtest_protocol::step::UnloadModule;
use vmtest_protocol::template::Var;

use super::child::Verdict;
use super::child::judge;

/// The module that a run is about, by its two names.
const SUBJECTS: [&str; 2] = ["cachefiles", "cachefiles_rs"];

/// Carries out a `load_module` step; `known` are the modules that this run has brought along.
pub fn load_module(step: &LoadModule, known: &[ModuleFile]) -> Result<Verdict> {
    let module = find(&step.name, known)?;
    let params = step.params.as_ref().unwrap_or(&module.params);
    let c_params = CString::new(params.as_str()).context("module parameters contain NUL")?;
    let file = File::open(&module.path)
        .with_context(|| format!("cannot open the module {}", module.path))?;
    let result = rustix::system::finit_module(&file, &c_params, 0);
    let what = format!("insmod {} {params}", module.path);
    Ok(judge(
        what.trim_end(),
        result.map_err(Into::into),
        &step.expect_errno,
    ))
}

/// The module called `name`. The kernel takes `-` and `_` in names for the same.
fn find<'a>(name: &str, known: &'a [ModuleFile]) -> Result<&'a ModuleFile> {
    let plain = |name: &str| name.replace('-', "_");
    let name_of = |module: &ModuleFile| {
        let stem = Path::new(&module.path).file_stem();
        plain(&stem.unwrap_or_default().to_string_lossy())
    };
    let exact = known.iter().find(|module| name_of(module) == plain(name));
    let subject = || {
        let subjects = known
            .iter()
            .find(|module| SUBJECTS.contains(&name_of(module).as_str()));
        subjects.filter(|_| name == SUBJECTS[0])
    };
    exact.or_else(subject).with_context(|| {
        let names: Vec<String> = known.iter().map(name_of).collect();
        format!(
            "this run has brought along no module `{name}`; there are: {}",
            names.join(", ")
        )
    })
}

/// Carries out an `unload_module` step.
pub fn unload_module(step: &UnloadModule) -> Result<Verdict> {
    let name = match step.name.as_str() {
        "cachefiles" if Path::new("/sys/module/cachefiles_rs").exists() => "cachefiles_rs",
        name => name,
    };
    let c_name = CString::new(name).context("a module's name contains NUL")?;
    // O_NONBLOCK: refuse at once when it is in use.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let result = rustix::system::delete_module(&c_name, flags);
    let what = format!("rmmod {name}");
    Ok(judge(&what, result.map_err(Into::into), &step.expect_errno))
}

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

    fn module(path: &str) -> ModuleFile {
        ModuleFile {
            path: path.to_owned(),
            params: String::new(),
            load: false,
        }
    }

    #[test]
    fn cachefiles_is_whichever_of_the_two_there_is() {
        let rust = [module("/m/netfs.ko"), module("/m/cachefiles-rs.ko")];
        let c = [module("/m/netfs.ko"), module("/m/cachefiles.ko")];
        let path = |name, known| find(name, known).map(|module| module.path.as_str());
        assert_eq!(path("cachefiles", &rust).unwrap(), "/m/cachefiles-rs.ko");
        assert_eq!(path("cachefiles_rs", &rust).unwrap(), "/m/cachefiles-rs.ko");
        assert_eq!(path("cachefiles", &c).unwrap(), "/m/cachefiles.ko");
        assert_eq!(path("netfs", &c).unwrap(), "/m/netfs.ko");
        // Who names one of them means that one.
        assert!(path("cachefiles_rs", &c).is_err());
        let said = path("erofs", &rust).unwrap_err().to_string();
        assert!(said.contains("there are: netfs, cachefiles_rs"), "{said}");
    }

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
