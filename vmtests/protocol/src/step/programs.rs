// SPDX-License-Identifier: GPL-2.0-or-later
//! Steps that run programs, and how programs end.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::value::Bare;
use crate::value::Late;
use crate::value::Scalar;
use crate::value::Span;
use crate::value::seconds;

/// Runs a program and waits for its end. An end by a signal is never a pass, unless `ended_by`
/// asks for it. Of what it writes without end, the first 8 MiB are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments. No shell: write `[sh, -c, "..."]` for one.
    pub argv: Vec<String>,
    /// Environment variables, on top of those that every program gets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory; `/` without it.
    #[serde(default)]
    pub cwd: Option<String>,
    /// A text for its standard input, which ends after it; nothing without it.
    #[serde(default)]
    pub stdin: Option<String>,
    /// How it must end; exit code 0 without it.
    #[serde(default)]
    pub ended_by: EndedBy,
    /// A regular expression that its standard output must match somewhere.
    #[serde(default)]
    pub stdout: Option<String>,
    /// A regular expression that its standard error must match somewhere.
    #[serde(default)]
    pub stderr: Option<String>,
    /// Send it SIGKILL after so long, if it still runs: `ended_by: {signal: kill}` then says that
    /// it must not have ended before.
    #[serde(default)]
    pub kill_after: Option<Span>,
}

impl Run {
    pub(super) fn check(&self) -> Result<(), String> {
        some_argv(&self.argv)
    }
}

/// Starts a program beside whatever follows. `expect` and `wait_until` can look at its state and at
/// what it wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StartProgram {
    /// What other steps call it. A name may be used again when its program has been waited for.
    pub name: String,
    /// Program and arguments. No shell: write `[sh, -c, "..."]` for one.
    pub argv: Vec<String>,
    /// Environment variables, on top of those that every program gets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory; `/` without it.
    #[serde(default)]
    pub cwd: Option<String>,
    /// A text for its standard input, which ends after it; nothing without it.
    #[serde(default)]
    pub stdin: Option<String>,
}

impl StartProgram {
    pub(super) fn check(&self) -> Result<(), String> {
        some_argv(&self.argv)
    }
}

fn some_argv(argv: &[String]) -> Result<(), String> {
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err("`argv` is empty: name a program, such as `[/bin/busybox, true]`".to_owned()),
    }
}

/// Sends a signal to a program. `stop` waits until every thread has stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignalProgram {
    /// The name given to `start_program`.
    pub name: String,
    /// Which signal.
    pub signal: Signal,
}

/// Waits until a program has ended, and fails when it ended otherwise than expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitProgram {
    /// The name given to `start_program`.
    pub name: String,
    /// How it must have ended; exit code 0 without it.
    #[serde(default)]
    pub ended_by: EndedBy,
    /// How long it may still take.
    #[serde(default = "default_within")]
    pub within: Span,
    /// A regular expression that its standard output must match somewhere.
    #[serde(default)]
    pub stdout: Option<String>,
    /// A regular expression that its standard error must match somewhere.
    #[serde(default)]
    pub stderr: Option<String>,
}

fn default_within() -> Span {
    seconds(20)
}

/// A signal, or a template that becomes one.
pub type Signal = Late<SignalName>;

macro_rules! signals {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal),* $(,)?) => {
        /// A signal by its name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum SignalName {
            $($(#[doc = $doc])* $variant),*
        }

        impl Scalar for SignalName {
            const NAME: &'static str = "Signal";
            const EXPECTED: &'static str = concat!("a signal, one of", $(" `", $name, "`"),*);
            const PATTERN: &'static str = "[a-z]+[12]?";
            const BARE: Bare = Bare::None;
            const WORDS: &'static [(&'static str, &'static str)] =
                &[$(($name, concat!($($doc),*))),*];
            fn from_number(_number: i128) -> Option<Self> {
                None
            }
            fn parse(text: &str) -> Option<Self> {
                match text.trim() {
                    $($name => Some(SignalName::$variant),)*
                    _ => None,
                }
            }
            fn to_text(&self) -> String {
                match self {
                    $(SignalName::$variant => $name),*
                }
                .to_owned()
            }
        }
    };
}

signals! {
    /// Ask to end.
    Term = "term",
    /// As Ctrl-C.
    Int = "int",
    /// End at once.
    Kill = "kill",
    /// Read the configuration again, by convention.
    Hup = "hup",
    /// Pause.
    Stop = "stop",
    /// Go on after a pause.
    Cont = "cont",
    /// Whatever the program makes of it.
    Usr1 = "usr1",
    /// Whatever the program makes of it.
    Usr2 = "usr2",
    /// Nobody reads the pipe any more.
    Pipe = "pipe",
    /// The program ended itself.
    Abrt = "abrt",
    /// An access to an address without memory.
    Segv = "segv",
    /// An access to mapped memory whose data could not be had.
    Bus = "bus",
}

/// How a program must have ended: `{exit_code: 0}` or `{signal: kill}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "EndedByFields", into = "EndedByFields")]
pub enum EndedBy {
    /// With this exit code.
    ExitCode(i32),
    /// By this signal.
    Signal(Signal),
}

/// [`EndedBy`] as it is written: YAML has no other plain form for an enum with values.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndedByFields {
    /// It returned this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// This signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<Signal>,
}

impl TryFrom<EndedByFields> for EndedBy {
    type Error = String;

    fn try_from(fields: EndedByFields) -> Result<Self, String> {
        match (fields.exit_code, fields.signal) {
            (Some(code), None) => Ok(EndedBy::ExitCode(code)),
            (None, Some(signal)) => Ok(EndedBy::Signal(signal)),
            _ => Err("write either `exit_code` or `signal`".to_owned()),
        }
    }
}

impl From<EndedBy> for EndedByFields {
    fn from(ended: EndedBy) -> Self {
        match ended {
            EndedBy::ExitCode(code) => EndedByFields {
                exit_code: Some(code),
                signal: None,
            },
            EndedBy::Signal(signal) => EndedByFields {
                exit_code: None,
                signal: Some(signal),
            },
        }
    }
}

impl Default for EndedBy {
    fn default() -> Self {
        EndedBy::ExitCode(0)
    }
}
