//! The service on top of the stack: configured, migrated, with a tenant, an app and keys.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alloy::primitives::{Address, U256};
use url::Url;

use crate::{
    accounts,
    error::{Result, io},
    keys, port,
    postgres::Role,
    service::{Endpoints, Service, ServiceOptions, Worker},
    stack::Stack,
};

/// The development company.
pub const TENANT: &str = "acme";
/// Its app.
const APP: &str = "demo";

/// What may differ between deployments.
#[derive(Debug, Clone)]
pub struct DeploymentOptions {
    /// Points that a wallet nobody linked gets on first sight; `None` refuses such a wallet.
    pub auto_provision: Option<String>,
    /// Points per 10^18 wei.
    pub points_per_e18_wei: String,
    /// What is added to the price, in basis points.
    pub markup_bps: u32,
    /// How long a signature is valid, in seconds of chain time.
    pub validity_seconds: u32,
    /// How far the head may be from the wall clock, in seconds. A test that moves the chain's time gives more.
    pub stale_head_seconds: u64,
    /// `finalized`, `safe`, or `{ depth = n }`, as in the configuration.
    pub finality: String,
    /// The log filter.
    pub log: String,
    /// The database, which must not exist yet.
    pub database: String,
    /// Paymasters by the version of their EntryPoint; `None` serves those of the stack. Two deployments on one chain need each their own: a
    /// charge belongs to whoever serves the paymaster.
    pub paymasters: Option<BTreeMap<String, Address>>,
    /// Which process reads the chain.
    pub worker: Worker,
    /// The binary; `None` for the one that `cargo build` leaves.
    pub binary: Option<PathBuf>,
    /// The nodes that it asks, in order of preference; none for the stack's own.
    pub nodes: Vec<Url>,
}

impl Default for DeploymentOptions {
    fn default() -> Self {
        Self {
            auto_provision: Some("10000".to_owned()),
            points_per_e18_wei: "250000".to_owned(),
            markup_bps: 500,
            validity_seconds: 180,
            stale_head_seconds: 60,
            finality: "\"finalized\"".to_owned(),
            log: "info".to_owned(),
            database: "stipend".to_owned(),
            paymasters: None,
            worker: Worker::Inside,
            binary: None,
            nodes: Vec::new(),
        }
    }
}

impl DeploymentOptions {
    /// What an operation of this cost is settled with, in micropoints: the price as the ledger must reckon it, written
    /// apart from it for those who check it.
    pub fn micropoints(&self, wei: U256) -> Option<U256> {
        let (whole, fraction) = match self.points_per_e18_wei.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (self.points_per_e18_wei.as_str(), ""),
        };
        let rate: U256 = format!("{whole}{fraction:0<6}").parse().ok()?;
        let bps = U256::from(10_000_u64.saturating_add(self.markup_bps.into()));
        let unit = U256::from(10).checked_pow(U256::from(22))?;
        Some(wei.checked_mul(rate)?.checked_mul(bps)?.div_ceil(unit))
    }
}

/// The running service and what one needs to use it.
#[derive(Debug)]
pub struct Deployment {
    /// The process.
    pub service: Service,
    /// How it was started, to start it again.
    pub options: ServiceOptions,
    /// Where everything is.
    pub endpoints: Endpoints,
}

impl Deployment {
    /// Migrates a fresh database, makes tenant, app and keys, and starts the service with its workers.
    ///
    /// # Errors
    /// When a step fails; the error shows what it said.
    pub async fn start(
        stack: &Stack,
        port: Option<u16>,
        options: &DeploymentOptions,
    ) -> Result<Self> {
        stack.postgres.create_database(&options.database).await?;
        let port = match port {
            Some(port) => port,
            None => port::free()?,
        };
        let url: Url = format!("http://127.0.0.1:{port}/")
            .parse()
            .map_err(|error| io("name the service")(std::io::Error::other(error)))?;
        let config = stack.run.logs().join(format!("{}.toml", options.database));
        let paymasters = options.paymasters.as_ref().unwrap_or(&stack.chain.paymasters);
        let text = configuration(stack, port, options, paymasters);
        fs::write(&config, text).map_err(io(format!("write {}", config.display())))?;
        let built = || ServiceOptions::debug_binary(&stack.tools);
        let binary = options.binary.clone().unwrap_or_else(built);
        let service = ServiceOptions {
            name: options.database.clone(),
            binary,
            config,
            env: Vec::new(),
            url: url.clone(),
            worker: options.worker,
        };
        let run = async |args: &[&str]| service.run(&stack.tools, &stack.run, args).await;
        run(&["migrate"]).await?;
        run(&["admin", "tenant", "create", TENANT]).await?;
        let key = async |kind: &str, extra: &[&str]| {
            let mut args =
                vec!["admin", "key", "create", "--tenant", TENANT, "--app", APP, "--kind", kind];
            args.extend(extra);
            run(&args).await.map(|key| key.trim().to_owned())
        };
        let secret_key = key("secret", &[]).await?;
        let publishable_key = key("publishable", &[]).await?;
        let wallet_key = key("publishable", &["--reserves-any-account"]).await?;
        let join = |path: &str| {
            url.join(path).map_err(|error| io("name the service")(std::io::Error::other(error)))
        };
        let endpoints = Endpoints {
            rpc_url: stack.chain.rpc_url.clone(),
            bundler_url: stack.chain.bundler_url.clone(),
            api_url: url.clone(),
            paymaster_url: join(&format!("rpc/{wallet_key}"))?,
            console_url: join("console")?,
            database_url: join_database(&stack.postgres.url(Role::Runtime, &options.database))?,
            secret_key,
            publishable_key,
            chain_id: stack.chain.chain_id,
            entry_points: stack.chain.entry_points.clone(),
            paymasters: paymasters.clone(),
        };
        let running = Service::start(&stack.tools, &stack.run, &service).await?;
        Ok(Self { service: running, options: service, endpoints })
    }
}

fn join_database(url: &str) -> Result<Url> {
    url.parse().map_err(|error| io("name the database")(std::io::Error::other(error)))
}

fn quoted(address: Address) -> String {
    format!("\"{address}\"")
}

/// The configuration file, as an operator would write it for development.
fn configuration(
    stack: &Stack,
    port: u16,
    options: &DeploymentOptions,
    paymasters: &BTreeMap<String, Address>,
) -> String {
    let chain = &stack.chain;
    let own = options.nodes.is_empty().then_some(&chain.rpc_url);
    let nodes = options.nodes.iter().chain(own);
    let paymasters: String = paymasters
        .iter()
        .map(|(version, address)| {
            format!(
                "\n[[chains.paymasters]]\ntenant = \"{TENANT}\"\naddress = \"{address}\"\nversion = \"{version}\"\nsigners = [\"dev\", \"standby\"]\n"
            )
        })
        .collect();
    let dev = options
        .auto_provision
        .as_ref()
        .map(|points| format!("\n[dev]\nauto_provision = \"{points}\"\n"))
        .unwrap_or_default();
    format!(
        "environment = \"development\"

[database]
url = \"{runtime}\"
owner_url = \"{owner}\"
maintenance_url = \"{maintenance}\"

[http]
listen = \"127.0.0.1:{port}\"

[worker]
poll_interval_millis = 200

[sponsorship]
validity_seconds = {validity}
stale_head_seconds = {stale}

[pricing.{id}]
points_per_e18_wei = \"{price}\"
markup_bps = {markup}

[telemetry]
log = \"{log}\"
{dev}
[signers.dev]
key = \"{key}\"

[signers.standby]
key = \"{standby}\"

[[chains]]
id = {id}
rpc_urls = [{nodes}]
bundler_urls = [\"{bundler}\"]
finality = {finality}
start_block = 1
paymaster_signature = \"apart\"
delegates = [{delegates}]
{paymasters}",
        runtime = stack.postgres.url(Role::Runtime, &options.database),
        owner = stack.postgres.url(Role::Owner, &options.database),
        maintenance = stack.postgres.url(Role::Maintenance, &options.database),
        validity = options.validity_seconds,
        stale = options.stale_head_seconds,
        price = options.points_per_e18_wei,
        markup = options.markup_bps,
        log = options.log,
        key = chain.signer_key,
        standby = keys::STANDBY_KEY,
        delegates = [accounts::SIMPLE_7702_V08, accounts::SIMPLE_7702_V09].map(quoted).join(", "),
        id = chain.chain_id,
        nodes = nodes.map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", "),
        bundler = chain.bundler_url,
        finality = options.finality,
    )
}
