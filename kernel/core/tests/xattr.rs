// SPDX-License-Identifier: GPL-2.0-or-later
//! The records on disk, byte for byte.

use cachefiles_core::xattr::check_object;
use cachefiles_core::xattr::check_volume;
use cachefiles_core::xattr::content_byte;
use cachefiles_core::xattr::encode_object;
use cachefiles_core::xattr::encode_volume;
use cachefiles_core::xattr::object_len;
use cachefiles_core::xattr::volume_len;
use cachefiles_core::xattr::Content;
use cachefiles_core::xattr::ObjectMismatch;
use cachefiles_core::xattr::TooShort;
use cachefiles_core::xattr::VolumeMismatch;
use cachefiles_core::xattr::OBJECT_MAX;
use proptest::prelude::*;

fn object(size: u64, content: Content, aux: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; object_len(aux.len()).unwrap()];
    let len = encode_object(&mut out, size, content, aux).unwrap();
    assert_eq!(len, out.len());
    out
}

#[test]
fn an_objects_record_is_laid_out_as_linux_does() {
    let record = object(0x0102_0304_0506_0708, Content::Single, b"aux");
    let expected = b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\0\x01\x01aux";
    assert_eq!(record, expected);
}

#[test]
fn content_codes_are_those_on_disk() {
    let contents = [
        Content::NoData,
        Content::Single,
        Content::All,
        Content::BackingMap,
        Content::Dirty,
    ];
    for (code, content) in (0..).zip(contents) {
        let record = object(0, content, b"");
        assert_eq!(content_byte(&record), Some(code));
    }
    assert_eq!(content_byte(&[0; 17]), None);
}

#[test]
fn an_on_demand_object_is_told_by_its_size_alone() {
    let record = object(65536, Content::NoData, b"");
    assert_eq!(record.len(), 18);
    assert_eq!(check_object(&record, 65536, b""), Ok(0));
    assert_eq!(check_object(&record, 65537, b""), Err(ObjectMismatch::Size));
}

#[test]
fn an_object_that_differs_is_refused_with_the_first_reason() {
    let record = object(7, Content::Dirty, b"aux");
    let mut other_type = record.clone();
    other_type[16] = 2;
    let checks: [(&[u8], u64, &[u8], ObjectMismatch); 8] = [
        (b"", 7, b"aux", ObjectMismatch::Length),
        (&record[..17], 7, b"aux", ObjectMismatch::Length),
        (&record[..20], 7, b"aux", ObjectMismatch::Length),
        (&record, 7, b"au", ObjectMismatch::Length),
        (&other_type, 8, b"xxx", ObjectMismatch::Type),
        (&record, 8, b"xxx", ObjectMismatch::Aux),
        (&record, 8, b"aux", ObjectMismatch::Size),
        (&record, 7, b"aux", ObjectMismatch::Dirty),
    ];
    for (record, size, aux, expected) in checks {
        assert_eq!(check_object(record, size, aux), Err(expected));
    }
}

#[test]
fn a_volumes_record_is_a_zero_word_and_its_coherency_data() {
    let mut out = [0xee; 9];
    assert_eq!(encode_volume(&mut out, b"12345"), Ok(9));
    assert_eq!(&out, b"\0\0\0\x0012345");
    assert_eq!(check_volume(&out, b"12345"), Ok(()));
    assert_eq!(check_volume(&out, b"12346"), Err(VolumeMismatch::Data));
    assert_eq!(check_volume(&out, b"1234"), Err(VolumeMismatch::Length));
    assert_eq!(check_volume(&out[..3], b""), Err(VolumeMismatch::Length));
    out[3] = 1;
    assert_eq!(check_volume(&out, b"12346"), Err(VolumeMismatch::Reserved));
}

#[test]
fn a_record_that_does_not_fit_is_not_written() {
    let mut out = [0; OBJECT_MAX];
    assert_eq!(
        encode_object(&mut out, 0, Content::All, &[0; 255]),
        Ok(OBJECT_MAX)
    );
    assert_eq!(
        encode_object(&mut out, 0, Content::All, &[0; 256]),
        Err(TooShort)
    );
    assert_eq!(encode_volume(&mut out[..4], b"x"), Err(TooShort));
    assert_eq!(object_len(usize::MAX), None);
    assert_eq!(volume_len(usize::MAX), None);
}

proptest! {
    #[test]
    fn a_record_fits_the_object_that_it_was_written_for(
        size in any::<u64>(),
        aux in proptest::collection::vec(any::<u8>(), 0..256),
    ) {
        let record = object(size, Content::BackingMap, &aux);
        prop_assert_eq!(check_object(&record, size, &aux), Ok(3));
        prop_assert!(check_object(&record, size ^ 1, &aux).is_err());
    }

    #[test]
    fn any_changed_bit_but_the_zero_points_and_the_contents_is_noticed(
        aux in proptest::collection::vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let mut record = object(4096, Content::NoData, &aux);
        let at = at.index(record.len());
        record[at] ^= 1 << bit;
        let ignored = (8..16).contains(&at) || (at == 17 && bit != 2);
        prop_assert_eq!(check_object(&record, 4096, &aux).is_ok(), ignored);
    }

    #[test]
    fn any_bytes_are_compared_without_harm(
        record in proptest::collection::vec(any::<u8>(), 0..40),
        data in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let object = check_object(&record, 0, &data);
        prop_assert!(object.is_err() || record.len() == 18 + data.len());
        let volume = check_volume(&record, &data);
        prop_assert!(volume.is_err() || record.len() == 4 + data.len());
    }
}
