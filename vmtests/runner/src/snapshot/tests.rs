// SPDX-License-Identifier: GPL-2.0-or-later
//! Snapshots come and go as they should; the state is any text here.

use std::io::Read;
use std::io::Write;
use std::path::Path;

use super::*;
use crate::accel::Accel;
use crate::qemu::Machine;
use crate::qemu::devices;

const PATIENCE: Duration = Duration::from_millis(200);

fn store(dir: &Path) -> Store {
    Store::new(Some(dir.join("snapshots")), Progress::new(false))
}

fn key(dir: &Path, append: &str) -> Key {
    let file = dir.join("any");
    fs::write(&file, "any").unwrap();
    let machine = Machine {
        program: &file,
        name: "a",
        accel: Accel::Tcg,
        cpus: 1,
        memory: 1 << 30,
        ports: 8,
        kernel: &file,
        initramfs: None,
        append: append.to_owned(),
        equipment: devices::NOTHING,
        folders: &[],
        incoming: false,
        gdb: None,
        console_log: &file,
    };
    Key::of(&machine, &[], &Digests::default()).unwrap()
}

fn find(store: &Store, key: &Key) -> Found {
    store.find(key, PATIENCE, &Interrupt::default())
}

fn make(store: &Store, key: &Key, text: &str) {
    let Found::Make(maker) = find(store, key) else {
        panic!("there is one already");
    };
    maker
        .files()
        .unwrap()
        .memory
        .write_all(text.as_bytes())
        .unwrap();
    store.add(maker, "7.2.0");
}

fn text(found: Found) -> String {
    let Found::Ready(mut snapshot) = found else {
        panic!("{found:?}");
    };
    let mut text = String::new();
    snapshot.files.memory.read_to_string(&mut text).unwrap();
    format!("{} {text}", snapshot.qemu)
}

fn state_of(dir: &Path, key: &Key) -> PathBuf {
    dir.join("snapshots").join(key.name()).join(MEMORY)
}

#[test]
fn what_one_run_made_serves_the_next_ones_also_of_other_invocations() {
    let dir = tempfile::tempdir().unwrap();
    let (first, key) = (store(dir.path()), key(dir.path(), ""));
    make(&first, &key, "memory");
    for store in [first, store(dir.path())] {
        // Twice: each run reads it from the beginning.
        assert_eq!(text(find(&store, &key)), "7.2.0 memory");
        assert_eq!(text(find(&store, &key)), "7.2.0 memory");
    }
}

#[test]
fn while_one_makes_it_the_others_wait_and_boot_when_it_takes_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (store(dir.path()), store(dir.path()));
    let key = key(dir.path(), "");
    let Found::Make(maker) = find(&one, &key) else {
        panic!();
    };
    assert!(matches!(find(&other, &key), Found::Cold));
    let waiting = {
        let key = key.clone();
        std::thread::spawn(move || text(other.find(&key, PATIENCE * 50, &Interrupt::default())))
    };
    maker.files().unwrap().memory.write_all(b"memory").unwrap();
    one.add(maker, "7.2.0");
    assert_eq!(waiting.join().unwrap(), "7.2.0 memory");
}

#[test]
fn a_run_that_fails_before_the_snapshot_leaves_the_making_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key) = (store(dir.path()), key(dir.path(), ""));
    drop(find(&store, &key));
    make(&store, &key, "memory");
    let left: Vec<_> = fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".new-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_damaged_snapshot_is_noticed_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(dir.path(), "");
    make(&store(dir.path()), &key, "memory");
    let state = state_of(dir.path(), &key);
    let about = state.with_file_name(ABOUT);
    for (file, text) in [
        (&state, "memorx"),
        (&state, "mem"),
        (&about, "{"),
        (&about, ""),
    ] {
        fs::write(file, text).unwrap();
        make(&store(dir.path()), &key, "memory");
    }
    fs::remove_file(&state).unwrap();
    make(&store(dir.path()), &key, "memory");
    fs::write(state.with_file_name(DEVICES), "x").unwrap();
    make(&store(dir.path()), &key, "memory");
}

#[test]
fn what_was_checked_is_what_is_read_whatever_happens_to_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (store, key) = (store(dir.path()), key(dir.path(), ""));
    make(&store, &key, "memory");
    fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    assert_eq!(text(find(&store, &key)), "7.2.0 memory");
}

#[test]
fn one_that_cannot_be_restored_goes_and_one_that_is_unfit_stays_away() {
    let dir = tempfile::tempdir().unwrap();
    let (first, key) = (store(dir.path()), key(dir.path(), ""));
    make(&first, &key, "memory");
    first.discard(&key, "QEMU refuses it");
    assert!(!state_of(dir.path(), &key).exists());
    make(&first, &key, "memory");
    first.unfit(&key, "no disk appears");
    assert!(matches!(find(&first, &key), Found::Cold));
    assert!(matches!(find(&store(dir.path()), &key), Found::Cold));
    // After a day it is tried again.
    let note = state_of(dir.path(), &key).with_file_name(UNFIT);
    let then = std::time::SystemTime::now() - UNFIT_FOR - Duration::from_secs(1);
    let times = fs::FileTimes::new().set_modified(then);
    File::open(note).unwrap().set_times(times).unwrap();
    make(&store(dir.path()), &key, "memory");
}

#[test]
fn a_cache_that_cannot_be_written_means_that_runs_boot() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(dir.path(), "");
    fs::write(dir.path().join("snapshots"), "no folder").unwrap();
    assert!(matches!(find(&store(dir.path()), &key), Found::Cold));
    let off = Store::new(None, Progress::new(false));
    assert!(matches!(find(&off, &key), Found::Cold));
}

#[test]
fn only_the_last_used_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let keys: Vec<Key> = (0..KEPT + 2)
        .map(|number| key(dir.path(), &format!("number={number}")))
        .collect();
    for (number, key) in keys.iter().enumerate() {
        make(&store, key, "memory");
        let about = state_of(dir.path(), key).with_file_name(ABOUT);
        let when = std::time::SystemTime::now() - Duration::from_secs(100 - number as u64);
        let times = fs::FileTimes::new().set_modified(when);
        File::open(about).unwrap().set_times(times).unwrap();
    }
    let there: Vec<bool> = keys
        .iter()
        .map(|key| state_of(dir.path(), key).exists())
        .collect();
    let mut expected = vec![true; KEPT + 2];
    expected[..2].fill(false);
    assert_eq!(there, expected);
}
