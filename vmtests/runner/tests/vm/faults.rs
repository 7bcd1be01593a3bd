// SPDX-License-Identifier: GPL-2.0-or-later
//! What the host does to a machine is what the guest sees.

use crate::ground::Ground;

#[test]
fn a_disk_fails_and_recovers_as_the_scenario_says() {
    let ground = Ground::new();
    ground.run("disks").is(0, "passed", &[]);
    let log = ground.file("disks", "agent.log");
    assert!(log.contains("BLOCK_IO_ERROR"), "{log}");
}

#[test]
fn a_power_cut_takes_what_was_not_flushed_and_the_run_goes_on() {
    let ground = Ground::new();
    let ran = ground.run("cuts");
    ran.is(0, "passed", &[]);
    assert_eq!(ran.result["boots"], 5);
    let timeline = ground.file("cuts", "timeline.jsonl");
    assert!(timeline.contains("writes kept"), "{timeline}");
    assert!(timeline.contains("chosen by the seed 1"), "{timeline}");
    // Logs and copies of disks are not worth keeping.
    let left: Vec<_> = std::fs::read_dir(ground.run_folder("cuts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".img"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_step_of_the_host_that_cannot_be_done_is_an_error_with_its_place() {
    let ground = Ground::new();
    let ran = ground.run("unplugged-twice");
    ran.is(
        1,
        "error",
        &["it is not there any more", "the disk `bare` is out already"],
    );
}
