//! `cargo xtask bench ingest`: how fast the ingester reads what happened while nobody did, beside the node's own pace.

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U64, b256};
use devstack::anvil::Node;
use devstack::service::Worker;
use devstack::{Deployment, DeploymentOptions, Stack, StackOptions};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{Failure, cargo};

/// How often both are measured; the medians count.
const ROUNDS: usize = 3;
/// Blocks of one `eth_getLogs`, as the ingester has them: so many at first, twice as many each time, and so many at most.
const FIRST_SPAN: u64 = 500;
const LONGEST_SPAN: u64 = 10_000;
/// The node mines so many at once without being silent for longer than a client waits.
const MINED_AT_ONCE: u64 = 500;
const LONGEST: Duration = Duration::from_secs(300);
/// The first topic of what the ingester looks for
/// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337#entrypoint-interface)).
const USER_OPERATION_EVENT: B256 =
    b256!("49628fd1471006c1482da88028e9ce4dbb080b815c9b0344d39e5a8e6ec1419f");

/// Measures, and prints both rates and their ratio.
pub(crate) async fn ingest(blocks: u64) -> Result<(), Failure> {
    println!("building stipend with optimisation");
    cargo::run(&mut cargo::cargo(&["build", "--release", "--package", "stipend"]))?;
    let stack = Stack::start(&StackOptions::default(), &|line: &str| println!("{line}")).await?;
    let mut mined = 0;
    while mined < blocks {
        let _nothing: Value =
            stack.node().request("anvil_mine", (U64::from(MINED_AT_ONCE),)).await?;
        mined = mined.saturating_add(MINED_AT_ONCE);
        if mined.is_multiple_of(10 * MINED_AT_ONCE) {
            println!("{mined} of {blocks} blocks are mined");
        }
    }
    let (mut node, mut ingester) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let raw = raw_rate(&stack, blocks).await?;
        let own = ingester_rate(&stack, &format!("stipend_ingest_{round}"), blocks).await?;
        println!("round {round}: eth_getLogs {raw:>9.0} blocks/s, ingester {own:>9.0} blocks/s");
        node.push(raw);
        ingester.push(own);
    }
    let (node, ingester) = (median(node), median(ingester));
    println!(
        "\nmedians: eth_getLogs {node:.0} blocks/s, ingester {ingester:.0} blocks/s, ratio {:.2} (bar: 0.7)",
        ratio(ingester, node)
    );
    stack.stop().await?;
    Ok(())
}

/// The node alone: the same filter over the same blocks, one question after the other.
async fn raw_rate(stack: &Stack, to: u64) -> Result<f64, Failure> {
    let entry_points: Vec<_> = stack.chain.entry_points.values().collect();
    let paymasters: Vec<_> = stack.chain.paymasters.values().map(Address::into_word).collect();
    let begin = Instant::now();
    let (mut next, mut span) = (0, FIRST_SPAN);
    while next < to {
        let end = to.min(next.saturating_add(span));
        let filter = json!({
            "fromBlock": format!("{:#x}", next.saturating_add(1)),
            "toBlock": format!("{end:#x}"),
            "address": entry_points,
            "topics": [USER_OPERATION_EVENT, null, null, paymasters],
        });
        let _logs: Value = Node::request(stack.node(), "eth_getLogs", (filter,)).await?;
        next = end;
        span = LONGEST_SPAN.min(span.saturating_mul(2));
    }
    Ok(rate(to, begin.elapsed()))
}

/// The ingester, from nothing to the last of the blocks, by what its cursor shows.
async fn ingester_rate(stack: &Stack, database: &str, to: u64) -> Result<f64, Failure> {
    let options = DeploymentOptions {
        database: database.to_owned(),
        binary: Some(stack.tools.root().join("target/release/stipend")),
        worker: Worker::Apart,
        ..DeploymentOptions::default()
    };
    let mut deployment = Deployment::start(stack, None, &options).await?;
    let mut connection = PgConnection::connect(deployment.endpoints.database_url.as_str()).await?;
    let mut worker = deployment.options.start_worker(&stack.tools, &stack.run)?;
    let (start, first) = reaches(&mut connection, 0).await?;
    let (end, last) = reaches(&mut connection, to).await?;
    worker.stop().await?;
    deployment.service.stop().await?;
    if first > 0 {
        // It had read the next blocks already when it was first seen, so that these would cost nothing.
        return Err(format!("the ingester was at block {first} when it was first looked at").into());
    }
    Ok(rate(last, end.duration_since(start)))
}

/// When the cursor was first seen at a block or behind it, and where.
async fn reaches(connection: &mut PgConnection, block: u64) -> Result<(Instant, u64), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < LONGEST {
        let read: Option<i64> = sqlx::query_scalar("SELECT max(block_number) FROM chain_cursors")
            .fetch_one(&mut *connection)
            .await?;
        let read = read.and_then(|read| u64::try_from(read).ok());
        if let Some(read) = read.filter(|read| *read >= block) {
            return Ok((Instant::now(), read));
        }
    }
    Err(format!("the ingester is not at block {block} after {LONGEST:?}").into())
}

#[expect(clippy::cast_precision_loss, clippy::float_arithmetic, reason = "rates, for people")]
fn rate(blocks: u64, elapsed: Duration) -> f64 {
    blocks as f64 / elapsed.as_secs_f64()
}

#[expect(clippy::float_arithmetic, reason = "a ratio, for people")]
fn ratio(one: f64, other: f64) -> f64 {
    one / other
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
