// SPDX-License-Identifier: GPL-2.0-or-later
//! What must hold for any input: each function here takes one and panics when something does not.
//!
//! Every answer of the crate is compared with that of a second implementation, written from the
//! descriptions and made to be plain, with allocations and indices as it likes. Compiled twice: into
//! the fuzz targets, and into the crate's tests, which replay the corpora.

use cachefiles_core::command;
use cachefiles_core::command::Command;
use cachefiles_core::command::CommandError;
use cachefiles_core::key;
use cachefiles_core::key::KeyError;
use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Percent;
use cachefiles_core::wire;
use cachefiles_core::wire::Message;
use cachefiles_core::xattr;
use cachefiles_core::xattr::Content;
use cachefiles_core::xattr::ObjectMismatch;
use cachefiles_core::xattr::VolumeMismatch;

/// What a target does with an input.
pub type Check = fn(&[u8]);

/// The targets by name.
pub const ALL: [(&str, Check); 4] = [
    ("command", command),
    ("key", key),
    ("message", message),
    ("xattr", xattr),
];

/// A command is what the plain parser says.
pub fn command(data: &[u8]) {
    let parsed = command::parse(data);
    assert_eq!(parsed, plain_command(data), "{:?}", data.escape_ascii());
}

fn plain_command(data: &[u8]) -> Result<Command<'_>, CommandError> {
    use CommandError::Invalid;
    if data.len() > 4095 {
        return Err(CommandError::NotSupported);
    }
    if data.contains(&0) || data.starts_with(b"\n") {
        return Err(Invalid);
    }
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let line = &data[..end];
    let is_space = |byte: u8| b"\t\x0b\x0c\r \xa0\n".contains(&byte);
    let gap = line.iter().position(|b| is_space(*b)).unwrap_or(end);
    let word = std::str::from_utf8(&line[..gap]).map_err(|_| CommandError::NotSupported)?;
    let mut from = gap;
    while from < end && is_space(line[from]) {
        from += 1;
    }
    let args = &line[from..];
    let given = (!args.is_empty()).then_some(args).ok_or(Invalid);
    let bare = (!args.contains(&b'/')).then_some(args).ok_or(Invalid);
    let percent = |limit| {
        let text = std::str::from_utf8(args).map_err(|_| Invalid)?;
        let digits = text.strip_suffix('%').ok_or(Invalid)?;
        if digits.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(Invalid);
        }
        // No digits count as none.
        let number = if digits.is_empty() {
            Ok(0)
        } else {
            digits.parse::<u64>()
        };
        let percent = number.ok().and_then(Percent::new).ok_or(Invalid)?;
        Ok(Command::Limit(limit, percent))
    };
    match word {
        "bind" => Ok(Command::Bind(args)),
        "brun" => percent(Limit::BlocksRun),
        "bcull" => percent(Limit::BlocksCull),
        "bstop" => percent(Limit::BlocksStop),
        "frun" => percent(Limit::FilesRun),
        "fcull" => percent(Limit::FilesCull),
        "fstop" => percent(Limit::FilesStop),
        "cull" => bare.map(Command::Cull),
        "inuse" => bare.map(Command::Inuse),
        "dir" => given.map(Command::Dir),
        "secctx" => given.map(Command::Secctx),
        "tag" => given.map(Command::Tag),
        "restore" => Ok(Command::Restore),
        "debug" => {
            let (base, digits) = base_of(args);
            let mut mask = 0u64;
            for byte in digits {
                let digit = char::from(*byte).to_digit(base).ok_or(Invalid)?;
                mask = mask.wrapping_mul(base.into()).wrapping_add(digit.into());
            }
            Ok(Command::Debug(mask))
        }
        "copen" => Ok(match args.iter().position(|byte| *byte == b',') {
            None => Command::Copen {
                id: Err(Invalid),
                size: Err(Invalid),
            },
            Some(comma) => Command::Copen {
                id: plain_number(&args[..comma], false)
                    .and_then(|id| u32::try_from(id).map_err(|_| Invalid)),
                size: plain_number(&args[comma + 1..], true)
                    .and_then(|size| i64::try_from(size).map_err(|_| CommandError::Range)),
            },
        }),
        _ => Err(CommandError::NotSupported),
    }
}

/// The base of a number, and its digits.
fn base_of(text: &[u8]) -> (u32, &[u8]) {
    let hexadecimal = text.len() > 2
        && text[0] == b'0'
        && (text[1] | 0x20) == b'x'
        && text[2].is_ascii_hexdigit();
    if hexadecimal {
        (16, &text[2..])
    } else if text.first() == Some(&b'0') {
        (8, text)
    } else {
        (10, text)
    }
}

/// The whole text as a number of up to 64 bits and perhaps a sign.
fn plain_number(text: &[u8], signed: bool) -> Result<i128, CommandError> {
    let (minus, text) = match text.first() {
        Some(b'-') if signed => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, mut digits) = base_of(text);
    let mut number = 0i128;
    let mut count = 0;
    while let Some(digit) = digits.first().and_then(|b| char::from(*b).to_digit(base)) {
        // Held at more than 64 bits, for what is longer still.
        number = (number * i128::from(base) + i128::from(digit)).min(1 << 64);
        digits = &digits[1..];
        count += 1;
    }
    if number > i128::from(u64::MAX) {
        Err(CommandError::Range)
    } else if count == 0 || !(digits.is_empty() || digits == b"\n") {
        Err(CommandError::Invalid)
    } else {
        Ok(if minus { -number } else { number })
    }
}

/// A message that parses is what encoding it gives; one that does not is none for the plain parser.
pub fn message(data: &[u8]) {
    let parsed = wire::parse(data);
    assert_eq!(parsed.is_ok(), is_message(data), "{parsed:?}");
    let Ok(message) = parsed else {
        return;
    };
    let mut out = vec![0xaa; data.len() + 1];
    let len = match message {
        Message::Open(open) => {
            let volume_key = [open.volume_key, &[0]].concat();
            let (id, object, fd) = (open.msg_id, open.object_id, open.fd);
            wire::encode_open(
                &mut out,
                id,
                object,
                fd,
                open.flags,
                &volume_key,
                open.cookie_key,
            )
        }
        Message::Close { msg_id, object_id } => wire::encode_close(&mut out, msg_id, object_id),
        Message::Read(read) => {
            wire::encode_read(&mut out, read.msg_id, read.object_id, read.off, read.len)
        }
    };
    if data.len() > wire::MSG_MAX {
        assert!(len.is_err(), "a message that is too long is encoded");
        return;
    }
    assert_eq!(len, Ok(data.len()));
    assert_eq!(&out[..data.len()], data);
    assert_eq!(out[data.len()], 0xaa, "written beyond the end");
    assert_eq!(
        (word(data, 0), word(data, 3)),
        (message.msg_id(), message.object_id())
    );
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(data[at * 4..at * 4 + 4].try_into().unwrap())
}

fn is_message(data: &[u8]) -> bool {
    if data.len() < 16 || word(data, 2) as usize != data.len() {
        return false;
    }
    match word(data, 1) {
        0 => {
            if data.len() < 32 {
                return false;
            }
            let (volume, cookie) = (word(data, 4) as usize, word(data, 5) as usize);
            volume > 0 && 32 + volume + cookie == data.len() && data[32 + volume - 1] == 0
        }
        1 => data.len() == 16,
        2 => data.len() == 32,
        _ => false,
    }
}

/// Records hold what was put into them, and differ from what is expected as the plain comparison
/// says. The input: a byte that says how much of it is coherency data, that, and a record.
pub fn xattr(data: &[u8]) {
    let Some((split, rest)) = data.split_first() else {
        return;
    };
    let (aux, record) = rest.split_at(usize::from(*split).min(rest.len()));
    object_records(aux, record);
    volume_records(aux, record);
}

fn object_records(aux: &[u8], record: &[u8]) {
    let size = record
        .get(..8)
        .map_or(4096, |size| u64::from_be_bytes(size.try_into().unwrap()));
    let codes = [
        Content::NoData,
        Content::Single,
        Content::All,
        Content::BackingMap,
        Content::Dirty,
    ];
    for (code, content) in (0u8..).zip(codes) {
        let mut out = vec![0xaa; 18 + aux.len() + 1];
        let len = xattr::encode_object(&mut out, size, content, aux).unwrap();
        let plain = [&size.to_be_bytes()[..], &[0; 8], &[1, code], aux].concat();
        assert_eq!(&out[..len], plain);
        assert_eq!(out[len], 0xaa, "written beyond the end");
        assert!(xattr::encode_object(&mut out[..len - 1], size, content, aux).is_err());
        let checked = xattr::check_object(&out[..len], size, aux);
        let expected = if code == 4 {
            Err(ObjectMismatch::Dirty)
        } else {
            Ok(code)
        };
        assert_eq!(checked, expected);
    }
    let other = size.wrapping_add(1);
    for size in [size, other] {
        assert_eq!(
            xattr::check_object(record, size, aux),
            plain_check(record, size, aux)
        );
    }
    assert_eq!(
        xattr::content_byte(record),
        (record.len() >= 18).then(|| record[17])
    );
}

fn plain_check(record: &[u8], size: u64, aux: &[u8]) -> Result<u8, ObjectMismatch> {
    if record.len() != 18 + aux.len() {
        return Err(ObjectMismatch::Length);
    }
    if record[16] != 1 {
        return Err(ObjectMismatch::Type);
    }
    if record[18..] != *aux {
        return Err(ObjectMismatch::Aux);
    }
    if record[..8] != size.to_be_bytes() {
        return Err(ObjectMismatch::Size);
    }
    if record[17] == 4 {
        return Err(ObjectMismatch::Dirty);
    }
    Ok(record[17])
}

fn volume_records(coherency: &[u8], record: &[u8]) {
    let mut out = vec![0xaa; 4 + coherency.len() + 1];
    let len = xattr::encode_volume(&mut out, coherency).unwrap();
    assert_eq!(&out[..len], [&[0; 4], coherency].concat());
    assert_eq!(out[len], 0xaa, "written beyond the end");
    assert_eq!(xattr::check_volume(&out[..len], coherency), Ok(()));
    let expected = if record.len() != 4 + coherency.len() {
        Err(VolumeMismatch::Length)
    } else if record[..4] != [0; 4] {
        Err(VolumeMismatch::Reserved)
    } else if record[4..] != *coherency {
        Err(VolumeMismatch::Data)
    } else {
        Ok(())
    };
    assert_eq!(xattr::check_volume(record, coherency), expected);
}

/// A key has the name that the plain encoder gives it, from which it can be read back.
pub fn key(data: &[u8]) {
    let mut out = [0xaa; 300];
    let name = key::encode(data, &mut out).map(|len| {
        assert!(out[len..].iter().all(|byte| *byte == 0xaa) && len <= 255);
        String::from_utf8(out[..len].to_vec()).unwrap()
    });
    let plain = plain_name(data);
    if data.len() > 252 || plain.len() > 255 {
        assert_eq!(name, Err(KeyError::TooLong));
    } else {
        assert_eq!(name.as_ref(), Ok(&plain));
        assert_eq!(key_of(&plain), data);
        let short = key::encode(data, &mut out[..plain.len() - 1]);
        assert_eq!(short, Err(KeyError::TooLong));
    }

    let mut out = [0; 300];
    let volume = key::volume_dir_name(data, &mut out).map(|len| out[..len].to_vec());
    let expected = if data.contains(&0) || data.contains(&b'/') {
        Err(KeyError::NotAName)
    } else if data.len() > 254 {
        Err(KeyError::TooLong)
    } else {
        Ok([b"I", data].concat())
    };
    assert_eq!(volume, expected);
}

const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

fn plain_name(key: &[u8]) -> String {
    let printable = |byte: &u8| *byte > b' ' && *byte < 0x80 && *byte != b'/';
    if key.iter().all(printable) {
        return format!("D{}", String::from_utf8(key.to_vec()).unwrap());
    }
    let words = |read: fn([u8; 4]) -> u32| {
        let text: Vec<String> = key
            .chunks(4)
            .map(|chunk| {
                let mut word = [0; 4];
                word[..chunk.len()].copy_from_slice(chunk);
                match read(word) {
                    0 => String::new(),
                    word => format!("{word:x}"),
                }
            })
            .collect();
        text.join(",")
    };
    let big = format!("S{}", words(u32::from_be_bytes));
    let little = format!("T{}", words(u32::from_le_bytes));
    let mut dense = format!("E{}", (3 - key.len() % 3) % 3);
    for triple in key.chunks(3) {
        let bits = triple
            .iter()
            .rev()
            .fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        for digit in 0..4 {
            dense.push(DIGITS[bits >> (6 * digit) & 63].into());
        }
    }
    let words = if big.len() <= little.len() {
        big
    } else {
        little
    };
    if words.len() >= dense.len() {
        dense
    } else if key.len() % 4 == 0 {
        words
    } else {
        format!("{words}.{}", 4 - key.len() % 4)
    }
}

fn key_of(name: &str) -> Vec<u8> {
    let rest = &name[1..];
    let words = |write: fn(u32) -> [u8; 4]| {
        let (rest, missing) = rest.split_once('.').unwrap_or((rest, "0"));
        let mut key: Vec<u8> = rest
            .split(',')
            .map(|word| if word.is_empty() { "0" } else { word })
            .flat_map(|word| write(u32::from_str_radix(word, 16).unwrap()))
            .collect();
        key.truncate(key.len() - missing.parse::<usize>().unwrap());
        key
    };
    match &name[..1] {
        "D" => rest.as_bytes().to_vec(),
        "S" => words(u32::to_be_bytes),
        "T" => words(u32::to_le_bytes),
        _ => {
            let mut key = Vec::new();
            for four in rest.as_bytes()[1..].chunks(4) {
                let value = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).unwrap();
                let bits = four
                    .iter()
                    .rev()
                    .fold(0, |bits, byte| bits << 6 | value(byte));
                key.extend([bits as u8, (bits >> 8) as u8, (bits >> 16) as u8]);
            }
            key.truncate(key.len() - rest[..1].parse::<usize>().unwrap());
            key
        }
    }
}
