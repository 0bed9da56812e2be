//! The tables of races and of others' bugs: each test that they name exists.

use std::fs;

use crate::Failure;
use crate::cargo::root;

const TABLES: &str = "docs/testing.md";
/// Fewer rows than this, and the tables are not read as they are written.
const ROWS: usize = 40;

/// The tests that are named and do not exist.
pub(super) fn broken() -> Result<Vec<String>, Failure> {
    let tables = fs::read_to_string(root().join(TABLES))?;
    let mut broken = Vec::new();
    let mut named: usize = 0;
    for (file, test) in tests(&tables) {
        named = named.saturating_add(1);
        let text = fs::read_to_string(root().join("crates").join(format!("{file}.rs")))
            .unwrap_or_default();
        let is_there = text.match_indices(&format!("fn {test}()")).any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default();
            // The attribute stands in the line above, whatever else stands between.
            before.lines().rev().take(3).any(|line| {
                let line = line.trim_start();
                line.starts_with("#[test]") || line.starts_with("#[tokio::test")
            })
        });
        if !is_there {
            broken.push(format!("{TABLES}: there is no test {file}.rs::{test}"));
        }
    }
    if named < ROWS {
        broken.push(format!("{TABLES} names {named} tests, at least {ROWS} are expected"));
    }
    Ok(broken)
}

/// The file, without its ending, and the name of each test, of what stands between backticks.
fn tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`')
        .filter_map(|quoted| quoted.split_once(".rs::"))
        .filter(|(_, test)| !test.contains(' '))
}
