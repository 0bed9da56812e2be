//! ERC-4337 types, packing and hashing, pure.
//!
//! One [`UserOperation`] serves EntryPoint 0.7, 0.8 and 0.9. It is read from and written to RPC JSON by [`json`],
//! turned into the form of the contracts by [`packed`], identified by [`hash`], and signed for by [`sponsorship`].
//! [`gas`] bounds what it can cost, [`events`] reads what it did cost.
//!
//! **Invariants.** Nothing here reads a clock, the environment, the network or a source of randomness. No field of
//! an operation is trusted: signatures, authorisations and delegates are carried, and it is for the caller to judge
//! them. No input makes this crate panic.

pub mod entry_point;
pub mod events;
pub mod gas;
pub mod hash;
pub mod json;
pub mod packed;
mod raw_json;
pub mod sponsorship;
mod to_json;
pub mod user_operation;

pub use entry_point::EntryPointVersion;
pub use packed::PackedUserOperation;
pub use user_operation::{Eip7702Auth, Factory, PaymasterFields, UserOperation};
