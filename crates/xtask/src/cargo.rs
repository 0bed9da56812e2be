//! Running cargo from cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

/// The repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A cargo command in the repository, checked SQL taken from its cache.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(args).current_dir(root()).env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL");
    command
}

/// Runs a command to its end; its output is ours.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` failed ({status})", shown(command)).into())
    }
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Builds the `stipend` binary that the stack runs.
pub(crate) fn build_stipend() -> Result<(), Failure> {
    println!("building stipend");
    run(&mut cargo(&["build", "--package", "stipend"]))
}
