//! `cargo xtask`: everything one does with this repository, from a fresh clone with Rust and Node.

mod artifact;
mod bench;
mod cargo;
mod demo;
mod dev;
mod forge;
mod nightly;
mod python;
mod sqlx_cache;
mod steps;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything one does with this repository. The first run installs the pinned tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Write contracts/artifacts anew, after a contract changed: what `stipend admin paymaster` deploys and checks.
    Artifact {
        /// Change nothing; fail when the artifact is not what the sources compile to.
        #[arg(long)]
        check: bool,
    },
    /// Measure something, and print a table of it.
    #[command(subcommand)]
    Bench(Bench),
    /// Show the main job: a user's points pay for a real UserOperation.
    Demo {
        /// Stop everything afterwards; the exit code says whether both ledgers agree.
        #[arg(long)]
        once: bool,
    },
    /// Run the whole stack in the foreground, and write target/dev/endpoints.json.
    Dev {
        /// The first of four ports in a row: node, bundler, PostgreSQL, service. Default: free ones.
        #[arg(long)]
        port_base: Option<u16>,
        /// Put nodes between the service and the chain that fail and lie by chance: what is asked for must happen all the
        /// same, later.
        #[arg(long)]
        faults: bool,
    },
    /// Drive the machines and the whole store through many random sequences, with duplicates, conflicts and crashes
    /// between any two statements, against naive models. Takes an hour or two; `test` runs some hundreds.
    Nightly {
        /// How many sequences of each kind.
        #[arg(long, default_value_t = 100_000)]
        sequences: u64,
        /// The seed of the first; each has the next. A failure prints its own: `--sequences 1 --seed N` runs it again.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Run the proofs about the contract that need Python: symbolic execution and static analysis.
    Prove,
    /// Run every check and test.
    Test {
        /// Also run the proofs that need Python.
        #[arg(long)]
        all: bool,
    },
    /// Check the rules of the repository that no compiler checks.
    Tidy,
    /// Write the cache of checked SQL (crates/store/.sqlx) anew, after a query or migration changed.
    Sqlx {
        /// Change nothing; fail when the cache is not what the queries need.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What one sponsored operation costs on chain: our paymaster's, others' and the floor, on every EntryPoint.
    Gas,
    /// How fast the ingester catches up, beside the node's own eth_getLogs over the same blocks.
    Ingest {
        /// How many blocks happened while nobody read. The node takes a second for some hundred.
        #[arg(long, default_value_t = 20_000)]
        blocks: u64,
    },
    /// What a command of the ledger costs on PostgreSQL, beside plain SQL that writes the same rows.
    Ledger {
        /// Leave out the tables with 10 million reservations; ends within 10 minutes.
        #[arg(long)]
        quick: bool,
        /// Fail when a bar is missed. Otherwise bars are printed, and the run fails only when it proves a figure wrong.
        #[arg(long)]
        bars: bool,
        /// How many reservations the filled tables hold, to try the run out with fewer.
        #[arg(long, default_value_t = 10_000_000, conflicts_with = "quick")]
        reservations: u64,
        /// Measure only the cells with all of these words, such as `writer,256,as-is`, and judge nothing.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
}

/// Why a task failed, for people.
type Failure = Box<dyn core::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Artifact { check } => artifact::run(check),
        Task::Bench(Bench::Gas) => bench::gas(),
        Task::Bench(Bench::Ingest { blocks }) => block_on(bench::ingest(blocks)),
        Task::Bench(Bench::Ledger { quick, bars, reservations, only }) => {
            let options = bench::LedgerOptions { quick, bars, reservations, only };
            block_on(bench::ledger(&options))
        }
        Task::Demo { once } => block_on(demo::run(once)),
        Task::Dev { port_base, faults } => block_on(dev::run(port_base, faults)),
        Task::Nightly { sequences, seed } => nightly::run(sequences, seed),
        Task::Test { all } => test::run(all),
        Task::Tidy => tidy::run(),
        Task::Prove => python::run(),
        Task::Sqlx { check } => block_on(sqlx_cache::run(check)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn block_on<F: Future<Output = Result<(), Failure>>>(task: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(task);
    // A forge build that is still under way must not hold up the exit after Ctrl-C.
    runtime.shutdown_background();
    outcome
}
