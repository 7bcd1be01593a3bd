// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages: what is in them, in words, and whether it is what was expected.

use anyhow::Result;
use cachefiles_core::wire;
use cachefiles_core::wire::Message;
use vmtest_protocol::step::MessageFields;
use vmtest_protocol::step::MessageKind;
use vmtest_protocol::value::Size;

use super::hand::Ids;
use crate::worker::child::Verdict;

/// The kind of a message.
fn kind(message: &Message<'_>) -> MessageKind {
    match message {
        Message::Open(_) => MessageKind::Open,
        Message::Read(_) => MessageKind::Read,
        Message::Close { .. } => MessageKind::Close,
    }
}

fn word(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Open => "an OPEN",
        MessageKind::Read => "a READ",
        MessageKind::Close => "a CLOSE",
        MessageKind::None => "none",
    }
}

/// A message in words.
pub fn describe(message: &Message<'_>) -> String {
    let ids = format!("{} of object {}", message.msg_id(), message.object_id());
    match message {
        Message::Open(open) => format!(
            "the OPEN {ids} (volume \"{}\", key \"{}\", descriptor {})",
            open.volume_key.escape_ascii(),
            key(open).escape_ascii(),
            open.fd
        ),
        Message::Read(read) => format!("the READ {ids} ({} bytes at {})", read.len, read.off),
        Message::Close { .. } => format!("the CLOSE {ids}"),
    }
}

/// What was expected, in words.
pub fn wanted(kind: Option<MessageKind>, fields: Option<&MessageFields>) -> String {
    let kind = kind.map_or("a message", word);
    match fields {
        Some(_) => format!("{kind} with certain fields"),
        None => kind.to_owned(),
    }
}

/// A verdict with what was seen behind its reason.
pub fn because(verdict: Verdict, seen: &str) -> Verdict {
    match verdict {
        Verdict::Failed(reason) => Verdict::Failed(format!("{reason}: {seen}")),
        passed => passed,
    }
}

/// The object's key as scenarios write it.
fn key<'a>(open: &wire::Open<'a>) -> &'a [u8] {
    open.cookie_key
        .strip_suffix(b"\0")
        .unwrap_or(open.cookie_key)
}

/// What in a message is not as expected. `ids` knows the messages that were saved.
pub fn wrong(
    message: &Message<'_>,
    expected: Option<MessageKind>,
    fields: Option<&MessageFields>,
    ids: impl Fn(&str) -> Result<Ids>,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if let Some(expected) = expected.filter(|expected| *expected != kind(message)) {
        wrong.push(format!("{} was expected", word(expected)));
    }
    let Some(fields) = fields else {
        return Ok(wrong);
    };
    let open = match message {
        Message::Open(open) => Some(open),
        _ => None,
    };
    let read = match message {
        Message::Read(read) => Some(read),
        _ => None,
    };
    for (field, wanted, seen) in [
        ("fsid", &fields.fsid, open.map(key)),
        ("volume", &fields.volume, open.map(|open| open.volume_key)),
    ] {
        match (wanted, seen) {
            (Some(wanted), None) => {
                wrong.push(format!("`{field}: {wanted}` is only in an OPEN"));
            }
            (Some(wanted), Some(seen)) if wanted.as_bytes() != seen => {
                wrong.push(format!("`{field}: {wanted}` was expected"));
            }
            _ => {}
        }
    }
    for (field, wanted, seen) in [
        ("off", &fields.off, read.map(|read| read.off)),
        ("len", &fields.len, read.map(|read| read.len)),
    ] {
        let wanted = wanted.as_ref().map(Size::get).transpose();
        let wanted = wanted.map_err(anyhow::Error::msg)?.map(|bytes| bytes.0);
        match (wanted, seen) {
            (Some(wanted), None) => wrong.push(format!("`{field}: {wanted}` is only in a READ")),
            (Some(wanted), Some(seen)) if wanted != seen => {
                wrong.push(format!("`{field}: {wanted}` was expected"));
            }
            _ => {}
        }
    }
    for (name, what, same, id, of) in [
        (
            &fields.new_id_of,
            "id",
            false,
            message.msg_id(),
            message_id as Pick,
        ),
        (&fields.same_id_of, "id", true, message.msg_id(), message_id),
        (
            &fields.new_object_of,
            "object's id",
            false,
            message.object_id(),
            object_id,
        ),
        (
            &fields.same_object_of,
            "object's id",
            true,
            message.object_id(),
            object_id,
        ),
    ] {
        let Some(name) = name else { continue };
        let other = of(ids(name)?);
        if (other == id) != same {
            wrong.push(match same {
                true => format!("`{name}` has another {what}, {other}: the same was expected"),
                false => format!("`{name}` has the same {what}: another one was expected"),
            });
        }
    }
    Ok(wrong)
}

type Pick = fn(Ids) -> u32;

fn message_id(ids: Ids) -> u32 {
    ids.message
}

fn object_id(ids: Ids) -> u32 {
    ids.object
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Message<'_> = Message::Open(wire::Open {
        msg_id: 7,
        object_id: 3,
        fd: 9,
        flags: 0,
        volume_key: b"erofs,small",
        cookie_key: b"small\0",
    });
    const READ: Message<'_> = Message::Read(wire::Read {
        msg_id: 8,
        object_id: 3,
        off: 4096,
        len: 8192,
    });

    fn fields(json: &str) -> MessageFields {
        serde_json::from_str(json).unwrap()
    }

    fn check(message: &Message<'_>, json: &str) -> Vec<String> {
        let ids = |name: &str| match name {
            "earlier" => Ok(Ids {
                message: 7,
                object: 3,
            }),
            name => anyhow::bail!("nothing was saved as `{name}`"),
        };
        wrong(message, None, Some(&fields(json)), ids).unwrap()
    }

    #[test]
    fn fields_that_fit_are_accepted() {
        for (message, json) in [
            (&OPEN, r#"{"fsid": "small", "volume": "erofs,small"}"#),
            (
                &OPEN,
                r#"{"same_id_of": "earlier", "same_object_of": "earlier"}"#,
            ),
            (
                &READ,
                r#"{"off": 4096, "len": "8KiB", "new_id_of": "earlier"}"#,
            ),
        ] {
            assert_eq!(check(message, json), Vec::<String>::new(), "{json}");
        }
    }

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        for (message, json, part) in [
            (&OPEN, r#"{"fsid": "smal"}"#, "`fsid: smal` was expected"),
            (&OPEN, r#"{"volume": "erofs,d"}"#, "`volume: erofs,d` was"),
            (&OPEN, r#"{"off": 0}"#, "`off: 0` is only in a READ"),
            (&OPEN, r#"{"new_id_of": "earlier"}"#, "the same id"),
            (
                &OPEN,
                r#"{"new_object_of": "earlier"}"#,
                "the same object's id",
            ),
            (&READ, r#"{"fsid": "small"}"#, "only in an OPEN"),
            (&READ, r#"{"off": 0}"#, "`off: 0` was expected"),
            (&READ, r#"{"len": 1}"#, "`len: 1` was expected"),
            (&READ, r#"{"same_id_of": "earlier"}"#, "another id, 7"),
        ] {
            let wrong = check(message, json);
            assert_eq!(wrong.len(), 1, "{json}: {wrong:?}");
            assert!(wrong[0].contains(part), "{json}: {wrong:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_and_not_a_difference() {
        let unknown = fields(r#"{"new_id_of": "x"}"#);
        let result = wrong(&OPEN, None, Some(&unknown), |_| anyhow::bail!("unknown"));
        assert!(result.is_err());
    }

    #[test]
    fn the_kind_is_compared() {
        let ids = |_: &str| anyhow::bail!("not asked for");
        let differs = wrong(&READ, Some(MessageKind::Open), None, ids).unwrap();
        assert_eq!(differs, ["an OPEN was expected"]);
        let same = wrong(&READ, Some(MessageKind::Read), None, ids).unwrap();
        assert!(same.is_empty());
        assert_eq!(
            describe(&READ),
            "the READ 8 of object 3 (8192 bytes at 4096)"
        );
    }
}
