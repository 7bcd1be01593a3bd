// SPDX-License-Identifier: GPL-2.0-or-later
//! What `images kernel` promises: the right source or none, the options asked for or none,
//! nothing half-made, nothing twice.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::support::World;
use crate::support::git;
use predicates::prelude::*;
use predicates::str::contains;

const BUILD: [&str; 3] = ["kernel", "build", "fake"];

#[test]
fn a_locked_kernel_is_fetched_checked_built_and_then_costs_nothing() {
    let world = World::new();
    let first = world.images(&BUILD).assert().success();
    let image = String::from_utf8(first.get_output().stdout.clone()).unwrap();
    assert_eq!(fs::read_to_string(image.trim()).unwrap(), "an image");
    assert_eq!(world.runs(), 1);
    let second = world.images(&BUILD).assert().success().stderr("");
    assert_eq!(
        String::from_utf8(second.get_output().stdout.clone()).unwrap(),
        image
    );
    assert_eq!(world.runs(), 1, "nothing changed, so nothing is built");
}

#[test]
fn objects_that_only_the_build_needs_do_not_fill_the_cache() {
    let world = World::new();
    world.images(&BUILD).assert().success();
    let entry = world.path("cache/kernel").join(&world.entries("kernel")[0]);
    assert!(entry.join("modules/cachefiles.ko").exists());
    assert!(entry.join("build/Module.symvers").exists());
    assert!(!entry.join("build/fs/cachefiles.o").exists());
}

#[test]
fn a_changed_fragment_is_another_kernel_and_a_changed_comment_is_not() {
    let world = World::new();
    world.images(&BUILD).assert().success();
    let fragment = "checkout/configs/fragments/base.config";
    world.write(fragment, "# another reason\nCONFIG_B=m\nCONFIG_A=y\n");
    world.images(&BUILD).assert().success();
    assert_eq!(world.runs(), 1);
    world.write(fragment, "CONFIG_A=y\nCONFIG_B=y\n");
    world.images(&BUILD).assert().success();
    assert_eq!(world.runs(), 2);
}

#[test]
fn a_profile_is_another_kernel_and_the_lock_s_own_stays_what_it_was() {
    let world = World::new();
    world.images(&BUILD).assert().success();
    world.write(
        "checkout/configs/profiles/debug.yaml",
        "fragments: [debug]\n",
    );
    world.write("checkout/configs/fragments/debug.config", "CONFIG_C=y\n");
    let debug = [&BUILD[..], &["--profile", "debug"]].concat();
    let out = world.images(&debug).assert().success();
    assert_eq!(world.runs(), 2);
    let image = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    let config = image.trim().replace("bzImage", "config");
    let config = fs::read_to_string(config).unwrap();
    assert!(
        config.contains("CONFIG_A=y") && config.contains("CONFIG_C=y"),
        "{config}"
    );
    world.images(&BUILD).assert().success();
    assert_eq!(world.runs(), 2, "the lock's own kernel is still there");
    let unknown = [&BUILD[..], &["--profile", "debgu"]].concat();
    world
        .images(&unknown)
        .assert()
        .failure()
        .stderr(contains("debgu").and(contains("debug, release")));
}

#[test]
fn several_kernels_need_an_index_each_and_a_tree_is_one_kernel() {
    let world = World::new();
    let build = |rest: &[&str]| {
        let arguments = [&["build", "fake", "other"], rest].concat();
        world.images(&arguments).assert().failure()
    };
    build(&["--out", "index.json"]).stderr(contains("{kernel}"));
    let tree = world.path("linux").display().to_string();
    build(&["--out", "{kernel}.json", "--kernel-src", &tree]).stderr(contains("name one lock"));
    assert_eq!(world.runs(), 0);
}

#[test]
fn an_unknown_kernel_is_an_error_that_lists_the_known_ones() {
    World::new()
        .images(&["kernel", "build", "6.66"])
        .assert()
        .failure()
        .stderr(contains("6.66").and(contains("fake, other")));
}

#[test]
fn a_misspelt_key_in_a_lock_is_an_error_with_file_and_line() {
    let world = World::new();
    let path = "checkout/configs/kernels/fake.yaml";
    let text = fs::read_to_string(world.path(path)).unwrap();
    world.write(path, &text.replace("suite:", "siute:"));
    world.images(&BUILD).assert().failure().stderr(
        contains("fake.yaml")
            .and(contains("siute"))
            .and(contains("line 5")),
    );
}

#[test]
fn an_option_that_kconfig_drops_is_an_error_that_names_it_and_its_fragment() {
    let world = World::new();
    world.knob("drop", "CONFIG_B");
    world.images(&BUILD).assert().failure().stderr(contains(
        "CONFIG_B=m (configs/fragments/base.config:3) became n",
    ));
    assert_eq!(world.runs(), 0, "no build with the wrong configuration");
    assert_eq!(world.entries("kernel").len(), 0);
    world.remove_knob("drop");
    world.images(&BUILD).assert().success();
}

#[test]
fn a_source_with_another_digest_is_refused_and_not_kept() {
    let world = World::new();
    world.write("linux/image.c", "not what was locked");
    let digest = world.archive();
    world
        .images(&BUILD)
        .assert()
        .failure()
        .stderr(contains(digest).and(contains("images kernel lock fake")));
    assert_eq!(world.entries("src").len(), 0);
    assert_eq!(world.runs(), 0);
}

#[test]
fn a_version_that_is_gone_is_an_error_that_says_how_to_move_the_lock() {
    let world = World::new();
    world.publish("3-1\n2-1");
    world.images(&BUILD).assert().failure().stderr(
        contains("no linux-source-x 1-1 any more")
            .and(contains("3-1, 2-1"))
            .and(contains("images kernel lock fake")),
    );
}

#[test]
fn moving_a_lock_writes_the_newest_version_and_its_digest_and_keeps_comments() {
    let world = World::new();
    world.publish("3-1\n2-1");
    world.write("linux/image.c", "a newer image");
    let digest = world.archive();
    world
        .images(&["kernel", "lock", "fake"])
        .assert()
        .success()
        .stdout(contains("1-1 -> 3-1"));
    let text = fs::read_to_string(world.path("checkout/configs/kernels/fake.yaml")).unwrap();
    assert!(text.starts_with("# kept\nversion: 3\n"), "{text}");
    assert!(
        text.contains("package-version: 3-1\n") && text.contains(&digest),
        "{text}"
    );
    let out = world.images(&BUILD).assert().success();
    let image = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert_eq!(fs::read_to_string(image.trim()).unwrap(), "a newer image");
}

#[test]
fn a_failing_build_shows_the_end_of_its_log_and_where_the_whole_is() {
    let world = World::new();
    world.knob("broken", "");
    let assert = world.images(&BUILD).assert().failure();
    let error = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(error.contains("| fs/x.c: error: no"), "{error}");
    assert!(
        error.contains("| 50\n") && !error.contains("| 10\n"),
        "{error}"
    );
    let log = error
        .split_whitespace()
        .find(|word| word.contains("/logs/kernel-"))
        .unwrap();
    let log = fs::read_to_string(log.trim_end_matches(':')).unwrap();
    assert!(log.contains("\n10\n"), "the whole log is kept");
    assert_eq!(world.entries("kernel").len(), 0);
}

/// Waits until something is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what} did not happen within 30 s"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_build_that_is_killed_leaves_nothing_under_a_final_name_and_the_next_one_succeeds() {
    let world = World::new();
    world.knob("slow", "60");
    let mut child = world.command(&BUILD).stderr(Stdio::null()).spawn().unwrap();
    until("the build's start", || world.runs() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.entries("kernel").len(), 0);
    world.remove_knob("slow");
    world.images(&BUILD).assert().success();
    assert_eq!(world.entries("kernel").len(), 1);
    assert_eq!(world.runs(), 2);
}

#[test]
fn of_two_builds_at_once_one_builds_and_the_other_waits_and_says_for_whom() {
    let world = World::new();
    world.knob("slow", "2");
    let mut first = world
        .command(&BUILD)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the build's start", || world.runs() == 1);
    world
        .images(&BUILD)
        .assert()
        .success()
        .stderr(contains(format!("waiting for process {}", first.id())));
    assert!(first.wait().unwrap().success());
    assert_eq!(world.runs(), 1);
}

#[test]
fn waiting_for_another_build_ends_at_its_limit() {
    let world = World::new();
    world.knob("slow", "60");
    let mut first = world.command(&BUILD).stderr(Stdio::null()).spawn().unwrap();
    until("the build's start", || world.runs() == 1);
    let mut arguments = vec!["--lock-wait", "1"];
    arguments.extend(BUILD);
    world
        .images(&arguments)
        .assert()
        .failure()
        .stderr(contains(format!("process {}", first.id())).and(contains("--lock-wait")));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_tree_of_one_s_own_is_built_again_when_git_sees_a_change_and_only_then() {
    let world = World::new();
    let tree = world.path("linux");
    git(&tree, &["init", "-q"]);
    git(&tree, &["add", "-A"]);
    git(&tree, &["commit", "-q", "-m", "first"]);
    let tree = tree.display().to_string();
    let arguments = ["kernel", "build", "fake", "--kernel-src", &tree];
    let image = |runs: usize| {
        let out = world.images(&arguments).assert().success();
        assert_eq!(world.runs(), runs);
        let path = String::from_utf8(out.get_output().stdout.clone()).unwrap();
        fs::read_to_string(path.trim()).unwrap()
    };
    assert_eq!(image(1), "an image");
    assert_eq!(image(1), "an image");
    world.write("linux/image.c", "an edit");
    assert_eq!(image(2), "an edit");
    world.write("linux/image.c", "an edit of the edit");
    assert_eq!(image(3), "an edit of the edit");
    assert_eq!(image(3), "an edit of the edit");
}

#[test]
fn for_a_tree_without_git_make_decides_every_time() {
    let world = World::new();
    let tree = world.path("linux").display().to_string();
    for runs in 1..=2 {
        world
            .images(&["kernel", "build", "fake", "--kernel-src", &tree])
            .assert()
            .success();
        assert_eq!(world.runs(), runs);
    }
    assert_eq!(
        world.entries("kernel").len(),
        1,
        "the same result has the same name"
    );
}

#[test]
fn a_tree_that_is_too_old_or_lacks_an_option_is_told_with_what_to_do() {
    let world = World::new();
    let makefile = fs::read_to_string(world.path("linux/Makefile")).unwrap();
    let tree = world.path("linux").display().to_string();
    let build = |series: &str| {
        world.write("linux/Makefile", &format!("{series}\n{makefile}"));
        let arguments = ["kernel", "build", "fake", "--kernel-src", &tree];
        world.images(&arguments).assert().failure()
    };
    build("VERSION = 6\nPATCHLEVEL = 6").stderr(contains("Linux 6.6").and(contains("6.12")));
    world.knob("drop", "CONFIG_B");
    build("VERSION = 7\nPATCHLEVEL = 3").stderr(
        contains("CONFIG_B")
            .and(contains("Linux 7.3"))
            .and(contains("lock fake")),
    );
    world.write("checkout/configs/kernels/7.3.yaml", "not read\n");
    build("VERSION = 7\nPATCHLEVEL = 3").stderr(contains("build 7.3 with this --kernel-src"));
    assert_eq!(world.runs(), 0);
}

#[test]
fn a_folder_that_is_no_kernel_tree_is_refused() {
    let world = World::new();
    let folder = world.path("checkout").display().to_string();
    world
        .images(&["kernel", "build", "fake", "--kernel-src", &folder])
        .assert()
        .failure()
        .stderr(contains("no kernel's source tree"));
}

#[test]
fn outside_a_checkout_the_error_says_what_to_do() {
    let world = World::new();
    world
        .images(&BUILD)
        .current_dir(world.path("linux"))
        .assert()
        .failure()
        .stderr(contains("--root"));
}
