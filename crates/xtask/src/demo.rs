//! `cargo xtask demo`: a user's points pay for a real UserOperation, told so that everybody understands
//! it, and checked on both ledgers.

mod books;
mod client;

use std::time::Duration;

use alloy::primitives::{Address, B256, U256, b256};
use alloy::sol;
use alloy::sol_types::SolCall;
use devstack::driver::{Account, Client, Driver, Request};

use crate::Failure;
use crate::dev::{self, Running};
use books::Books;
use client::Api;

sol! {
    function increment() external;
}

/// The user whom the company calls `alice`; the key is her wallet's, and worth nothing.
const USER: &str = "alice";
const OWNER_KEY: B256 = b256!("a11ce00000000000000000000000000000000000000000000000000000000001");
const VERSION: &str = "0.8";
const CREDIT: &str = "1000";
/// How long the chain may take to make the operation final.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo; without `once` the stack stays up afterwards.
pub(crate) async fn run(once: bool) -> Result<(), Failure> {
    let running = tokio::select! {
        running = dev::start(None, false) => running?,
        interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
    };
    let told = tell(&running).await;
    if once || told.is_err() {
        running.stop().await?;
        return told;
    }
    running.stay().await
}

async fn tell(running: &Running) -> Result<(), Failure> {
    let endpoints = &running.deployment.endpoints;
    let chain = &running.stack.chain;
    let api = Api::new(endpoints);
    let driver = Driver::start(&running.stack.tools)?;
    let wallet_request = Request::new(chain, Client::Viem, Account::Simple, VERSION, OWNER_KEY)
        .call(chain.counter, incrementCall {}.abi_encode())
        .paid_by(endpoints.paymaster_url.as_str());
    let wallet = driver.address(&wallet_request).await?.address;
    let books = Books::open(running, VERSION, wallet).await?;

    println!("\n-- The company");
    api.put(&format!("v1/accounts/{USER}")).await?;
    api.put(&format!("v1/accounts/{USER}/wallets/{}/{wallet}", chain.chain_id)).await?;
    api.credit(USER, CREDIT).await?;
    let before = api.available(USER).await?;
    println!("gives {USER} {CREDIT} points, and links her wallet {wallet}");
    println!(
        "{USER}'s wallet holds {} wei, and is not even deployed yet",
        books.wallet_wei().await?
    );
    println!("{USER} has {before} points available");

    println!("\n-- {USER} clicks a button in a dApp");
    println!("viem asks Stipend to sponsor a call, {USER} signs, the bundler includes it");
    let sent = driver.send(&wallet_request).await?;
    let hash = sent.user_op_hash.ok_or("the bundler gave no hash")?;
    let receipt = driver.wait(&wallet_request, hash).await?;
    println!("operation   {hash}");
    println!("transaction {}", receipt.transaction_hash);

    let id = api.sponsorship_of(wallet).await?;
    println!("\n-- Stipend");
    println!("reserved    {} points before it signed", api.newest_entry(USER, "reserve").await?);
    let done = api.final_sponsorship(&id, PATIENCE).await?;
    let after = api.available(USER).await?;
    let returned = api.newest_entry(USER, "finalise").await?;
    println!("settled     {} points, what the operation really cost", done.cost);
    println!("returned    {returned} points, when its block became final");
    println!("the gas tank paid {} wei", done.gas_cost);
    println!("{USER} has {after} points available");

    books.agree(USER, &done, &receipt.transaction_hash).await?;
    let count = books.count_of(wallet).await?;
    if count != U256::from(1) {
        return Err(format!("the call did not happen: the counter says {count}").into());
    }
    println!("\nBoth ledgers agree, to the micropoint and the wei.");
    Ok(())
}

/// An address of the stack by its version.
fn of_version(
    addresses: &std::collections::BTreeMap<String, Address>,
    version: &str,
) -> Result<Address, Failure> {
    addresses
        .get(version)
        .copied()
        .ok_or_else(|| format!("nothing is deployed for {version}").into())
}
