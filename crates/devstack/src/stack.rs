//! Everything that the service stands on, in one call.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, U256};
use futures::{TryFutureExt, try_join};
use url::Url;

use crate::{
    Progress, accounts,
    anvil::{self, Anvil, Node},
    bundler::{self, Bundler},
    contracts, entry_points,
    error::{Result, io},
    keys,
    postgres::{self, Durability, Postgres},
    run::Run,
    tools::Tools,
};

/// The chain id of the development chain.
pub const CHAIN_ID: u64 = 31_337;

/// What may differ between stacks.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The chain id.
    pub chain_id: u64,
    /// How many blocks `safe` lags behind the head; `finalized` lags twice as many. Give more to a test that reorganises.
    pub slots_in_an_epoch: u64,
    /// Seconds between empty blocks.
    pub block_time_seconds: u64,
    /// Whether PostgreSQL waits for the disk.
    pub durability: Durability,
    /// The first of [`PORTS`] ports in a row; free ones when absent.
    pub port_base: Option<u16>,
    /// Wei that each paymaster has in its EntryPoint at the start.
    pub deposit_wei: U256,
}

/// How many ports a stack with a port base takes: node, bundler, PostgreSQL, service.
pub const PORTS: u16 = 4;

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            chain_id: CHAIN_ID,
            slots_in_an_epoch: 1,
            block_time_seconds: 1,
            durability: Durability::Full,
            port_base: None,
            deposit_wei: U256::from(10_000_000_000_000_000_000_u128),
        }
    }
}

impl StackOptions {
    /// For tests: PostgreSQL does not wait for the disk.
    pub fn for_tests() -> Self {
        Self { durability: Durability::Relaxed, ..Self::default() }
    }

    fn port(&self, offset: u16) -> Option<u16> {
        self.port_base.map(|base| base.saturating_add(offset))
    }

    /// The port of the service, if it must be a certain one.
    pub fn service_port(&self) -> Option<u16> {
        self.port(3)
    }
}

/// What one needs to know about the chain.
#[derive(Debug, Clone)]
pub struct ChainStack {
    /// The node.
    pub rpc_url: Url,
    /// The bundler.
    pub bundler_url: Url,
    /// The chain id.
    pub chain_id: u64,
    /// EntryPoints by version (`"0.7"` …).
    pub entry_points: BTreeMap<String, Address>,
    /// Our paymasters by the version of their EntryPoint.
    pub paymasters: BTreeMap<String, Address>,
    /// The owner of the paymasters.
    pub paymaster_owner: Address,
    /// The signer that signs; the paymasters accept [`keys::STANDBY`] as well.
    pub signer: Address,
    /// The signer's private key.
    pub signer_key: B256,
    /// A target that counts calls: `increment()`, `count()`, `countOf(address)`.
    pub counter: Address,
    /// A target that reverts when told to: `setBroken(bool)`, `poke()`.
    pub flaky: Address,
}

/// The running stack. Dropping it ends every child.
#[derive(Debug)]
pub struct Stack {
    /// The place of the logs.
    pub run: Run,
    /// The pinned tools.
    pub tools: Tools,
    /// The database server.
    pub postgres: Postgres,
    /// The node.
    pub anvil: Anvil,
    /// The bundler.
    pub bundler: Bundler,
    /// What one needs to know about the chain.
    pub chain: ChainStack,
}

impl Stack {
    /// Starts everything below the service. The first time on a machine this blocks the thread while the tools are installed.
    ///
    /// # Errors
    /// When a part is missing or does not come up; the parts that did are ended.
    pub async fn start(options: &StackOptions, progress: Progress<'_>) -> Result<Self> {
        let tools = Tools::ensure(progress)?;
        let run = Run::begin(&tools)?;
        progress(&format!("logs are in {}", run.logs().display()));
        let (postgres, (anvil, bundler, deployed)) = try_join!(
            start_postgres(&tools, &run, options).inspect_ok(|_| progress("PostgreSQL answers")),
            start_chain(&tools, &run, options, progress),
        )?;
        let chain = ChainStack {
            rpc_url: anvil.node().url().clone(),
            bundler_url: bundler.url().clone(),
            chain_id: options.chain_id,
            entry_points: entry_points::ALL
                .map(|(version, address)| (version.to_owned(), address))
                .into(),
            paymasters: deployed.paymasters,
            paymaster_owner: keys::PAYMASTER_OWNER,
            signer: keys::SIGNER,
            signer_key: keys::SIGNER_KEY,
            counter: deployed.counter,
            flaky: deployed.flaky,
        };
        Ok(Self { run, tools, postgres, anvil, bundler, chain })
    }

    /// The node's JSON-RPC side.
    pub fn node(&self) -> &Node {
        self.anvil.node()
    }

    /// Ends the parts, those first that depend on others.
    ///
    /// # Errors
    /// When the system cannot tell us about a child.
    pub async fn stop(mut self) -> Result<()> {
        self.bundler.stop().await?;
        self.anvil.stop().await?;
        self.postgres.stop().await
    }
}

async fn start_postgres(tools: &Tools, run: &Run, options: &StackOptions) -> Result<Postgres> {
    let postgres = postgres::Options {
        durability: options.durability,
        port: options.port(2),
        max_connections: 300,
        log: run.log("postgres"),
    };
    Postgres::start(tools, postgres).await
}

async fn start_chain(
    tools: &Tools,
    run: &Run,
    options: &StackOptions,
    progress: Progress<'_>,
) -> Result<(Anvil, Bundler, contracts::Deployed)> {
    let (anvil, ()) = try_join!(
        start_node(tools, run, options)
            .inspect_ok(|_| progress("the node and the EntryPoints answer")),
        build_contracts(tools, run).inspect_ok(|()| progress("the contracts are built")),
    )?;
    let bundler = bundler::Options {
        node: anvil.node().url().clone(),
        port: options.port(1),
        log: run.log("alto"),
    };
    let (bundler, deployed) = try_join!(
        Bundler::start(tools, &bundler).inspect_ok(|_| progress("the bundler answers")),
        contracts::deploy(tools, anvil.node(), &[keys::SIGNER, keys::STANDBY], options.deposit_wei)
            .inspect_ok(|_| progress("the paymasters are deployed and funded")),
    )?;
    Ok((anvil, bundler, deployed))
}

async fn start_node(tools: &Tools, run: &Run, options: &StackOptions) -> Result<Anvil> {
    let anvil = anvil::Options {
        chain_id: options.chain_id,
        slots_in_an_epoch: options.slots_in_an_epoch,
        block_time_seconds: options.block_time_seconds,
        port: options.port(0),
        log: run.log("anvil"),
    };
    let anvil = Anvil::start(tools, &anvil).await?;
    entry_points::install(tools, anvil.node(), options.chain_id).await?;
    accounts::install(tools, anvil.node()).await?;
    Ok(anvil)
}

async fn build_contracts(tools: &Tools, run: &Run) -> Result<()> {
    let (tools, log) = (tools.clone(), run.log("forge"));
    tokio::task::spawn_blocking(move || contracts::build(&tools, &log))
        .await
        .map_err(|error| io("build the contracts")(std::io::Error::other(error)))?
}
