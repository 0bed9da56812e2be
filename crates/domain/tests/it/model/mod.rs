//! The machines against naive models.
//!
//! A model keeps no state but the list of what happened: every answer and every balance is looked up
//! in that list from its beginning. It shares nothing with the machines but the words of the answers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a look-up in a history asks for one kind of event and passes over all others"
)]

mod chain;
mod lots;
mod past;
mod sponsorship;
mod tcc;

use proptest::test_runner::Config;

/// How many sequences of commands each machine is driven through, unless `cargo xtask nightly` asks for more.
const CASES: u32 = 512;
/// The longest sequence.
const COMMANDS: usize = 60;

fn config() -> Config {
    let wished = Config::default();
    Config { cases: wished.cases.max(CASES), ..wished }
}
