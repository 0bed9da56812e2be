//! `stipend admin paymaster rotate`.

use std::process::ExitCode;

use alloy_primitives::Address;
use clap::Args;

use super::error::PaymasterError;
use super::session::{Connection, Place};
use crate::config::Config;
use crate::wiring;

/// Which of a paymaster's keys is to sign.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rotate {
    /// The paymaster's address.
    paymaster: Address,
    /// The key that signs from now on, by its name under [signers].
    #[arg(long)]
    to: String,
    /// Change it. Without, nothing changes: what stands in the way is told, and who would sign.
    #[arg(long)]
    send: bool,
    #[command(flatten)]
    place: Place,
}

/// Tells every process which key signs: the database has it, and each signature looks. The contract must trust the key,
/// or every operation that it signs would be refused on chain. It can be taken back by the same command. What no database
/// knows is whether every running `serve` has the key: one that was started without it refuses until it is restarted.
pub(crate) async fn run(
    rotate: Rotate,
    config: Option<&Config>,
) -> Result<ExitCode, PaymasterError> {
    let Rotate { paymaster, to, send, place } = rotate;
    let connection = Connection::open(&place, config).await?;
    let chain = connection.chain;
    let config = config.ok_or(PaymasterError::NoNode(chain))?;
    let mut configured = config.chains.iter().filter(|found| found.id == chain.0);
    let found = configured.find_map(|chain| {
        chain.paymasters.iter().find(|configured| configured.address == paymaster)
    });
    let Some(found) = found else {
        return Err(PaymasterError::Argument(format!(
            "the configuration names no paymaster {paymaster} on chain {chain}"
        )));
    };
    if !found.signers.contains(&to) {
        return Err(PaymasterError::Argument(format!(
            "{to} is not among the signers that the configuration gives this paymaster: {}",
            found.signers.join(", ")
        )));
    }
    let signer = wiring::signer(config, &to)?.address();
    if !connection.node.is_signer(paymaster, signer).await? {
        return Err(PaymasterError::Argument(format!(
            "the contract does not trust {to} ({signer}): every operation that it signs would be refused on chain"
        )));
    }
    let store = wiring::store(config)?;
    let registered = store.paymasters(chain).await?.iter().any(|one| one.address == paymaster);
    let before = store.active_signer(chain, paymaster).await?;
    let changed = registered && send && store.set_active_signer(chain, paymaster, signer).await?;
    store.close().await;
    if !registered {
        return Err(PaymasterError::Argument(format!(
            "no process has served paymaster {paymaster} yet; the first of its signers will sign"
        )));
    }
    let before = before.map_or("the first of the configuration".to_owned(), |one| one.to_string());
    eprintln!(
        "Mind: every running `serve` must have been started with {to} in its configuration; one without it refuses to \
         sponsor until it is restarted."
    );
    if !changed {
        eprintln!("{to} ({signer}) would sign for {paymaster} on chain {chain}; now {before} does");
        eprintln!("This was a dry run: nothing was changed. The same command with --send does it.");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("from now on {to} signs for {paymaster} on chain {chain}; before, {before} did");
    println!("{signer}");
    Ok(ExitCode::SUCCESS)
}
