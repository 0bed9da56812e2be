//! `cargo xtask nightly`: what takes longer than anybody waits for.

use crate::Failure;
use crate::cargo::{self, cargo};
use crate::steps::Steps;

/// Runs so many sequences of each kind, from one seed on. What fails prints its seed, and itself as short as it could be
/// made.
pub(crate) fn run(sequences: u64, seed: u64) -> Result<(), Failure> {
    let mut steps = Steps::default();
    println!("{sequences} sequences of each kind from seed {seed}");
    steps.step("the machines against their models", || {
        let mut test =
            cargo(&["test", "--release", "--package", "domain", "--test", "it", "model::"]);
        test.env("PROPTEST_CASES", sequences.to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string());
        cargo::run(&mut test)
    })?;
    steps.step("the store against the list of what happened", || {
        let words = ["--release", "--package", "store", "--test", "it", "soak::any_interleaving"];
        let mut test = cargo(&["test"]);
        test.args(words).args(["--", "--nocapture"]);
        test.env("STIPEND_SOAK_SEQUENCES", sequences.to_string());
        test.env("STIPEND_SOAK_SEED", seed.to_string());
        cargo::run(&mut test)
    })?;
    steps.summary();
    Ok(())
}
