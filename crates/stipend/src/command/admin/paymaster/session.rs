//! One command's connection to a chain, and the account that it acts for.

use core::time::Duration;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;
use chain::node::Node;
use clap::Args;
use domain::ChainId;
use signer::{Secret, SignerSource, TransactionSigner};
use url::Url;

use super::amount::Amount;
use super::error::PaymasterError;
use crate::config::{self, Config};

/// The deadline of one call to a node that is named on the command line.
const DEADLINE: Duration = Duration::from_secs(10);

/// Nodes take a transaction in the place of another only if it offers a tenth more per gas.
const REPLACEMENT_DIVISOR: u128 = 10;

/// Which chain.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The chain's id.
    #[arg(long)]
    pub(crate) chain: u64,
    /// The chain's node, in the place of the configuration's. It may hold a provider's key: prefer the environment.
    #[arg(long, env = "STIPEND_RPC_URL", hide_env_values = true)]
    rpc_url: Option<Url>,
}

/// Whose transaction it is, and whether it is sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sending {
    /// Sign and send. Without it, nothing changes: the plan is printed and tried against the chain's present state.
    #[arg(long)]
    pub(crate) send: bool,
    /// The account, for a dry run without its key.
    #[arg(long)]
    from: Option<Address>,
    /// A file that holds the account's key in hex.
    #[arg(long, conflicts_with = "keystore")]
    key_file: Option<PathBuf>,
    /// An encrypted keystore file with the account's key (Web3 Secret Storage, version 3).
    #[arg(long, requires = "password_file")]
    keystore: Option<PathBuf>,
    /// The file that holds the keystore's password.
    #[arg(long, requires = "keystore")]
    password_file: Option<PathBuf>,
    /// The most to pay per gas, tip included. Default: twice the base fee, and the tip.
    #[arg(long, value_name = "AMOUNT")]
    max_fee_per_gas: Option<Amount>,
    /// The tip per gas. Default: what the node thinks gets a transaction in.
    #[arg(long, value_name = "AMOUNT")]
    priority_fee_per_gas: Option<Amount>,
    /// Take the place of the account's first transaction that waits for its block, instead of coming after all that wait.
    /// A fee that is not given is what the node suggests and a tenth more. Nodes want a tenth more than the waiting
    /// transaction offers, in both fees: when they refuse it as underpriced, give both.
    #[arg(long)]
    replace: bool,
    /// How long to wait for the block, in seconds.
    #[arg(long, default_value_t = 300)]
    wait_seconds: u64,
}

/// What a transaction pays per gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    /// At most, tip included.
    pub(crate) most: u128,
    /// The tip.
    pub(crate) tip: u128,
}

/// A chain, without anybody to act for.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The node.
    pub(crate) node: Node,
    /// The chain, which the node is on.
    pub(crate) chain: ChainId,
}

/// A chain, and the account that a command acts for.
#[derive(Debug)]
pub(crate) struct Session {
    /// The chain.
    pub(crate) connection: Connection,
    /// The account.
    pub(crate) sender: Address,
    /// Its key, where the command has it.
    pub(crate) signer: Option<TransactionSigner>,
    /// How to send.
    sending: Sending,
}

impl Connection {
    /// Connects to the node of the command line, or to the configuration's.
    pub(crate) async fn open(
        place: &Place,
        config: Option<&Config>,
    ) -> Result<Self, PaymasterError> {
        let chain = ChainId(place.chain);
        let node = match (&place.rpc_url, configured(chain, config)) {
            (Some(url), _) => Node::connect(core::slice::from_ref(url), DEADLINE)?,
            (None, Some(configured)) => {
                let deadline = Duration::from_millis(configured.rpc_deadline_millis);
                Node::connect(&configured.rpc_urls, deadline)?
            }
            (None, None) => return Err(PaymasterError::NoNode(chain)),
        };
        let found = node.chain_id().await?;
        if found != chain {
            return Err(PaymasterError::OtherChain { found, wanted: chain });
        }
        Ok(Self { node, chain })
    }
}

fn configured(chain: ChainId, config: Option<&Config>) -> Option<&config::Chain> {
    config?.chains.iter().find(|configured| configured.id == chain.0)
}

impl Session {
    /// Connects, and loads the key if one is named.
    pub(crate) async fn open(
        place: &Place,
        sending: Sending,
        config: Option<&Config>,
    ) -> Result<Self, PaymasterError> {
        let signer = sending.signer()?;
        if sending.send && signer.is_none() {
            return Err(PaymasterError::NoKey);
        }
        let sender = match (&signer, sending.from) {
            (Some(signer), Some(from)) if signer.address() != from => {
                return Err(PaymasterError::OtherKey { from, key: signer.address() });
            }
            (Some(signer), _) => signer.address(),
            (None, Some(from)) => from,
            (None, None) => return Err(PaymasterError::NoSender),
        };
        let connection = Connection::open(place, config).await?;
        Ok(Self { connection, sender, signer, sending })
    }

    /// The node.
    pub(crate) const fn node(&self) -> &Node {
        &self.connection.node
    }

    /// The chain.
    pub(crate) const fn chain(&self) -> ChainId {
        self.connection.chain
    }

    /// Whether the command is to send.
    pub(crate) const fn sends(&self) -> bool {
        self.sending.send
    }

    /// Whether the command's first transaction takes the place of one that waits.
    pub(crate) const fn replaces(&self) -> bool {
        self.sending.replace
    }

    /// How long to wait for a block.
    pub(crate) const fn patience(&self) -> Duration {
        Duration::from_secs(self.sending.wait_seconds)
    }

    /// What to pay per gas: as the command line says, or by the market.
    pub(crate) async fn fees(&self) -> Result<Fees, PaymasterError> {
        let tip = match self.sending.priority_fee_per_gas {
            Some(tip) => tip.0.saturating_to(),
            None => self.raised(self.node().max_priority_fee_per_gas().await?.0),
        };
        let most: u128 = match self.sending.max_fee_per_gas {
            Some(most) => most.0.saturating_to(),
            None => {
                let base = self.node().head().await?.base_fee_per_gas.0;
                self.raised(base.saturating_mul(2)).saturating_add(tip)
            }
        };
        if self.sending.priority_fee_per_gas.is_some() && tip > most {
            let text = "--priority-fee-per-gas is above what is paid per gas at most";
            return Err(PaymasterError::Argument(text.to_owned()));
        }
        Ok(Fees { most, tip: tip.min(most) })
    }
}

impl Session {
    /// A fee as the node suggests it, and what a transaction that replaces another must offer beyond it.
    const fn raised(&self, wei: u128) -> u128 {
        if self.replaces() { a_tenth_more(wei) } else { wei }
    }
}

/// Never less than a tenth more.
const fn a_tenth_more(wei: u128) -> u128 {
    wei.saturating_add(wei.div_ceil(REPLACEMENT_DIVISOR))
}

impl Sending {
    fn signer(&self) -> Result<Option<TransactionSigner>, PaymasterError> {
        let source = match (&self.key_file, &self.keystore, &self.password_file) {
            (Some(path), _, _) => SignerSource::KeyFile { path: path.clone() },
            (None, Some(path), Some(password)) => {
                SignerSource::Keystore { path: path.clone(), password: secret(password)? }
            }
            (None, _, _) => return Ok(None),
        };
        Ok(Some(source.load_for_transactions()?))
    }
}

fn secret(path: &Path) -> Result<Secret, PaymasterError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| PaymasterError::Password { path: path.to_owned(), cause })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_offers_at_least_a_tenth_more() {
        for (wei, more) in [(0, 0), (1, 2), (10, 11), (11, 13), (u128::MAX, u128::MAX)] {
            assert_eq!(a_tenth_more(wei), more);
        }
    }
}
