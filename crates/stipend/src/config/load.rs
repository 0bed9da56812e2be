//! Reading the file and the environment.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};

use super::{Config, check};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no such file.
    #[error("there is no configuration file {}: name one with --config, or start from the example in docs/configuration.md", .0.display())]
    NoFile(PathBuf),
    /// The file or the environment cannot be read as settings.
    #[error("the configuration cannot be read: {0}")]
    Unreadable(String),
    /// Settings that contradict each other or the rules; all of them.
    #[error("the configuration has {} error(s):\n{}", .0.len(), .0.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<String>),
}

/// Reads and checks the configuration.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    if !path.is_file() {
        return Err(ConfigError::NoFile(path.to_owned()));
    }
    let config: Config = Figment::new()
        .merge(Toml::file_exact(path))
        .merge(Env::prefixed("STIPEND__").split("__"))
        .extract()
        .map_err(unreadable)?;
    let errors = check::errors(&config);
    if errors.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(errors)) }
}

/// Every error that serde found, with the setting's name and without its value, which may be a
/// secret.
fn unreadable(error: figment::Error) -> ConfigError {
    let lines: Vec<String> = error
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            let what = match error.kind {
                figment::error::Kind::UnknownField(field, known) => {
                    format!("unknown setting `{field}`, expected one of {known:?}")
                }
                figment::error::Kind::MissingField(field) => format!("missing setting `{field}`"),
                figment::error::Kind::InvalidType(_, expected) => format!("must be {expected}"),
                figment::error::Kind::InvalidValue(_, expected) => format!("must be {expected}"),
                figment::error::Kind::Message(message) => message,
                kind @ (figment::error::Kind::InvalidLength(..)
                | figment::error::Kind::UnknownVariant(..)
                | figment::error::Kind::DuplicateField(_)
                | figment::error::Kind::ISizeOutOfRange(_)
                | figment::error::Kind::USizeOutOfRange(_)
                | figment::error::Kind::Unsupported(_)
                | figment::error::Kind::UnsupportedKey(..)) => kind.to_string(),
            };
            if key.is_empty() { what } else { format!("{key}: {what}") }
        })
        .collect();
    ConfigError::Unreadable(lines.join("; "))
}
