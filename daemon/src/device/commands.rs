// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of the commands.

use rustix::io::Errno;

/// No command: refused, and by the errno one sees whether the cache lives.
pub const NONE: &[u8] = b"alive";

/// Makes every unanswered request new again.
pub const RESTORE: &[u8] = b"restore";

/// Binds in on-demand mode.
pub const BIND: &[u8] = b"bind ondemand";

/// Answers an OPEN.
pub fn copen(msg_id: u32, answer: Result<u64, i32>) -> (Vec<u8>, i64) {
    let result = match answer {
        Ok(size) => i64::try_from(size).unwrap_or(-i64::from(Errno::FBIG.raw_os_error())),
        Err(errno) => -i64::from(sane_errno(errno)),
    };
    (format!("copen {msg_id},{result}").into_bytes(), result)
}

/// The kernel takes 1 to 4095; anything else would be EINVAL and not even fail the request right.
pub fn sane_errno(errno: i32) -> i32 {
    match errno {
        1..=4095 => errno,
        _ => Errno::IO.raw_os_error(),
    }
}

/// `NAME VALUE`.
pub fn with_argument(name: &str, value: &[u8]) -> Vec<u8> {
    let mut command = Vec::with_capacity(name.len() + 1 + value.len());
    command.extend_from_slice(name.as_bytes());
    command.push(b' ');
    command.extend_from_slice(value);
    command
}

#[cfg(test)]
mod tests {
    use cachefiles_core::command::Command;
    use cachefiles_core::command::CommandError;
    use cachefiles_core::command::parse;

    use super::*;

    #[test]
    fn the_module_reads_in_an_answer_what_was_meant() {
        let cases = [
            (Ok(0), 0),
            (Ok(12345), 12345),
            (Ok(u64::MAX), -27),
            (Err(2), -2),
            (Err(0), -5),
            (Err(-7), -5),
            (Err(100_000), -5),
        ];
        for (answer, expected) in cases {
            let (text, result) = copen(u32::MAX, answer);
            assert_eq!(result, expected);
            assert_eq!(
                parse(&text),
                Ok(Command::Copen {
                    id: Ok(u32::MAX),
                    size: Ok(expected)
                })
            );
        }
    }

    #[test]
    fn the_module_knows_every_command_but_the_one_that_is_none() {
        assert_eq!(parse(RESTORE), Ok(Command::Restore));
        assert_eq!(parse(BIND), Ok(Command::Bind(b"ondemand")));
        assert_eq!(
            parse(&with_argument("cull", b"D x")),
            Ok(Command::Cull(b"D x"))
        );
        assert_eq!(
            parse(&with_argument("inuse", b"Dx")),
            Ok(Command::Inuse(b"Dx"))
        );
        assert_eq!(
            parse(&with_argument("dir", b"/a b")),
            Ok(Command::Dir(b"/a b"))
        );
        assert_eq!(parse(NONE), Err(CommandError::NotSupported));
    }
}
