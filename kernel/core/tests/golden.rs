// SPDX-License-Identifier: GPL-2.0-or-later
//! Names and records that the C module of Linux 6.12 put on a disk: ours are the same, byte for
//! byte, but for the names that it gives to more than one key. `cargo make golden` makes the file anew.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use cachefiles_core::key::encode;
use cachefiles_core::key::fanout_dir_name;
use cachefiles_core::key::volume_dir_name;
use cachefiles_core::key::NAME_MAX;
use cachefiles_core::xattr::check_object;
use cachefiles_core::xattr::check_volume;
use cachefiles_core::xattr::content_byte;
use cachefiles_core::xattr::encode_object;
use cachefiles_core::xattr::encode_volume;
use cachefiles_core::xattr::Content;

const VECTORS: &str = include_str!("golden/6.12.txt");

/// What the scenario's daemon says of its objects, in bytes.
const ONDEMAND_SIZE: u64 = 12 << 10;

/// An object as it lay on the disk.
struct Object {
    /// Not known for objects of on-demand mode.
    key: Option<Vec<u8>>,
    aux: Vec<u8>,
    folder: String,
    name: String,
    record: Vec<u8>,
}

fn bytes(digits: &str) -> Vec<u8> {
    let digits = if digits == "-" { "" } else { digits };
    assert_eq!(digits.len() % 2, 0, "{digits}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

fn objects() -> Vec<Object> {
    VECTORS
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("object ")?.split(' ');
            let mut word = || words.next().expect("five words");
            Some(Object {
                key: Some(word()).filter(|key| *key != "-").map(bytes),
                aux: bytes(word()),
                folder: word().to_owned(),
                name: word().to_owned(),
                record: bytes(word()),
            })
        })
        .collect()
}

fn volumes() -> BTreeMap<String, Vec<u8>> {
    VECTORS
        .lines()
        .filter_map(|line| {
            // A name may have spaces in it.
            line.strip_prefix("volume ")?
                .rsplit_once(' ')
                .map(|(name, record)| (name.to_owned(), bytes(record)))
        })
        .collect()
}

fn name(key: &[u8]) -> String {
    let mut out = [0; NAME_MAX];
    let len = encode(key, &mut out).expect("a key that C has a name for");
    String::from_utf8(out[..len].to_vec()).expect("names are ASCII")
}

fn record(size: u64, content: Content, aux: &[u8]) -> Vec<u8> {
    let mut out = [0; 300];
    let len = encode_object(&mut out, size, content, aux).expect("there is room");
    out[..len].to_vec()
}

#[test]
fn every_key_has_the_name_that_c_gave_it_and_no_other_key_has_it() {
    let mut marks = BTreeMap::new();
    let mut longest = 0;
    let mut ours = BTreeSet::new();
    let mut within_a_word = 0;
    for object in objects() {
        let Some(key) = &object.key else { continue };
        let missing = key.len().next_multiple_of(4) - key.len();
        // The one difference: C names such a key as the one that has NULs in the missing places.
        let expected = match object.name.starts_with(['S', 'T']) && missing > 0 {
            true => format!("{}.{missing}", object.name),
            false => object.name.clone(),
        };
        assert_eq!(name(key), expected, "{key:02x?}");
        within_a_word += usize::from(expected != object.name);
        assert!(
            ours.insert(expected),
            "{key:02x?}: another key has the name"
        );
        *marks.entry(object.name.as_bytes()[0]).or_insert(0) += 1;
        longest = longest.max(object.name.len());
    }
    // The file would prove little if an encoding were missing from it.
    for mark in b"DSTE" {
        assert!(
            marks.get(mark).is_some_and(|count| *count >= 5),
            "{marks:?}"
        );
    }
    assert_eq!(longest, NAME_MAX);
    assert!(
        within_a_word < ours.len() / 2,
        "{within_a_word} of {}",
        ours.len()
    );
}

#[test]
fn objects_lie_where_some_byte_says() {
    let folders: Vec<[u8; 3]> = (0..=255).map(fanout_dir_name).collect();
    for object in objects() {
        let found = folders
            .iter()
            .any(|folder| folder == object.folder.as_bytes());
        assert!(found, "{}", object.folder);
    }
}

#[test]
fn records_are_those_of_c() {
    let mut lengths = Vec::new();
    for object in objects().iter().filter(|object| object.key.is_some()) {
        let size = u64::from_be_bytes(object.record[..8].try_into().unwrap());
        let code = content_byte(&object.record).expect("a whole record");
        let content = [
            Content::NoData,
            Content::Single,
            Content::All,
            Content::BackingMap,
        ]
        .into_iter()
        .find(|content| *content as u8 == code)
        .expect("a content code");
        assert_eq!(record(size, content, &object.aux), object.record);
        assert_eq!(check_object(&object.record, size, &object.aux), Ok(code));
        lengths.push(object.aux.len());
    }
    for length in [0, 1, 8, 255] {
        assert!(
            lengths.contains(&length),
            "no coherency data of {length} bytes"
        );
    }
}

#[test]
fn on_demand_the_size_is_what_the_daemon_said() {
    let objects: Vec<Object> = objects().into_iter().filter(|o| o.key.is_none()).collect();
    let mut names: Vec<&str> = objects.iter().map(|object| object.name.as_str()).collect();
    let mut expected = [name(b"small.img"), name(&[0, 1, 2, 3])];
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for object in &objects {
        let code = content_byte(&object.record).expect("a whole record");
        assert_eq!(check_object(&object.record, ONDEMAND_SIZE, &[]), Ok(code));
    }
}

#[test]
fn volumes_are_named_and_marked_as_c_did() {
    let expected: [(&str, &[u8]); 4] = [
        ("9p,golden", &[]),
        ("nfs,4.2,golden", &[0]),
        ("afs,a b", &[1, 2, 3, 4, 5, 6, 7, 8, 0xff]),
        ("erofs,golden", &[]),
    ];
    let mut volumes = volumes();
    for (key, coherency) in expected {
        let mut out = [0; 300];
        let len = volume_dir_name(key.as_bytes(), &mut out).unwrap();
        let found = volumes
            .remove(std::str::from_utf8(&out[..len]).unwrap())
            .unwrap_or_else(|| panic!("C has another name for {key}"));
        let len = encode_volume(&mut out, coherency).unwrap();
        assert_eq!(found, out[..len], "{key}");
        assert_eq!(check_volume(&found, coherency), Ok(()), "{key}");
    }
    assert!(volumes.is_empty(), "{:?}", volumes.keys());
}
