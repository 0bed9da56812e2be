//! `cargo xtask bench gas`: what one sponsored operation costs on chain, ours beside others', in one build.

use std::fs;

use devstack::Tools;
use serde_json::Value;

use crate::Failure;
use crate::cargo::{self, root};
use crate::forge::forge;

/// Where the test `TableTest` writes its figures, as seen from the root.
const FIGURES: &str = "target/bench/gas.json";

/// The columns: the key in the figures, the heading, and the width.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("contract", "contract", 34),
    ("entryPoint", "EntryPoint", 10),
    ("form", "form", 20),
    ("bundle", "bundle", 6),
    ("deltaPerOp", "gas per operation", 17),
    ("validateGas", "of it validation", 16),
    ("paymasterDataBytes", "paymasterData", 13),
];

/// Measures, and prints the figures as a table; they stay in `target/bench/gas.json`.
pub(crate) fn gas() -> Result<(), Failure> {
    let tools = Tools::ensure(&|line: &str| println!("{line}"))?;
    let figures = root().join(FIGURES);
    fs::create_dir_all(root().join("target/bench"))?;
    if figures.exists() {
        fs::remove_file(&figures)?;
    }
    let mut measure = forge(&tools)?;
    measure.env("FOUNDRY_PROFILE", "gas").args(["test", "--match-contract", "TableTest"]);
    cargo::run(&mut measure)?;

    let parsed: Value = serde_json::from_str(&fs::read_to_string(&figures)?)?;
    let rows = parsed.get("rows").and_then(Value::as_array).ok_or("the figures hold no rows")?;
    println!("\nGas that sponsoring adds to an operation, in bundles of 1, 3 and 5:\n");
    println!("{}", line(|(_, heading, _)| heading.to_owned()));
    for row in rows {
        println!("{}", line(|(key, _, _)| cell(row, key)));
    }
    println!("\nwritten to {FIGURES}");
    Ok(())
}

fn line(cell: impl Fn((&str, &str, usize)) -> String) -> String {
    let cells = COLUMNS.map(|column| format!("{:>width$}", cell(column), width = column.2));
    cells.join("  ")
}

fn cell(row: &Value, key: &str) -> String {
    match row.get(key) {
        None => String::new(),
        Some(value) => value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned),
    }
}
