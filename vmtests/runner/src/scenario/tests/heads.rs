// SPDX-License-Identifier: GPL-2.0-or-later
//! What is refused in a scenario's head: a row for each mistake.

use std::time::Duration;
use std::time::Instant;

use super::wrong;

#[test]
fn heads_that_cannot_be() {
    let steps = "steps:\n  - drop_caches: {}\n    name: drop\n";
    let link = "link: 'https://example.org/x'";
    for (head, expected) in [
        (
            "name: b\nabout: x\n",
            "a.yaml:1:7: the scenario is called `b`",
        ),
        ("name: a\nabout: ''\n", "a.yaml:2:1: `about` is empty"),
        (
            "name: a\nabout: x\nrefs: [CVE-24-1]\n",
            "3:8: `CVE-24-1` is neither",
        ),
        (
            "name: a\nabout: x\nrows: [one]\n",
            "3:8: here stands the text `one`",
        ),
        (
            "name: a\nabout: x\nparams: {a-b: 1}\n",
            "3:10: `a-b` is no name",
        ),
        (
            "name: a\nabout: x\nparams: {n: 1.5}\n",
            "wanted is a whole number or a text",
        ),
        (
            "name: a\nabout: x\nmatrix: {n: []}\n",
            "3:10: `n` has no values",
        ),
        (
            "name: a\nabout: x\nmatrix: {n: 1}\n",
            "3:13: here stands the number 1",
        ),
        (
            "name: a\nabout: x\nmatrix: {n: [1, 1]}\n",
            "3:17: `n` has this value twice",
        ),
        (
            "name: a\nabout: x\nparams: {n: 1}\nmatrix: {n: [1]}\n",
            "4:10: `n` stands in",
        ),
        (
            "name: a\nabout: x\nparams: {room: 1}\nkernels: {\"6.12\": {rom: 2}}\n",
            "4:20: `params` has no `rom`, which `kernels` changes for 6.12",
        ),
        (
            "name: a\nabout: x\nparams: {n: 1}\nkernels: {debug: {n: 2}}\n",
            "4:11: `debug` is no kernel's name",
        ),
        ("name: a\nabout: x\nlimit: 0s\n", "3:8: no time at all"),
        (
            "name: a\nabout: x\nlimit: soon\n",
            "3:8: `soon` is not a span",
        ),
        ("name: a\nabout: x\nweight: 0\n", "3:9: a weight of 0"),
        ("name: a\nabout: x\nlimt: 1m\n", "did you mean `limit`?"),
        (
            "name: a\nabout: x\nneeds: {memory: 1MiB}\n",
            "3:17: 1048576 bytes of memory",
        ),
        ("name: a\nabout: x\nneeds: {cpus: 65}\n", "3:15: 65 CPUs"),
        (
            "name: a\nabout: x\nneeds: {images: ['*a']}\n",
            "is no image",
        ),
        (
            "name: a\nabout: x\nneeds: {images: [a, a]}\n",
            "listed twice",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {at_least: 6.12}}\n",
            "in quotes it is a text",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {at_least: new}}\n",
            "no kernel version",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {at_least: '7.2', before: '6.12'}}\n",
            "would never run",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {config: [CONFIG_A]}}\n",
            "write `A`",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {args: lsm=smack panic=1}}\n",
            "the runner itself gives the kernel `panic`",
        ),
        (
            "name: a\nabout: x\nneeds: {kernel: {args: \"a\\tb\"}}\n",
            "one line, without control characters",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 1MiB}]}\n",
            "from 8MiB",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c d, size: 8MiB}]}\n",
            "no disk name",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB, fs: xfs}]}\n",
            "ext2, ext4, none",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB, fs: none, at: /c}]}\n",
            "3:49: disk `c` has no filesystem: `at` says nothing",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB, mount: false, at: /c}]}\n",
            "`at` says nothing",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB}, {name: c, size: 8MiB, at: /d}]}\n",
            "two disks are called `c`",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB}, {name: d, size: 8MiB, at: /c}]}\n",
            "disk `c` is mounted at `/c` already",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{name: c, size: 8MiB, at: c}]}\n",
            "no mount point",
        ),
        (
            "name: a\nabout: x\nneeds: {shares: [{tag: blobs}]}\n",
            "`blobs` is taken",
        ),
        (
            "name: a\nabout: x\nneeds: {shares: [{tag: s}, {tag: s}]}\n",
            "two shares",
        ),
        (
            "name: a\nabout: x\nneeds: {shares: [{tag: s, at: /blobs}]}\n",
            "`/blobs` is taken",
        ),
        (
            "name: a\nabout: x\nneeds: {disks: [{size: 8MiB}]}\n",
            "3:18: the key `name` is missing",
        ),
        (
            &format!("name: a\nabout: x\nxfail: [{{kernel: '*', reason: '', {link}}}]\n"),
            "3:31: `reason` of a known failure is empty",
        ),
        (
            "name: a\nabout: x\nxfail: [{kernel: '*', reason: x, link: there}]\n",
            "no link",
        ),
        (
            "name: a\nabout: x\nxfail: [{kernel: '*', reason: x}]\n",
            "the key `link` is missing",
        ),
        (
            &format!("name: a\nabout: x\nxfail: [{{kernel: 6.12, reason: x, {link}}}]\n"),
            "in quotes it is a text: \"6.12\"",
        ),
        (
            "name: a\nabout: x\nallow_splats: [{pattern: warn, reason: ' '}]\n",
            "3:40: `reason` of an allowed splat is empty",
        ),
        (
            "name: a\nabout: x\nallow_splats: [{pattern: warn, regex: '(', reason: x}]\n",
            "3:39: no regular expression",
        ),
        (
            &format!(
                "name: a\nabout: x\nxfail: [{{kernel: '*', step: drip, reason: x, {link}}}]\n"
            ),
            "did you mean `drop`?",
        ),
        (
            &format!(
                "name: a\nabout: x\nmatrix: {{f: [1]}}\nxfail: [{{kernel: '*', when: {{f: 2}}, reason: x, {link}}}]\n"
            ),
            "4:33: `f` never has this value",
        ),
        (
            &format!(
                "name: a\nabout: x\nmatrix: {{fs: [1]}}\nxfail: [{{kernel: '*', when: {{fx: 2}}, reason: x, {link}}}]\n"
            ),
            "did you mean `fs`?",
        ),
    ] {
        let wrong = wrong(&format!("{head}{steps}"));
        assert_eq!(wrong.len(), 1, "{head}\n{}", wrong.join("\n"));
        assert!(
            wrong[0].contains(expected),
            "{head}\n{expected}: {}",
            wrong[0]
        );
    }
}

#[test]
fn a_machine_has_room_for_so_many_disks() {
    let disks = |count: usize| {
        let list: Vec<String> = (0..count)
            .map(|n| format!("{{name: d{n}, size: 8MiB}}"))
            .collect();
        let needs = format!("needs: {{disks: [{}]}}", list.join(", "));
        wrong(&format!(
            "name: a\nabout: x\n{needs}\nsteps:\n  - drop_caches: {{}}\n"
        ))
    };
    assert!(disks(21).is_empty());
    assert!(
        disks(22)[0].contains("a.yaml:3:9: too many disks and shares"),
        "{:#?}",
        disks(22)
    );
}

#[test]
fn a_scenario_without_steps_proves_nothing() {
    let wrong = wrong("name: a\nabout: x\nsteps: []\n");
    assert!(
        wrong[0].contains("a.yaml:3:1: a scenario without steps"),
        "{}",
        wrong[0]
    );
}

#[test]
fn too_many_cases_are_refused_at_once() {
    let axis: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let axes: String = (0..20)
        .map(|n| format!("  a{n}: [{}]\n", axis.join(", ")))
        .collect();
    let began = Instant::now();
    let wrong = wrong(&format!(
        "name: a\nabout: x\nmatrix:\n{axes}steps:\n  - drop_caches: {{}}\n"
    ));
    assert!(wrong[0].contains("more than 256 runs"), "{}", wrong[0]);
    assert!(began.elapsed() < Duration::from_secs(5));
}
