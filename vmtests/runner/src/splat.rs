// SPDX-License-Identifier: GPL-2.0-or-later
//! Splats: kernel complaints on the console that fail a run.
//!
//! What counts as one is data: `patterns.yaml`, and `allow.yaml` for known ones that are not ours.
//! A missing pattern file is an error, never an empty list.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use anyhow::ensure;
use regex::Regex;
use regex::RegexSet;
use serde::Deserialize;

use crate::scenario::Scenario;
use crate::scenario::nearest;

/// Lines of a splat that are kept, the first included.
pub const LINES: usize = 40;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternFile {
    patterns: Vec<Pattern>,
}

/// One kind of splat.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Its name; its examples are `fixtures/NAME.splat.txt` and `fixtures/NAME.clean.txt`.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// Matches its first line, without the time stamp.
    pub regex: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowFile {
    allow: Vec<Allowed>,
}

/// A splat that does not fail a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Which pattern it belongs to.
    pub pattern: String,
    /// Must match the splat's lines, joined by line ends.
    pub regex: String,
    /// Why it is none of ours.
    pub reason: String,
    /// Where it is reported or discussed.
    pub link: String,
    /// When this entry is to go.
    pub remove_when: String,
}

#[derive(Debug, Clone)]
struct Rules {
    patterns: Vec<Pattern>,
    set: RegexSet,
    waivers: Vec<Waiver>,
}

/// What lets a splat pass: of `allow.yaml`, for all runs, or of a scenario, for its own.
#[derive(Debug, Clone)]
struct Waiver {
    pattern: String,
    regex: Regex,
    reason: String,
}

/// The rules, ready to scan with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Splats(Arc<Rules>);

impl Splats {
    /// Reads `patterns.yaml` and `allow.yaml` of a folder.
    pub fn load(dir: &Path) -> anyhow::Result<Splats> {
        let patterns: PatternFile = read(&dir.join("patterns.yaml"))?;
        let allow: AllowFile = read(&dir.join("allow.yaml"))?;
        ensure!(
            !patterns.patterns.is_empty(),
            "{}: no patterns: every splat would go unseen",
            dir.join("patterns.yaml").display()
        );
        let set = RegexSet::new(patterns.patterns.iter().map(|pattern| &pattern.regex))
            .with_context(|| format!("a pattern of {}", dir.display()))?;
        let mut waivers = Vec::new();
        for entry in allow.allow {
            let known = patterns.patterns.iter().any(|p| p.name == entry.pattern);
            ensure!(
                known,
                "{}: no pattern is called `{}`",
                dir.join("allow.yaml").display(),
                entry.pattern
            );
            for (key, text) in [
                ("reason", &entry.reason),
                ("link", &entry.link),
                ("remove_when", &entry.remove_when),
            ] {
                ensure!(
                    !text.trim().is_empty(),
                    "{}: an entry for `{}` has an empty `{key}`",
                    dir.join("allow.yaml").display(),
                    entry.pattern
                );
            }
            let regex = Regex::new(&entry.regex)
                .with_context(|| format!("an allowed splat of {}", dir.display()))?;
            waivers.push(Waiver {
                pattern: entry.pattern,
                regex,
                reason: entry.reason,
            });
        }
        Ok(Splats(Arc::new(Rules {
            patterns: patterns.patterns,
            set,
            waivers,
        })))
    }

    /// The same rules, and those that a scenario has for itself.
    pub fn of_scenario(&self, scenario: &Scenario) -> anyhow::Result<Splats> {
        let mut rules = Rules::clone(&self.0);
        for entry in &scenario.allow_splats {
            let regex = entry.regex.as_deref().unwrap_or("");
            let regex = Regex::new(regex).with_context(|| {
                format!("`regex` of the allowed splat `{}` is none", entry.pattern)
            })?;
            rules.waivers.push(Waiver {
                pattern: entry.pattern.clone(),
                regex,
                reason: entry.reason.clone(),
            });
        }
        let allowed = scenario.allow_splats.iter().map(|entry| &entry.pattern);
        let expected = scenario
            .xfail
            .iter()
            .filter_map(|entry| entry.splat.as_ref());
        for name in allowed.chain(expected) {
            let known = || self.0.patterns.iter().map(|pattern| pattern.name.as_str());
            ensure!(
                known().any(|known| known == name),
                "no kind of splat is called `{name}`{}; they stand in patterns.yaml",
                nearest(name, known())
                    .map_or(String::new(), |near| format!(": did you mean `{near}`?"))
            );
        }
        Ok(Splats(Arc::new(rules)))
    }

    /// All patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.0.patterns
    }

    /// The first pattern that a console line matches.
    pub fn first_match(&self, line: &str) -> Option<&Pattern> {
        let index = self.0.set.matches(without_time(line)).into_iter().next()?;
        self.0.patterns.get(index)
    }

    /// A scanner for one console.
    pub fn scanner(&self) -> Scanner {
        Scanner {
            splats: self.clone(),
            open: None,
            allowed: Vec::new(),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {} (without it splats go unseen; name the folder with --splats DIR)",
            file.display()
        )
    })?;
    serde_yaml::from_str(&text).with_context(|| format!("{}", file.display()))
}

/// The line without `[   12.345678]` and `[   T123]` in front.
fn without_time(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(after) = rest.strip_prefix('[') {
        let Some((inside, after)) = after.split_once(']') else {
            break;
        };
        let stamp = inside.trim();
        let stamp = stamp.strip_prefix(['T', 'C']).unwrap_or(stamp);
        if stamp.is_empty() || !stamp.chars().all(|c| c.is_ascii_digit() || c == '.') {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

/// A splat that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splat {
    /// Name of its pattern.
    pub pattern: String,
    /// Its lines, as on the console.
    pub lines: Vec<String>,
}

impl Splat {
    /// Whether it is the end of the first process, or the panic that follows it: then not the
    /// kernel failed but our agent.
    pub fn is_end_of_init(&self) -> bool {
        let line = self.lines.first().map(String::as_str).unwrap_or_default();
        line.contains("Attempted to kill init") || line.contains("vmtest-agent: PANIC")
    }
}

/// Finds splats in the lines of one console.
#[derive(Debug)]
pub struct Scanner {
    splats: Splats,
    open: Option<Splat>,
    allowed: Vec<String>,
}

impl Scanner {
    /// Takes the next line. Returns a splat when enough of its lines have been seen.
    pub fn line(&mut self, line: &str) -> Option<Splat> {
        if let Some(splat) = &mut self.open {
            splat.lines.push(line.to_owned());
            if splat.lines.len() < LINES {
                return None;
            }
            let done = self.finish();
            // The line that completed an allowed splat may begin another one.
            if done.is_some() || self.splats.first_match(line).is_none() {
                return done;
            }
        }
        if let Some(pattern) = self.splats.first_match(line) {
            self.open = Some(Splat {
                pattern: pattern.name.clone(),
                lines: vec![line.to_owned()],
            });
        }
        None
    }

    /// Whether a splat has begun and more of its lines are awaited.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// No more lines come for now: what has begun is complete.
    pub fn finish(&mut self) -> Option<Splat> {
        let splat = self.open.take()?;
        let text = splat.lines.join("\n");
        let mut waivers = self.splats.0.waivers.iter();
        match waivers.find(|one| one.pattern == splat.pattern && one.regex.is_match(&text)) {
            None => Some(splat),
            Some(waiver) => {
                self.allowed
                    .push(format!("{}: {}", waiver.pattern, waiver.reason));
                // Another splat may stand in the lines that were taken for the allowed one.
                let later = splat.lines[1..]
                    .iter()
                    .position(|line| self.splats.first_match(line).is_some())?;
                let mut found = None;
                for line in &splat.lines[1 + later..] {
                    found = found.or(self.line(line));
                }
                found.or_else(|| self.finish())
            }
        }
    }

    /// Reasons of the allowed splats that were seen.
    pub fn allowed(&self) -> &[String] {
        &self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splats(allow: &str) -> Splats {
        let dir = tempfile::tempdir().unwrap();
        let patterns = "patterns:\n  - {name: warn, about: x, regex: '^WARNING: CPU'}\n";
        fs::write(dir.path().join("patterns.yaml"), patterns).unwrap();
        fs::write(dir.path().join("allow.yaml"), allow).unwrap();
        Splats::load(dir.path()).unwrap()
    }

    const NONE: &str = "allow: []\n";
    const KNOWN: &str = "allow:\n  - {pattern: warn, regex: 'known_function', reason: not ours, \
                         link: 'https://example.org/1', remove_when: it is fixed}\n";

    #[test]
    fn stamps_do_not_hide_a_splat() {
        assert_eq!(without_time("[    1.234567] WARNING"), "WARNING");
        assert_eq!(without_time("[    1.234567][  T12] WARNING"), "WARNING");
        assert_eq!(without_time("[drm] WARNING"), "[drm] WARNING");
        assert!(
            splats(NONE)
                .first_match("[  9.1] WARNING: CPU: 0")
                .is_some()
        );
        assert!(
            splats(NONE)
                .first_match("[  9.1] no WARNING: CPU")
                .is_none()
        );
    }

    #[test]
    fn a_splat_is_handed_out_with_its_lines_or_when_no_more_come() {
        let mut scanner = splats(NONE).scanner();
        assert_eq!(scanner.line("fine"), None);
        assert_eq!(scanner.line("WARNING: CPU: 0"), None);
        assert!(scanner.is_open());
        for number in 2..LINES {
            assert_eq!(scanner.line(&number.to_string()), None);
        }
        assert_eq!(scanner.line("last").unwrap().lines.len(), LINES);

        let mut scanner = splats(NONE).scanner();
        scanner.line("WARNING: CPU: 0");
        assert_eq!(scanner.finish().unwrap().lines.len(), 1);
        assert_eq!(scanner.finish(), None);
    }

    #[test]
    fn an_allowed_splat_does_not_hide_the_next_one() {
        let mut scanner = splats(KNOWN).scanner();
        scanner.line("WARNING: CPU: 0");
        scanner.line("at known_function+0x1");
        assert_eq!(scanner.finish(), None);
        assert_eq!(scanner.allowed().len(), 1);

        scanner.line("WARNING: CPU: 0 first");
        scanner.line("at known_function+0x1");
        scanner.line("WARNING: CPU: 1 second");
        scanner.line("at other_function+0x1");
        let found = scanner.finish().unwrap();
        assert!(found.lines[0].contains("second"));
    }

    #[test]
    fn a_scenario_allows_what_belongs_to_it_and_must_name_what_there_is() {
        let scenario = |head: &str| -> Scenario {
            serde_yaml::from_str(&format!("name: a\nabout: x\n{head}\nsteps: []\n")).unwrap()
        };
        let rules = splats(NONE);
        let allowing = scenario("allow_splats: [{pattern: warn, regex: 'at f', reason: wanted}]");
        let rules_of_it = rules.of_scenario(&allowing).unwrap();
        for (second_line, found) in [("at f+0x1", false), ("at g+0x1", true)] {
            let mut scanner = rules_of_it.scanner();
            scanner.line("WARNING: CPU: 0");
            scanner.line(second_line);
            assert_eq!(scanner.finish().is_some(), found, "{second_line}");
        }
        let mut elsewhere = rules.scanner();
        elsewhere.line("WARNING: CPU: 0");
        elsewhere.line("at f+0x1");
        assert!(
            elsewhere.finish().is_some(),
            "other scenarios allow nothing"
        );

        for unknown in [
            "allow_splats: [{pattern: warm, reason: wanted}]",
            "xfail: [{kernel: '*', splat: warm, reason: x, link: 'https://example.org/'}]",
        ] {
            let error = rules.of_scenario(&scenario(unknown)).unwrap_err();
            assert!(
                error.to_string().contains("did you mean `warn`?"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_entry_without_a_reason_and_a_missing_file_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Splats::load(dir.path()).is_err());
        let patterns = "patterns:\n  - {name: warn, about: x, regex: 'W'}\n";
        fs::write(dir.path().join("patterns.yaml"), patterns).unwrap();
        let allow = KNOWN.replace("not ours", "''");
        fs::write(dir.path().join("allow.yaml"), allow).unwrap();
        let error = Splats::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("reason"), "{error}");
    }
}
