//! The paymaster's code as the binary carries it: `contracts/artifacts/StipendPaymaster.json`.
//!
//! `stipend admin paymaster` deploys from it and holds deployed code against it, so it is committed, and
//! `cargo xtask test` fails when the sources compile to something else.

use std::fs;
use std::path::PathBuf;

use devstack::Tools;
use serde_json::{Map, Value, json};

use crate::Failure;
use crate::cargo::{self, root};
use crate::forge::forge;

const SOURCE: &str = "contracts/src/StipendPaymaster.sol";
const BUILT: &str = "target/forge/out/StipendPaymaster.sol/StipendPaymaster.json";
const COMMITTED: &str = "contracts/artifacts/StipendPaymaster.json";

/// Writes the artifact, or checks that it is what the sources compile to.
pub(crate) fn run(check: bool) -> Result<(), Failure> {
    let tools = Tools::ensure(&|line: &str| println!("{line}"))?;
    cargo::run(forge(&tools)?.args(["build", "--offline", "--quiet"]))?;
    let built: Value = serde_json::from_str(&read(BUILT)?)?;
    let wanted = artifact(&built, &read(SOURCE)?)?;
    let path = root().join(COMMITTED);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if serde_json::from_str::<Value>(&committed).is_ok_and(|committed| committed == wanted) {
        println!("{COMMITTED} is what the sources compile to");
        return Ok(());
    }
    if check {
        return Err(format!(
            "{COMMITTED} is not what the sources compile to: run `cargo xtask artifact`"
        )
        .into());
    }
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let mut text = serde_json::to_string_pretty(&wanted)?;
    text.push('\n');
    fs::write(&path, text)?;
    println!("{COMMITTED} is written");
    Ok(())
}

fn read(path: &str) -> Result<String, Failure> {
    let path: PathBuf = root().join(path);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// What is kept of forge's output: nothing that depends on what else was compiled.
fn artifact(built: &Value, source: &str) -> Result<Value, Failure> {
    let at = |pointer: &str| {
        built.pointer(pointer).ok_or_else(|| Failure::from(format!("{BUILT} has no {pointer}")))
    };
    let sources = at("/metadata/sources")?.as_object().ok_or("the sources are no object")?;
    let sources: Map<String, Value> =
        sources.iter().map(|(path, source)| (path.clone(), source["keccak256"].clone())).collect();
    Ok(json!({
        "contract": format!("{SOURCE}:StipendPaymaster"),
        "compiler": at("/metadata/compiler/version")?,
        "settings": at("/metadata/settings")?,
        "sources": sources,
        "bytecode": at("/bytecode/object")?,
        "deployedBytecode": at("/deployedBytecode/object")?,
        "immutableReferences": immutables(at("/deployedBytecode/immutableReferences")?, source)?,
    }))
}

/// Where each immutable stands in the code, by its name. The compiler calls them by numbers that grow in the order of
/// the declarations, and that change with what else is compiled.
fn immutables(references: &Value, source: &str) -> Result<Value, Failure> {
    let references = references.as_object().ok_or("the immutable references are no object")?;
    let mut numbered = references
        .iter()
        .map(|(number, places)| Ok((number.parse()?, places)))
        .collect::<Result<Vec<(u64, &Value)>, Failure>>()?;
    numbered.sort_unstable_by_key(|(number, _)| *number);
    let names = immutable_names(source);
    if names.len() != numbered.len() {
        return Err(format!(
            "{SOURCE} declares {} immutables, and the code refers to {}",
            names.len(),
            numbered.len()
        )
        .into());
    }
    let mut named = Map::new();
    for (name, (_, places)) in names.into_iter().zip(numbered) {
        let places = places.as_array().ok_or("an immutable without places")?;
        let mut starts = Vec::new();
        for place in places {
            if place["length"] != 32 {
                return Err(format!("the immutable {name} is not 32 bytes long").into());
            }
            starts.push(place["start"].as_u64().ok_or("an immutable without a start")?);
        }
        starts.sort_unstable();
        named.insert(name.to_owned(), json!(starts));
    }
    Ok(Value::Object(named))
}

/// The immutables that a source declares, in order.
fn immutable_names(source: &str) -> Vec<&str> {
    source
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && line.contains(" immutable "))
        .filter_map(|line| line.strip_suffix(';')?.split(' ').next_back())
        .collect()
}
