//! Starts PostgreSQL and anvil, says where they are, and waits to be killed.

use std::{error::Error, future::pending};

use devstack::{
    Run, Tools,
    anvil::{self, Anvil},
    postgres::{self, Durability, Postgres},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tools = Tools::ensure(&|line| eprintln!("{line}"))?;
    let run = Run::begin(&tools)?;
    let options = postgres::Options {
        durability: Durability::Relaxed,
        port: None,
        max_connections: 20,
        log: run.log("postgres"),
    };
    let mut postgres = Postgres::start(&tools, options).await?;
    let options = anvil::Options {
        chain_id: 31_337,
        slots_in_an_epoch: 1,
        block_time_seconds: 1,
        port: None,
        log: run.log("anvil"),
    };
    let mut anvil = Anvil::start(&tools, &options).await?;
    println!(
        "{}",
        serde_json::json!({
            "groups": [postgres.process().group(), anvil.process().group()],
            "ports": [postgres.port(), anvil.node().url().port()],
            "folder": postgres.folder(),
        })
    );
    pending::<()>().await;
    Ok(())
}
