//! Why a command about a paymaster is not carried out.

use alloy_primitives::{Address, B256};
use chain::{ConnectError, RpcError};
use domain::ChainId;
use signer::{LoadError, SignError};
use store::StoreError;

use super::amount::Amount;
use super::artifact::{BrokenArtifact, Difference};
use crate::wiring::WiringError;

/// Why nothing was done, or what was done could not be seen to the end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PaymasterError {
    /// Neither the configuration nor the command line names a node.
    #[error(
        "chain {0} is not in the configuration: name its node with --rpc-url, or STIPEND_RPC_URL"
    )]
    NoNode(ChainId),
    /// The URL or URLs of the node.
    #[error("the node's URL cannot be used")]
    Connect(#[from] ConnectError),
    /// The node gave no usable answer.
    #[error("the node gave no answer that can be used")]
    Rpc(#[from] RpcError),
    /// The node is on another chain.
    #[error("the node is on chain {found}, not on chain {wanted}")]
    OtherChain {
        /// The node's.
        found: ChainId,
        /// The command's.
        wanted: ChainId,
    },
    /// The command does not say whose transaction it is.
    #[error(
        "say whose transaction it is: --from ADDRESS for a dry run, or --key-file FILE, or --keystore FILE with \
         --password-file FILE"
    )]
    NoSender,
    /// To send takes a key.
    #[error("--send needs the key: --key-file FILE, or --keystore FILE with --password-file FILE")]
    NoKey,
    /// `--from` and the key name two accounts.
    #[error("--from is {from}, and the key is that of {key}")]
    OtherKey {
        /// As given.
        from: Address,
        /// The key's.
        key: Address,
    },
    /// The key cannot be loaded.
    #[error("the key cannot be loaded")]
    Key(#[from] LoadError),
    /// The password file cannot be read.
    #[error("the password file {} cannot be read", path.display())]
    Password {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A key of the configuration.
    #[error(transparent)]
    Wiring(#[from] WiringError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// This binary is broken.
    #[error(transparent)]
    Artifact(#[from] BrokenArtifact),
    /// The address is empty.
    #[error("there is no contract at {address} on chain {chain}")]
    NoContract {
        /// The chain.
        chain: ChainId,
        /// The address.
        address: Address,
    },
    /// The contract is not ours.
    #[error(
        "the code at {address} is not what this release compiles StipendPaymaster to: {difference}. Do not send ether there"
    )]
    Another {
        /// The address.
        address: Address,
        /// The first difference.
        difference: Difference,
    },
    /// An argument of the constructor, or of a command, that can never work.
    #[error("{0}")]
    Argument(String),
    /// The chain lacks what makes addresses the same everywhere.
    #[error(
        "chain {chain} has no deterministic deployer at {deployer}, so that the paymaster's address cannot be known \
         before. Somebody has to put it there first, once for the chain, with the transaction that its project publishes: \
         https://github.com/Arachnid/deterministic-deployment-proxy"
    )]
    NoDeployer {
        /// The chain.
        chain: ChainId,
        /// Where it should be.
        deployer: Address,
    },
    /// The search for an address found none.
    #[error(
        "no salt among {tries} gives an address with {zeros} leading zero byte(s): search longer with --most-tries, or ask for fewer"
    )]
    NoSalt {
        /// How many were looked at.
        tries: u64,
        /// What was asked for.
        zeros: usize,
    },
    /// Ctrl-C before anything was sent.
    #[error("stopped; nothing was sent")]
    Stopped,
    /// There is nothing that a migration could move.
    #[error("{0}")]
    NothingToMove(String),
    /// The node refused the transaction.
    #[error("the node refused the transaction, which changed nothing")]
    Refused(#[source] RpcError),
    /// The transaction may or may not get into a block.
    #[error(
        "transaction {hash} is in no block after {seconds} s, and may still get into one, or another in its place. Wait \
         for it, or send the same command with --replace and higher fees, which takes its place; without --send it shows \
         how things stand"
    )]
    Unconfirmed {
        /// What to look for.
        hash: B256,
        /// How long was waited.
        seconds: u64,
    },
    /// The account has no transaction that waits.
    #[error(
        "there is nothing to replace: the node knows of no transaction of {0} that is in no block yet. Perhaps it got into \
         one: `show` tells what it did. If it was lost, the command without --replace takes the same place"
    )]
    NothingToReplace(Address),
    /// The transaction reverted on chain although its simulation did not.
    #[error(
        "transaction {0} reverted: nothing changed but the fee that it paid. Something changed between the simulation and \
         the block; the same command without --send says what would happen now"
    )]
    Reverted(B256),
    /// The chain does not show what the transaction should have done.
    #[error("transaction {hash} succeeded, but {what}")]
    NoEffect {
        /// The transaction.
        hash: B256,
        /// What is missing.
        what: String,
    },
    /// More ether is asked for than there is.
    #[error("the deposit is {deposit}, less than {asked}")]
    Short {
        /// What there is.
        deposit: Amount,
        /// What was asked for.
        asked: Amount,
    },
}
