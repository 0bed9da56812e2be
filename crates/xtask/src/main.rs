//! `cargo xtask`: everything one does with this repository, from a fresh clone with Rust and Node.

mod artifact;
mod bench;
mod cargo;
mod demo;
mod dev;
mod forge;
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
}

/// Why a task failed, for people.
type Failure = Box<dyn core::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Artifact { check } => artifact::run(check),
        Task::Bench(Bench::Gas) => bench::gas(),
        Task::Demo { once } => block_on(demo::run(once)),
        Task::Dev { port_base } => block_on(dev::run(port_base)),
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
