// SPDX-License-Identifier: GPL-2.0-or-later
//! Numbers, times and addresses as they stand in the report.

use std::path::Path;

use crate::timeline::clean;

/// A duration that can be read at a glance: `0.41 s`, `12.3 s`, `2 m 05 s`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => "?".to_owned(),
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 59.95 => format!("{s:.1} s"),
        s => {
            let whole = s.round() as u64;
            match whole / 3600 {
                0 => format!("{} m {:02} s", whole / 60, whole % 60),
                hours => format!("{hours} h {:02} m", whole % 3600 / 60),
            }
        }
    }
}

/// A time as results have it, for people: `24 Nov 2026, 15:38 UTC`.
pub(super) fn moment(rfc_3339: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(rfc_3339) {
        Ok(time) => time.to_utc().format("%-d %b %Y, %H:%M UTC").to_string(),
        Err(_) => clean::line(rfc_3339),
    }
}

/// A measured number with its unit.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "s" if value.abs() < 0.01 => format!("{:.0} µs", value * 1e6),
        "s" => duration(value),
        "bytes" => bytes(value),
        "percent" => format!("{value:.1} %"),
        "count" => count(value as i64),
        _ => clean::line(&format!("{value} {unit}")),
    }
}

fn bytes(value: f64) -> String {
    let size = value.abs();
    match size {
        s if s < 1024.0 => format!("{value:.0} B"),
        s if s < 1048576.0 => format!("{:.1} KiB", value / 1024.0),
        s if s < 1073741824.0 => format!("{:.1} MiB", value / 1048576.0),
        _ => format!("{:.2} GiB", value / 1073741824.0),
    }
}

/// A whole number with its digits in groups.
pub(super) fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    match value < 0 {
        true => format!("-{out}"),
        false => out,
    }
}

/// A relative address: what is not safe in one is written as `%XX`.
pub(super) fn href(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(byte as char);
            }
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// A name for an anchor.
pub(super) fn anchor(kind: &str, name: &str) -> String {
    let mut out = format!("{kind}-");
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => out.push(c),
            c => out += &format!("_{:x}_", c as u32),
        }
    }
    out
}

/// Several lines of text from a guest, at most so many, with a word about the rest.
pub(super) fn block(text: &str, most: usize) -> String {
    let all = text.lines().count();
    let mut lines: Vec<String> = text.lines().take(most).map(clean::line).collect();
    if all > most {
        lines.push(format!("({} lines more in results.json)", all - most));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, text) in [
            (0.0, "0.00 s"),
            (0.414, "0.41 s"),
            (9.999, "10.0 s"),
            (59.97, "1 m 00 s"),
            (125.2, "2 m 05 s"),
            (7380.0, "2 h 03 m"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_moment_is_for_people() {
        assert_eq!(moment("2026-11-04T15:38:03Z"), "4 Nov 2026, 15:38 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
    }

    #[test]
    fn numbers_have_units_and_groups() {
        assert_eq!(quantity(0.00042, "s"), "420 µs");
        assert_eq!(quantity(1536.0, "bytes"), "1.5 KiB");
        assert_eq!(quantity(-2.0 * 1048576.0, "bytes"), "-2.0 MiB");
        assert_eq!(quantity(1234567.0, "count"), "1,234,567");
        assert_eq!(count(-999), "-999");
    }

    #[test]
    fn addresses_and_anchors_hold_nothing_that_means_something() {
        assert_eq!(
            href(Path::new("runs/a[\"x\"]/b c")),
            "runs/a%5B%22x%22%5D/b%20c"
        );
        assert_eq!(anchor("run", "a[fs=x]"), "run-a_5b_fs_3d_x_5d_");
    }
}
