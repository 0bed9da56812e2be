//! Whether a file can be imported at all.

use std::collections::BTreeMap;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::fingerprints::Fingerprints;
use super::rows::Rows;
use super::{ImportError, go_on};

/// How many mistakes are told.
const MOST_TOLD: usize = 100;
/// What is wrong with a file.
#[derive(Default)]
struct Mistakes {
    count: u64,
    /// The first ones, by line.
    told: BTreeMap<u64, String>,
}

/// A file without mistakes.
pub(super) struct Checked {
    /// How many credits it has.
    pub(super) lines: u64,
}

impl Mistakes {
    fn add(&mut self, line: u64, words: String) {
        self.count = self.count.saturating_add(1);
        self.told.insert(line, words);
        if self.told.len() > MOST_TOLD {
            self.told.pop_last();
        }
    }
}

/// Reads the whole file; its mistakes go to standard error.
pub(super) fn check(path: &Path, stop: &CancellationToken) -> Result<Checked, ImportError> {
    let mut rows = Rows::open(path)?;
    let mut mistakes = Mistakes::default();
    let mut references = Fingerprints::new()?;
    let mut lines = 0_u64;
    while let Some((line, read)) = rows.next()? {
        go_on(stop, line)?;
        lines = lines.saturating_add(1);
        match read {
            Ok(credit) => {
                let name = [credit.external_id.as_str(), credit.reference.as_str()];
                references.add(&name, line)?;
            }
            Err(refusal) => mistakes.add(line, refusal.to_string()),
        }
    }
    references.each(|same| {
        let Some((first, repeats)) = same.split_first() else { return };
        for line in repeats {
            let words = format!("the same external_id and reference as in line {first}");
            mistakes.add(*line, words);
        }
    })?;
    if mistakes.count > 0 {
        for (line, words) in &mistakes.told {
            eprintln!("line {line}: {words}");
        }
        let told = u64::try_from(mistakes.told.len()).unwrap_or(u64::MAX);
        if mistakes.count > told {
            eprintln!("… and {} more", mistakes.count.saturating_sub(told));
        }
        return Err(ImportError::Mistakes { path: path.to_owned(), count: mistakes.count });
    }
    if lines == 0 {
        return Err(ImportError::Empty(path.to_owned()));
    }
    Ok(Checked { lines })
}
