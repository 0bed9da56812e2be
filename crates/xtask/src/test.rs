//! `cargo xtask test`.

use devstack::Tools;

use crate::cargo::{self, cargo};
use crate::forge::forge;
use crate::python::{halmos, slither};
use crate::steps::Steps;
use crate::{Failure, artifact, block_on, sqlx_cache, tidy};

/// Runs everything. `all` adds the proofs that need Python.
pub(crate) fn run(all: bool) -> Result<(), Failure> {
    let mut steps = Steps::default();
    let mut tools = None;
    steps.step("the pinned tools", || {
        tools = Some(Tools::ensure(&|line: &str| println!("{line}"))?);
        Ok(())
    })?;
    let tools = tools.ok_or("no tools")?;
    steps.step("rustfmt", || cargo::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.step("tidy", tidy::run)?;
    steps.step("clippy", || {
        cargo::run(&mut cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    steps.step("the cache of checked SQL", || block_on(sqlx_cache::run(true)))?;
    steps.step("forge fmt", || cargo::run(forge(&tools)?.args(["fmt", "--check"])))?;
    steps.step("forge test", || cargo::run(forge(&tools)?.arg("test")))?;
    steps.step("the paymaster's committed code", || artifact::run(true))?;
    // `cargo xtask bench gas` shows what changed; `FOUNDRY_PROFILE=gas forge snapshot --match-contract BarsTest` accepts it.
    steps.step("gas bars and .gas-snapshot", || {
        let mut check = forge(&tools)?;
        check.env("FOUNDRY_PROFILE", "gas");
        cargo::run(check.args(["snapshot", "--check", "--match-contract", "BarsTest"]))
    })?;
    steps.step("build stipend", || {
        cargo::run(&mut cargo(&["build", "--quiet", "--package", "stipend"]))
    })?;
    steps.step("unit, property and store tests", || {
        cargo::run(&mut cargo(&["test", "--quiet", "--workspace", "--exclude", "e2e"]))
    })?;
    steps.step("end-to-end tests", || {
        cargo::run(&mut cargo(&[
            "test",
            "--package",
            "e2e",
            "--",
            "--nocapture",
            "--test-threads=8",
        ]))
    })?;
    if all {
        steps.step("slither", || slither::run(&tools))?;
        steps.step("halmos", || halmos::run(&tools))?;
    }
    steps.summary();
    Ok(())
}
