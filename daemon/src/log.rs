// SPDX-License-Identifier: GPL-2.0-or-later
//! The daemon's own log: structured, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::failure::Failure;

/// Sends what is traced to standard error.
///
/// # Errors
/// [`Failure::Usage`] when `level` is no filter.
pub fn start(format: LogFormat, level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::Usage(format!(
            "`{level}` is no log level: {error}. Give one of error, warn, info, debug, trace"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_thread_names(true)
        .with_ansi(false);
    let set = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // Refused only when the process has a log already: it is that one then.
    let _ = set;
    Ok(())
}
