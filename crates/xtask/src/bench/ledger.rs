//! `cargo xtask bench ledger`: what a command of the ledger costs, beside plain SQL that writes the same rows.
//!
//! The server belongs to this process, so that it goes away with it. The load comes from the crate `bench`, which is
//! compiled with optimisation and without the development stack.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use devstack::postgres::{Durability, Options, Postgres, Preload, Role, Tuning};
use devstack::{Run, Tools};
use tempfile::TempDir;

use crate::Failure;
use crate::cargo::{self, cargo, root};

/// Where the figures go, as seen from the root.
const FIGURES: &str = "target/bench/ledger.json";
/// Where the cluster with filled tables stays between runs, as seen from the root.
const KEPT: &str = "target/bench/ledger-cluster";

/// The library that slows commits down, as cargo names it.
const SLOW_COMMIT: &str = "libslow_commit.so";
/// Where `slow-commit` looks for the latency to add.
const DELAY_VARIABLE: &str = "STIPEND_COMMIT_DELAY_FILE";

/// What differs from PostgreSQL's defaults, for every row alike: memory as on a small server of its own, and no checkpoint
/// that comes by the clock in the middle of a measurement.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "4GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    ("log_checkpoints", "on"),
];

/// What one may ask of the run.
#[derive(Clone, Debug)]
pub(crate) struct LedgerOptions {
    /// Leave the filled tables out.
    pub(crate) quick: bool,
    /// Fail when a bar is missed.
    pub(crate) bars: bool,
    /// How many reservations the filled tables hold.
    pub(crate) reservations: u64,
    /// Words that a cell must have to be measured; none for all cells.
    pub(crate) only: Vec<String>,
}

/// Measures, prints the figures as a table and writes them to `target/bench/ledger.json`.
pub(crate) async fn ledger(options: &LedgerOptions) -> Result<(), Failure> {
    let tools = Tools::ensure(&|line: &str| println!("{line}"))?;
    println!("building the load generator with optimisation");
    let packages = ["--package", "bench", "--package", "slow-commit"];
    cargo::run(cargo(&["build", "--release"]).args(packages))?;
    let built = target_folder()?.join("release");
    let delay = Delay::prepare(&built.join(SLOW_COMMIT))?;

    let run = Run::begin(&tools)?;
    let server = Options {
        durability: Durability::Full,
        port: None,
        max_connections: 100,
        log: run.log("postgres"),
    };
    let tuning = Tuning {
        settings: SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        preload: Some(delay.preload()),
        kept: (!options.quick).then(|| root().join(KEPT)),
    };
    let mut server = Postgres::start_tuned(&tools, server, &tuning).await?;
    let mut load = std::process::Command::new(built.join("bench"));
    for (variable, role) in [
        ("BENCH_SUPERUSER_URL", Role::Superuser),
        ("BENCH_OWNER_URL", Role::Owner),
        ("BENCH_RUNTIME_URL", Role::Runtime),
    ] {
        load.env(variable, server.url(role, "postgres"));
    }
    load.arg("--delay-file").arg(delay.file());
    load.arg("--output").arg(root().join(FIGURES));
    load.arg("--reservations").arg(options.reservations.to_string());
    load.args(options.quick.then_some("--quick")).args(options.bars.then_some("--bars"));
    if !options.only.is_empty() {
        load.arg("--only").arg(options.only.join(","));
    }
    let outcome = cargo::run(&mut load);
    server.stop().await?;
    outcome
}

fn target_folder() -> Result<PathBuf, Failure> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()?;
    Ok(metadata.target_directory.into())
}

/// The library and its file, in a folder that everybody can read: the server may run as somebody else.
struct Delay {
    folder: TempDir,
}

impl Delay {
    fn prepare(library: &Path) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("stipend-bench-").tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let delay = Self { folder };
        fs::copy(library, delay.library())?;
        fs::write(delay.file(), 0_u32.to_ne_bytes())?;
        for file in [delay.library(), delay.file()] {
            fs::set_permissions(file, Permissions::from_mode(0o644))?;
        }
        Ok(delay)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join(SLOW_COMMIT)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("delay")
    }

    fn preload(&self) -> Preload {
        let file = self.file().into_os_string();
        Preload { library: self.library(), environment: vec![(DELAY_VARIABLE.to_owned(), file)] }
    }
}
