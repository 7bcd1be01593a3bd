// SPDX-License-Identifier: GPL-2.0-or-later
//! What is refused before anything boots: a row for each mistake.

use std::time::Duration;
use std::time::Instant;

use super::GOOD;
use super::good;
use super::wrong;

const HEAD: &str = "name: a\nabout: x\nneeds:\n  images: [small, 'fill-*']\n  \
    disks: [{name: cache, size: 64MiB}]\nsteps:\n";

/// What is wrong with these steps, each in a line of its own that begins with `- `.
fn wrong_steps(steps: &str) -> Vec<String> {
    let indented: String = steps.lines().map(|line| format!("  {line}\n")).collect();
    wrong(&format!("{HEAD}{indented}"))
}

/// One mistake whose text has all of `parts`.
fn one(steps: &str, parts: &[&str]) {
    let wrong = wrong_steps(steps);
    assert_eq!(wrong.len(), 1, "{steps}\n{}", wrong.join("\n"));
    for part in parts {
        assert!(wrong[0].contains(part), "{steps}\n{part}: {}", wrong[0]);
    }
}

fn accepted(steps: &str) {
    let wrong = wrong_steps(steps);
    assert!(wrong.is_empty(), "{steps}\n{}", wrong.join("\n"));
}

#[test]
fn variables() {
    one(
        "- umount: {at: '/m/${n}'}",
        &["a.yaml:7:18: ", "no variable `n`"],
    );
    one(
        "- repeat: {var: round, to: 2, steps: [{umount: {at: '/m/${runde}'}}]}",
        &["a.yaml:7:", "no variable `runde`", "did you mean `round`?"],
    );
    one("- umount: {at: '/m/${1/0}'}", &["division by zero"]);
    one("- umount: {at: '/m/${1'}", &["closing brace"]);
    one(
        "- repeat: {var: i, to: 3, steps: [{sleep: {for: '${i}x'}}]}",
        &["`0x` is not a span of time", "after `${...}` is filled in"],
    );
    // Only the last round divides by zero.
    one(
        "- repeat: {var: i, to: 3, steps: [{umount: {at: '/m/${6/(2-i)}'}}]}",
        &["division by zero"],
    );
    one(
        "- repeat: {var: a-b, to: 2, steps: [{drop_caches: {}}]}",
        &["`a-b` is no name"],
    );
    accepted("- repeat: {var: i, to: 2, steps: [{umount: {at: '/m/${i:04}'}}]}");
    accepted("- group: {vars: {dir: /x}, steps: [{umount: {at: '${dir}'}}]}");
}

#[test]
fn images() {
    one(
        "- mount: {image: smal, at: /m}",
        &["a.yaml:7:20: ", "image `smal`", "did you mean `small`?"],
    );
    accepted("- mount: {image: fill-0007, at: /m}");
    one(
        "- repeat: {var: i, to: 2, steps: [{mount: {image: 'x-${i}', at: /m}}]}",
        &["`x-0`"],
    );
    accepted("- repeat: {var: i, to: 2, steps: [{mount: {image: 'fill-${i:04}', at: /m}}]}");
}

#[test]
fn counters_and_expressions() {
    let counter =
        |of: &str| format!("- expect: {{counters: [{{of: \"{of}\", is: equal, than: 0}}]}}");
    for good in [
        "requests.open",
        "daemon.cull",
        "fscache.nospace.nwr",
        "memory.slab",
        "free_percent:/cache",
        "caches.count",
    ] {
        accepted(&counter(good));
    }
    one(
        &counter("requests.opne"),
        &[
            "no counter `requests.opne`",
            "did you mean `requests.open`?",
        ],
    );
    one(&counter("fscash.nospace.nwr"), &["did you mean `fscache`?"]);
    one(&counter("fscache.nospace"), &["fscache.SECTION.FIELD"]);
    one(
        &counter("free_percent:cache"),
        &["a path in the guest follows"],
    );
    one(&counter("memory.MemFree"), &["in lower case"]);
    one(
        "- run: {argv: [/x], stdout: 'a(b'}",
        &["a.yaml:7:31: ", "not a regular expression"],
    );
    one(
        "- expect: {files: [{path: /x, regex: '\\p{Greek}'}]}",
        &["not a regular expression"],
    );
    one(
        "- read: {path: /x, sha256: abc}",
        &["64 hexadecimal digits"],
    );
    one(
        "- read: {path: /x, sha256: abc, expect_errno: EIO}",
        &["must fail"],
    );
    one(
        "- fill_file: {path: /x, size: 1MiB, leave_percent: 3}",
        &["a.yaml:7:5: ", "exactly one"],
    );
    one("- fill_file: {path: /x}", &["exactly one"]);
    one(
        "- wait_until: {within: 3s}",
        &["a.yaml:7:5: ", "exactly one"],
    );
}

#[test]
fn names_of_branches_daemons_files_and_snapshots() {
    let spawn = "- spawn: {name: reader, steps: [{drop_caches: {}}]}\n";
    accepted(&format!("{spawn}- join: {{name: reader}}"));
    one(
        &format!("{spawn}- join: {{name: raeder}}"),
        &[
            "a.yaml:8:18: no `spawn` has the name `raeder`",
            "did you mean `reader`?",
        ],
    );
    one(
        &format!("- join: {{name: reader}}\n{spawn}"),
        &["before this step", "the one in line 8 comes too late"],
    );
    one(
        "- signal_daemon: {signal: term}",
        &["a.yaml:7:5: no `start_daemon`", "`daemon`"],
    );
    accepted("- start_daemon: {}\n- signal_daemon: {signal: term}");
    one(
        "- start_daemon: {}\n- close_keeper: {}",
        &["`keeper: true`"],
    );
    accepted("- start_daemon: {keeper: true}\n- close_keeper: {}");
    one(
        "- start_daemon: {}\n- wait_until: {poll: {readable: true}}",
        &["8:", "`keeper: true`"],
    );
    one(
        "- close_held: {name: f}",
        &["no `hold_open` has the name `f`"],
    );
    let since = "{of: requests.open, since: warm, is: equal, than: 0}";
    one(
        &format!("- snapshot: {{name: warn}}\n- expect: {{counters: [{since}]}}"),
        &["no `snapshot` has the name `warm`", "did you mean `warn`?"],
    );
    accepted(&format!(
        "- snapshot: {{name: warm}}\n- wait_until: {{counter: {since}}}"
    ));
    one(
        "- wait_program: {name: p}",
        &["no `start_program` has the name `p`"],
    );
    one(
        "- expect: {states: [{of: nobody, is: blocked}]}",
        &["no daemon, program, puppet or branch is called `nobody`"],
    );
    one(
        "- expect: {logs: [{of: kernle, regex: x}]}",
        &["there is no log of `kernle`", "did you mean `kernel`?"],
    );
    let measure =
        |name: &str| format!("- measure: {{name: {name}, steps: [{{drop_caches: {{}}}}]}}\n");
    let ratio = "- expect: {ratios: [{of: cold.seconds, to: warm.seconds, at_most: 3}]}";
    accepted(&format!("{}{}{ratio}", measure("cold"), measure("warm")));
    one(
        &format!("{}{ratio}", measure("cold")),
        &["no `measure` or storm measures `warm`"],
    );
    let storm = "- puppet: {actions: [{storm: {threads: 1, times: 1, actions: [{open: {}}]}}]}\n";
    let ratio = "- expect: {ratios: [{of: storm.open.done, to: storm.rounds, at_most: 1}]}";
    accepted(&format!("{storm}{ratio}"));
    one(
        &format!("{storm}{}", ratio.replace("open", "close")),
        &["no `measure` or storm measures `storm.close`"],
    );
    // Names with variables fit what begins like them.
    accepted(
        "- repeat: {var: i, to: 3, steps: [{spawn: {name: 'r-${i}', steps: [{drop_caches: {}}]}}]}\n\
         - join: {name: r-2}",
    );
    // What runs beside may refer to what comes later; what was never mounted may be unmounted.
    accepted(&format!(
        "- spawn: {{name: b, steps: [{{expect: {{counters: [{since}]}}}}]}}\n\
         - snapshot: {{name: warm}}\n- join: {{name: b}}\n- umount: {{at: /never}}"
    ));
    one(
        "- remount: {at: /cash, read_only: true}",
        &["mounted at `/cash`", "did you mean `/cache`?"],
    );
    accepted("- remount: {at: /cache, read_only: true}");
    one(
        "- mount_fs: {fs: ext4, disk: cash, at: /x}",
        &["no disk `cash`", "did you mean `cache`?"],
    );
}

#[test]
fn a_cache_lies_on_something_that_is_mounted() {
    accepted("- start_daemon: {dir: /cache/deeper}");
    one(
        "- start_daemon: {dir: /cach}",
        &[
            "a.yaml:7:25: ",
            "nothing is mounted there",
            "did you mean `/cache`?",
        ],
    );
    one(
        "- start_daemon: {dir: /cached}",
        &["nothing is mounted there"],
    );
    accepted("- mount_fs: {fs: tmpfs, at: /x}\n- start_daemon: {dir: /x}");
    accepted("- run: {argv: [/bin/busybox, mount, -t, tmpfs, x, /x]}\n- start_daemon: {dir: /x}");
    let none = wrong("name: a\nabout: x\nsteps:\n  - start_daemon: {}\n");
    assert!(
        none[0].contains("a.yaml:4:5: the cache is to be in `/cache`"),
        "{none:#?}"
    );
}

#[test]
fn after_a_boot_what_the_guest_had_is_gone() {
    let cut = "- start_daemon: {}\n- power_cut: {}\n- boot: {}\n";
    one(
        &format!("{cut}- signal_daemon: {{signal: term}}"),
        &[
            "a.yaml:10:5: no `start_daemon`",
            "the one in line 7 is gone since the `boot`",
        ],
    );
    accepted(&format!(
        "{cut}- start_daemon: {{}}\n- signal_daemon: {{signal: term}}"
    ));
    one(
        "- disk_errors: {disk: cash}",
        &["no disk `cash`", "did you mean `cache`?"],
    );
    one(
        "- power_cut: {}\n- boot: {mount: [cash]}",
        &["no disk `cash`"],
    );
    one(
        "- spawn: {name: b, steps: [{power_cut: {}}]}",
        &["the host carries `power_cut` out: it cannot stand inside `spawn`"],
    );
    one(
        "- power_cut: {}\n- drop_caches: {}\n- boot: {}",
        &["without power"],
    );
}

#[test]
fn names_that_a_puppet_saves() {
    let puppet = |actions: &str| format!("- puppet: {{actions: [{actions}]}}\n");
    let read = "{read_message: {save: first, expect: open}}";
    accepted(&puppet(&format!(
        "{{open: {{}}}}, {read}, {{copen: {{of: first, size: '1'}}}}"
    )));
    one(
        &puppet(&format!(
            "{{open: {{}}}}, {read}, {{copen: {{of: frist, size: '1'}}}}"
        )),
        &[
            "puppet `puppet` never saves anything as `frist`",
            "did you mean `first`?",
        ],
    );
    one(
        &puppet(&format!(
            "{{open: {{}}}}, {{copen: {{of: first, size: '1'}}}}, {read}"
        )),
        &["has not saved anything as `first` yet"],
    );
    // Another process knows nothing of it.
    one(
        &format!(
            "{}- puppet: {{name: other, actions: [{{copen: {{of: first, size: '1'}}}}]}}",
            puppet(&format!("{{open: {{}}}}, {read}"))
        ),
        &["puppet `other` never saves"],
    );
    // A killed one has forgotten.
    one(
        &format!(
            "{}{}",
            puppet(&format!("{{open: {{}}}}, {read}, {{kill: {{}}}}")),
            puppet("{copen: {of: first, size: '1'}}")
        ),
        &["has not saved anything as `first` yet"],
    );
}

#[test]
fn limits_of_steps_lie_within_those_around_them() {
    one(
        "- repeat: {var: i, to: 2, steps: [{drop_caches: {}, timeout: 5m}]}",
        &["the step may take 5m, `repeat` around it only 1m"],
    );
    accepted("- repeat: {var: i, to: 2, steps: [{drop_caches: {}, timeout: 5m}]}\n  timeout: 6m");
    one(
        "- drop_caches: {}\n  timeout: 20m",
        &["`the scenario` around it only 15m"],
    );
    one("- drop_caches: {}\n  timeout: 0s", &["no time at all"]);
    one(
        "- repeat: {var: i, to: 2, steps: []}",
        &["`repeat` has no steps"],
    );
}

#[test]
fn steps_in_steps_have_a_limit() {
    let nested = |depth: usize| {
        let open: String = (0..depth)
            .map(|level| {
                let indent = "    ".repeat(level);
                format!("{indent}- group:\n{indent}    steps:\n")
            })
            .collect();
        format!("{open}{}- drop_caches: {{}}", "    ".repeat(depth))
    };
    accepted(&nested(31));
    one(&nested(32), &["more than 32 deep"]);
    assert!(!wrong_steps(&nested(60)).is_empty());
    let flow = format!(
        "- {}{{drop_caches: {{}}}}{}",
        "{group: {steps: [".repeat(5000),
        "]}}".repeat(5000)
    );
    let began = Instant::now();
    assert_eq!(wrong_steps(&flow).len(), 1);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_scenario_has_at_most_two_thousand_steps() {
    accepted("- drop_caches: {}\n".repeat(2000).trim_end());
    one(
        "- drop_caches: {}\n".repeat(2001).trim_end(),
        &["a.yaml:2007:5: this is step 2001"],
    );
}

#[test]
fn keys_that_stand_twice_are_refused() {
    let twice = GOOD.replace("params:", "about: y\nparams:");
    let wrong = wrong(&twice);
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    assert!(
        wrong[0].contains("a.yaml:3:1: `about` stands twice"),
        "{}",
        wrong[0]
    );
}

#[test]
fn all_mistakes_of_a_file_are_shown_in_its_order() {
    let source = "name: a\nabout: x\nlimt: 5m\nneeds:\n  imges: [small]\n  \
        disks:\n    - {name: cache, size: 1KiB}\nsteps:\n  - mout: {image: smal, at: /m}\n  \
        - join: {name: nobody}\n  - verify: {image: small, at: '/m/${x}'}\n";
    let wrong = wrong(source);
    let places: Vec<&str> = wrong
        .iter()
        .filter_map(|one| one.split(": ").next())
        .collect();
    assert_eq!(
        places,
        [
            "a.yaml:3:1",
            "a.yaml:5:3",
            "a.yaml:7:27",
            "a.yaml:9:5",
            "a.yaml:9:19",
            "a.yaml:10:18",
            "a.yaml:11:32",
        ],
        "{}",
        wrong.join("\n")
    );
}

#[test]
fn tabs_nonsense_and_other_documents() {
    for (text, expected) in [
        ("", "a.yaml:1:1: the file is empty"),
        ("name: a\n\tabout: x\n", "tab"),
        ("hello\n", "here stands the text `hello`, wanted is a map"),
        ("- 1\n", "here stands a list, wanted is a map"),
        ("name: a\n---\nname: b\n", "second document"),
    ] {
        let wrong = wrong(text);
        assert_eq!(wrong.len(), 1, "{text:?}: {wrong:#?}");
        assert!(wrong[0].contains(expected), "{text:?}: {}", wrong[0]);
    }
}

#[test]
fn what_is_right_is_accepted() {
    let _ = good(GOOD, &[]);
}
