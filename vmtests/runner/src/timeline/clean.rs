// SPDX-License-Identifier: GPL-2.0-or-later
//! Text from a guest, made fit to be shown: it may hold colours, cursor movements, zero bytes, and
//! lines of a megabyte.

/// A longer line is cut, in bytes.
pub const MAX_TEXT: usize = 4096;

/// One line: escape sequences are left out, other control characters become visible ones, and what
/// is too long is cut.
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    let mut chars = text.chars().peekable();
    let mut read = 0;
    while let Some(c) = chars.next() {
        if out.len() >= MAX_TEXT {
            let left = text.len() - read;
            out += &format!("… ({left} bytes more)");
            return out;
        }
        read += c.len_utf8();
        match c {
            '\u{1b}' => read += skip_escape(&mut chars),
            '\t' => out.push('\t'),
            '\r' | '\n' => {}
            c if (c as u32) < 0x20 => out.push(picture(c)),
            '\u{7f}' => out.push('\u{2421}'),
            // Other controls, and what turns the direction of writing around.
            c if c.is_control() || is_bidi(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The visible stand-in of a control character.
fn picture(c: char) -> char {
    char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Skips what follows an escape character; how many bytes that was.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut skipped = 0;
    let mut next = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        let c = chars.next()?;
        skipped += c.len_utf8();
        Some(c)
    };
    match chars.peek() {
        // A control sequence ends with a letter or one of a few signs.
        Some('[') => {
            next(chars);
            while let Some(c) = next(chars) {
                if ('\u{40}'..='\u{7e}').contains(&c) {
                    break;
                }
            }
        }
        // A title or a link ends with a bell or another escape.
        Some(']') => {
            while let Some(c) = next(chars) {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1b}' {
                    next(chars);
                    break;
                }
            }
        }
        Some(c) if ('\u{40}'..='\u{5f}').contains(c) => {
            next(chars);
        }
        _ => {}
    }
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_titles_go_and_other_controls_can_be_seen() {
        assert_eq!(line("\u{1b}[1;31mred\u{1b}[0m\r\n"), "red");
        assert_eq!(line("\u{1b}]0;title\u{7}x\u{1b}]8;;u\u{1b}\\y"), "xy");
        assert_eq!(line("a\0b\u{7f}c\td"), "a␀b␡c\td");
        assert_eq!(line("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(line("end \u{1b}"), "end ");
        assert_eq!(line("<script>"), "<script>");
    }

    #[test]
    fn a_line_of_a_megabyte_is_cut_and_says_how_much_is_missing() {
        let cut = line(&"é".repeat(1 << 19));
        assert!(cut.len() < MAX_TEXT + 40, "{}", cut.len());
        let left = (1 << 20) - MAX_TEXT;
        assert!(
            cut.ends_with(&format!("… ({left} bytes more)")),
            "{}",
            &cut[MAX_TEXT..]
        );
    }
}
