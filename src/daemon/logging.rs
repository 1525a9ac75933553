//! Where the log goes and how it looks: text for people, JSON for machines, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Starts logging. `RUST_LOG` overrides `level`. Under systemd the journal gives each line its time.
///
/// A second call changes nothing.
pub(super) fn start(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let _ = match (format, journal) {
        (LogFormat::Json, _) => builder.json().flatten_event(true).finish().try_init(),
        (LogFormat::Text, true) => builder.with_ansi(false).without_time().finish().try_init(),
        (LogFormat::Text, false) => builder.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
    };
}
