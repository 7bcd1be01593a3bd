// SPDX-License-Identifier: GPL-2.0-or-later
//! Setting a cache up, or taking over one that is.

use std::os::unix::ffi::OsStrExt;

use cachefiles_core::limits::Limit;
use cachefiles_core::limits::Percent;
use cachefiles_core::limits::Percents;
use rustix::io::Errno;

use super::Device;
use super::commands;
use crate::config::CacheSettings;
use crate::failure::Failure;

/// The limits, with the names that the commands have.
pub const LIMITS: [(&str, Limit); 6] = [
    ("brun", Limit::BlocksRun),
    ("bcull", Limit::BlocksCull),
    ("bstop", Limit::BlocksStop),
    ("frun", Limit::FilesRun),
    ("fcull", Limit::FilesCull),
    ("fstop", Limit::FilesStop),
];

/// Binds the cache. `fresh` says that this process opened the device itself; otherwise somebody
/// kept it, and the cache may be bound already: then all pending requests are made new again.
///
/// Returns whether it was taken over.
///
/// # Errors
/// [`Failure::BindRefused`] with the command that the kernel refused.
pub fn bind(device: &dyn Device, cache: &CacheSettings, fresh: bool) -> Result<bool, Failure> {
    if !fresh {
        match device.command(commands::RESTORE) {
            Ok(()) => return Ok(true),
            // Nobody has bound it yet: the mode is not known.
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
            Err(source) if source.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return Err(Failure::DeviceDead(format!("`restore`: {source}")));
            }
            Err(source) => return Err(refused(commands::RESTORE, source)),
        }
    }
    let mut all = Vec::new();
    if let Some(context) = &cache.secctx {
        all.push(commands::with_argument("secctx", context.as_bytes()));
    }
    all.push(commands::with_argument(
        "dir",
        cache.dir.as_os_str().as_bytes(),
    ));
    if let Some(tag) = &cache.tag {
        all.push(commands::with_argument("tag", tag.as_bytes()));
    }
    all.extend(limit_commands(&cache.limits));
    all.push(commands::BIND.to_vec());
    for command in all {
        device
            .command(&command)
            .map_err(|source| refused(&command, source))?;
    }
    Ok(false)
}

/// The commands that move the limits from the kernel's own to `wanted`, in an order in which each
/// is accepted: the kernel checks every one against the other two as they are at that moment.
fn limit_commands(wanted: &Percents) -> Vec<Vec<u8>> {
    let mut now = Percents::DEFAULT;
    let mut pending: Vec<(&str, Limit, Percent)> = LIMITS
        .iter()
        .map(|(name, limit)| (*name, *limit, wanted.get(*limit)))
        .filter(|(_, limit, percent)| now.get(*limit) != *percent)
        .collect();
    let mut sent = Vec::new();
    // One of those that are left can always be moved, because both ends are in order.
    while let Some(next) = pending
        .iter()
        .position(|(_, limit, percent)| now.set(*limit, *percent).is_ok())
    {
        let (name, _, percent) = pending.remove(next);
        sent.push(format!("{name} {}%", percent.get()).into_bytes());
    }
    sent
}

fn refused(command: &[u8], source: std::io::Error) -> Failure {
    let hint = match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "Make the cache directory first",
        Some(Errno::ROFS) => "The cache directory's filesystem is mounted read-only",
        Some(Errno::OPNOTSUPP) => {
            "The cache directory must be on a filesystem with extended attributes and unnamed \
             temporary files (ext4, xfs, btrfs), and the module must support on-demand mode"
        }
        Some(Errno::EXIST | Errno::BUSY) => {
            "The device was set up before by somebody else: start with a fresh one"
        }
        Some(Errno::NOTDIR) => "The cache directory is not a directory",
        _ => "The kernel's log says more (dmesg)",
    };
    Failure::BindRefused {
        command: String::from_utf8_lossy(command).into_owned(),
        source,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use cachefiles_core::command::Command;
    use cachefiles_core::command::parse;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn limits_reach_any_order_with_every_command_accepted(
            blocks in proptest::sample::subsequence((0u64..100).collect::<Vec<_>>(), 3),
            files in proptest::sample::subsequence((0u64..100).collect::<Vec<_>>(), 3),
        ) {
            let mut wanted = None;
            // Built by brute force: some order of the six works.
            let values = [blocks[2], blocks[1], blocks[0], files[2], files[1], files[0]];
            let mut state = Percents::DEFAULT;
            for _ in 0..6 {
                for ((_, limit), value) in LIMITS.iter().zip(values) {
                    // A refusal is tried again in the next round.
                    let _ = state.set(*limit, Percent::new(value).unwrap());
                }
                wanted = Some(state);
            }
            let wanted = wanted.unwrap();
            for ((_, limit), value) in LIMITS.iter().zip(values) {
                prop_assert_eq!(u64::from(wanted.get(*limit).get()), value);
            }

            let mut kernel = Percents::DEFAULT;
            for command in limit_commands(&wanted) {
                match parse(&command) {
                    Ok(Command::Limit(limit, percent)) => {
                        prop_assert_eq!(kernel.set(limit, percent), Ok(()));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(kernel, wanted);
        }
    }
}
