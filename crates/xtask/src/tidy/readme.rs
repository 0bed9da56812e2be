//! The README shows the example that the tests run, to the letter.

use std::fs;

use crate::Failure;
use crate::cargo::root;

const EXAMPLE: &str = "examples/viem.mjs";

/// Whether the README's snippet is another than the example.
pub(super) fn broken() -> Result<Vec<String>, Failure> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let example = fs::read_to_string(root().join(EXAMPLE))?;
    let shown = format!("```js\n{example}```\n");
    if readme.contains(&shown) {
        return Ok(Vec::new());
    }
    Ok(vec![format!("README.md does not show {EXAMPLE} as it is")])
}
