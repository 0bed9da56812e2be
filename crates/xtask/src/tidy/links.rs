//! Links between the documents: each leads to a file that exists.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::collect;
use crate::Failure;
use crate::cargo::root;

/// The links that lead nowhere.
pub(super) fn broken() -> Result<Vec<String>, Failure> {
    let mut documents = vec![root().join("README.md")];
    collect(&root().join("docs"), "md", &mut documents)?;
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document)?;
        for target in targets(&text) {
            if !resolve(&document, target).exists() {
                let name = document.strip_prefix(root()).unwrap_or(&document).display();
                broken.push(format!("{name}: the link to {target} leads nowhere"));
            }
        }
    }
    Ok(broken)
}

/// The targets of Markdown links within the repository, without their anchors.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
}

fn resolve(document: &Path, target: &str) -> PathBuf {
    match target.strip_prefix('/') {
        Some(absolute) => root().join(absolute),
        None => document.parent().unwrap_or(document).join(target),
    }
}
