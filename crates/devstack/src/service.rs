//! Our own binary in the stack, and the file that tells where everything is.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use url::Url;

use crate::{
    error::{Error, Result, io},
    process::{Process, Spec, tail_of},
    run::Run,
    tools::Tools,
};

const READY_SECONDS: u64 = 60;

/// Where the parts of a running stack are: the content of `target/dev/endpoints.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// The node.
    pub rpc_url: Url,
    /// The bundler.
    pub bundler_url: Url,
    /// The REST API.
    pub api_url: Url,
    /// The ERC-7677 endpoint, with a publishable key in it.
    pub paymaster_url: Url,
    /// The operator's console.
    pub console_url: Url,
    /// The database, for the runtime role.
    pub database_url: Url,
    /// A secret key of the development tenant.
    pub secret_key: String,
    /// A publishable key of the development tenant's app.
    pub publishable_key: String,
    /// The chain id.
    pub chain_id: u64,
    /// EntryPoints by version (`"0.7"` …).
    pub entry_points: BTreeMap<String, Address>,
    /// Paymasters by the version of their EntryPoint.
    pub paymasters: BTreeMap<String, Address>,
}

impl Endpoints {
    /// Where `cargo xtask dev` writes it.
    pub fn path(tools: &Tools) -> PathBuf {
        tools.root().join("target/dev/endpoints.json")
    }

    /// Writes the file at once, never half of it, readable by its owner only: it holds keys.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let doing = || format!("write {}", path.display());
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder).map_err(io(doing()))?;
        let file = tempfile::NamedTempFile::new_in(folder).map_err(io(doing()))?;
        serde_json::to_writer_pretty(&file, self).map_err(|error| io(doing())(error.into()))?;
        file.persist(path).map(drop).map_err(|error| io(doing())(error.error))
    }
}

/// Which process reads the chain and settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worker {
    /// The one that answers the API, as in a small installation: `stipend serve --with-worker`.
    Inside,
    /// Another, that [`ServiceOptions::start_worker`] starts: `stipend worker`.
    Apart,
}

/// How our binary is run.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// What the logs are named after.
    pub name: String,
    /// The `stipend` binary.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Environment on top of the file, for secrets and for tests that change a setting.
    pub env: Vec<(String, String)>,
    /// Where it will listen, as the configuration says.
    pub url: Url,
    /// Which process reads the chain.
    pub worker: Worker,
}

impl ServiceOptions {
    /// The binary that `cargo build` leaves in this checkout.
    pub fn debug_binary(tools: &Tools) -> PathBuf {
        tools.root().join("target/debug/stipend")
    }

    /// Runs a command of the binary to its end (`["migrate"]`, `["admin", …]`) and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the error shows what it said.
    pub async fn run(&self, tools: &Tools, run: &Run, args: &[&str]) -> Result<String> {
        let log = run.log(&format!("{}-{}", self.name, args.first().unwrap_or(&"help")));
        let output = Command::new(&self.binary)
            .args(args)
            .arg("--config")
            .arg(&self.config)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(tools.root())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(io(format!("run {}", self.binary.display())))?;
        // `output` takes standard error for itself.
        fs::write(&log, &output.stderr).map_err(io(format!("write {}", log.display())))?;
        if !output.status.success() {
            return Err(Error::Command {
                command: format!("stipend {}", args.join(" ")),
                tail: tail_of(&log),
                log,
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts `stipend worker`, a process that nothing asks: what it does shows in the database.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start_worker(&self, tools: &Tools, run: &Run) -> Result<Process> {
        let log = run.log(&format!("{}-worker", self.name));
        Process::start(&self.spec(tools, "stipend worker", log).args(["worker"]))
    }

    fn spec(&self, tools: &Tools, name: &str, log: PathBuf) -> Spec {
        let config: [&OsStr; 2] = ["--config".as_ref(), self.config.as_ref()];
        let mut spec = Spec::new(name, &self.binary, tools.root(), log).args(config);
        for (name, value) in &self.env {
            spec = spec.env(name, value);
        }
        spec
    }
}

/// The running service: `stipend serve`, with or without its worker.
#[derive(Debug)]
pub struct Service {
    process: Process,
    url: Url,
}

impl Service {
    /// Starts the service and waits until `/readyz` answers with success.
    ///
    /// # Errors
    /// When it does not come up; the error shows the end of its log.
    pub async fn start(tools: &Tools, run: &Run, options: &ServiceOptions) -> Result<Self> {
        let mut spec = options.spec(tools, "stipend", run.log(&options.name)).args(["serve"]);
        if options.worker == Worker::Inside {
            spec = spec.args(["--with-worker"]);
        }
        let ready = options
            .url
            .join("readyz")
            .map_err(|error| io("name the service")(std::io::Error::other(error)))?;
        let mut process = Process::start(&spec)?;
        let http = reqwest::Client::new();
        process
            .ready(READY_SECONDS, async || {
                let answer = http.get(ready.clone()).send().await;
                answer.is_ok_and(|response| response.status().is_success())
            })
            .await?;
        Ok(Self { process, url: options.url.clone() })
    }

    /// Where the service listens.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The service's process, for tests that crash it or stop it for a while.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the service as an operator would.
    ///
    /// # Errors
    /// When the system cannot tell us about it.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await
    }
}
