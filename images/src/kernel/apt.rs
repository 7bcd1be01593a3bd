// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages from Debian's archive, with apt's own signature checks and without touching the
//! machine's apt configuration: a private list of sources, whose mirror is the one that the
//! machine's own sources name.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;

use crate::command;
use crate::command::Run;
use crate::progress::Progress;

/// Where the machine says what it installs from.
const APT_FOLDER: &str = "/etc/apt";
/// Names another folder with sources of Debian's archive, for machines that are not Debian.
pub const APT_VARIABLE: &str = "CACHEFILES_RS_APT";
/// How long an update of the package lists may take.
const UPDATE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// How long a download may take: 150 MB over a slow line.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// One archive that the machine installs from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The mirror's address.
    pub uri: String,
    /// The suites taken from it.
    pub suites: Vec<String>,
    /// Which keys may sign it: a path, fingerprints, or a key itself over several lines.
    pub signed_by: Option<String>,
}

/// Reads the sources of this machine.
///
/// # Errors
/// When apt's folder cannot be read.
pub fn machine_sources() -> Result<Vec<Source>> {
    let folder = env::var_os(APT_VARIABLE).map_or_else(|| APT_FOLDER.into(), PathBuf::from);
    let mut files = vec![folder.join("sources.list")];
    if let Ok(parts) = fs::read_dir(folder.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files.into_iter().filter(|file| file.is_file()) {
        let read =
            || fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()));
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(parse_lines(&read()?)),
            Some("sources") => sources.extend(parse_stanzas(&read()?)),
            _ => {}
        }
    }
    Ok(sources)
}

/// Reads the one-line format: `deb [options] uri suite component...`.
fn parse_lines(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line
            .strip_prefix("deb")
            .filter(|rest| rest.starts_with([' ', '\t', '[']))
        else {
            continue;
        };
        let mut rest = rest.trim_start();
        let mut signed_by = None;
        if let Some(inside) = rest.strip_prefix('[') {
            let Some((options, after)) = inside.split_once(']') else {
                continue;
            };
            signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(str::to_owned);
            rest = after;
        }
        let mut words = rest.split_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source {
                uri: uri.to_owned(),
                suites: vec![suite.to_owned()],
                signed_by,
            });
        }
    }
    sources
}

/// Reads the deb822 format: stanzas of `Field: value`, with continuation lines.
fn parse_stanzas(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(stanza(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

/// The sources that one stanza describes: one for each address.
fn stanza(fields: &[(String, String)]) -> Vec<Source> {
    let get = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let words = |name: &str| -> Vec<String> {
        get(name)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let off = get("enabled").is_some_and(|value| matches!(value, "no" | "false" | "0"));
    if off || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    words("uris")
        .into_iter()
        .map(|uri| Source {
            uri,
            suites: words("suites"),
            signed_by: get("signed-by").map(str::to_owned),
        })
        .collect()
}

/// Chooses the archive to take `suite` from: one that the machine uses for this very suite, or
/// else for a sibling of it (another release of the same archive).
///
/// # Errors
/// When the machine has no Debian archive of that sort.
pub fn choose<'a>(sources: &'a [Source], suite: &str) -> Result<&'a Source> {
    let has = |source: &&Source| source.suites.iter().any(|name| name == suite);
    let is_security = |name: &str| name.ends_with("-security");
    let sibling = |source: &&Source| {
        source.uri.contains("debian")
            && source
                .suites
                .iter()
                .any(|name| is_security(name) == is_security(suite))
    };
    sources
        .iter()
        .find(has)
        .or_else(|| sources.iter().find(sibling))
        .with_context(|| {
            format!(
                "no apt source of this machine can serve Debian's suite {suite}; add one under \
             {APT_FOLDER}/sources.list.d, or set {APT_VARIABLE} to a folder with a sources.list of \
             Debian's archive, or build from a tree of your own with --kernel-src"
            )
        })
}

/// A private apt: its own sources, lists and cache.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    log: PathBuf,
}

impl Apt {
    /// Sets one up in `folder` for one suite and fetches the suite's package lists.
    ///
    /// # Errors
    /// When no archive serves the suite, or the lists cannot be had or are not signed.
    pub fn update(
        folder: &Path,
        suite: &str,
        component: &str,
        log: &Path,
        progress: &Progress,
    ) -> Result<Self> {
        for sub in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let sources = machine_sources()?;
        let source = choose(&sources, suite)?;
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: {component}\n",
            source.uri
        );
        if let Some(keys) = &source.signed_by {
            text.push_str(&format!("Signed-By: {keys}\n"));
        }
        fs::write(folder.join("private.sources"), text)?;
        fs::write(folder.join("status"), "")?;
        let apt = Self {
            folder: folder.to_owned(),
            log: log.to_owned(),
        };
        let mut update = apt.command("apt-get");
        update.arg("update");
        Run {
            what: &format!("fetching the package lists of {suite}"),
            log,
            limit: UPDATE_LIMIT,
            progress,
        }
        .run(update)?;
        Ok(apt)
    }

    /// A command of apt's that sees only the private setup.
    fn command(&self, program: &str) -> Command {
        let mut command = command::clean(program);
        let folder = self.folder.display();
        for option in [
            format!("Dir::Etc::SourceList={folder}/private.sources"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::AllowInsecureRepositories=0".to_owned(),
            "APT::Get::AllowUnauthenticated=0".to_owned(),
            // Lists that could not be fetched are a warning to apt and an error to us.
            "APT::Update::Error-Mode=any".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.current_dir(&self.folder);
        command
    }

    /// The versions of a package that the suite has, newest first.
    ///
    /// # Errors
    /// When apt cannot be asked.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let mut list = self.command("apt-cache");
        list.args(["madison", package]);
        let text = command::output("asking which versions there are", list)?;
        let mut versions = Vec::new();
        for line in text.lines() {
            if let Some(version) = line.split('|').nth(1) {
                versions.push(version.trim().to_owned());
            }
        }
        Ok(versions)
    }

    /// Downloads one version of a package; returns the `.deb`.
    ///
    /// # Errors
    /// When it cannot be downloaded or is not what the signed lists say.
    pub fn download(&self, package: &str, version: &str, progress: &Progress) -> Result<PathBuf> {
        let mut get = self.command("apt-get");
        get.arg("download").arg(format!("{package}={version}"));
        let what = format!("downloading {package} {version}");
        Run {
            what: &what,
            log: &self.log,
            limit: DOWNLOAD_LIMIT,
            progress,
        }
        .run(get)?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&format!("{package}_")) && name.ends_with(".deb") {
                return Ok(path);
            }
        }
        bail!(
            "{what}: apt-get succeeded, but left no package in {}",
            self.folder.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\n\
        Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /keys/debian.gpg\n\n\
        Types: deb deb-src\nURIs: http://mirror.example/debian-security\n\
        Suites: bookworm-security\nComponents: main\n\
        Signed-By:\n -----BEGIN-----\n .\n key\n\n\
        Types: deb-src\nURIs: http://sources.example/debian\nSuites: bookworm\n\n\
        Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\n";

    #[test]
    fn stanzas_are_read_with_their_keys_and_disabled_ones_are_not() {
        let sources = parse_stanzas(STANZAS);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].signed_by.as_deref(), Some("/keys/debian.gpg"));
        assert_eq!(
            sources[1].signed_by.as_deref(),
            Some("\n -----BEGIN-----\n .\n key")
        );
    }

    #[test]
    fn one_line_sources_are_read_with_their_options() {
        let sources = parse_lines(
            "# deb http://no.example x main\ndeb http://a.example/debian trixie main # tail\n\
             deb-src http://b.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://c.example/debian-security trixie-security main\n",
        );
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].uri, "http://a.example/debian");
        assert_eq!(sources[1].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(sources[1].suites, ["trixie-security"]);
    }

    #[test]
    fn the_very_suite_comes_before_its_sibling_and_security_is_another_archive() {
        let sources = parse_stanzas(STANZAS);
        let uri = |suite| choose(&sources, suite).unwrap().uri.clone();
        assert_eq!(
            uri("bookworm-security"),
            "http://mirror.example/debian-security"
        );
        assert_eq!(uri("bookworm"), "http://mirror.example/debian");
        assert_eq!(
            uri("trixie-security"),
            "http://mirror.example/debian-security"
        );
        assert_eq!(uri("sid"), "http://mirror.example/debian");
    }

    #[test]
    fn a_machine_without_debian_gets_told_what_to_do() {
        let error = choose(&[], "bookworm").unwrap_err().to_string();
        assert!(
            error.contains("bookworm") && error.contains("--kernel-src"),
            "{error}"
        );
    }
}
