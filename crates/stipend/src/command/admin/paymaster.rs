//! `stipend admin paymaster`: deploying a paymaster, its deposit and stake, and moving to another.
//!
//! What changes something is a dry run unless the command says `--send`: the plan is printed in words, tried against the
//! chain's present state, and what stands in its way is explained. Plans and progress go to standard error; standard
//! output has what a script takes on: the address of `deploy`, the hashes of the transactions sent, what `show` found.
//!
//! Only `rotate` opens the database. The others need no configuration either where `--rpc-url` names the node: the first
//! paymaster is there before a configuration can name it. Their keys are those of owner and guardian, which `serve` never
//! has.

mod amount;
mod artifact;
mod contract;
mod deploy;
mod error;
mod funds;
mod migrate;
mod refusal;
mod rotate;
mod salt;
mod send;
mod session;
mod show;
mod step;

use std::path::Path;
use std::process::ExitCode;

use alloy_primitives::Address;
use clap::Subcommand;
use service::Causes;

use crate::config::{self, Config, Telemetry};
use crate::telemetry;
use amount::Amount;
use funds::{Order, Share, Target};

/// What to do about a paymaster.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Paymaster {
    /// Deploy an instance to an address that is known before, or find it there; prints the address.
    Deploy(Box<deploy::Deploy>),
    /// Show an instance: its code against the source, who may do what, deposit, stake, and the configuration of it.
    Show(show::Show),
    /// Add to the deposit that pays for operations. Anyone may.
    Deposit {
        /// How much: 0.5ether, 100gwei, 5wei.
        #[arg(long)]
        amount: Amount,
        #[command(flatten)]
        target: Target,
    },
    /// Take out of the deposit. The owner may.
    Withdraw {
        /// How much: 0.5ether, 100gwei, 5wei, or all.
        #[arg(long)]
        amount: Share,
        /// Who gets it. Default: the owner.
        #[arg(long)]
        to: Option<Address>,
        #[command(flatten)]
        target: Target,
    },
    /// Send the whole deposit to the vault: the guardian's only act, for a signer's key that has leaked.
    MoveToVault {
        #[command(flatten)]
        target: Target,
    },
    /// Add to the stake, for the quotas that bundlers give the staked. The owner may.
    Stake {
        /// How much: 0.5ether, 100gwei, 5wei.
        #[arg(long)]
        amount: Amount,
        /// Seconds between unlocking and withdrawal. Bundlers ask for a day: 86400.
        #[arg(long, value_name = "SECONDS")]
        unstake_delay: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Unlock the stake: it can be withdrawn when the unstake delay is over. The owner may.
    Unlock {
        #[command(flatten)]
        target: Target,
    },
    /// Take the whole unlocked stake out. The owner may.
    WithdrawStake {
        /// Who gets it. Default: the owner.
        #[arg(long)]
        to: Option<Address>,
        #[command(flatten)]
        target: Target,
    },
    /// Move a deposit from one instance to another of the same owner.
    Migrate(Box<migrate::Migrate>),
    /// Make another of the paymaster's keys sign, at once and in every process. Changes the database, not the chain. Every
    /// running `serve` must have been started with the key in its configuration.
    Rotate(rotate::Rotate),
}

/// Carries a command out. The configuration is read where it is; one that is not there or not valid matters only where
/// it is the only one to name the node.
pub(crate) async fn run(
    config_path: &Path,
    paymaster: Paymaster,
) -> Result<ExitCode, crate::Failure> {
    let loaded = config::load(config_path);
    let config = loaded.as_ref().ok();
    telemetry::start(config.map_or(&Telemetry::default(), |config| &config.telemetry))?;
    let outcome = carry_out(paymaster, config).await;
    if let (Err(error), Err(unread)) = (&outcome, &loaded)
        && matches!(error, error::PaymasterError::NoNode(_))
    {
        eprintln!("stipend: {}", Causes(unread));
    }
    Ok(outcome?)
}

async fn carry_out(
    paymaster: Paymaster,
    config: Option<&Config>,
) -> Result<ExitCode, error::PaymasterError> {
    match paymaster {
        Paymaster::Deploy(deploy) => deploy::run(*deploy, config).await,
        Paymaster::Show(show) => show::run(show, config).await,
        Paymaster::Deposit { amount, target } => {
            funds::run(target, Order::Deposit(amount), config).await
        }
        Paymaster::Withdraw { amount, to, target } => {
            funds::run(target, Order::Withdraw { share: amount, to }, config).await
        }
        Paymaster::MoveToVault { target } => funds::run(target, Order::MoveToVault, config).await,
        Paymaster::Stake { amount, unstake_delay, target } => {
            funds::run(target, Order::Stake { amount, delay: unstake_delay }, config).await
        }
        Paymaster::Unlock { target } => funds::run(target, Order::Unlock, config).await,
        Paymaster::WithdrawStake { to, target } => {
            funds::run(target, Order::WithdrawStake { to }, config).await
        }
        Paymaster::Migrate(migrate) => migrate::run(*migrate, config).await,
        Paymaster::Rotate(rotate) => rotate::run(rotate, config).await,
    }
}
