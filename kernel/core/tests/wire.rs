// SPDX-License-Identifier: GPL-2.0-or-later
//! The messages, byte for byte, and back.

use cachefiles_core::wire;
use cachefiles_core::wire::Message;
use cachefiles_core::wire::Open;
use cachefiles_core::wire::Read;
use cachefiles_core::wire::WireError;
use proptest::prelude::*;

/// Words and bytes one after the other, in the machine's byte order.
fn message(words: &[u32], rest: &[u8]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    words.chain(rest.iter().copied()).collect()
}

#[test]
fn an_open_is_laid_out_as_the_header_file_says() {
    let mut buf = [0xee; wire::MSG_MAX];
    let n = wire::encode_open(&mut buf, 7, 3, 11, 0, b"erofs,small\0", b"small").unwrap();
    let expected = message(&[7, 0, 49, 3, 12, 5, 11, 0], b"erofs,small\0small");
    assert_eq!(&buf[..n], expected);
    assert_eq!(wire::open_len(12, 5), Some(n));
    assert!(buf[n..].iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_close_is_a_bare_header() {
    let mut buf = [0; wire::CLOSE_LEN];
    assert_eq!(wire::encode_close(&mut buf, 9, 4), Ok(16));
    assert_eq!(buf.to_vec(), message(&[9, 1, 16, 4], b""));
}

#[test]
fn a_read_carries_its_range() {
    let mut buf = [0; wire::READ_LEN];
    let (off, len) = (0x1_0000_2000u64, 0x1000u64);
    assert_eq!(wire::encode_read(&mut buf, 9, 4, off, len), Ok(32));
    let range = [off.to_ne_bytes(), len.to_ne_bytes()].concat();
    assert_eq!(buf.to_vec(), message(&[9, 2, 32, 4], &range));
}

#[test]
fn the_ioctl_number_is_the_one_of_the_header_file() {
    let (write, size, kind, number) = (1u32, 4u32, 0x98u32, 1u32);
    let expected = write << 30 | size << 16 | kind << 8 | number;
    assert_eq!(wire::IOC_READ_COMPLETE, expected);
}

#[test]
fn an_open_is_parsed_without_the_nul() {
    let data = message(&[7, 0, 49, 3, 12, 5, 11, 0], b"erofs,small\0small");
    let open = Open {
        msg_id: 7,
        object_id: 3,
        fd: 11,
        flags: 0,
        volume_key: b"erofs,small",
        cookie_key: b"small",
    };
    assert_eq!(wire::parse(&data), Ok(Message::Open(open)));
}

#[test]
fn what_is_not_a_message_is_refused_with_the_reason() {
    let mismatch = |header, actual| Err(WireError::LengthMismatch { header, actual });
    let cases: [(Vec<u8>, Result<Message<'_>, WireError>); 10] = [
        (vec![], Err(WireError::Truncated)),
        (message(&[1, 1, 16], b"abc"), Err(WireError::Truncated)),
        (message(&[1, 1, 17, 1], b""), mismatch(17, 16)),
        (message(&[1, 1, 16, 1], b"x"), mismatch(16, 17)),
        (message(&[1, 1, 17, 1], b"x"), Err(WireError::BadBody)),
        (
            message(&[1, 3, 16, 1], b""),
            Err(WireError::UnknownOpcode(3)),
        ),
        (message(&[1, 2, 31, 1], &[0; 15]), Err(WireError::Truncated)),
        (message(&[1, 2, 33, 1], &[0; 17]), Err(WireError::BadBody)),
        (
            message(&[1, 0, 35, 1, 9, 1, 0, 0], b"a\0b"),
            Err(WireError::BadBody),
        ),
        (
            message(&[1, 0, 35, 1, 2, 1, 0, 0], b"abc"),
            Err(WireError::VolumeKeyNotTerminated),
        ),
    ];
    for (data, expected) in cases {
        assert_eq!(wire::parse(&data), expected, "{data:?}");
    }
}

#[test]
fn an_open_that_cannot_be_is_not_encoded() {
    let mut buf = [0; wire::MSG_MAX];
    let open = |buf: &mut [u8], volume: &[u8], cookie: &[u8]| {
        wire::encode_open(buf, 1, 1, 1, 0, volume, cookie)
    };
    assert_eq!(
        open(&mut buf, b"no nul", b""),
        Err(WireError::VolumeKeyNotTerminated)
    );
    assert_eq!(
        open(&mut buf, b"", b""),
        Err(WireError::VolumeKeyNotTerminated)
    );
    assert_eq!(open(&mut buf, b"\0", &[1; 992]), Err(WireError::TooLong));
    assert_eq!(open(&mut buf, b"\0", &[1; 991]), Ok(wire::MSG_MAX));
    assert_eq!(
        open(&mut buf[..40], b"\0", b"12345678"),
        Err(WireError::BufferTooSmall)
    );
    assert_eq!(wire::open_len(usize::MAX, 1), None);
}

#[test]
fn every_error_says_what_is_wrong() {
    let errors = [
        WireError::Truncated,
        WireError::LengthMismatch {
            header: 1,
            actual: 2,
        },
        WireError::UnknownOpcode(9),
        WireError::BadBody,
        WireError::VolumeKeyNotTerminated,
        WireError::TooLong,
        WireError::BufferTooSmall,
    ];
    let texts: std::collections::HashSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len());
    assert!(texts.iter().any(|text| text.contains("opcode 9")));
}

proptest! {
    #[test]
    fn what_was_encoded_is_parsed(
        ids in any::<(u32, u32, i32, u32)>(),
        volume in proptest::collection::vec(1u8.., 0..255),
        cookie in proptest::collection::vec(any::<u8>(), 0..255),
        range in any::<(u64, u64)>(),
    ) {
        let (msg_id, object_id, fd, flags) = ids;
        let mut buf = [0; wire::MSG_MAX];
        let key = [&volume[..], &[0]].concat();
        let n = wire::encode_open(&mut buf, msg_id, object_id, fd, flags, &key, &cookie).unwrap();
        let message = wire::parse(&buf[..n]).unwrap();
        let open = Open { msg_id, object_id, fd, flags, volume_key: &volume, cookie_key: &cookie };
        prop_assert_eq!(message, Message::Open(open));
        prop_assert_eq!((message.msg_id(), message.object_id()), (msg_id, object_id));

        let (off, len) = range;
        let n = wire::encode_read(&mut buf, msg_id, object_id, off, len).unwrap();
        let message = wire::parse(&buf[..n]).unwrap();
        prop_assert_eq!(message, Message::Read(Read { msg_id, object_id, off, len }));
        prop_assert_eq!((message.msg_id(), message.object_id()), (msg_id, object_id));

        let n = wire::encode_close(&mut buf, msg_id, object_id).unwrap();
        let message = wire::parse(&buf[..n]).unwrap();
        prop_assert_eq!(message, Message::Close { msg_id, object_id });
        prop_assert_eq!((message.msg_id(), message.object_id()), (msg_id, object_id));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(message) = wire::parse(&data) {
            prop_assert!(data.starts_with(&message.msg_id().to_ne_bytes()));
        }
    }
}
