// SPDX-License-Identifier: GPL-2.0-or-later
//! A scenario in words: what would run, for whom, with what, and how long it may take.

use std::fmt::Write;
use std::time::Duration;

use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::template::Vars;
use vmtest_protocol::value::Scalar as _;
use vmtest_protocol::value::Time;

use crate::artifacts::Index;
use crate::matrix;
use crate::matrix::Module;
use crate::scenario::DiskFs;
use crate::scenario::ExpectedFailure;
use crate::scenario::KernelNeed;
use crate::scenario::Scenario;
use crate::scenario::text_of;
use crate::xfail;

mod words;

use words::Words;

/// Widest line of running text.
const WIDTH: usize = 96;

/// All cases of one scenario in words; with an index also what it lets run.
pub fn explain(cases: &[Scenario], index: Option<&Index>) -> String {
    let Some(scenario) = cases.first() else {
        return String::new();
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}  ({})", scenario.name, scenario.file.display());
    wrapped(&mut text, &scenario.about, 2);
    stands_for(&mut text, scenario);
    runs(&mut text, cases, index);
    needs(&mut text, scenario);
    time(&mut text, scenario);
    if !scenario.params.is_empty() {
        let own = |(name, _): &(&String, _)| !scenario.case.0.iter().any(|(axis, _)| axis == *name);
        let list = variables(scenario.params.iter().filter(own));
        if !list.is_empty() {
            let _ = writeln!(text, "\nWith {list} (--param NAME=VALUE changes one)");
        }
    }
    let _ = writeln!(text, "\nSteps");
    steps(&mut text, &Words::new(), &scenario.steps, 1, "");
    let required = scenario.requires_requests;
    if required.open + required.read + required.close > 0 {
        let _ = writeln!(
            text,
            "\nIn the end the kernel must have handed out at least {} OPEN, {} READ and {} CLOSE \
             requests; else the run is an error, not a pass.",
            required.open, required.read, required.close
        );
    }
    text
}

fn wrapped(text: &mut String, words: &str, indent: usize) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let wide = word.chars().count();
        if column == 0 || column + 1 + wide > WIDTH {
            if column > 0 {
                text.push('\n');
            }
            let _ = write!(text, "{:indent$}{word}", "");
            column = indent + wide;
        } else {
            let _ = write!(text, " {word}");
            column += 1 + wide;
        }
    }
    text.push('\n');
}

fn stands_for(text: &mut String, scenario: &Scenario) {
    let mut parts = Vec::new();
    match scenario.rows.as_slice() {
        [] => {}
        [row] => parts.push(format!("row {row} of the failure catalogue")),
        rows => {
            let rows: Vec<String> = rows.iter().map(u32::to_string).collect();
            parts.push(format!("rows {} of the failure catalogue", rows.join(", ")));
        }
    }
    parts.extend(scenario.refs.iter().cloned());
    if !parts.is_empty() {
        let _ = writeln!(text, "\nStands for {}", parts.join("; "));
    }
}

fn runs(text: &mut String, cases: &[Scenario], index: Option<&Index>) {
    let modules = Module::ALL.len();
    let made = match cases.len() {
        1 => format!("{modules}, one for each module"),
        count => format!(
            "{}, of {count} cases with each of {modules} modules",
            count * modules
        ),
    };
    let _ = writeln!(text, "\nRuns: {made}");
    let Some(index) = index else {
        for case in cases {
            let _ = writeln!(text, "  {}", case.title());
        }
        for entry in cases.iter().take(1).flat_map(|case| &case.xfail) {
            let _ = writeln!(text, "  {}", expected(entry));
        }
        return;
    };
    let planned = matrix::expand(cases, None, index);
    let titles = planned
        .iter()
        .map(|run| run.scenario.title().chars().count());
    let wide = titles.max().unwrap_or_default();
    for run in planned {
        let known = xfail::expected(run.scenario, run.module, &index.kernel);
        let fate = match (&run.skip, known) {
            (Some(why), _) => format!("skipped: {why}"),
            (None, Some(entry)) => expected(entry),
            (None, None) => "must pass".to_owned(),
        };
        let (title, module) = (run.scenario.title(), run.module.word());
        let _ = writeln!(
            text,
            "  {title:<wide$}  {} {module:<5} {fate}",
            index.label()
        );
    }
}

fn expected(entry: &ExpectedFailure) -> String {
    let mut text = "the C module must fail".to_owned();
    if let Some(step) = &entry.step {
        let _ = write!(text, " at `{step}`");
    }
    match entry.kernel.as_str() {
        "*" => {}
        kernel => {
            let _ = write!(text, " on {kernel}");
        }
    }
    if !entry.when.is_empty() {
        let _ = write!(text, " when {}", variables(entry.when.iter()));
    }
    let _ = write!(text, ": {} ({})", entry.reason.trim(), entry.link);
    text
}

fn variables<'a>(
    vars: impl Iterator<Item = (&'a String, &'a vmtest_protocol::template::Var)>,
) -> String {
    let list: Vec<String> = vars
        .map(|(name, value)| format!("{name}={}", text_of(value)))
        .collect();
    list.join(", ")
}

fn needs(text: &mut String, scenario: &Scenario) {
    let needs = &scenario.needs;
    let _ = writeln!(text, "\nNeeds");
    if let Some(kernel) = kernel_words(&needs.kernel) {
        let _ = writeln!(text, "  {kernel}; on any other it is skipped");
    }
    if !needs.kernel.args.is_empty() {
        let _ = writeln!(
            text,
            "  kernel parameters `{}`: the guest boots cold",
            needs.kernel.args
        );
    }
    let memory = needs
        .memory
        .get()
        .map_or("?".to_owned(), |memory| memory.to_text());
    let cpus = needs.cpus.get().unwrap_or_default();
    let _ = writeln!(
        text,
        "  a guest with {memory} of memory and {cpus} CPUs; it keeps {} of the host's cores busy",
        scenario.cores()
    );
    if !needs.module.load {
        let _ = writeln!(
            text,
            "  the module and erofs are not loaded before the first step"
        );
    } else if !needs.module.params.is_empty() {
        let _ = writeln!(text, "  the module loaded with `{}`", needs.module.params);
    }
    if !needs.images.is_empty() {
        let _ = writeln!(text, "  images: {}", needs.images.join(", "));
    }
    for disk in &needs.disks {
        let size = disk
            .size
            .get()
            .map_or("?".to_owned(), |size| size.to_text());
        let _ = write!(text, "  a disk `{}` of {size}, ", disk.name);
        let _ = match (disk.fs, disk.mounted_at()) {
            (DiskFs::None, _) => writeln!(text, "raw"),
            (fs, Some(at)) => writeln!(text, "{} at {at}", fs.word()),
            (fs, None) => writeln!(text, "{}, not mounted", fs.word()),
        };
    }
    if !needs.programs.is_empty() {
        let programs = needs.programs.join(", ");
        let _ = writeln!(text, "  a distribution's programs: {programs}");
    }
    for share in &needs.shares {
        let mut how = String::new();
        if share.read_only {
            how += ", read-only";
        }
        if share.nine_p {
            how += ", and by 9p";
        }
        let _ = writeln!(
            text,
            "  a share `{}` at {}{how}",
            share.tag,
            share.mounted_at()
        );
    }
}

fn kernel_words(need: &KernelNeed) -> Option<String> {
    let mut words = Vec::new();
    if let Some(version) = &need.at_least {
        words.push(format!("from {version} on"));
    }
    if let Some(version) = &need.before {
        words.push(format!("before {version}"));
    }
    if !need.config.is_empty() {
        let options: Vec<String> = need.config.iter().map(|o| format!("CONFIG_{o}")).collect();
        words.push(format!("with {}", options.join(", ")));
    }
    (!words.is_empty()).then(|| format!("a kernel {}", words.join(" ")))
}

fn time(text: &mut String, scenario: &Scenario) {
    let steps: Option<Duration> = scenario
        .steps
        .iter()
        .map(|step| limit_of(step, &scenario.params))
        .sum();
    let limit = scenario
        .limit
        .get()
        .map(|limit| limit.0)
        .unwrap_or_default();
    let words = |time: Duration| Time(time).to_text();
    let most = match steps {
        Some(steps) if steps < limit => {
            format!("{}, the limits of its steps together", words(steps))
        }
        _ => format!("{}, its limit", words(limit)),
    };
    let _ = writeln!(text, "\nTakes at most {most}, after the guest has started");
}

fn limit_of(step: &Step, vars: &Vars) -> Option<Duration> {
    match step.limit() {
        Ok(limit) => Some(limit),
        Err(_) => {
            let text = serde_json::to_value(step.timeout.as_ref()?).ok()?;
            let text = vmtest_protocol::template::fill(text.as_str()?, vars).ok()?;
            Time::parse(&text).map(|time| time.0)
        }
    }
}

fn steps(text: &mut String, words: &Words, list: &[Step], depth: usize, number: &str) {
    for (at, step) in list.iter().enumerate() {
        let number = format!("{number}{}", at + 1);
        let indent = 2 * depth;
        let limit = step.timeout.as_ref().and_then(|timeout| {
            let value = serde_json::to_value(timeout).ok()?;
            Some(format!("  [at most {}]", value.as_str()?))
        });
        let name = step.name.as_ref().map(|name| format!("{name}: "));
        let _ = writeln!(
            text,
            "{:indent$}{number}. {}{}{}",
            "",
            name.unwrap_or_default(),
            words.action(&step.action),
            limit.unwrap_or_default()
        );
        let below = format!("{number}.");
        match &step.action {
            Action::Repeat(repeat) => steps(text, words, &repeat.steps, depth + 1, &below),
            Action::Measure(measure) => steps(text, words, &measure.steps, depth + 1, &below),
            Action::Spawn(spawn) => steps(text, words, &spawn.steps, depth + 1, &below),
            Action::Group(group) => steps(text, words, &group.steps, depth + 1, &below),
            Action::Parallel(parallel) => {
                for (at, branch) in parallel.branches.iter().enumerate() {
                    let indent = 2 * (depth + 1);
                    let name = branch.name.clone().unwrap_or(format!("{}", at + 1));
                    let _ = writeln!(text, "{:indent$}branch {name}:", "");
                    steps(text, words, &branch.steps, depth + 2, &below);
                }
            }
            Action::Probe(probe) => words.probe_actions(text, &probe.actions, depth + 1),
            Action::Puppet(puppet) => words.actions(text, &puppet.actions, depth + 1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::Overrides;
    use crate::scenario::parse;

    const SOURCE: &str = "name: a\nabout: Shows much.\nrows: [3, 4]\nrefs: [CVE-2024-41075]\n\
        matrix: {fs: [ext4, ext2]}\nparams: {n: 3}\n\
        needs:\n  kernel: {at_least: '6.12', config: [KASAN]}\n  \
        disks: [{name: cache, size: 64MiB, fs: '${fs}'}]\n\
        requires_requests: {open: 1}\n\
        xfail: [{kernel: '6.12', step: wrong, reason: It wraps., link: 'https://example.org/', when: {fs: ext2}}]\n\
        steps:\n  - start_daemon: {threads: 2}\n  - repeat:\n      var: i\n      to: '${n}'\n      \
        steps:\n        - umount: {at: '/m/${i}'}\n          name: wrong\n    timeout: 2m\n  \
        - parallel:\n      branches:\n        - {name: left, steps: [{sleep: {for: 2s}}]}\n        \
        - {steps: [{drop_caches: {}}]}\n  - puppet: {actions: [{open: {expect_errno: EBUSY}}]}\n";

    fn cases() -> Vec<Scenario> {
        let loaded = parse(Path::new("a.yaml"), SOURCE, &Overrides::default(), None);
        assert!(loaded.wrong.is_empty(), "{:?}", loaded.wrong);
        loaded.cases
    }

    #[test]
    fn a_scenario_is_told_from_its_runs_to_its_innermost_step() {
        let text = explain(&cases(), None);
        for part in [
            "Shows much.",
            "Stands for rows 3, 4 of the failure catalogue; CVE-2024-41075",
            "Runs: 4, of 2 cases with each of 2 modules",
            "  a[fs=ext2]\n",
            "the C module must fail at `wrong` on 6.12 when fs=ext2: It wraps. (https://example.org/)",
            "a kernel from 6.12 on with CONFIG_KASAN; on any other it is skipped",
            "a disk `cache` of 64MiB, ext4 at /cache",
            "Takes at most 5m, the limits of its steps together",
            "With n=3",
            "  1. start the daemon `daemon`, and wait until it serves (threads 2)\n",
            "  2. repeat for i from 0 up to and without ${n}:  [at most 2m]",
            "    2.1. wrong: unmount /m/${i}\n",
            "  3. 2 branches at once:",
            "    branch left:",
            "wait 2s",
            "  4. the process `puppet`:",
            "    - opens the device; it must fail with EBUSY\n",
            "at least 1 OPEN, 0 READ and 0 CLOSE",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn with_an_index_each_run_has_its_fate() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let index = |options: &str| -> Index {
            std::fs::write(&config, options).unwrap();
            serde_json::from_value(serde_json::json!({
                "schema": 1, "kernel": "6.12", "release": "6.12.117", "profile": "release",
                "bzimage": "b", "initramfs": "i", "modules": {"c": "c.ko", "rust": "r.ko"},
                "images": {}, "config": config,
            }))
            .unwrap()
        };
        let text = explain(
            &cases(),
            Some(&index("CONFIG_KASAN=y\nCONFIG_CACHEFILES_ONDEMAND=y\n")),
        );
        for part in [
            "a[fs=ext4]  6.12 c     must pass",
            "a[fs=ext2]  6.12 c     the C module must fail at `wrong`",
            "a[fs=ext2]  6.12 rust  must pass",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        let text = explain(&cases(), Some(&index("")));
        assert!(text.contains("skipped: kernel 6.12"), "{text}");
    }
}
