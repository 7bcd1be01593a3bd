// SPDX-License-Identifier: GPL-2.0-or-later
//! The grammar of what is written to `/dev/cachefiles`: one write, one command.
//!
//! A command is a word and, after white space, an argument that reaches to the end. What follows
//! the first newline is dropped. [`parse`] checks what can be checked without a cache; an argument
//! whose error must give way to the cache's state (Linux looks at the state first) is passed on as
//! it is, or as a `Result`.

use super::limits::{Limit, Percent};
use super::number::{self, NumberError};

/// The longest command, in bytes: a page without its last byte.
pub const COMMAND_MAX: usize = 4095;

/// What is wrong with a command, as the errno that the writer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandError {
    /// `EINVAL`.
    Invalid,
    /// `EOPNOTSUPP`: no such command.
    NotSupported,
    /// `ERANGE`: a number that does not fit.
    Range,
}

impl From<NumberError> for CommandError {
    fn from(error: NumberError) -> Self {
        match error {
            NumberError::Malformed => CommandError::Invalid,
            NumberError::OutOfRange => CommandError::Range,
        }
    }
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Puts the cache to work: `ondemand`, or empty for classic mode. Anything else is `EINVAL`, but
    /// only after the checks of limits, directory and readiness.
    Bind(&'a [u8]),
    /// `brun`, `bcull`, `bstop`, `frun`, `fcull` or `fstop`: sets a limit. Whether it fits the
    /// other limits is for `Percents::set` to say.
    Limit(Limit, Percent),
    /// Removes a file of that name from the writer's working directory. Without `/`; may be empty.
    Cull(&'a [u8]),
    /// Sets the debugging mask.
    Debug(u64),
    /// Sets the backing directory. Not empty.
    Dir(&'a [u8]),
    /// Asks whether a file of that name in the writer's working directory is in use. Without `/`;
    /// may be empty.
    Inuse(&'a [u8]),
    /// Sets the security context. Not empty.
    Secctx(&'a [u8]),
    /// Sets the cache's tag. Not empty.
    Tag(&'a [u8]),
    /// Answers an OPEN. On-demand mode only: elsewhere `EOPNOTSUPP` goes before any error in here.
    Copen {
        /// Which OPEN. An error is the writer's, and concerns no request.
        id: Result<u32, CommandError>,
        /// The object's size in bytes, or a negative errno. An error fails the request too, if it
        /// exists; so does, with `EINVAL`, a negative number that is no errno.
        size: Result<i64, CommandError>,
    },
    /// Makes every unanswered request new again. On-demand mode only.
    Restore,
}

/// What the kernel takes for white space; 0xa0 is the no-break space of Latin-1.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0xa0)
}

/// Parses one command: `data` is the whole of one write.
pub fn parse(data: &[u8]) -> Result<Command<'_>, CommandError> {
    if data.len() > COMMAND_MAX {
        return Err(CommandError::NotSupported);
    }
    if data.contains(&0) {
        return Err(CommandError::Invalid);
    }
    let (line, _) = cut(data, |byte| byte == b'\n');
    if line.is_empty() && !data.is_empty() {
        return Err(CommandError::Invalid);
    }
    let (word, args) = cut(line, is_space);
    let args = skip_spaces(args.unwrap_or_default());
    match word {
        b"bind" => Ok(Command::Bind(args)),
        b"brun" => limit(Limit::BlocksRun, args),
        b"bcull" => limit(Limit::BlocksCull, args),
        b"bstop" => limit(Limit::BlocksStop, args),
        b"frun" => limit(Limit::FilesRun, args),
        b"fcull" => limit(Limit::FilesCull, args),
        b"fstop" => limit(Limit::FilesStop, args),
        b"cull" => file_name(args).map(Command::Cull),
        b"inuse" => file_name(args).map(Command::Inuse),
        b"debug" => match number::loose_wrapping(args) {
            (mask, []) => Ok(Command::Debug(mask)),
            _ => Err(CommandError::Invalid),
        },
        b"dir" => not_empty(args).map(Command::Dir),
        b"secctx" => not_empty(args).map(Command::Secctx),
        b"tag" => not_empty(args).map(Command::Tag),
        b"copen" => Ok(copen(args)),
        b"restore" => Ok(Command::Restore),
        _ => Err(CommandError::NotSupported),
    }
}

/// What comes before the first such byte, and what comes after it, where there is one.
fn cut(text: &[u8], at: fn(u8) -> bool) -> (&[u8], Option<&[u8]>) {
    let found = text.iter().position(|byte| at(*byte));
    let (before, rest) = found
        .and_then(|found| text.split_at_checked(found))
        .unwrap_or((text, &[]));
    (before, rest.split_first().map(|(_, after)| after))
}

fn skip_spaces(mut text: &[u8]) -> &[u8] {
    while let Some((first, rest)) = text.split_first() {
        if !is_space(*first) {
            break;
        }
        text = rest;
    }
    text
}

fn not_empty(args: &[u8]) -> Result<&[u8], CommandError> {
    if args.is_empty() {
        Err(CommandError::Invalid)
    } else {
        Ok(args)
    }
}

fn file_name(args: &[u8]) -> Result<&[u8], CommandError> {
    if args.contains(&b'/') {
        Err(CommandError::Invalid)
    } else {
        Ok(args)
    }
}

/// A percentage: digits and `%`. Linux wraps a number that does not fit 64 bits; this refuses it.
fn limit(which: Limit, args: &[u8]) -> Result<Command<'_>, CommandError> {
    let (Some(number), b"%") = number::loose_decimal(not_empty(args)?) else {
        return Err(CommandError::Invalid);
    };
    Percent::new(number)
        .map(|percent| Command::Limit(which, percent))
        .ok_or(CommandError::Invalid)
}

fn copen(args: &[u8]) -> Command<'_> {
    let (id, Some(size)) = cut(args, |byte| byte == b',') else {
        return Command::Copen {
            id: Err(CommandError::Invalid),
            size: Err(CommandError::Invalid),
        };
    };
    Command::Copen {
        // No request has an id beyond 32 bits, and the answer to an unknown id is EINVAL.
        id: number::strict_unsigned(id)
            .map_err(CommandError::from)
            .and_then(|id| u32::try_from(id).map_err(|_| CommandError::Invalid)),
        size: number::strict_signed(size).map_err(CommandError::from),
    }
}
