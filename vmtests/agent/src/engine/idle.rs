// SPDX-License-Identifier: GPL-2.0-or-later
//! How long the CPUs had nothing to do, in nanoseconds: /proc/stat knows hundredths of a second only.

use std::fs;

/// Where the kernel tells it, for each CPU (kernel/time/timer_list.c).
const FILE: &str = "/proc/timer_list";
/// The lines of it, `.NAME : N nsecs`. A CPU whose task waits for a disk is idle by another name.
const IDLE: [&str; 2] = [".idle_sleeptime", ".iowait_sleeptime"];

/// Seconds that all CPUs together were idle since the kernel started; none where it does not say.
pub(super) fn seconds() -> Option<f64> {
    parse(&fs::read_to_string(FILE).ok()?)
}

fn parse(text: &str) -> Option<f64> {
    let mut total = None;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(rest) = IDLE.iter().find_map(|name| line.strip_prefix(name)) else {
            continue;
        };
        let number = rest.trim_start().strip_prefix(':')?.trim();
        let nanoseconds: u64 = number.strip_suffix("nsecs")?.trim().parse().ok()?;
        total = Some(total.unwrap_or(0.0) + nanoseconds as f64 / 1e9);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cpus_are_added_up() {
        let text = "cpu: 0\n  .idle_entrytime : 7 nsecs\n  .idle_sleeptime : 1500000000 nsecs\n\
                    cpu: 1\n  .idle_sleeptime : 500000000 nsecs\n  \
                    .iowait_sleeptime : 250000000 nsecs\n";
        assert_eq!(parse(text), Some(2.25));
        assert_eq!(parse("cpu: 0\n"), None);
    }
}
