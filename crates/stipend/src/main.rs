//! Stipend: people pay blockchain gas with the loyalty points they already have.

mod command;
mod config;
mod telemetry;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::admin::Admin;
use service::Causes;

/// Lets people pay blockchain gas with the loyalty points they already have.
///
/// One program with several roles. A small installation runs `stipend serve --with-worker`; a large
/// one runs several `serve` and several `worker` beside each other. All state is in PostgreSQL.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    /// The configuration file (TOML). Every setting can be overridden by the environment, as
    /// `STIPEND__SECTION__KEY`.
    #[arg(long, global = true, env = "STIPEND_CONFIG", default_value = "stipend.toml")]
    config: PathBuf,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer the API.
    Serve {
        /// Run the workers in the same process, as a small installation does.
        #[arg(long)]
        with_worker: bool,
    },
    /// Read the chains, settle, finalise and release.
    Worker,
    /// Bring the database schema up to date, as the owner role (`database.owner_url`).
    Migrate,
    /// Make tenants, applications and API keys; deploy paymasters and manage their deposits.
    #[command(subcommand)]
    Admin(command::admin::Admin),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(command::config::Config),
    /// Check that database, nodes, bundlers and paymasters are what the configuration says.
    Doctor,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("stipend: {}", Causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn core::error::Error + Send + Sync>;

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    if let Role::Admin(Admin::Paymaster(paymaster)) = arguments.role {
        return command::admin::paymaster::run(&arguments.config, *paymaster).await;
    }
    let config = config::load(&arguments.config)?;
    if let Role::Config(look) = arguments.role {
        return Ok(command::config::run(look, &arguments.config, &config));
    }
    telemetry::start(&config.telemetry)?;
    match arguments.role {
        Role::Serve { with_worker } => command::serve::run(&config, with_worker).await?,
        Role::Worker => command::worker::run(&config).await?,
        Role::Migrate => command::migrate::run(&config).await?,
        Role::Admin(Admin::House(house)) => command::admin::run(&config, house).await?,
        Role::Admin(Admin::Paymaster(_)) | Role::Config(_) => {}
        Role::Doctor => return command::doctor::run(&config).await,
    }
    Ok(ExitCode::SUCCESS)
}
