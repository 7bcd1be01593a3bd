// SPDX-License-Identifier: GPL-2.0-or-later
//! Names of files and directories.
//!
//! The names in the tables were made by the C code of Linux 6.12; the properties check the rest
//! against a decoder, which is the format read the other way.

use cachefiles_core::key::encode;
use cachefiles_core::key::fanout_dir_name;
use cachefiles_core::key::fanout_index;
use cachefiles_core::key::volume_dir_name;
use cachefiles_core::key::KeyError;
use cachefiles_core::key::KEY_MAX;
use cachefiles_core::key::NAME_MAX;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn name(key: &[u8]) -> Result<String, KeyError> {
    let mut out = [0; NAME_MAX];
    let len = encode(key, &mut out)?;
    Ok(String::from_utf8(out[..len].to_vec()).expect("names are ASCII"))
}

/// The key of a name.
fn decode(name: &str) -> Vec<u8> {
    let (mark, rest) = name.split_at(1);
    if let ("S" | "T", Some((words, missing))) = (mark, rest.split_once('.')) {
        let mut key = decode(&format!("{mark}{words}"));
        let missing: usize = missing.parse().expect("a digit");
        assert_eq!(key.split_off(key.len() - missing), vec![0; missing]);
        return key;
    }
    let word = |text: &str| match text {
        "" => 0,
        text => u32::from_str_radix(text, 16).expect("hexadecimal"),
    };
    match mark {
        "D" => rest.as_bytes().to_vec(),
        "S" => rest
            .split(',')
            .flat_map(|w| word(w).to_be_bytes())
            .collect(),
        "T" => rest
            .split(',')
            .flat_map(|w| word(w).to_le_bytes())
            .collect(),
        "E" => {
            let digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
            let missing: usize = rest[..1].parse().expect("a digit");
            let mut key = Vec::new();
            for four in rest.as_bytes()[1..].chunks(4) {
                let bits = four.iter().rev().fold(0u32, |bits, c| {
                    bits << 6 | digits.find(char::from(*c)).expect("a digit") as u32
                });
                key.extend(&bits.to_le_bytes()[..3]);
            }
            key.truncate(key.len() - missing);
            key
        }
        other => panic!("no such mark: {other}"),
    }
}

/// Keys as erofs, NFS and AFS make them, mostly NULs, and then any.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |range| proptest::collection::vec(any::<u8>(), range);
    prop_oneof![
        "[!-.0-~]{0,253}".prop_map(String::into_bytes),
        bytes(0..40),
        bytes(0..256),
        proptest::collection::vec(prop_oneof![9 => Just(0u8), 1 => any::<u8>()], 0..256),
        proptest::collection::vec(0u32..1000, 1..20)
            .prop_map(|words| words.iter().flat_map(|w| w.to_be_bytes()).collect()),
        proptest::collection::vec(0u32..1000, 1..20)
            .prop_map(|words| words.iter().flat_map(|w| w.to_le_bytes()).collect()),
    ]
}

#[test]
fn names_are_those_that_linux_gives() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "D"),
        (b"a", "Da"),
        (b"small", "Dsmall"),
        (b"\x7f", "D\x7f"),
        (b"\x00\x00\x00\x00", "S"),
        (b"\x00\x00\x00\x01", "S1"),
        (b"\x01\x00\x00\x00", "T1"),
        (b"\xde\xad\xbe\xef", "Sdeadbeef"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x01", "S,1"),
        (b"\x01\x02\x03", "E018M0"),
        (b"\xff\xff\xff\xff\xff\xff", "E0--------"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08", "E118M04kw17w00"),
    ];
    assert_names(&cases);
}

fn assert_names(cases: &[(&[u8], &str)]) {
    for (key, expected) in cases {
        assert_eq!(
            name(key).as_deref(),
            Ok(*expected),
            "{}",
            key.escape_ascii()
        );
    }
}

#[test]
fn a_key_that_ends_within_a_word_says_so_in_its_name() {
    // Linux 6.12 has for each the part before the dot, and so for other keys.
    assert_names(&[
        (b"/", "T2f.3"),
        (b" ", "T20.3"),
        (b"\xff", "Tff.3"),
        (b"\x00", "S.3"),
        (b"\x00\x00", "S.2"),
        (b"\x00\x00\x00", "S.1"),
        (b"\x00\x00\x00\x00\x00", "S,.3"),
        (b"\x00\x01", "T100.2"),
        (b"\x01\x00\x00", "T1.1"),
        (b"\x01\x00\x00\x00\x00\x00", "T1,.2"),
    ]);
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    assert_eq!(name(&[b'a'; KEY_MAX]).unwrap().len(), KEY_MAX + 1);
    for len in [KEY_MAX + 1, 254, 255, 256, 300, 65536] {
        assert_eq!(name(&vec![b'a'; len]), Err(KeyError::TooLong), "{len}");
    }
    // 189 bytes that are not printable make 254 characters, one more makes 258.
    assert_eq!(name(&[0xff; 189]).unwrap().len(), 254);
    for len in 190..=KEY_MAX {
        assert_eq!(name(&vec![0xff; len]), Err(KeyError::TooLong), "{len}");
    }
    let mut short = [0; 5];
    assert_eq!(encode(b"hello", &mut short), Err(KeyError::TooLong));
}

#[test]
fn zeros_cost_little_even_in_a_long_key() {
    assert_eq!(name(&[0; KEY_MAX]).unwrap(), format!("S{}", ",".repeat(62)));
}

#[test]
fn a_volume_is_its_key_after_a_letter() {
    let mut out = [0; NAME_MAX];
    let len = volume_dir_name(b"erofs,small", &mut out).unwrap();
    assert_eq!(&out[..len], b"Ierofs,small");
    assert_eq!(volume_dir_name(&[b'v'; 254], &mut out), Ok(NAME_MAX));
    assert_eq!(
        volume_dir_name(&[b'v'; 255], &mut out),
        Err(KeyError::TooLong)
    );
    assert_eq!(
        volume_dir_name(b"erofs,a/b", &mut out),
        Err(KeyError::NotAName)
    );
    assert_eq!(
        volume_dir_name(b"erofs\0", &mut out),
        Err(KeyError::NotAName)
    );
}

#[test]
fn an_object_is_in_the_directory_of_its_hash() {
    assert_eq!(fanout_index(0x1234_56ab), 0xab);
    for index in 0..=u8::MAX {
        assert_eq!(
            fanout_dir_name(index).as_slice(),
            format!("@{index:02x}").as_bytes()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_name_leads_back_to_its_key(key in key()) {
        let Ok(name) = name(&key) else {
            prop_assert!(key.len() > 189);
            return Ok(());
        };
        prop_assert_eq!(decode(&name), key);
    }

    #[test]
    fn keys_that_differ_in_nuls_at_their_ends_have_different_names(key in key()) {
        let mut names = BTreeSet::new();
        let stem = key.len() - key.iter().rev().take_while(|byte| **byte == 0).count();
        for len in stem..=stem + 12 {
            let mut other = key.clone();
            other.resize(len, 0);
            if let Ok(name) = name(&other) {
                prop_assert!(names.insert(name), "{len} bytes");
            }
        }
    }

    #[test]
    fn a_key_of_whole_words_is_named_as_by_linux(key in key()) {
        let mut key = key;
        key.truncate(key.len() / 4 * 4);
        if let Ok(name) = name(&key) {
            prop_assert!(name.starts_with('D') || !name.contains('.'));
        }
    }

    #[test]
    fn a_name_is_one_that_a_directory_takes(key in key()) {
        if let Ok(name) = name(&key) {
            prop_assert!(!name.is_empty() && name.len() <= NAME_MAX);
            prop_assert!(name.bytes().all(|byte| byte > b' ' && byte != b'/'));
        }
    }

    #[test]
    fn different_keys_of_the_same_length_have_different_names(
        key in key(), at in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        prop_assume!(!key.is_empty());
        let mut other = key.clone();
        other[at.index(key.len())] ^= 1 << bit;
        if let (Ok(one), Ok(two)) = (name(&key), name(&other)) {
            prop_assert_ne!(one, two);
        }
    }

    #[test]
    fn printable_keys_stay_readable(key in "[!-.0-~]{0,252}") {
        prop_assert_eq!(name(key.as_bytes()), Ok(format!("D{key}")));
    }
}
