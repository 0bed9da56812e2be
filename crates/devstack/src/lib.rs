//! Development only: embedded PostgreSQL, anvil, the EntryPoints, a bundler, our contracts, and the real clients.
//!
//! Tests, the demo and `cargo xtask dev` share this stack, so what is shown to work is what is tested. Nothing is mocked: every
//! part is the program that also runs elsewhere, pinned by `package-lock.json`.
//!
//! [`Stack::start`] brings up everything; [`postgres::test_database`] gives a store test just a database.
//!
//! **Invariants.** No child outlives the process that started it, however that ends ([`process`]). Nothing listens beyond loopback.
//! No path or port is fixed, so runs side by side do not meet. Nothing that ships depends on this crate.

pub mod accounts;
pub mod anvil;
pub mod artifact;
pub mod bundler;
pub mod contracts;
pub mod deploy;
pub mod deployment;
pub mod driver;
pub mod entry_points;
pub mod error;
pub mod keys;
pub mod port;
pub mod postgres;
pub mod process;
pub mod run;
pub mod scripted_node;
pub mod service;
pub mod stack;
pub mod tools;

pub use deployment::{Deployment, DeploymentOptions};
pub use error::{Error, Result};
pub use run::Run;
pub use stack::{ChainStack, Stack, StackOptions};
pub use tools::Tools;

/// Where a long step says what it is doing, one line at a time.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
