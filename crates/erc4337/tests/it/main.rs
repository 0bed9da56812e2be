//! Facts about the crate's public face, one module for each of its modules.

#![expect(clippy::unwrap_used, reason = "a helper that cannot do its work must fail the test")]

mod arbitrary;
mod entry_point;
mod events;
mod gas;
mod hash;
mod json;
mod key;
mod packed;
mod sponsorship;
mod vectors;
