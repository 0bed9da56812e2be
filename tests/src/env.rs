//! The stacks of a test process.
//!
//! Most tests share one stack and run beside each other on it, each with accounts of its own. A test that holds the bundler back, moves
//! the chain's time, reorganises it or kills the service would disturb them: those take turns on a second stack, where nothing is provisioned by itself and
//! the head may be far from the wall clock. A third installation stands beside the first on its stack, with a database and gas tanks of its own. A
//! fourth has a stack whose finality lies deep, and nodes that lie when they are told to.

use std::{
    fs,
    sync::{Arc, LazyLock},
};

use alloy::{
    primitives::{Address, B256, U64, U256, keccak256},
    providers::Provider,
};
use devstack::{
    Deployment, DeploymentOptions, Error, Stack, StackOptions, Tools, contracts,
    deployment::TENANT,
    driver::Driver,
    keys,
    process::Process,
    scripted_node::ScriptedNode,
    service::{Endpoints, Service, ServiceOptions, Worker},
};
use serde_json::Value;
use tokio::{
    runtime::Runtime,
    sync::{Mutex, MutexGuard, OnceCell},
};

use crate::{api::Api, ledger::Ledger, wait};

/// Blocks that `safe` lags behind the head of the second stack. Its `finalized` lags twice as many, so that a test can reorganise what is not final.
const OWN_SLOTS_IN_AN_EPOCH: u64 = 4;
/// The same of the stack with the lying nodes: more than the deepest reorganisation there.
const DEEP_SLOTS_IN_AN_EPOCH: u64 = 40;
/// On these stacks the head may be days ahead of the wall clock.
const OWN_STALE_HEAD_SECONDS: u64 = 1_000_000;

/// A running stack with the service on it.
#[derive(Debug)]
pub struct Env {
    /// Everything below the service.
    pub stack: Arc<Stack>,
    /// How the service is configured.
    pub options: DeploymentOptions,
    /// Where everything is.
    pub endpoints: Endpoints,
    /// The real client libraries.
    pub driver: Driver,
    /// Plain HTTP.
    pub api: Api,
    /// What the database holds.
    pub ledger: Ledger,
    /// Wei that each paymaster had in its EntryPoint at the start.
    pub deposit: U256,
    /// The last block before any operation.
    pub first_block: u64,
    /// The nodes that the service asks, where they can lie: proxies before the one of the stack.
    pub nodes: Vec<ScriptedNode>,
    /// How many blocks a block must lie below the head to be final.
    finality_depth: u64,
    running: Mutex<Running>,
}

/// The processes of an installation.
#[derive(Debug)]
struct Running {
    deployment: Deployment,
    /// The worker, where it is a process apart and was started.
    worker: Option<Process>,
    /// Whether the service runs with another configuration than the one it was deployed with.
    is_reconfigured: bool,
}

type Started = OnceCell<Result<Env, String>>;

static SHARED: Started = OnceCell::const_new();
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Runs a test on the stack that the tests share, and holds the gas tanks against the ledger at its end.
///
/// # Panics
/// When the stack does not come up.
pub fn on_shared_stack(test: impl AsyncFnOnce(&'static Env)) {
    RUNTIME.block_on(async {
        let env = shared().await;
        test(env).await;
        env.tanks_agree().await;
    });
}

async fn shared() -> &'static Env {
    let options = (StackOptions::for_tests(), DeploymentOptions::default());
    started(&SHARED, async || Env::start(&options.0, options.1).await).await
}

/// Runs a test on an installation of its own beside the one that the tests share, on the same chain, whose worker is a process apart that the
/// test starts.
///
/// # Panics
/// When it does not come up.
pub fn on_processes_apart(test: impl AsyncFnOnce(&'static Env)) {
    static ENV: Started = OnceCell::const_new();
    RUNTIME.block_on(async {
        let shared = shared().await;
        let env = started(&ENV, async || {
            // Another list of signers makes other addresses, so that no charge is both installations'.
            let stack = &shared.stack;
            let signers = [keys::SIGNER, keys::STANDBY, keys::PAYMASTER_OWNER];
            let deployed =
                contracts::deploy(&stack.tools, stack.node(), &signers, shared.deposit).await?;
            let options = DeploymentOptions {
                database: "stipend_apart".to_owned(),
                paymasters: Some(deployed.paymasters),
                worker: Worker::Apart,
                ..DeploymentOptions::default()
            };
            Env::on(Arc::clone(stack), shared.deposit, options, Vec::new()).await
        });
        let env = env.await;
        test(env).await;
        env.tanks_agree().await;
    });
}

/// Runs a test on the second stack, which it has for itself, and holds the gas tanks against the ledger at its end.
///
/// # Panics
/// When the stack does not come up.
pub fn on_own_stack(test: impl AsyncFnOnce(&'static Env)) {
    static ENV: Started = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    RUNTIME.block_on(async {
        let _turn = TURN.lock().await;
        let stack =
            StackOptions { slots_in_an_epoch: OWN_SLOTS_IN_AN_EPOCH, ..StackOptions::for_tests() };
        let deployment = DeploymentOptions {
            auto_provision: None,
            stale_head_seconds: OWN_STALE_HEAD_SECONDS,
            ..DeploymentOptions::default()
        };
        let env = started(&ENV, async || Env::start(&stack, deployment).await).await;
        // The test before may have failed half-way.
        env.stack.bundler.release().await.unwrap();
        if !env.runs_as_deployed().await {
            env.restart_service().await;
        }
        test(env).await;
        env.tanks_agree().await;
    });
}

/// Runs a test on a stack of its own kind, which it has for itself: the service asks two [nodes](Env::nodes) that lie when they are told to,
/// and finality lies deeper than 64 blocks.
///
/// # Panics
/// When the stack does not come up.
pub fn on_lying_nodes(test: impl AsyncFnOnce(&'static Env)) {
    RUNTIME.block_on(async {
        let (env, _turn) = lying_nodes().await;
        test(env).await;
        env.nodes.iter().for_each(ScriptedNode::behave);
        env.tanks_agree().await;
    });
}

/// Runs a test on an installation that nobody else uses, beside that with the lying nodes and on the same chain, with lying nodes of its
/// own. For it a block is final two blocks below the head. The test may break it for good.
///
/// # Panics
/// When it does not come up.
pub fn on_hasty_finality(database: &str, test: impl AsyncFnOnce(&'static Env)) {
    RUNTIME.block_on(async {
        let (deep, _turn) = lying_nodes().await;
        let env = hasty(deep, database).await.unwrap_or_else(|error| panic!("{error}"));
        let env: &'static Env = Box::leak(Box::new(env));
        test(env).await;
        env.stop_service().await;
    });
}

async fn hasty(deep: &Env, database: &str) -> devstack::Result<Env> {
    let stack = &deep.stack;
    // Another list of signers makes other addresses, so that no charge is two installations'.
    let another = Address::from_word(keccak256(database));
    let signers = [keys::SIGNER, keys::STANDBY, another];
    let deployed = contracts::deploy(&stack.tools, stack.node(), &signers, deep.deposit).await?;
    let nodes = lying_nodes_of(stack).await?;
    let options = DeploymentOptions {
        database: database.to_owned(),
        paymasters: Some(deployed.paymasters),
        finality: "{ depth = 2 }".to_owned(),
        nodes: nodes.iter().map(|node| node.url().clone()).collect(),
        ..deep.options.clone()
    };
    let mut env = Env::on(Arc::clone(stack), deep.deposit, options, nodes).await?;
    env.finality_depth = 2;
    Ok(env)
}

async fn lying_nodes_of(stack: &Stack) -> devstack::Result<Vec<ScriptedNode>> {
    let url = &stack.chain.rpc_url;
    Ok(vec![ScriptedNode::start(url).await?, ScriptedNode::start(url).await?])
}

async fn lying_nodes() -> (&'static Env, MutexGuard<'static, ()>) {
    static ENV: Started = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let options =
        StackOptions { slots_in_an_epoch: DEEP_SLOTS_IN_AN_EPOCH, ..StackOptions::for_tests() };
    let env = started(&ENV, async || {
        let stack = start_stack(&options).await?;
        let nodes = lying_nodes_of(&stack).await?;
        let deployment = DeploymentOptions {
            auto_provision: None,
            stale_head_seconds: OWN_STALE_HEAD_SECONDS,
            nodes: nodes.iter().map(|node| node.url().clone()).collect(),
            ..DeploymentOptions::default()
        };
        let mut env = Env::on(Arc::new(stack), options.deposit_wei, deployment, nodes).await?;
        env.finality_depth = 2 * DEEP_SLOTS_IN_AN_EPOCH;
        Ok(env)
    });
    let env = env.await;
    // The test before may have failed half-way.
    env.nodes.iter().for_each(ScriptedNode::behave);
    env.stack.bundler.release().await.unwrap();
    (env, turn)
}

async fn start_stack(options: &StackOptions) -> devstack::Result<Stack> {
    let tools = Tools::ensure(&|line| eprintln!("{line}"))?;
    let binary = ServiceOptions::debug_binary(&tools);
    if !binary.is_file() {
        return Err(Error::MissingTool {
            tool: "the service".to_owned(),
            path: binary,
            remedy: "run `cargo build -p stipend`".to_owned(),
        });
    }
    Stack::start(options, &|line| eprintln!("{line}")).await
}

/// Starts an installation once; what stopped it the first time stops every test at once.
async fn started(
    env: &'static Started,
    start: impl AsyncFnOnce() -> devstack::Result<Env>,
) -> &'static Env {
    let started = env.get_or_init(|| async {
        let env = Box::pin(start()).await;
        env.map_err(|error| error.to_string())
    });
    started.await.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

impl Env {
    async fn start(stack: &StackOptions, options: DeploymentOptions) -> devstack::Result<Self> {
        let deposit = stack.deposit_wei;
        let stack = start_stack(stack).await?;
        Self::on(Arc::new(stack), deposit, options, Vec::new()).await
    }

    /// An installation on a stack that runs already, with so much in each of its gas tanks.
    async fn on(
        stack: Arc<Stack>,
        deposit: U256,
        options: DeploymentOptions,
        nodes: Vec<ScriptedNode>,
    ) -> devstack::Result<Self> {
        let first_block = stack.node().provider().get_block_number().await;
        let deployment = Deployment::start(&stack, None, &options).await?;
        let endpoints = deployment.endpoints.clone();
        Ok(Self {
            driver: Driver::start(&stack.tools)?,
            api: Api::new(&endpoints),
            ledger: Ledger::connect(endpoints.database_url.as_str()).await,
            stack,
            options,
            endpoints,
            deposit,
            first_block: first_block.unwrap(),
            nodes,
            finality_depth: 2 * OWN_SLOTS_IN_AN_EPOCH,
            running: Mutex::new(Running { deployment, worker: None, is_reconfigured: false }),
        })
    }

    /// What an operation of this cost is settled with, in micropoints, by the configured price.
    pub fn micropoints(&self, wei: U256) -> i64 {
        self.options.micropoints(wei).unwrap().try_into().unwrap()
    }

    /// Kills the service with `SIGKILL`, as a crash would.
    pub async fn crash_service(&self) {
        self.running.lock().await.deployment.service.process().kill().unwrap();
    }

    /// Ends the service as an operator would, with `SIGTERM`; whether it finished with status 0.
    pub async fn stop_service(&self) -> bool {
        let service = &mut self.running.lock().await.deployment.service;
        service.stop().await.unwrap();
        service.process().has_succeeded()
    }

    /// Starts the service again, with the same configuration and database.
    pub async fn restart_service(&self) {
        let mut running = self.running.lock().await;
        let options = running.deployment.options.clone();
        running.is_reconfigured = false;
        running.restart(&self.stack, &options).await;
    }

    /// Starts the service again, with its configuration file changed by somebody.
    pub async fn restart_service_with(&self, change: impl FnOnce(&str) -> String) {
        let mut running = self.running.lock().await;
        let mut options = running.deployment.options.clone();
        let changed = change(&fs::read_to_string(&options.config).unwrap());
        options.config = options.config.with_extension("changed.toml");
        fs::write(&options.config, changed).unwrap();
        running.is_reconfigured = true;
        running.restart(&self.stack, &options).await;
    }

    async fn runs_as_deployed(&self) -> bool {
        let mut running = self.running.lock().await;
        !running.is_reconfigured && !running.deployment.service.process().has_ended()
    }

    /// Starts the worker, where it is a process apart. It ends with the test process.
    pub async fn start_worker(&self) {
        let mut running = self.running.lock().await;
        let worker = running.deployment.options.start_worker(&self.stack.tools, &self.stack.run);
        running.worker = Some(worker.unwrap());
    }

    /// Runs a command of the binary to its end, with the configuration of the running service: what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn stipend(&self, args: &[&str]) -> Result<String, Error> {
        let options = self.running.lock().await.deployment.options.clone();
        options.run(&self.stack.tools, &self.stack.run, args).await
    }

    /// Makes a publishable key for an app of the company, and the app if it is new. Wallets may use the key for any account.
    pub async fn key_of_app(&self, app: &str) -> String {
        self.publishable_key(app, &["--reserves-any-account"]).await
    }

    /// Makes a publishable key that proves nothing about any user.
    pub async fn bare_key_of_app(&self, app: &str) -> String {
        self.publishable_key(app, &[]).await
    }

    async fn publishable_key(&self, app: &str, powers: &[&str]) -> String {
        let create = ["admin", "key", "create", "--tenant", TENANT, "--app", app];
        let key = self.stipend(&[&create[..], &["--kind", "publishable"], powers].concat()).await;
        key.unwrap_or_else(|error| panic!("{error}")).trim().to_owned()
    }

    /// The number of the newest block.
    pub async fn head(&self) -> u64 {
        self.stack.node().provider().get_block_number().await.unwrap()
    }

    /// The newest block's time.
    pub async fn chain_time(&self) -> u64 {
        let head = self.stack.node().provider().get_block(alloy::eips::BlockId::latest()).await;
        head.unwrap().unwrap().header.timestamp
    }

    /// How many transactions an address has sent, or contracts made.
    pub async fn transaction_count(&self, address: Address) -> u64 {
        self.stack.node().provider().get_transaction_count(address).await.unwrap()
    }

    /// Moves the chain's time on and mines the block that shows it. Nothing is final by that.
    pub async fn pass_seconds(&self, seconds: u64) {
        let node = self.stack.node();
        let _total: Value = node.request("evm_increaseTime", (U64::from(seconds),)).await.unwrap();
        self.mine(1).await;
    }

    /// Mines empty blocks.
    pub async fn mine(&self, blocks: u64) {
        let mined = self.stack.node().request("anvil_mine", (U64::from(blocks),)).await;
        let _nothing: Value = mined.unwrap();
    }

    /// Makes what is in a block now final, without waiting for so many blocks, and waits until the service knows.
    pub async fn make_final(&self) {
        let head = self.head().await;
        self.mine(self.finality_depth).await;
        wait::until(&format!("the service takes block {head} for final"), 30, async || {
            let last = self.ledger.final_block().await;
            if last >= Some(head) { Ok(()) } else { Err(format!("the last is {last:?}")) }
        })
        .await;
    }

    /// Replaces the blocks from this one on by others without transactions.
    pub async fn reorganise_from(&self, block: u64, hash: B256) {
        let node = self.stack.node();
        wait::until(&format!("block {block} is another one"), 10, async || {
            let depth = self.head().await + 1 - block;
            let nothing: Vec<Value> = Vec::new();
            let _done: Value = node.request("anvil_reorg", (depth, nothing)).await.unwrap();
            let found = node.provider().get_block_by_number(block.into()).await.unwrap();
            match found {
                Some(found) if found.header.hash != hash => Ok(()),
                // A block was mined between the two requests, and the depth was one too few.
                _ => Err("it is the old one".to_owned()),
            }
        })
        .await;
    }

    /// Calls any method of the bundler itself, not through the service.
    pub async fn bundler(&self, method: &str, params: Value) -> Result<Value, String> {
        self.stack.bundler.request(method, params).await.map_err(|error| error.to_string())
    }
}

impl Running {
    async fn restart(&mut self, stack: &Stack, options: &ServiceOptions) {
        self.deployment.service.stop().await.unwrap();
        let service = Service::start(&stack.tools, &stack.run, options).await;
        self.deployment.service = service.unwrap_or_else(|error| panic!("{error}"));
    }
}
