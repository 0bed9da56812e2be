//! The rules of points and sponsorships.
//!
//! Everything here is a pure function of its arguments: time, chain facts and randomness come in as
//! values, so that every rule of money runs in microseconds under a property test.
//!
//! | module | rule |
//! | --- | --- |
//! | [`ids`] · [`points`] · [`wei`] · [`gas`] | the names and units of the house |
//! | [`quote`] | what gas costs in points |
//! | [`slot`] · [`chain_fact`] | where an operation can land, and proof of what the chain said |
//! | [`seal`] | a signature that only a committed grant opens |
//! | [`ledger`] | double entry and the two reservation machines |
//! | [`merkle`] | one hash over the heads of all accounts |
//! | [`bounds`] | what an honest operation can cost |
//! | [`window`] | how long a sponsorship is valid |
//! | [`follow`] | how a cursor follows a chain that may reorganise |
//!
//! **Invariant:** nothing here reads a clock, an environment variable, a file, a socket or a random
//! source; nothing here is `async`.

pub mod bounds;
pub mod chain_fact;
pub mod follow;
pub mod gas;
pub mod ids;
pub mod ledger;
pub mod merkle;
pub mod points;
pub mod quote;
pub mod seal;
pub mod slot;
pub mod wei;
pub mod window;

pub use gas::{FeePerGas, Gas};
pub use ids::{AccountId, AppId, ChainId, ExternalId, KeyId, ReservationId, TenantId};
pub use points::Points;
pub use quote::Quote;
pub use slot::Slot;
pub use wei::Wei;
