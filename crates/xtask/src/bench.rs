//! `cargo xtask bench`.

mod gas;

pub(crate) use gas::gas;
