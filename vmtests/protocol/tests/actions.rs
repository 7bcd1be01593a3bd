// SPDX-License-Identifier: GPL-2.0-or-later
//! Every action of the language: it is read, survives the way to the guest, and a mistake in it is
//! refused with what would be right.

use std::collections::BTreeSet;

use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::step::ACTIONS;
use vmtest_protocol::step::ProbeAction;
use vmtest_protocol::step::PuppetAction;
use vmtest_protocol::step::check_templates;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;

/// Steps of every kind, with every field of those that have few.
const STEPS: &str = r#"
- start_daemon: {keeper: true, limits: {brun: 10}, delay_ms: "${n}", fill: 64KiB, args: [--x]}
- signal_daemon: {signal: hup}
- pause_daemon: {}
- resume_daemon: {name: other}
- kill_daemon: {within: 5s}
- restart_daemon: {signal: "${signal}", within: 5s}
- reconfigure_daemon: {delay_ms: 5, fill: 4KiB}
- wait_daemon: {ended_by: {signal: kill}}
- close_keeper: {}
- mount: {image: small, at: /m, expect_errno: "${errno}"}
- umount: {at: /m, lazy: true, force: true}
- mount_fs: {fs: ext4, disk: cache, at: /cache, options: noatime, read_only: true}
- remount: {at: /cache, read_only: true, expect_errno: EBUSY}
- bind_mount: {from: /cache, at: /bound, read_only: true, idmapped: true}
- grow_fs: {at: /cache}
- verify: {image: small, at: /m, select: {min_size: 1MiB}, expect_errno: EIO}
- read: {path: /m/a, offset: 4KiB, length: 4KiB, equals: {blob: small, offset: 8KiB}}
- hold_open: {name: a, path: /m/a, write: true, mmap: true, touch: true}
- close_held: {name: a}
- probe:
    name: p
    actions:
      - acquire_volumes: {first: 1, count: 2, key: "erofs,v", cache: tag, coherency: "0a"}
      - acquire: {count: 10, volume: 1, volumes: 2, key: k, key_hex: "00ff", aux: "01", size: 4KiB}
      - acquire_keys: {first: 20, volume: 1, longest: 255, kind: zeros, want_cache_size: true}
      - use_cookies: {count: 10, modify: true}
      - read: {count: 10, length: 4KiB, times: 2, stride: 4KiB, ondemand: true, async: true, batch: 1}
      - await_batch: {batch: 1, pending: 0, done: 20, within: 5s}
      - write: {length: 4KiB, generation: 1, allocated: true, expect_errno: "${errno}"}
      - occupancy: {length: 64KiB, at: 0, bytes: 4KiB}
      - await_state: {count: 10, is: active, caching: true, size: 4KiB, invalidations: 0}
      - unuse: {first: 3, aux: "02", size: 8KiB}
      - update: {aux: "02"}
      - resize: {size: 0}
      - invalidate: {count: 2, aux: "03", size: 0, direct_write: true}
      - relinquish: {count: 10, retire: true}
      - relinquish_volumes: {first: 1, count: 2, coherency: "0b", retire: true}
      - end: {}
- fill_file: {path: /cache/junk, size: 1MiB}
- write: {path: /cache/x, offset: 1KiB, length: 4KiB, seed: 7, create: true, sync: true}
- write: {path: "/cache/*/x", hex: "00ff"}
- truncate: {path: /cache/x, size: 0}
- make_dir: {path: /cache/d, parents: true, mode: "700"}
- rename: {from: /cache/x, to: /cache/y}
- remove_file: {path: /cache/d, recursive: true}
- set_xattr: {path: /cache/y, name: user.a, text: hello}
- remove_xattr: {path: /cache/y, name: user.a, expect_errno: ENODATA}
- set_flags: {path: /cache/graveyard, immutable: true}
- drop_caches: {}
- sleep: {for: 10ms}
- wait_until: {log: {of: kernel, regex: "vol.* collision", since: before}, within: 5s}
- wait_until: {state: {of: reader, is: blocked}}
- wait_until: {path: {path: "/cache/cache/I*", count: {is: at_least, than: 1}}}
- snapshot: {name: before}
- expect:
    counters: [{of: requests.open, is: equal, than: -3}]
    files: [{path: /proc/fs/fscache/caches, regex: " E "}]
    polls: [{readable: true}]
    logs: [{regex: "ready", count: {is: equal, than: 1}}]
    states: [{of: daemon, is: stopped}]
    paths:
      - {path: /cache/y, kind: file, size: 4KiB, mode: "644", allocated: {is: at_most, than: 8KiB},
         xattrs: [{name: user.a, hex: "00"}, {name: user.b, absent: true}]}
      - {path: /cache/z, exists: false}
    ratios: [{of: cold.seconds, to: warm.seconds, at_least: 1.5, at_most: 30}]
- start_trace: {events: [{event: cachefiles/cachefiles_ondemand_open}]}
- stop_trace: {}
- check_fairness: {threads: 4, min_requests: 10, min_pending: 3}
- group: {vars: {dir: /cache, twice: "${n*2}"}, steps: [{umount: {at: "${dir}/${twice}"}}]}
- parallel: {branches: [{name: a, steps: [{drop_caches: {}}]}, {steps: [{drop_caches: {}}]}]}
- repeat: {var: i, for: 5s, steps: [{umount: {at: "/m/${i}"}}]}
- measure: {name: cold, steps: [{drop_caches: {}}]}
- spawn: {name: b, steps: [{drop_caches: {}}]}
- join: {name: b, within: 3s}
- run: {argv: [/bin/cat], env: {A: b}, cwd: /tmp, stdin: "x", stderr: "^$", kill_after: 1s}
- start_program: {name: p, argv: [/bin/cat], env: {A: b}, cwd: /tmp, stdin: "x"}
- signal_program: {name: p, signal: usr1}
- wait_program: {name: p, ended_by: {exit_code: 1}, within: 2s, stdout: a, stderr: b}
- load_module: {name: cachefiles, params: debug=1, expect_errno: EEXIST}
- unload_module: {name: cachefiles}
- sysctl: {key: vm.drop_caches, value: 3}
- puppet:
    actions:
      - open: {expect_errno: EBUSY, retry_busy: 2s}
      - command: {text: dir /cache}
      - write_raw: {hex: "0a00", on: device, expect_errno: EINVAL}
      - write_raw: {repeat: {byte: 0x61, count: 4KiB}, expect_written: 0}
      - read_message: {buffer: 16, expect_errno: EMSGSIZE}
      - read_message: {bad_pointer: true, expect_errno: EFAULT}
      - read_message:
          save: a
          expect: open
          expect_fields: {fsid: small, volume: "erofs,small", new_id_of: b, same_object_of: c}
      - read_state: {buffer: 16, expect_errno: EMSGSIZE}
      - read_state: {regex: "^cull=0 "}
      - copen: {of: a, form: hex, size: "4096"}
      - copen: {of: a, blob: /blobs/small}
      - copen: {id: "0x7", size: "-5000", expect_errno: EINVAL}
      - write: {of: a, offset: 100, length: 100, exact: true, misalign: 512, expect_errno: EINVAL}
      - write: {of: a, position: true, length: 4KiB, expect_written: 4096}
      - seek: {of: a, whence: data, offset: -1, expect_errno: ENXIO}
      - seek: {of: a, offset: 4KiB, expect: 4KiB}
      - complete: {of: r, plus: 1, on: a}
      - complete: {id: 77, on: a, expect_errno: EINVAL}
      - ioctl: {on: a, request: 0x40049801, argument: 5, expect_errno: EINVAL}
      - poll: {readable: true, writable: false, within: 1s}
      - serve: {}
      - stop_serving: {}
      - await_objects: {count: 0}
      - dup: {of: device, as: second}
      - close: {of: second}
      - take: {from: other, of: device}
      - take: {from: other, of: a, as: theirs}
      - open_file: {path: /cache, as: dir}
      - close_file: {name: dir}
      - start_reading: {path: /mnt/small/hello}
      - limit_files: {to: 0}
      - limit_files: {}
      - drop_capabilities: {}
      - change_dir: {path: "/cache/cache/I*"}
      - close_objects: {order: reversed, count: 2}
      - close_device: {}
      - storm: {threads: 4, for: 2s, actions: [{command: {text: restore}}, {close_next: {}}], ignore_errors: true}
      - kill: {}
"#;

fn parse(yaml: &str) -> Result<Vec<Step>, String> {
    serde_yaml::from_str(yaml).map_err(|error| error.to_string())
}

#[test]
fn every_action_is_read_and_survives_the_way_to_the_guest() {
    let steps = parse(STEPS).unwrap();
    let seen: BTreeSet<&str> = steps.iter().map(|step| step.action.key()).collect();
    // Those that the runner carries out never go to the guest.
    let missing: Vec<&str> = ACTIONS
        .iter()
        .filter(|key| !seen.contains(*key) && !HOST.contains(key))
        .copied()
        .collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
    let json = serde_json::to_string(&steps).unwrap();
    let back: Vec<Step> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, steps);
}

/// Actions that have a test of their own, because the host carries them out.
const HOST: &[&str] = &[
    "power_cut",
    "boot",
    "disk_errors",
    "heal_disk",
    "throttle_disk",
    "grow_disk",
    "pause_vm",
    "unplug_disk",
    "plug_disk",
    "memory_pressure",
];

#[test]
fn every_puppet_action_is_tried_above() {
    let steps = parse(STEPS).unwrap();
    let Some(Action::Puppet(puppet)) = steps.last().map(|step| &step.action) else {
        panic!("the puppet stands last");
    };
    let mut seen: BTreeSet<&str> = puppet.actions.iter().map(PuppetAction::key).collect();
    seen.insert("close_next");
    for (key, doc) in PuppetAction::KEYS {
        assert!(seen.contains(key), "{key} is not tried");
        assert!(!doc.trim().is_empty(), "{key} is not described");
    }
}

#[test]
fn every_probe_action_is_tried_above() {
    let steps = parse(STEPS).unwrap();
    let probes = steps.iter().filter_map(|step| match &step.action {
        Action::Probe(probe) => Some(probe),
        _ => None,
    });
    let seen: BTreeSet<&str> = probes
        .flat_map(|probe| probe.actions.iter().map(ProbeAction::key))
        .collect();
    for (key, doc) in ProbeAction::KEYS {
        assert!(seen.contains(key), "{key} is not tried");
        assert!(!doc.trim().is_empty(), "{key} is not described");
    }
}

#[test]
fn a_probe_that_contradicts_itself_is_refused() {
    for (actions, part) in [
        ("[]", "a probe without actions"),
        ("[{end: {}}, {use_cookies: {}}]", "last action"),
        ("[{acquire: {aux: \"0\"}}]", "hexadecimal"),
        (
            "[{acquire_keys: {shortest: 3, longest: 2, kind: ones}}]",
            "no key at all",
        ),
        (
            "[{read: {length: 1, batch: 1, expect_errno: EIO}}]",
            "ends in `await_batch`",
        ),
        ("[{await_state: {}}]", "at least one of"),
        ("[{use: {}}]", "unknown field `use`"),
    ] {
        let error = parse(&format!("- probe: {{actions: {actions}}}\n")).unwrap_err();
        assert!(error.contains(part), "{actions}: {error}");
    }
}

#[test]
fn templates_stand_for_any_scalar() {
    let vars = Vars::from([
        ("n".to_owned(), Var::Number(7)),
        ("signal".to_owned(), Var::Text("kill".to_owned())),
        ("errno".to_owned(), Var::Text("EIO".to_owned())),
    ]);
    for step in parse(STEPS).unwrap() {
        step.resolve(&vars).unwrap();
    }
    let wrong = Vars::from([("errno".to_owned(), Var::Text("EWHAT".to_owned()))]);
    let steps = parse("- mount: {image: a, at: /m, expect_errno: \"${errno}\"}\n").unwrap();
    let error = steps[0].resolve(&wrong).unwrap_err().to_string();
    assert!(error.contains("`EWHAT` is not an error name"), "{error}");
}

#[test]
fn names_of_a_group_and_of_loops_are_known_where_they_stand() {
    let steps = parse(STEPS).unwrap();
    let known = ["n", "signal", "errno"].map(str::to_owned);
    check_templates(&steps, &known).unwrap();
    let outside = parse(
        "- group: {vars: {dir: \"${dir}\"}, steps: [{drop_caches: {}}]}\n\
         - parallel: {branches: [{steps: [{umount: {at: \"${x}\"}}]}, {steps: []}]}\n",
    )
    .unwrap();
    for step in &outside {
        let error = check_templates(std::slice::from_ref(step), &[]).unwrap_err();
        assert!(error.to_string().contains("no variable"), "{error}");
    }
}

#[test]
fn walking_reaches_every_step_inside() {
    let steps = parse(
        "- group: {steps: [{parallel: {branches: [{steps: [{sleep: {for: 1s}}]}, \
         {steps: [{measure: {name: m, steps: [{sleep: {for: 1s}}]}}]}]}}]}\n",
    )
    .unwrap();
    let mut keys = Vec::new();
    steps[0].walk(&mut |step| keys.push(step.action.key()));
    assert_eq!(
        keys,
        ["group", "parallel", "sleep", "measure", "sleep"].as_slice()
    );
}

#[test]
fn impossible_combinations_are_refused_with_what_would_be_right() {
    for (yaml, expected) in [
        ("restart_daemon: {signal: hup}", "by `term` or `kill`"),
        ("reconfigure_daemon: {}", "changes nothing"),
        (
            "mount_fs: {fs: ext4, disk: a, source: b, at: /m}",
            "not both",
        ),
        ("remount: {at: /m}", "changes nothing"),
        (
            "verify: {image: a, at: /m, expect_errno: EIO}",
            "needs `select`",
        ),
        ("read: {path: /a, equals: {}}", "one of `blob`, `seed`"),
        (
            "read: {path: /a, sha256: ab, expect_errno: EIO}",
            "no bytes to compare",
        ),
        (
            "hold_open: {name: a, path: /a, touch: true}",
            "`mmap: true`",
        ),
        ("fill_file: {path: /a}", "exactly one of"),
        ("write: {path: /a}", "one of `length`"),
        ("write: {path: /a, text: a, seed: 1}", "`seed` makes"),
        ("write: {path: /a, hex: abc}", "hexadecimal"),
        ("write: {path: \"/*\", text: a, create: true}", "has a name"),
        ("make_dir: {path: /a, mode: rwx}", "octal"),
        ("set_xattr: {path: /a, name: user.a}", "one of `text`"),
        ("set_flags: {path: /a}", "changes nothing"),
        ("wait_until: {within: 1s}", "exactly one of"),
        (
            "wait_until: {path: {path: /a, exists: false, size: 1}}",
            "cannot be absent",
        ),
        ("expect: {}", "without anything"),
        ("expect: {ratios: [{of: a, to: b}]}", "no bound"),
        (
            "expect: {counters: [{of: a, is: equal, than: x}]}",
            "may be negative",
        ),
        (
            "expect: {paths: [{path: /a, xattrs: [{name: b, text: c, absent: true}]}]}",
            "only one",
        ),
        ("parallel: {branches: []}", "at least two"),
        ("repeat: {var: i, steps: []}", "without an end"),
        (
            "repeat: {var: i, from: 3, to: 3, steps: []}",
            "no round at all",
        ),
        ("run: {argv: []}", "name a program"),
        ("start_program: {name: a, argv: [\"\"]}", "name a program"),
        (
            "signal_program: {name: a, signal: boom}",
            "`boom` is not a signal, one of `term`",
        ),
        (
            "wait_program: {name: a, ended_by: {}}",
            "`exit_code` or `signal`",
        ),
        ("puppet: {actions: []}", "without actions"),
        ("puppet: {actions: [{kill: {}}, {open: {}}]}", "last action"),
        (
            "puppet: {actions: [{write_raw: {}}]}",
            "exactly one of `text`, `hex`, `repeat`",
        ),
        (
            "puppet: {actions: [{copen: {size: \"1\"}}]}",
            "exactly one of `of`, `id`",
        ),
        (
            "puppet: {actions: [{copen: {id: \"1\", form: hex, size: \"1\"}}]}",
            "as it is to go out",
        ),
        (
            "puppet: {actions: [{complete: {id: 1}}]}",
            "whose descriptor",
        ),
        (
            "puppet: {actions: [{write: {of: a, length: 1}}]}",
            "exactly one of `offset`",
        ),
        (
            "puppet: {actions: [{read_message: {bad_pointer: true}}]}",
            "expect_errno",
        ),
        (
            "puppet: {actions: [{read_message: {expect: open, expect_errno: EIO}}]}",
            "no message",
        ),
        ("puppet: {actions: [{poll: {}}]}", "`readable`"),
        (
            "puppet: {actions: [{take: {from: a, of: b}}]}",
            "wants `as`",
        ),
        (
            "puppet: {actions: [{storm: {threads: 1, times: 1, actions: []}}]}",
            "without actions",
        ),
        (
            "puppet: {actions: [{storm: {threads: 1, actions: [{open: {}}]}}]}",
            "`for`, `times`",
        ),
        (
            "puppet: {actions: [{storm: {threads: 1, times: 1, actions: [{kill: {}}]}}]}",
            "part of a storm",
        ),
        (
            "puppet: {actions: [{open: {}, command: {text: a}}]}",
            "has one key",
        ),
    ] {
        let error = parse(&format!("- {yaml}\n")).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}
