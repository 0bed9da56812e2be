//! The load generator of `cargo xtask bench ledger`: what one command of the ledger costs, beside what plain SQL takes for
//! the same rows.
//!
//! # Method
//! - One server, started by `xtask`, with the durability of production. Its settings are printed and are the same for all rows.
//! - A load keeps a fixed number of operations in flight: each client begins its next operation when the last is answered. The
//!   operations that are answered within the measured time count; those of the warm-up do not.
//! - Each load on empty tables has a database of its own, copied from a template of funded accounts, so that no load finds
//!   what another left. Loads on filled tables share one database.
//! - The added latency is switched while the server runs, so that loads with and without it alternate. Cells that a bar rests
//!   on are measured in three rounds through all cells, and the median counts: what else the machine does then meets the
//!   writer as often as the yardstick.
//! - Only newly applied operations count. Afterwards every one of them, also those outside the measured time, is looked up by
//!   its key over a new connection, and the accounts' sequences must have grown by as many. At the end whole databases are
//!   verified, hash by hash: one of the writer's, one of the yardstick's, and the filled one.
//!
//! An operation is a TCC try (`reserve`), or a try and then the confirm of all of it (`pair`): it is keyed like a grant of a
//! sponsorship and writes an account, a reservation, an entry and an event like one, and needs no chain for its confirm.

mod audit;
mod checks;
mod copy;
mod figures;
mod fixture;
mod load;
mod matrix;
mod past;
mod report;
mod run;
mod server;
mod writer;
mod yardstick;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use url::Url;

use run::{Run, Wishes};
use server::{Addresses, Server};

/// Why a run failed, for people.
type Failure = Box<dyn core::error::Error + Send + Sync>;

/// Measures the ledger on a server that `cargo xtask bench ledger` has started.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave the filled tables out.
    #[arg(long)]
    quick: bool,
    /// Fail when a bar is missed. Otherwise the bars are only printed.
    #[arg(long)]
    bars: bool,
    /// How many reservations the filled tables hold, each with four entries.
    #[arg(long, default_value_t = 10_000_000)]
    reservations: u64,
    /// Measure only the cells with all of these words, such as `writer,256,as-is`, and judge nothing.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The file that holds the latency to add to each commit.
    #[arg(long)]
    delay_file: PathBuf,
    /// Where the JSON goes.
    #[arg(long)]
    output: PathBuf,
    /// Reaches the server as its superuser; the database in it is left out of account.
    #[arg(long, env = "BENCH_SUPERUSER_URL", hide_env_values = true)]
    superuser_url: Url,
    /// The same as the owner of the schema.
    #[arg(long, env = "BENCH_OWNER_URL", hide_env_values = true)]
    owner_url: Url,
    /// The same as the service.
    #[arg(long, env = "BENCH_RUNTIME_URL", hide_env_values = true)]
    runtime_url: Url,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nbench: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Result<(), Failure> {
    let addresses = Addresses {
        superuser: arguments.superuser_url,
        owner: arguments.owner_url,
        runtime: arguments.runtime_url,
    };
    let server = Server::connect(addresses, arguments.delay_file).await?;
    let wishes = Wishes {
        quick: arguments.quick,
        reservations: arguments.reservations,
        only: arguments.only,
    };
    let is_partial = !wishes.only.is_empty();
    let mut run = Run::begin(server, wishes).await?;
    let report = run.measure().await?;
    report.print();
    if is_partial {
        return run.verify().await;
    }
    report.write(&arguments.output)?;
    println!();
    let missed = report::print_bars(&report.bars());
    println!(
        "\nIs the yardstick honest? It must reach a share of what a commit of a single row does."
    );
    let dishonest = report::print_bars(&report.yardstick_shares());
    println!();
    run.verify().await?;
    println!("written to {}", arguments.output.display());
    if dishonest > 0 {
        return Err("the yardstick is too slow to measure by".into());
    }
    if missed > 0 && arguments.bars {
        return Err(format!("{missed} bar(s) missed").into());
    }
    Ok(())
}
