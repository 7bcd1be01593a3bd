// SPDX-License-Identifier: GPL-2.0-or-later
//! What `images module` promises: the module of this very source, and only bugs that exist.

use std::fs;

use crate::support::World;
use predicates::prelude::*;
use predicates::str::contains;

fn module(world: &World, more: &[&str]) -> String {
    let mut arguments = vec!["module", "build", "fake"];
    arguments.extend(more);
    let out = world.images(&arguments).assert().success();
    let path = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    fs::read_to_string(path.trim()).unwrap()
}

#[test]
fn an_edit_of_the_source_or_of_core_makes_another_module() {
    let world = World::new();
    assert!(module(&world, &[]).ends_with("mutant=\n"));
    assert_eq!(world.entries("module").len(), 1);
    module(&world, &[]);
    assert_eq!(world.entries("module").len(), 1, "nothing changed");
    world.write("checkout/kernel/module/main.rs", "// edited\n");
    assert!(module(&world, &[]).starts_with("// edited"));
    world.write("checkout/kernel/core/lib.rs", "// edited\n");
    module(&world, &[]);
    assert_eq!(world.entries("module").len(), 3);
    assert_eq!(world.runs(), 1, "the kernel stays");
}

#[test]
fn a_mutant_is_a_module_of_its_own() {
    let world = World::new();
    assert!(module(&world, &["--mutant", "scale"]).ends_with("mutant=scale\n"));
    assert!(module(&world, &[]).ends_with("mutant=\n"));
}

#[test]
fn an_unknown_mutant_is_an_error_that_lists_the_known_ones() {
    World::new()
        .images(&["module", "build", "fake", "--mutant", "scael"])
        .assert()
        .failure()
        .stderr(contains("scael").and(contains("knows: scale")));
}

#[test]
fn a_module_that_does_not_build_is_a_clear_error_and_leaves_the_kernel_usable() {
    let world = World::new();
    world.write("checkout/kernel/module/broken.rs", "");
    world
        .images(&["module", "build", "fake"])
        .assert()
        .failure()
        .stderr(
            contains("building the Rust module for Linux 6.12.1 failed").and(contains("/logs/")),
        );
    assert_eq!(world.entries("module").len(), 0);
    fs::remove_file(world.path("checkout/kernel/module/broken.rs")).unwrap();
    module(&world, &[]);
    assert_eq!(world.runs(), 1);
}
