//! What stands in the files: lints opted into, no ignored tests, proofs made in one place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::cargo::root;

/// The files that may make a proof or open a seal, with what they may call. Tests may make their own.
const PROOF_MAKERS: [(&str, &str); 3] = [
    ("ChainFact::from_ingested", "crates/store/src/facts.rs"),
    ("ReleaseProof::from_ingested", "crates/store/src/slots.rs"),
    (".signature.open()", "crates/store/src/sponsorships.rs"),
];

/// The one crate that may hold unsafe code, and therefore has its own list of lints.
const UNSAFE: &str = "crates/slow-commit/Cargo.toml";

/// The longest file of a crate's sources, in lines: one that grows past it hides a noun that wants a
/// file of its own.
const MOST_SOURCE_LINES: usize = 450;
/// The same for tests, which repeat their scenes.
const MOST_TEST_LINES: usize = 600;

/// Every Rust file of the repository.
pub(super) fn rust_files() -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for folder in ["crates", "tests"] {
        collect(&root().join(folder), "rs", &mut files)?;
    }
    Ok(files)
}

/// Every file below `folder` with this ending.
pub(super) fn collect(
    folder: &Path,
    ending: &str,
    files: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, ending, files)?;
        } else if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    Ok(())
}

/// The places that break the rules.
pub(super) fn broken() -> Result<Vec<String>, Failure> {
    let mut broken = Vec::new();
    let mut manifests = Vec::new();
    for folder in ["crates", "tests"] {
        collect(&root().join(folder), "toml", &mut manifests)?;
    }
    for manifest in manifests.iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(manifest)?;
        if !text.contains("[lints]\nworkspace = true") && !manifest.ends_with(UNSAFE) {
            broken.push(format!("{}: the workspace's lints are not opted into", shown(manifest)));
        }
    }
    for file in rust_files()? {
        let text = fs::read_to_string(&file)?;
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        let (lines, most) =
            (text.lines().count(), if is_test { MOST_TEST_LINES } else { MOST_SOURCE_LINES });
        if lines > most {
            broken.push(format!("{}: {lines} lines, at most {most}", shown(&file)));
        }
        // This file names what it looks for.
        if file.ends_with("xtask/src/tidy/files.rs") {
            continue;
        }
        if text.contains("#[ignore") {
            broken.push(format!(
                "{}: a test is ignored; a test runs or does not exist",
                shown(&file)
            ));
        }
        if text.contains("#[allow(") || text.contains("#![allow(") {
            broken
                .push(format!("{}: use #[expect(…, reason = …)] rather than allow", shown(&file)));
        }
        for (call, maker) in PROOF_MAKERS {
            if text.contains(call) && !is_test && !file.ends_with(maker) {
                broken.push(format!("{}: only {maker} may call {call}", shown(&file)));
            }
        }
    }
    for (call, maker) in PROOF_MAKERS {
        if !fs::read_to_string(root().join(maker))?.contains(call) {
            broken.push(format!("{maker} does not call {call} any more: the rule guards nothing"));
        }
    }
    Ok(broken)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
