// SPDX-License-Identifier: GPL-2.0-or-later
//! The command grammar, errors included.

use cachefiles_core::command::parse;
use cachefiles_core::command::Command;
use cachefiles_core::command::CommandError;
use cachefiles_core::command::CommandError::Invalid;
use cachefiles_core::command::CommandError::NotSupported;
use cachefiles_core::command::CommandError::Range;
use cachefiles_core::command::COMMAND_MAX;
use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Percent;
use proptest::prelude::*;

fn limit(limit: Limit, number: u64) -> Result<Command<'static>, CommandError> {
    Ok(Command::Limit(limit, Percent::new(number).unwrap()))
}

fn copen(id: Result<u32, CommandError>, size: Result<i64, CommandError>) -> Command<'static> {
    Command::Copen { id, size }
}

#[test]
fn every_command_is_known() {
    let cases: [(&[u8], Result<Command<'_>, CommandError>); 19] = [
        (b"bind", Ok(Command::Bind(b""))),
        (b"bind ", Ok(Command::Bind(b""))),
        (b"bind ondemand", Ok(Command::Bind(b"ondemand"))),
        (b"bind x", Ok(Command::Bind(b"x"))),
        (b"brun 7%", limit(Limit::BlocksRun, 7)),
        (b"bcull 5%", limit(Limit::BlocksCull, 5)),
        (b"bstop 0%", limit(Limit::BlocksStop, 0)),
        (b"frun 99%", limit(Limit::FilesRun, 99)),
        (b"fcull 007%", limit(Limit::FilesCull, 7)),
        (b"fstop %", limit(Limit::FilesStop, 0)),
        (b"cull Dname", Ok(Command::Cull(b"Dname"))),
        (b"inuse Dname", Ok(Command::Inuse(b"Dname"))),
        (b"cull", Ok(Command::Cull(b""))),
        (b"debug 7", Ok(Command::Debug(7))),
        (b"dir /var/cache", Ok(Command::Dir(b"/var/cache"))),
        (b"secctx a:b:c", Ok(Command::Secctx(b"a:b:c"))),
        (b"tag mine", Ok(Command::Tag(b"mine"))),
        (b"restore", Ok(Command::Restore)),
        (b"restore whatever", Ok(Command::Restore)),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), expected, "{}", text.escape_ascii());
    }
}

#[test]
fn what_is_no_command_is_not_supported() {
    let cases: [&[u8]; 10] = [
        b"",
        b" bind",
        b"\tbind",
        b"bin",
        b"binds",
        b"BIND",
        b"7",
        b"\xa0bind",
        b" \n",
        b"dir/x",
    ];
    for text in cases {
        assert_eq!(parse(text), Err(NotSupported), "{}", text.escape_ascii());
    }
    let mut long = b"dir /".to_vec();
    long.resize(COMMAND_MAX, b'x');
    assert!(parse(&long).is_ok());
    long.push(b'x');
    assert_eq!(parse(&long), Err(NotSupported));
}

#[test]
fn nul_anywhere_and_a_leading_newline_are_invalid() {
    let cases: [&[u8]; 6] = [
        b"\0",
        b"bind\0",
        b"bind\n\0",
        b"unknown\0",
        b"\n",
        b"\nbind",
    ];
    for text in cases {
        assert_eq!(parse(text), Err(Invalid), "{}", text.escape_ascii());
    }
}

#[test]
fn what_follows_the_first_newline_is_dropped() {
    assert_eq!(parse(b"dir /a\nbind\n"), Ok(Command::Dir(b"/a")));
    assert_eq!(parse(b"bind\n"), Ok(Command::Bind(b"")));
    assert_eq!(parse(b"restore\n\n\n"), Ok(Command::Restore));
}

#[test]
fn white_space_before_the_argument_goes_and_after_it_stays() {
    assert_eq!(
        parse(b"tag \t\x0b\x0c\r\xa0 a b "),
        Ok(Command::Tag(b"a b "))
    );
    assert_eq!(parse(b"bind\tondemand"), Ok(Command::Bind(b"ondemand")));
    assert_eq!(parse(b"bind\xa0ondemand"), Ok(Command::Bind(b"ondemand")));
}

#[test]
fn an_argument_that_must_be_there_must_be_there() {
    for word in ["dir", "tag", "secctx", "brun", "fstop"] {
        assert_eq!(parse(word.as_bytes()), Err(Invalid), "{word}");
        assert_eq!(
            parse(format!("{word}  ").as_bytes()),
            Err(Invalid),
            "{word}"
        );
    }
}

#[test]
fn a_limit_is_digits_and_a_percent_sign_below_a_hundred() {
    let cases = [
        "7",
        "7 %",
        "7%%",
        "7% ",
        "-7%",
        "+7%",
        "0x7%",
        "7.5%",
        "a%",
        "100%",
        "256%",
        "263%",
        "18446744073709551615%",
        "18446744073709551616%",
        "18446744073709551623%",
        "99999999999999999999999999%",
    ];
    for case in cases {
        assert_eq!(
            parse(format!("brun {case}").as_bytes()),
            Err(Invalid),
            "{case}"
        );
    }
}

#[test]
fn names_to_cull_have_no_slash() {
    assert_eq!(parse(b"cull a/b"), Err(Invalid));
    assert_eq!(parse(b"inuse /"), Err(Invalid));
    assert_eq!(parse(b"cull .."), Ok(Command::Cull(b"..")));
}

#[test]
fn the_debugging_mask_takes_any_base_and_nothing_at_all() {
    let cases: [(&[u8], Result<u64, CommandError>); 11] = [
        (b"debug", Ok(0)),
        (b"debug 0", Ok(0)),
        (b"debug 010", Ok(8)),
        (b"debug 0x1F", Ok(31)),
        (b"debug 0Xff", Ok(255)),
        (b"debug 18446744073709551623", Ok(7)),
        (b"debug 08", Err(Invalid)),
        (b"debug 0x", Err(Invalid)),
        (b"debug 0xg", Err(Invalid)),
        (b"debug -1", Err(Invalid)),
        (b"debug 1 ", Err(Invalid)),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse(text),
            expected.map(Command::Debug),
            "{}",
            text.escape_ascii()
        );
    }
}

#[test]
fn copen_takes_an_id_and_a_size() {
    let cases: [(&[u8], Command<'_>); 26] = [
        (b"copen 5,4096", copen(Ok(5), Ok(4096))),
        (b"copen +5,+4096", copen(Ok(5), Ok(4096))),
        (b"copen 0x10,010", copen(Ok(16), Ok(8))),
        (b"copen 010,0X10\n", copen(Ok(8), Ok(16))),
        (b"copen 0,0", copen(Ok(0), Ok(0))),
        (b"copen 5,-1", copen(Ok(5), Ok(-1))),
        (b"copen 5,-0x10", copen(Ok(5), Ok(-16))),
        (b"copen 5,-0", copen(Ok(5), Ok(0))),
        (b"copen 5,-5000", copen(Ok(5), Ok(-5000))),
        (b"copen 5,9223372036854775807", copen(Ok(5), Ok(i64::MAX))),
        (b"copen 5,-9223372036854775808", copen(Ok(5), Ok(i64::MIN))),
        (b"copen 5,9223372036854775808", copen(Ok(5), Err(Range))),
        (b"copen 5,-9223372036854775809", copen(Ok(5), Err(Range))),
        (b"copen 5,99999999999999999999", copen(Ok(5), Err(Range))),
        (b"copen 5,", copen(Ok(5), Err(Invalid))),
        (b"copen 5,x", copen(Ok(5), Err(Invalid))),
        (b"copen 5,1 ", copen(Ok(5), Err(Invalid))),
        (b"copen 5,1,2", copen(Ok(5), Err(Invalid))),
        (b"copen 5,-+1", copen(Ok(5), Err(Invalid))),
        (b"copen 5,0x", copen(Ok(5), Err(Invalid))),
        (b"copen ,7", copen(Err(Invalid), Ok(7))),
        (b"copen -5,7", copen(Err(Invalid), Ok(7))),
        (b"copen 4294967296,7", copen(Err(Invalid), Ok(7))),
        (b"copen 18446744073709551616,7", copen(Err(Range), Ok(7))),
        (b"copen 5", copen(Err(Invalid), Err(Invalid))),
        (b"copen", copen(Err(Invalid), Err(Invalid))),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{}", text.escape_ascii());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_command_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..64)) {
        let parsed = parse(&data);
        if data.contains(&0) || data.first() == Some(&b'\n') {
            prop_assert_eq!(parsed, Err(Invalid));
        }
    }

    #[test]
    fn text_after_a_newline_never_matters(
        head in "(bind|tag|dir|copen|debug|brun|cull)[ 0-9a-z,%/]{0,12}",
        tail in "[^\u{0}]{0,20}",
    ) {
        let whole = format!("{head}\n{tail}");
        prop_assert_eq!(parse(whole.as_bytes()), parse(head.as_bytes()));
    }

    #[test]
    fn copen_reads_back_what_a_daemon_writes(id in any::<u32>(), size in any::<i64>()) {
        let text = format!("copen {id},{size}");
        prop_assert_eq!(parse(text.as_bytes()), Ok(copen(Ok(id), Ok(size))));
        let text = format!("copen {id:#x},{size}");
        prop_assert_eq!(parse(text.as_bytes()), Ok(copen(Ok(id), Ok(size))));
    }

    #[test]
    fn a_limit_is_taken_exactly_when_it_is_below_a_hundred(number in any::<u64>()) {
        for number in [number, number % 300] {
            let text = format!("fcull {number}%");
            prop_assert_eq!(parse(text.as_bytes()).is_ok(), number < 100);
        }
    }
}
