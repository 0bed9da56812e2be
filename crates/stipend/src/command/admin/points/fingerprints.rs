//! Which of very many names are the same, in little memory.
//!
//! Names are hashed to 128 bits and spread over temporary files by their first bits; each file is then looked at by
//! itself. A thousand million names need 24 GB of disk and 400 MB of memory; two that differ never meet by accident.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use alloy_primitives::Keccak256;

use super::ImportError;

/// How many files: few enough to keep open, many enough to make each small.
const PARTS: u8 = 64;

type Print = [u8; 16];
/// Bytes of a hash and a line's number.
const RECORD: u64 = 16 + 8;

/// Names, each with the line it stands in.
pub(super) struct Fingerprints {
    parts: Vec<BufWriter<File>>,
}

impl Fingerprints {
    pub(super) fn new() -> Result<Self, ImportError> {
        let parts: io::Result<_> =
            (0..PARTS).map(|_| tempfile::tempfile().map(BufWriter::new)).collect();
        Ok(Self { parts: parts.map_err(ImportError::Temporary)? })
    }

    /// Adds a name of one part or several.
    pub(super) fn add(&mut self, name: &[&str], line: u64) -> Result<(), ImportError> {
        let mut hasher = Keccak256::new();
        for part in name {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let hash = hasher.finalize();
        let print = hash.first_chunk::<16>().copied().unwrap_or_default();
        let [first, ..] = print;
        let Some(part) = self.parts.get_mut(usize::from(first % PARTS)) else { return Ok(()) };
        part.write_all(&print)
            .and_then(|()| part.write_all(&line.to_be_bytes()))
            .map_err(ImportError::Temporary)
    }

    /// Calls back once for each name, with the lines it stands in, in order.
    pub(super) fn each(self, mut found: impl FnMut(&[u64])) -> Result<(), ImportError> {
        for part in self.parts {
            let mut records = records(part).map_err(ImportError::Temporary)?;
            records.sort_unstable();
            for same in records.chunk_by(|one, other| one.0 == other.0) {
                let lines: Vec<u64> = same.iter().map(|(_, line)| *line).collect();
                found(&lines);
            }
        }
        Ok(())
    }
}

fn records(part: BufWriter<File>) -> io::Result<Vec<(Print, u64)>> {
    let mut file = part.into_inner().map_err(io::IntoInnerError::into_error)?;
    let length = file.stream_position()?;
    file.rewind()?;
    let mut input = BufReader::new(file);
    let count = usize::try_from(length / RECORD).map_err(io::Error::other)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut print, mut line) = (Print::default(), [0; 8]);
        input.read_exact(&mut print)?;
        input.read_exact(&mut line)?;
        records.push((print, u64::from_be_bytes(line)));
    }
    Ok(records)
}
