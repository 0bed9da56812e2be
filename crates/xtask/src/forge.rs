//! Running forge.

use std::process::Command;

use devstack::Tools;

use crate::Failure;
use crate::cargo::root;

/// A forge command in the repository.
pub(crate) fn forge(tools: &Tools) -> Result<Command, Failure> {
    let mut forge = Command::new(tools.forge()?);
    forge.current_dir(root());
    Ok(forge)
}
