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
    #[command(flatten)]
    place: Place,
}

/// Tells every process which key signs: the database has it, and each signature looks. The contract must trust the key,
/// or every operation that it signs would be refused on chain. It can be taken back by the same command.
pub(crate) async fn run(
    rotate: Rotate,
    config: Option<&Config>,
) -> Result<ExitCode, PaymasterError> {
    let Rotate { paymaster, to, place } = rotate;
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
    let before = store.active_signer(chain, paymaster).await?;
    if !store.set_active_signer(chain, paymaster, signer).await? {
        return Err(PaymasterError::Argument(format!(
            "no process has served paymaster {paymaster} yet; the first of its signers will sign"
        )));
    }
    store.close().await;
    let before = before.map_or("the first of the configuration".to_owned(), |one| one.to_string());
    eprintln!("from now on {to} signs for {paymaster} on chain {chain}; before, {before} did");
    println!("{signer}");
    Ok(ExitCode::SUCCESS)
}
