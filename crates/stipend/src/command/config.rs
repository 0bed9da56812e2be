//! `stipend config`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use crate::config;

/// What to look at.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Config {
    /// Check the configuration and name every error. Connects to nothing.
    Check,
}

pub(crate) fn run(look: Config, path: &Path, config: &config::Config) -> ExitCode {
    match look {
        // Loading has checked it: what is left is to say so.
        Config::Check => println!(
            "{}: ok, {} chain(s), {} paymaster(s), {} signer(s)",
            path.display(),
            config.chains.len(),
            config.chains.iter().map(|chain| chain.paymasters.len()).sum::<usize>(),
            config.signers.len(),
        ),
    }
    ExitCode::SUCCESS
}
