//! `stipend admin chain`: the way on after a halt.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use domain::ChainId;
use service::mend::Order;

use crate::config::Config;
use crate::wiring;

/// Chains that are halted: see `docs/chain.md`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ChainCommand {
    /// After `missed_event`: read blocks again, and add the events that were left out. Without --send, only says how many
    /// there are.
    Reread {
        #[command(flatten)]
        order: ChainOrder,
        /// The first block. The log names the one that was left out.
        #[arg(long)]
        from: u64,
        /// The last block.
        #[arg(long)]
        to: u64,
    },
    /// After `reorganisation_past_finality`: go on from a block of the branch that stands. Without --send, only says how
    /// many events above it are withdrawn.
    Resume {
        #[command(flatten)]
        order: ChainOrder,
        /// The last block that both branches share, or one below it.
        #[arg(long)]
        at: u64,
    },
}

/// Which chain, and whether in earnest.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ChainOrder {
    /// The chain's id.
    #[arg(long)]
    chain: u64,
    /// Do it.
    #[arg(long)]
    send: bool,
}

/// An order that is not carried out.
#[derive(Debug, thiserror::Error)]
enum ChainError {
    #[error(
        "chain {0} is not halted for what this mends, or was never read so far: see `stipend doctor`"
    )]
    NotHalted(u64),
    #[error("chain {chain} has no block {block}")]
    NoBlock { chain: u64, block: u64 },
}

pub(super) async fn run(config: &Config, command: ChainCommand) -> Result<(), crate::Failure> {
    let service = wiring::service(config, &BTreeMap::new()).await?;
    let (order, done, what) = match command {
        ChainCommand::Reread { order, from, to } => {
            let done = service.reread(ChainId(order.chain), from..=to, order.send).await?;
            (order, done, "were left out")
        }
        ChainCommand::Resume { order, at } => {
            let done = service.resume(ChainId(order.chain), at, order.send).await?;
            (order, done, "lie above and are withdrawn")
        }
    };
    match done {
        Order::Events(events) => println!("{events} events {what}"),
        Order::NotHalted => return Err(ChainError::NotHalted(order.chain).into()),
        Order::NoBlock(block) => {
            return Err(ChainError::NoBlock { chain: order.chain, block }.into());
        }
    }
    if order.send {
        println!("chain {} is not halted any more", order.chain);
    } else {
        println!("nothing was changed: add --send");
    }
    service.store().close().await;
    Ok(())
}
