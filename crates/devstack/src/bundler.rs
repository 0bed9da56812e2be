//! The Alto bundler, serving the three EntryPoints.

use std::path::PathBuf;

use serde_json::{Value, json};
use url::Url;

use crate::{
    anvil::rpc,
    entry_points,
    error::Result,
    keys, port,
    process::{Process, Spec},
    tools::Tools,
};

const READY_SECONDS: u64 = 90;

/// How the bundler is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node that it sends bundles to.
    pub node: Url,
    /// The port, if it must be a certain one.
    pub port: Option<u16>,
    /// The file of the bundler's log.
    pub log: PathBuf,
}

/// A running bundler.
#[derive(Debug)]
pub struct Bundler {
    process: Process,
    url: Url,
    http: reqwest::Client,
}

impl Bundler {
    /// Starts the bundler and waits until it serves the EntryPoints, which takes some seconds.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub async fn start(tools: &Tools, options: &Options) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_once(tools, options).await {
                Err(error)
                    if options.port.is_none()
                        && attempt < port::ATTEMPTS
                        && port::was_taken(&error) =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn start_once(tools: &Tools, options: &Options) -> Result<Self> {
        let port = port::wished(options.port)?;
        let join = |items: Vec<String>| items.join(",");
        let entry_points =
            join(entry_points::ALL.iter().map(|(_, address)| address.to_string()).collect());
        let executors = join(keys::BUNDLER_EXECUTORS.iter().map(ToString::to_string).collect());
        let spec = Spec::new("alto", "node", tools.root(), &options.log)
            .args([tools.alto()?.into_os_string(), "run".into()])
            .args(["--entrypoints", &entry_points])
            .args(["--rpc-url", options.node.as_str()])
            .args(["--port", &port.to_string()])
            .args(["--executor-private-keys", &executors])
            .args(["--utility-private-key", &keys::BUNDLER_UTILITY.to_string()])
            .args(["--safe-mode", "false", "--enable-debug-endpoints", "true"])
            .args(["--static-max-priority-fee-per-gas", "1"])
            .args(["--log-level", "warn"]);
        let url = Url::parse(&format!("http://127.0.0.1:{port}/"))
            .map_err(|error| rpc("name the bundler", error))?;
        let mut bundler = Self {
            process: Process::start(&spec)?,
            url: url.clone(),
            http: reqwest::Client::new(),
        };
        let http = bundler.http.clone();
        bundler
            .process
            .ready(READY_SECONDS, async || {
                let answer = call(&http, &url, "eth_supportedEntryPoints", json!([])).await;
                answer.is_ok_and(|served| {
                    served.as_array().map(Vec::len) == Some(entry_points::ALL.len())
                })
            })
            .await?;
        Ok(bundler)
    }

    /// Where the bundler listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Calls any JSON-RPC method of the bundler, `debug_bundler_…` included.
    ///
    /// # Errors
    /// When the bundler refuses.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value> {
        call(&self.http, &self.url, method, params).await
    }

    /// Holds operations back until [`Self::bundle_now`].
    ///
    /// # Errors
    /// When the bundler refuses.
    pub async fn hold(&self) -> Result<()> {
        let params = json!(["manual"]);
        self.request("debug_bundler_setBundlingMode", params).await.map(drop)
    }

    /// Bundles by itself again, as it does from the start.
    ///
    /// # Errors
    /// When the bundler refuses.
    pub async fn release(&self) -> Result<()> {
        let params = json!(["auto"]);
        self.request("debug_bundler_setBundlingMode", params).await.map(drop)
    }

    /// Sends what it holds.
    ///
    /// # Errors
    /// When the bundler refuses.
    pub async fn bundle_now(&self) -> Result<()> {
        self.request("debug_bundler_sendBundleNow", json!([])).await.map(drop)
    }

    /// The bundler's process, for tests that crash it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the bundler.
    ///
    /// # Errors
    /// When the system cannot tell us about the bundler.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }
}

async fn call(http: &reqwest::Client, url: &Url, method: &str, params: Value) -> Result<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let response =
        http.post(url.clone()).json(&body).send().await.map_err(|error| rpc(method, error))?;
    let mut answer: Value = response.json().await.map_err(|error| rpc(method, error))?;
    if let Some(error) = answer.get("error") {
        return Err(rpc(method, error));
    }
    Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
}
