// SPDX-License-Identifier: GPL-2.0-or-later
//! Whole scenarios: what is read, and what is refused with which words.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use vmtest_protocol::template::Var;

use super::*;

mod heads;
mod includes;
mod refused;

const GOOD: &str = "name: a\nabout: Shows something.\nparams: {mib: 64, n: 2}\n\
    needs:\n  images: [small]\n  disks:\n    - {name: cache, size: '${mib}MiB'}\n\
    steps:\n  - mount: {image: small, at: '/mnt/${n}'}\n";

fn loaded(source: &str, params: &[&str]) -> Loaded {
    let params: Vec<String> = params.iter().map(|p| (*p).to_owned()).collect();
    let overrides = Overrides::parse(&params).unwrap();
    parse(Path::new("a.yaml"), source, &overrides, None)
}

/// The only case of a scenario that is right.
fn good(source: &str, params: &[&str]) -> Scenario {
    let mut loaded = loaded(source, params);
    let wrong: Vec<String> = loaded.wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(loaded.cases.len(), 1);
    loaded.cases.remove(0)
}

fn index(kernel: &str, profile: &str) -> crate::artifacts::Index {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "kernel": kernel, "release": format!("{kernel}.1"), "profile": profile,
        "bzimage": "b", "initramfs": "i", "modules": {}, "images": {},
    }))
    .unwrap()
}

/// What is wrong with a scenario.
fn wrong(source: &str) -> Vec<String> {
    let loaded = loaded(source, &[]);
    assert_ne!(loaded.wrong.is_empty(), loaded.cases.is_empty());
    loaded.wrong.iter().map(ToString::to_string).collect()
}

#[test]
fn parameters_reach_the_needs_and_the_command_line_wins() {
    let size = |scenario: Scenario| scenario.needs.disks[0].size.get().unwrap().0;
    assert_eq!(size(good(GOOD, &[])), 64 << 20);
    assert_eq!(size(good(GOOD, &["mib=128"])), 128 << 20);
}

#[test]
fn a_parameter_may_depend_on_the_kernel_and_on_its_profile() {
    let source = "name: a\nabout: x\nparams: {n: 0, m: 5}\n\
        kernels: {\"6.12\": {n: 1, m: 6}, \"6.1\": {n: 9}}\nprofiles: {debug: {n: 2}}\n\
        steps:\n  - make_dir: {path: '/${n}'}\n";
    for (kernel, profile, given, n, m) in [
        ("6.12", "release", &[][..], 1, 6),
        ("7.3", "release", &[], 0, 5),
        ("6.12", "debug", &[], 2, 6),
        ("6.12", "debug", &["n=3"], 3, 6),
    ] {
        let given: Vec<String> = given
            .iter()
            .map(|given: &&str| (*given).to_owned())
            .collect();
        let overrides = Overrides::parse(&given).unwrap();
        let index = index(kernel, profile);
        let loaded = parse(Path::new("a.yaml"), source, &overrides, Some(&index));
        let params = &loaded.cases[0].params;
        assert_eq!(params["n"], Var::Number(n), "{kernel} {profile}");
        assert_eq!(params["m"], Var::Number(m), "{kernel} {profile}");
    }
    // Without a kernel, as when it is only checked, what is written first holds.
    assert_eq!(good(source, &[]).params["n"], Var::Number(0));
}

#[test]
fn each_case_of_a_matrix_is_a_scenario_with_its_values_filled_in() {
    let source = "name: a\nabout: x\nmatrix: {fs: [ext4, ext2], cpus: [1, 2]}\n\
        params: {load: 'true'}\n\
        needs:\n  disks: [{name: cache, size: 64MiB, fs: '${fs}'}]\n  cpus: '${cpus}'\n  \
        module: {load: '${load}'}\nlimit: '${cpus * 10}m'\nweight: '${cpus}'\n\
        steps:\n  - make_dir: {path: '/cache/${fs}'}\n";
    let loaded = loaded(source, &[]);
    let wrong: Vec<String> = loaded.wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let titles: Vec<String> = loaded.cases.iter().map(Scenario::title).collect();
    assert_eq!(
        titles,
        [
            "a[fs=ext4,cpus=1]",
            "a[fs=ext4,cpus=2]",
            "a[fs=ext2,cpus=1]",
            "a[fs=ext2,cpus=2]"
        ]
    );
    let last = &loaded.cases[3];
    assert_eq!(last.folder(), "a-fs-ext2-cpus-2");
    assert_eq!(last.needs.disks[0].fs, DiskFs::Ext2);
    assert_eq!(last.needs.cpus.get().unwrap(), 2);
    assert_eq!(last.limit.get().unwrap().0.as_secs(), 20 * 60);
    assert_eq!(last.cores(), 2);
    assert!(last.needs.module.load);
    assert_eq!(last.params["fs"], Var::Text("ext2".to_owned()));
    assert_eq!(last.lines, [12]);
    assert_eq!(last.file, Path::new("a.yaml"));
}

#[test]
fn the_command_line_may_choose_from_a_matrix() {
    let source = "name: a\nabout: x\nmatrix: {fs: [ext4, ext2]}\n\
        needs: {disks: [{name: cache, size: 64MiB, fs: '${fs}'}]}\n\
        steps:\n  - drop_caches: {}\n";
    let narrowed = loaded(source, &["fs=ext2"]);
    assert_eq!(narrowed.cases.len(), 1);
    assert_eq!(narrowed.cases[0].title(), "a[fs=ext2]");
    let wrong = loaded(source, &["fs=btrfs"]).wrong;
    assert!(
        wrong[0].to_string().contains("unknown word `btrfs`"),
        "{}",
        wrong[0]
    );
}

#[test]
fn parameters_are_written_name_equals_value() {
    assert!(Overrides::parse(&["mounts".to_owned()]).is_err());
    assert!(Overrides::parse(&["=3".to_owned()]).is_err());
}

#[test]
fn weight_is_the_guests_cpus_unless_it_is_given() {
    assert_eq!(good(GOOD, &[]).cores(), 2);
    let heavy = GOOD.replace("steps:", "weight: 4\nsteps:");
    assert_eq!(good(&heavy, &[]).cores(), 4);
}

#[test]
fn a_filter_chooses_by_the_full_name_and_leaves_other_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(dir.path().join(format!("{name}.yaml")), text).unwrap();
    };
    let steps = "steps:\n  - drop_caches: {}\n";
    write(
        "one",
        &format!("name: one\nabout: x\nmatrix: {{n: [1, 2]}}\n{steps}"),
    );
    write("two", &format!("name: two\nabout: x\n{steps}"));
    write("broken", "name: broken\nnonsense: 1\n");
    let index = index("6.12", "release");
    let titles = |filter: Option<&str>| {
        let loaded = load_all(dir.path(), filter, &Overrides::default(), &index);
        loaded.map(|all| all.iter().map(Scenario::title).collect::<Vec<_>>())
    };
    assert_eq!(titles(Some("one")).unwrap(), ["one[n=1]", "one[n=2]"]);
    assert_eq!(titles(Some("n=2")).unwrap(), ["one[n=2]"]);
    assert_eq!(titles(Some("one[n=1]")).unwrap(), ["one[n=1]"]);
    assert!(titles(Some("broken")).is_err());
    assert!(titles(None).is_err());
    let none = titles(Some("three")).unwrap_err().to_string();
    assert!(none.contains("there are: broken, one, two"), "{none}");
}

/// The project's own scenarios, and its pieces.
pub(crate) fn own_files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut files = scenario_files(&dir).unwrap();
    assert!(files.len() >= 6, "{}", files.len());
    files.extend(scenario_files(&dir.join("pieces")).unwrap_or_default());
    files
}

#[test]
fn every_scenario_and_piece_of_the_project_is_right() {
    let mut wrong = Vec::new();
    for file in own_files() {
        match is_piece(&file) {
            true => wrong.extend(parse_piece(&file)),
            false => wrong.extend(load_file(&file, &Overrides::default(), None).wrong),
        }
    }
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
