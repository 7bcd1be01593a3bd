// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors in a scenario file as people want them: file, line, column, the text itself, and the
//! nearest word that would have been right.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// Column, counted from 1, where it is known.
    pub column: Option<usize>,
    /// The line's text.
    pub text: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Diagnosis {
    /// An error about the file as a whole.
    pub fn whole_file(file: &Path, message: impl Into<String>) -> Self {
        Diagnosis {
            file: file.to_owned(),
            line: None,
            column: None,
            text: None,
            message: message.into(),
            hint: None,
        }
    }

    /// An error at the first place where `word` stands in `source`; about the whole file when it
    /// does not.
    pub fn at_word(file: &Path, source: &str, word: &str, message: impl Into<String>) -> Self {
        let mut diagnosis = Self::whole_file(file, message);
        if let Some((line, column)) = find_word(source, word, 0) {
            diagnosis.place(source, line, column);
        }
        diagnosis
    }

    /// What the YAML parser found.
    pub fn from_yaml(file: &Path, source: &str, error: &serde_yaml::Error) -> Self {
        // The parser appends the place to its message; here it stands in front.
        let mut message = error.to_string();
        if let Some(at) = message.rfind(" at line ") {
            message.truncate(at);
        }
        let mut diagnosis = Self::whole_file(file, message);
        let unknown = unknown_word(&diagnosis.message);
        if let Some(location) = error.location() {
            // The parser may point at the map that holds the word: look for the word itself.
            let found = unknown
                .as_ref()
                .and_then(|(word, _)| find_word(source, word, location.line().saturating_sub(1)));
            let (line, column) = found.unwrap_or((location.line(), location.column()));
            diagnosis.place(source, line, column);
        }
        if let Some((word, known)) = unknown {
            diagnosis.hint = nearest(&word, known.iter().map(String::as_str))
                .map(|near| format!("did you mean `{near}`?"));
        }
        diagnosis
    }

    /// Adds what to write instead.
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    fn place(&mut self, source: &str, line: usize, column: usize) {
        self.line = Some(line);
        self.column = Some(column);
        self.text = source
            .lines()
            .nth(line.saturating_sub(1))
            .map(str::to_owned);
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(text), Some(column)) = (&self.text, self.column) {
            // A long line is shown around the place only.
            let skip = column.saturating_sub(60);
            let shown: String = text.chars().skip(skip).take(100).collect();
            let pad = " ".repeat(column.saturating_sub(1).saturating_sub(skip));
            write!(f, "\n    | {shown}\n    | {pad}^")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n    = {hint}")?;
        }
        Ok(())
    }
}

/// The word that is nearest to `word`, if any is near at all.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (word.len().max(candidate.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// The unknown word of serde's message, and the words that it lists as known.
fn unknown_word(message: &str) -> Option<(String, Vec<String>)> {
    let rest = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|start| message.find(start).map(|at| &message[at + start.len()..]))?;
    let (word, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((word.to_owned(), known.collect()))
}

/// Line and column (from 1) of the first place where `word` stands alone, from line `skip` on.
fn find_word(source: &str, word: &str, skip: usize) -> Option<(usize, usize)> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    for (number, line) in source.lines().enumerate().skip(skip) {
        // What follows a `#` after a space is a comment.
        let code = match line.find(" #") {
            Some(at) => &line[..at],
            None if line.starts_with('#') => continue,
            None => line,
        };
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            if !before.is_some_and(inside) && !after.is_some_and(inside) {
                return Some((number + 1, code[..at].chars().count() + 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let words = ["images", "disks", "memory", "cpus"];
        assert_eq!(nearest("imges", words.into_iter()), Some("images"));
        assert_eq!(nearest("cpu", words.into_iter()), Some("cpus"));
        assert_eq!(nearest("weather", words.into_iter()), None);
    }

    #[test]
    fn a_word_is_found_where_it_stands_alone_and_not_in_comments() {
        let source = "# imges: no\nneeds:\n  ximges: 1 # imges\n  imges: [small]\n";
        assert_eq!(find_word(source, "imges", 0), Some((4, 3)));
        assert_eq!(find_word(source, "absent", 0), None);
    }

    #[test]
    fn a_diagnosis_shows_place_text_and_hint() {
        let diagnosis = Diagnosis::at_word(
            Path::new("a.yaml"),
            "needs:\n  imges: []\n",
            "imges",
            "unknown field `imges`",
        )
        .with_hint(Some("did you mean `images`?".to_owned()));
        assert_eq!(
            diagnosis.to_string(),
            "a.yaml:2:3: unknown field `imges`\n    |   imges: []\n    |   ^\n    = did you mean `images`?"
        );
    }
}
