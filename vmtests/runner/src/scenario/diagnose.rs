// SPDX-License-Identifier: GPL-2.0-or-later
//! Mistakes in a file as people want them: file, line, column, the text itself, and the nearest
//! word that would have been right. On a terminal they are drawn by miette; elsewhere they are
//! lines that editors and `grep` understand: `FILE:LINE:COLUMN: what is wrong`.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use miette::GraphicalReportHandler;
use miette::GraphicalTheme;
use miette::LabeledSpan;
use miette::SourceCode;

use super::source::line_column;

/// Widest excerpt of a line, in characters.
const SHOWN: usize = 100;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// Column in characters, counted from 1, where it is known.
    pub column: Option<usize>,
    /// The line's text.
    pub text: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Vec<String>,
    /// The `include`s by which the file came here, the nearest first.
    pub included: Vec<Diagnosis>,
    /// The file's text and the bytes that are meant.
    place: Option<(Arc<str>, Range<usize>)>,
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
            help: Vec::new(),
            included: Vec::new(),
            place: None,
        }
    }

    /// An error at these bytes of the file's text.
    pub fn at(file: &Path, text: &str, bytes: Range<usize>, message: impl Into<String>) -> Self {
        let (line, column) = line_column(text, bytes.start);
        let start = bytes.start.min(text.len());
        // A label spans one line: what lies below is seen anyway.
        let rest = text.get(start..).unwrap_or_default();
        let line_end = start + rest.find('\n').unwrap_or(rest.len());
        let end = bytes.end.clamp(start, line_end.max(start));
        let meant = text.get(start..end).unwrap_or_default().trim_end().len();
        let mut diagnosis = Self::whole_file(file, message);
        diagnosis.line = Some(line);
        diagnosis.column = Some(column);
        diagnosis.text = text.lines().nth(line - 1).map(str::to_owned);
        diagnosis.place = Some((text.into(), start..start + meant));
        diagnosis
    }

    /// Adds what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds the nearest right word, where there is one.
    pub fn with_nearest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.with_help(format!("did you mean `{near}`?")),
            None => self,
        }
    }

    /// How many characters are meant; at least one.
    fn width(&self) -> usize {
        self.place
            .as_ref()
            .and_then(|(text, bytes)| text.get(bytes.clone()))
            .map_or(1, |meant| meant.chars().count().max(1))
    }

    /// As miette draws it.
    pub fn drawn(&self, colors: bool) -> String {
        let theme = match colors {
            true => GraphicalTheme::unicode(),
            false => GraphicalTheme::unicode_nocolor(),
        };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
        let drawn = Drawn::of(self);
        match handler.render_report(&mut text, &drawn) {
            Ok(()) => text,
            Err(_) => format!("{self}\n"),
        }
    }
}

/// All mistakes as they are shown on standard error here: drawn on a terminal, else as lines.
/// `NO_COLOR` (see no-color.org) is honoured.
pub fn shown(wrong: &[Diagnosis]) -> String {
    if !std::io::stderr().is_terminal() {
        let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return lines.join("\n");
    }
    let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    wrong.iter().map(|one| one.drawn(colors)).collect()
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(text), Some(column)) = (&self.text, self.column) {
            // A long line is shown around the place only; a tab would move the caret.
            let skip = column.saturating_sub(SHOWN * 6 / 10);
            let shown: String = text
                .chars()
                .skip(skip)
                .take(SHOWN)
                .map(|c| if c == '\t' { ' ' } else { c })
                .collect();
            let before = column.saturating_sub(1).saturating_sub(skip);
            let carets = self.width().min(SHOWN.saturating_sub(before)).max(1);
            let (pad, carets) = (" ".repeat(before), "^".repeat(carets));
            write!(f, "\n    | {}\n    | {pad}{carets}", shown.trim_end())?;
        }
        for help in &self.help {
            write!(f, "\n    = {help}")?;
        }
        for from in &self.included {
            write!(f, "\n    = included from {}", from.file.display())?;
            if let (Some(line), Some(column)) = (from.line, from.column) {
                write!(f, ":{line}:{column}")?;
            }
        }
        Ok(())
    }
}

/// A diagnosis in miette's terms.
#[derive(Debug)]
struct Drawn {
    message: String,
    help: Option<String>,
    label: Option<(miette::NamedSource<String>, Range<usize>)>,
    related: Vec<Drawn>,
    advice: bool,
}

impl Drawn {
    fn of(diagnosis: &Diagnosis) -> Self {
        let label = diagnosis.place.as_ref().map(|(text, bytes)| {
            let name = diagnosis.file.display().to_string();
            (
                miette::NamedSource::new(name, text.to_string()),
                bytes.clone(),
            )
        });
        let related = diagnosis.included.iter().map(|from| Drawn {
            message: "included from here".to_owned(),
            advice: true,
            ..Drawn::of(from)
        });
        Drawn {
            message: match label {
                Some(_) => diagnosis.message.clone(),
                None => format!("{}: {}", diagnosis.file.display(), diagnosis.message),
            },
            help: (!diagnosis.help.is_empty()).then(|| diagnosis.help.join("\n")),
            label,
            related: related.collect(),
            advice: false,
        }
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn {}

impl miette::Diagnostic for Drawn {
    fn severity(&self) -> Option<miette::Severity> {
        self.advice.then_some(miette::Severity::Advice)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.label.as_ref().map(|(source, _)| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, bytes) = self.label.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(Some("here".to_owned()), bytes.clone());
        Some(Box::new(std::iter::once(label)))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let related = self
            .related
            .iter()
            .map(|one| one as &dyn miette::Diagnostic);
        (!self.related.is_empty()).then(|| Box::new(related) as _)
    }
}

/// The word that is nearest to `word`, if any is near at all.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Distances are quadratic in the length: nobody mistypes a word into a page.
    let short = |text: &str| text.len() <= 200;
    known
        .into_iter()
        .filter(|candidate| short(candidate) && short(word) && *candidate != word)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= ((word.len().max(candidate.len()) + 1) / 3).max(1)
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "needs:\n  imges: []\n";

    fn example() -> Diagnosis {
        Diagnosis::at(Path::new("a.yaml"), TEXT, 9..14, "unknown key `imges`")
            .with_nearest("imges", ["disks", "images"])
    }

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let words = ["images", "disks", "memory", "cpus"];
        assert_eq!(nearest("imges", words), Some("images"));
        assert_eq!(nearest("cpu", words), Some("cpus"));
        assert_eq!(nearest("weather", words), None);
        assert_eq!(nearest(&"i".repeat(1 << 20), words), None);
    }

    #[test]
    fn as_lines_a_mistake_shows_place_text_and_help() {
        assert_eq!(
            example().to_string(),
            "a.yaml:2:3: unknown key `imges`\n    |   imges: []\n    |   ^^^^^\n    = did you mean \
             `images`?"
        );
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = format!("a: [{}bad]\n", "good, ".repeat(100));
        let at = text.find("bad").unwrap();
        let shown = Diagnosis::at(Path::new("a.yaml"), &text, at..at + 3, "x").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].len() < 120, "{shown}");
        let caret = lines[2].find('^').unwrap();
        assert_eq!(&lines[1][caret..caret + 3], "bad", "{shown}");
    }

    #[test]
    fn drawn_it_shows_the_same_and_where_it_was_included() {
        let mut diagnosis = example();
        let from = Diagnosis::at(Path::new("b.yaml"), "- include: x\n", 2..9, "");
        diagnosis.included.push(from);
        let plain = diagnosis.drawn(false);
        for part in [
            "unknown key `imges`",
            "a.yaml:2:3",
            "did you mean `images`?",
            "included from here",
            "b.yaml:1:3",
        ] {
            assert!(plain.contains(part), "{part}:\n{plain}");
        }
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(diagnosis.drawn(true).contains('\u{1b}'));
        let whole = Diagnosis::whole_file(Path::new("c.yaml"), "is gone");
        assert!(whole.drawn(false).contains("c.yaml: is gone"));
    }
}
