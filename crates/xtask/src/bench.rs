//! `cargo xtask bench`.

mod gas;
mod ingest;
mod ledger;

pub(crate) use gas::gas;
pub(crate) use ingest::ingest;
pub(crate) use ledger::{LedgerOptions, ledger};
