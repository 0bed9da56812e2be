//! The configuration: one TOML file, overridden by the environment, checked as a whole at start.

mod amount;
mod chains;
mod check;
mod load;

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use api::HttpSettings;
use domain::Points;
use serde::Deserialize;
use service::maintain::ArchiveSettings;
use service::worker::WorkerSettings;
use store::StoreError;
use store::archive::Maintenance;

use amount::Amount;
pub(crate) use chains::{Chain, Paymaster};
pub(crate) use load::load;

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What this installation is for. Default `production`, which refuses what only development may
    /// do.
    #[serde(default)]
    pub(crate) environment: Environment,
    pub(crate) database: Database,
    #[serde(default)]
    pub(crate) http: Http,
    #[serde(default)]
    pub(crate) worker: Worker,
    #[serde(default)]
    pub(crate) ledger: Ledger,
    #[serde(default)]
    pub(crate) sponsorship: Sponsorship,
    /// What gas costs in points, by chain id.
    pub(crate) pricing: BTreeMap<String, Pricing>,
    #[serde(default)]
    pub(crate) bounds: Bounds,
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    #[serde(default)]
    pub(crate) dev: Dev,
    /// Keys that sign sponsorships, by a name that paymasters refer to.
    #[serde(default)]
    pub(crate) signers: BTreeMap<String, Signer>,
    /// The chains that are served.
    #[serde(default)]
    pub(crate) chains: Vec<Chain>,
}

/// What an installation is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Environment {
    /// Real points.
    #[default]
    Production,
    /// A developer's machine.
    Development,
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    /// As the runtime role: `postgres://user:password@host:port/database`. A secret: set it by
    /// `STIPEND__DATABASE__URL`.
    pub(crate) url: String,
    /// As the owner role; only `migrate` reads it.
    pub(crate) owner_url: Option<String>,
    /// As the maintenance role, which owns the partitioned tables: a worker with it makes partitions ahead,
    /// moves closed reservations to the archive and lets old months leave. A secret, like `url`.
    pub(crate) maintenance_url: Option<String>,
    /// Connections of one process for everything but the ledger's commands, which have six of their own.
    /// Default 16: each holds one transaction of a few milliseconds.
    #[serde(default = "Database::default_max_connections")]
    pub(crate) max_connections: u32,
}

impl Database {
    const fn default_max_connections() -> u32 {
        16
    }
}

/// The HTTP server. What may be left out is [`HttpSettings::default`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Where to listen. Default `127.0.0.1:8080`: TLS is the load balancer's.
    pub(crate) listen: SocketAddr,
    /// The longest request body, in bytes. Default 256 KiB.
    pub(crate) body_limit_bytes: usize,
    /// The longest time for a request, in seconds. Default 9: clients give up after 10.
    pub(crate) request_timeout_seconds: u64,
    /// The most JSON-RPC calls in one batch. Default 20.
    pub(crate) max_batch: usize,
}

impl Default for Http {
    fn default() -> Self {
        let HttpSettings { body_limit_bytes, request_timeout, max_batch } = HttpSettings::default();
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            body_limit_bytes,
            request_timeout_seconds: request_timeout.as_secs(),
            max_batch,
        }
    }
}

impl Http {
    /// What the door lets through.
    pub(crate) const fn settings(&self) -> HttpSettings {
        HttpSettings {
            body_limit_bytes: self.body_limit_bytes,
            request_timeout: Duration::from_secs(self.request_timeout_seconds),
            max_batch: self.max_batch,
        }
    }
}

/// The workers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Worker {
    /// The pause at the head of a chain, in milliseconds. Default 1000.
    pub(crate) poll_interval_millis: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self { poll_interval_millis: 1_000 }
    }
}

impl Config {
    /// How the workers run.
    pub(crate) fn worker_settings(&self) -> Result<WorkerSettings, StoreError> {
        let maintenance = self.database.maintenance_url.as_deref();
        Ok(WorkerSettings {
            poll_interval: Duration::from_millis(self.worker.poll_interval_millis),
            anchor_file: self.ledger.anchor_file.clone(),
            maintenance: maintenance.map(Maintenance::connect_lazy).transpose()?,
            archive: self.ledger.archive(),
        })
    }
}

/// The points ledger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ledger {
    /// Where workers keep the journal's daily anchors outside the database: a file of JSON lines that
    /// is only added to. Default none.
    pub(crate) anchor_file: Option<PathBuf>,
    /// How many days after its end a month of entries, events and archived reservations leaves the database
    /// for a file in `archive_dir`, 62 at least. Default none: everything stays.
    pub(crate) archive_after_days: Option<u32>,
    /// The folder of these files.
    pub(crate) archive_dir: Option<PathBuf>,
}

impl Ledger {
    /// When months leave the database, if they do.
    pub(crate) fn archive(&self) -> Option<ArchiveSettings> {
        let days = u64::from(self.archive_after_days?);
        let after = Duration::from_secs(days.saturating_mul(24 * 3_600));
        Some(ArchiveSettings { after, folder: self.archive_dir.clone()? })
    }
}

/// How sponsorships are signed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sponsorship {
    /// How long a signature is valid, in seconds of chain time. Default 180, 120 to 3600: points
    /// stay reserved at least as long.
    pub(crate) validity_seconds: u32,
    /// How far the chain's head may be from the wall clock before signing stops, in seconds.
    /// Default 60.
    pub(crate) stale_head_seconds: u64,
    /// The most points that a user may owe and still get a new sponsorship. Default 0: a debt is
    /// repaid first. Credits repay it before they can be spent.
    pub(crate) debt_ceiling: Amount,
}

impl Default for Sponsorship {
    fn default() -> Self {
        let debt_ceiling = Amount(Points::ZERO);
        Self { validity_seconds: 180, stale_head_seconds: 60, debt_ceiling }
    }
}

/// What a chain's gas costs in points.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pricing {
    /// Points per 10^18 wei, a decimal string such as `"250000"`.
    pub(crate) points_per_e18_wei: Amount,
    /// What the company adds, in basis points. Default 0.
    #[serde(default)]
    pub(crate) markup_bps: u32,
}

/// What an honest operation can cost; factors in basis points.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bounds {
    /// preVerificationGas against our own estimate. Default 15 000: one and a half times.
    pub(crate) pre_verification_gas_bps: u32,
    /// Call and verification limits against simulation. Default 20 000: twice.
    pub(crate) gas_limits_bps: u32,
    /// A call gas limit that is always allowed. Default 150 000: state that
    /// changes between two estimates moves a small call by tens of thousands, and bundlers add to it
    /// while they hold another operation of the sender.
    pub(crate) call_gas_floor: u64,
    /// Tip against the market. Default 30 000: three times.
    pub(crate) priority_fee_bps: u32,
    /// A tip that is always allowed, in wei per gas. Default 10^9: quiet chains have a market of
    /// almost nothing.
    pub(crate) priority_fee_floor_wei: u64,
    /// The most gas that the paymaster's verification may be given. Default 150 000.
    pub(crate) paymaster_verification_gas_cap: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            pre_verification_gas_bps: 15_000,
            gas_limits_bps: 20_000,
            call_gas_floor: 150_000,
            priority_fee_bps: 30_000,
            priority_fee_floor_wei: 1_000_000_000,
            paymaster_verification_gas_cap: 150_000,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// A filter: `info`, `info,store=debug`. Default `info`.
    pub(crate) log: String,
    /// `text` or `json`. Default `text`.
    pub(crate) format: LogFormat,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What only `environment = "development"` may set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dev {
    /// An account with this many points for every wallet that nobody linked.
    pub(crate) auto_provision: Option<Amount>,
}

/// Where a signing key comes from: exactly one of the three.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signer {
    /// An encrypted keystore file (Web3 Secret Storage, version 3), with `password_file`.
    pub(crate) keystore: Option<PathBuf>,
    /// The file that holds the keystore's password.
    pub(crate) password_file: Option<PathBuf>,
    /// A file that holds the key in hex.
    pub(crate) key_file: Option<PathBuf>,
    /// The key itself in hex. Development only.
    pub(crate) key: Option<String>,
}
