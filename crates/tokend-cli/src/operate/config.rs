//! The settings file. Flags and `TOKEND_*` variables, which clap reads, override it, and it overrides defaults.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::builder::BoolishValueParser;
use serde::Deserialize;
use tokend_core::text::encoding;
use zeroize::Zeroizing;

use super::{
    limits,
    logging::{Format, Level},
    webhook,
};
use crate::command_error::CommandError;

/// The settings file, in TOML. Every key is optional, and unknown keys are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<SocketAddr>,
    pub(super) ops_listen: Option<SocketAddr>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) database_url: Option<String>,
    pub(super) keyring: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) insecure_plaintext: Option<bool>,
    pub(super) allow_unsafe_durability: Option<bool>,
    pub(super) no_migrate: Option<bool>,
    pub(super) revocations_file: Option<PathBuf>,
    pub(super) reflection: Option<bool>,
    pub(super) log: Option<Level>,
    pub(super) log_format: Option<Format>,
    pub(super) ready_file: Option<PathBuf>,
    pub(super) audit_checkpoint_file: Option<PathBuf>,
    pub(super) audit_retention_days: Option<u32>,
    pub(super) token_retention_days: Option<NonZeroU32>,
    #[serde(default)]
    pub(super) limits: limits::Table,
    #[serde(default)]
    pub(super) webhook: webhook::Table,
}

/// The flag for the settings file.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file with settings. Flags and environment variables override it
    #[arg(long, value_name = "FILE", env = "TOKEND_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads the file, if one is given.
    pub(super) fn read(&self) -> Result<File, CommandError> {
        let Some(path) = &self.config else {
            return Ok(File::default());
        };
        let unreadable =
            |error: &dyn std::fmt::Display| CommandError::Other(format!("can't read {}: {error}", path.display()));
        let bytes = Zeroizing::new(std::fs::read(path).map_err(|error| unreadable(&error))?);
        let text = encoding::decode(&bytes).map_err(|error| unreadable(&error))?;
        parse(&text).map_err(|error| CommandError::Other(format!("{}: {error}", path.display())))
    }
}

/// Parses the value of a switch: true, yes, on or 1; false, no, off or 0. Switches take a value so that a flag or a
/// variable can turn off what the file turns on.
pub(super) fn switch() -> BoolishValueParser {
    BoolishValueParser::new()
}

pub(super) fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        // The full error quotes the line, which may contain a password.
        let line = error
            .span()
            .map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors_with_a_line_number() {
        let error = parse("listen = \"127.0.0.1:1\"\nlistne = 1\n").expect_err("unknown key");
        assert!(error.starts_with("line 2: unknown field `listne`"), "{error}");
        assert!(parse("").is_ok());
    }

    #[test]
    fn values_are_not_quoted() {
        let error = parse("database_url = \"postgres://u:hush@h/d\"\nlisten = \"hush\"\n").expect_err("no address");
        assert!(!error.contains("hush@"), "{error}");
    }

    const EXAMPLE: &str = include_str!("../../../../deploy/tokend.toml");

    /// Returns the settings of the example file before its first table, uncommented.
    fn example() -> String {
        let (settings, _) = EXAMPLE.split_once("\n[").expect("it has tables");
        let lines = settings.lines().filter_map(|line| line.strip_prefix("# "));
        let lines = lines.filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_example_file_shows_every_setting() {
        // The error about an unknown key lists the known ones.
        let error = parse("no_such_setting = 1").expect_err("unknown");
        let known: Vec<_> = error
            .split('`')
            .skip(3)
            .step_by(2)
            .filter(|key| !["limits", "webhook"].contains(key))
            .collect();
        assert!(known.len() > 15, "{known:?}");
        parse(&example()).expect("it can be read");
        let example: toml::Table = toml::from_str(&example()).expect("TOML");
        for setting in known {
            assert!(example.contains_key(setting), "{setting}");
        }
    }

    #[test]
    fn the_service_unit_can_write_where_the_example_file_says() {
        let unit = include_str!("../../../../deploy/systemd/tokend.service");
        let directories = |setting: &str, root: &str| {
            let line = unit
                .lines()
                .find_map(|line| line.strip_prefix(setting))
                .unwrap_or_else(|| panic!("no {setting}"));
            line.split(' ')
                .map(|name| format!("{root}/{name}/"))
                .collect::<Vec<_>>()
        };
        let writable = [
            directories("StateDirectory=", "/var/lib"),
            directories("LogsDirectory=", "/var/log"),
            directories("RuntimeDirectory=", "/run"),
        ]
        .concat();
        let example: toml::Table = toml::from_str(&example()).expect("TOML");
        for setting in [
            "keyring",
            "database_url",
            "revocations_file",
            "audit_checkpoint_file",
            "ready_file",
        ] {
            let path = example[setting].as_str().expect("a path");
            let path = path.strip_prefix("sqlite://").unwrap_or(path);
            assert!(
                writable.iter().any(|directory| path.starts_with(directory)),
                "{setting}: {path}"
            );
        }
    }
}
