//! Compiled contracts, as compilers leave them in JSON files.

use std::{fs, path::Path};

use alloy::primitives::Bytes;

use crate::error::{Error, Result};

/// The creation code of an artifact, from `bytecode` (Hardhat) or `bytecode.object` (solc, forge), without constructor arguments.
///
/// # Errors
/// When the file is missing, is no artifact, or has libraries left to link.
pub fn creation_code(path: &Path) -> Result<Bytes> {
    let bad = |reason: String| Error::Artifact { path: path.to_path_buf(), reason };
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let artifact: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let code = artifact
        .pointer("/bytecode/object")
        .or_else(|| artifact.get("bytecode"))
        .and_then(serde_json::Value::as_str)
        .ok_or_else(|| bad("has no bytecode".to_owned()))?;
    let bytes = hex::decode(code.trim_start_matches("0x"))
        .map_err(|error| bad(format!("its bytecode is not linked hex: {error}")))?;
    if bytes.is_empty() {
        return Err(bad("its bytecode is empty".to_owned()));
    }
    Ok(bytes.into())
}
