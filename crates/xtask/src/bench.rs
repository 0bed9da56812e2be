//! `cargo xtask bench`.

mod gas;
mod ledger;

pub(crate) use gas::gas;
pub(crate) use ledger::{LedgerOptions, ledger};
