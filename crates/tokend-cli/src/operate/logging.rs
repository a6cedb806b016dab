//! The log, on stderr.

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The lowest severity to log.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people
    Pretty,
    /// For machines: one JSON object per line
    Json,
}

/// Starts the log.
///
/// The level applies to tokend's own crates. Libraries never log below INFO: they handle headers and statements as
/// clients sent them, and their debug output may contain secrets.
pub(super) fn start(level: Level, format: Format) {
    let level = level.filter();
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("tokend", level)
        .with_target("sqlx", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Pretty => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed(),
        Format::Json => lines.json().boxed(),
    };
    // If logging was already started in this process, nothing changes.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init();
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}
