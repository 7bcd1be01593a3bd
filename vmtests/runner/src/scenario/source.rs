// SPDX-License-Identifier: GPL-2.0-or-later
//! The texts that a scenario is made of, and places in them.
//!
//! A piece that is included twice is two sources: what is wrong in it may be wrong in one place only,
//! and each knows from where it was included.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnose::Diagnosis;

/// No file of the language is longer than this, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// A range of bytes in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which source.
    pub source: u32,
    /// The first byte.
    pub start: u32,
    /// One more than the last byte.
    pub end: u32,
}

/// A file as it was read.
#[derive(Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    pub text: Arc<str>,
    /// The `include` that brought it here.
    pub included_from: Option<Place>,
}

/// All texts of a scenario; the first is its own.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text; its number.
    pub fn add(&mut self, file: &Path, text: Arc<str>, included_from: Option<Place>) -> u32 {
        self.0.push(Source {
            file: file.to_owned(),
            text,
            included_from,
        });
        (self.0.len() - 1) as u32
    }

    /// The source with this number.
    pub fn get(&self, number: u32) -> Option<&Source> {
        self.0.get(number as usize)
    }

    /// A diagnosis at a place, with the line's text, and with the `include`s that lead there.
    pub fn diagnose(&self, place: Place, message: impl Into<String>) -> Diagnosis {
        let Some(source) = self.get(place.source) else {
            return Diagnosis::whole_file(Path::new(""), message);
        };
        let (start, end) = (place.start as usize, place.end as usize);
        let mut diagnosis = Diagnosis::at(&source.file, &source.text, start..end, message);
        let mut from = source.included_from;
        while let Some(place) = from {
            let Some(source) = self.get(place.source) else {
                break;
            };
            let range = place.start as usize..place.end as usize;
            diagnosis
                .included
                .push(Diagnosis::at(&source.file, &source.text, range, ""));
            from = source.included_from;
        }
        diagnosis
    }

    /// Line and column of a place, counted from 1.
    pub fn line_column(&self, place: Place) -> (usize, usize) {
        self.get(place.source).map_or((1, 1), |source| {
            line_column(&source.text, place.start as usize)
        })
    }
}

/// Line and column (in characters, from 1) of a byte of `text`.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[begin..].chars().count() + 1)
}

/// Reads a file of the language: within the limit, and UTF-8.
pub fn read(file: &Path) -> Result<Arc<str>, Box<Diagnosis>> {
    let wrong = |message: String| Diagnosis::whole_file(file, message);
    let mut bytes = Vec::new();
    fs::File::open(file)
        // One byte more than the limit, whatever the file's size pretends to be.
        .and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| wrong(format!("cannot read the file: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Box::new(
            wrong(format!(
                "the file is longer than {} KiB, which is the limit",
                MAX_FILE >> 10
            ))
            .with_help("use `repeat`, `matrix` or `include` instead of writing steps out"),
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let bad = bytes.get(good).copied().unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let message = format!("the file is not UTF-8: here stands the byte 0x{bad:02x}");
            let place = good..good + char::REPLACEMENT_CHARACTER.len_utf8();
            Err(Box::new(
                Diagnosis::at(file, &text, place, message).with_help(
                    "save the file as UTF-8; write other bytes as `hex:` where a step takes it",
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters() {
        let text = "ä: ö\nb: c\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 4), (1, 4));
        assert_eq!(line_column(text, text.find('c').unwrap()), (2, 4));
        assert_eq!(line_column(text, 9999), (3, 1));
    }

    #[test]
    fn files_beyond_the_limit_and_files_that_are_no_text_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, vec![b'#'; MAX_FILE as usize]).unwrap();
        assert!(read(&file).is_ok());
        fs::write(&file, vec![b'#'; MAX_FILE as usize + 1]).unwrap();
        let wrong = read(&file).unwrap_err();
        assert!(wrong.message.contains("1024 KiB"), "{wrong}");
        fs::write(&file, b"name: a\nabout: \xff\n").unwrap();
        let wrong = read(&file).unwrap_err();
        assert_eq!((wrong.line, wrong.column), (Some(2), Some(8)), "{wrong}");
        assert!(wrong.message.contains("0xff"), "{wrong}");
    }
}
