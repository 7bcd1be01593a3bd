// SPDX-License-Identifier: GPL-2.0-or-later
//! The step language: what is read, what is refused and how that is said, and templates.

use std::collections::BTreeMap;

use vmtest_protocol::Action;
use vmtest_protocol::Step;
use vmtest_protocol::step::check_templates;
use vmtest_protocol::template::Var;
use vmtest_protocol::template::Vars;
use vmtest_protocol::template::fill;
use vmtest_protocol::value::Bytes;
use vmtest_protocol::value::Late;

fn parse(yaml: &str) -> Result<Vec<Step>, String> {
    serde_yaml::from_str(yaml).map_err(|error| error.to_string())
}

fn vars(pairs: &[(&str, i64)]) -> Vars {
    pairs
        .iter()
        .map(|(name, number)| ((*name).to_owned(), Var::Number(*number)))
        .collect::<BTreeMap<_, _>>()
}

#[test]
fn a_step_has_an_action_and_may_have_a_name_and_a_timeout() {
    let steps = parse(
        "- mount: {image: small, at: /mnt/small}\n\
         - name: twice\n  timeout: 2m\n  verify: {image: small, at: /mnt/small, threads: 4}\n",
    )
    .unwrap();
    assert_eq!(steps[0].title(), "mount");
    assert_eq!(steps[1].title(), "twice");
    assert_eq!(steps[1].limit().unwrap().as_secs(), 120);
    assert!(matches!(&steps[1].action, Action::Verify(verify) if verify.image == "small"));
}

#[test]
fn a_step_survives_the_way_to_the_guest() {
    let steps = parse(
        "- repeat:\n    var: i\n    to: \"${n}\"\n    steps:\n      - mount: {image: \"scale-${i:04}\", at: /m}\n\
         - puppet: {actions: [{open: {expect_errno: EBUSY}}, {close_objects: {order: reversed}}]}\n\
         - wait_until: {counter: {of: a.b, is: at_least, than: -3}}\n\
         - fill_file: {path: /cache/x, size: 3MiB}\n",
    )
    .unwrap();
    let json = serde_json::to_string(&steps).unwrap();
    let back: Vec<Step> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, steps);
    let Action::FillFile(fill) = &back[3].action else {
        panic!("{back:?}");
    };
    assert_eq!(fill.size, Some(Late::Now(Bytes(3 << 20))));
}

#[test]
fn mistakes_are_refused_with_what_would_be_right() {
    for (yaml, expected) in [
        ("- mout: {image: a, at: /m}\n", "unknown field `mout`"),
        ("- mout: {image: a, at: /m}\n", "`mount`"),
        (
            "- mount: {image: a, at: /m, foo: 1}\n",
            "unknown field `foo`",
        ),
        ("- mount: {image: a}\n", "missing field `at`"),
        (
            "- mount: {image: a, at: /m}\n  umount: {at: /m}\n",
            "one action",
        ),
        ("- name: nothing\n", "without an action"),
        ("- sleep: {for: soon}\n", "span of time"),
        ("- fill_file: {path: /x, size: 3MB}\n", "a size such as"),
        (
            "- umount: {at: /m, expect_errno: EWHAT}\n",
            "not an error name",
        ),
        (
            "- puppet: {actions: [{jump: {}}]}\n",
            "unknown field `jump`",
        ),
        (
            "- verify: {image: a, at: /m, threads: -1}\n",
            "whole number",
        ),
    ] {
        let error = parse(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
        assert!(
            error.contains("line") || expected.contains("missing"),
            "{yaml}: {error}"
        );
    }
}

#[test]
fn templates_calculate_and_pad() {
    let vars = vars(&[("i", 83), ("per", 40)]);
    assert_eq!(fill("d-${i/per:02}", &vars).unwrap(), "d-02");
    assert_eq!(fill("/mnt/${i:04}/x", &vars).unwrap(), "/mnt/0083/x");
    assert_eq!(fill("${2*(i+1)-i%10}", &vars).unwrap(), "165");
    for (text, expected) in [
        ("${j}", "no variable `j`"),
        ("${i", "closing brace"),
        ("${i+}", "missing"),
        ("${i/0}", "division"),
        ("${i:4x}", "not a format"),
        ("${i i}", "left over"),
    ] {
        let error = fill(text, &vars).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn resolving_fills_in_a_step_but_not_the_steps_inside() {
    let steps = parse(
        "- repeat:\n    var: i\n    to: \"${n}\"\n    steps:\n      - umount: {at: \"/m/${i}\"}\n",
    )
    .unwrap();
    let outer = steps[0].resolve(&vars(&[("n", 7)])).unwrap();
    let Action::Repeat(repeat) = &outer.action else {
        panic!("{outer:?}");
    };
    assert_eq!(repeat.to.as_ref().unwrap().get().unwrap(), 7);
    let inner = repeat.steps[0].resolve(&vars(&[("i", 3)])).unwrap();
    assert!(matches!(&inner.action, Action::Umount(umount) if umount.at == "/m/3"));
}

#[test]
fn names_in_templates_are_checked_before_anything_runs() {
    let steps = parse(
        "- repeat:\n    var: i\n    to: \"${n}\"\n    steps:\n      - umount: {at: \"/m/${i}\"}\n",
    )
    .unwrap();
    check_templates(&steps, &["n".to_owned()]).unwrap();
    let error = check_templates(&steps, &[]).unwrap_err().to_string();
    assert!(error.contains("no variable `n`"), "{error}");
    let outside = parse("- umount: {at: \"/m/${i}\"}\n").unwrap();
    assert!(check_templates(&outside, &["n".to_owned()]).is_err());
}
