//! Which crate may use which: the arrows of `docs/architecture.md`.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::Failure;
use crate::cargo::root;

/// Each crate with those of ours that it may depend on.
const ALLOWED: [(&str, &[&str]); 13] = [
    ("erc4337", &[]),
    ("domain", &["erc4337"]),
    ("store", &["domain", "erc4337"]),
    ("signer", &["domain", "erc4337"]),
    ("chain", &["domain", "erc4337"]),
    ("service", &["chain", "domain", "erc4337", "signer", "store"]),
    ("api", &["chain", "domain", "erc4337", "service", "store"]),
    ("stipend", &["api", "chain", "domain", "erc4337", "service", "signer", "store"]),
    ("devstack", &[]),
    ("slow-commit", &[]),
    ("bench", &["domain", "store"]),
    ("xtask", &["devstack"]),
    ("e2e", &["devstack", "erc4337"]),
];

/// Crates that must stay pure, and what would make them impure.
const PURE: [&str; 2] = ["erc4337", "domain"];
const IMPURE: [&str; 9] =
    ["alloy", "axum", "chrono", "getrandom", "jiff", "rand", "reqwest", "sqlx", "tokio"];

/// The only crate that may speak SQL, among those that ship.
const SQL: &str = "store";
const SHIPPED: [&str; 8] =
    ["erc4337", "domain", "store", "signer", "chain", "service", "api", "stipend"];

/// The dependencies that break the rules.
pub(super) fn broken() -> Result<Vec<String>, Failure> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()?;
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut broken = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = ALLOWED.iter().find(|(listed, _)| *listed == name) else {
            broken.push(format!("{name}: a crate that stands in no row of the dependency table"));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind != DependencyKind::Normal {
                continue;
            }
            let used = dependency.name.as_str();
            if ours.contains(used) && !allowed.contains(&used) {
                broken.push(format!("{name} depends on {used}, against the dependency table"));
            }
            if PURE.contains(&name) && IMPURE.contains(&used) {
                broken.push(format!("{name} is pure and depends on {used}"));
            }
            if used == "sqlx" && SHIPPED.contains(&name) && name != SQL {
                broken.push(format!("{name} depends on sqlx: SQL lives in {SQL}"));
            }
        }
    }
    Ok(broken)
}
