//! `cargo xtask tidy`: the rules of the repository that no compiler checks.

mod dependencies;
mod files;
mod links;
mod races;
mod readme;

use crate::Failure;

/// Checks every rule, and names every place that breaks one.
pub(crate) fn run() -> Result<(), Failure> {
    let mut broken = Vec::new();
    broken.extend(dependencies::broken()?);
    broken.extend(files::broken()?);
    broken.extend(links::broken()?);
    broken.extend(races::broken()?);
    broken.extend(readme::broken()?);
    if broken.is_empty() {
        println!("tidy");
        return Ok(());
    }
    for line in &broken {
        eprintln!("{line}");
    }
    Err(format!("{} rule(s) of the repository are broken", broken.len()).into())
}
