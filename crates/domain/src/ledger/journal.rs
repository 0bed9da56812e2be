//! The entry and its hash chain.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

use super::tcc::DbTime;
use super::{Balances, Posting, PostingError};
use crate::ReservationId;

/// Why an entry was written: the command, as the journal shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Points granted to the user.
    Credit,
    /// Points taken from the user.
    Debit,
    /// Points set aside.
    Reserve,
    /// Points spent.
    Confirm,
    /// A settlement taken back, because its block went away.
    Undo,
    /// The rest of a settled reservation returned.
    Finalise,
    /// All of a reservation returned.
    Release,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Credit,
        Self::Debit,
        Self::Reserve,
        Self::Confirm,
        Self::Undo,
        Self::Finalise,
        Self::Release,
    ];

    /// The kind's name in SQL and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
            Self::Reserve => "reserve",
            Self::Confirm => "confirm",
            Self::Undo => "undo",
            Self::Finalise => "finalise",
            Self::Release => "release",
        }
    }
}

/// Where an account's journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the last entry; 0 before the first.
    pub seq: i64,
    /// Its hash; zero before the first.
    pub hash: B256,
    /// The balances after it.
    pub balances: Balances,
}

/// One immutable line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Gapless per account, from 1.
    pub seq: i64,
    /// The command.
    pub kind: EntryKind,
    /// The transfer.
    pub posting: Posting,
    /// The balances after it.
    pub balances: Balances,
    /// The reservation it belongs to.
    pub reservation: Option<ReservationId>,
    /// Database time, non-decreasing per account.
    pub recorded_at: DbTime,
    /// SHA-256 over the predecessor's hash and every field above.
    pub hash: B256,
}

/// Writes postings as entries behind `head`, and moves it.
///
/// # Errors
/// When a posting does not fit the balances; `head` is left as it was.
pub fn append(
    head: &mut Head,
    kind: EntryKind,
    postings: &[Posting],
    reservation: Option<ReservationId>,
    recorded_at: DbTime,
) -> Result<Vec<Entry>, PostingError> {
    let mut next = *head;
    let mut entries = Vec::with_capacity(postings.len());
    for &posting in postings {
        let balances = next.balances.after(&posting)?;
        let mut entry = Entry {
            seq: next.seq.saturating_add(1),
            kind,
            posting,
            balances,
            reservation,
            recorded_at,
            hash: B256::ZERO,
        };
        entry.hash = hash(&next.hash, &entry);
        next = Head { seq: entry.seq, hash: entry.hash, balances };
        entries.push(entry);
    }
    *head = next;
    Ok(entries)
}

/// The hash of an entry behind a predecessor: SHA-256 of the predecessor's hash and the entry's
/// fields, integers big-endian, names ended by a zero byte, an absent reservation as 16 zero bytes.
#[must_use]
pub fn hash(previous: &B256, entry: &Entry) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(entry.seq.to_be_bytes());
    for name in [entry.kind.as_str(), entry.posting.from.as_str(), entry.posting.to.as_str()] {
        hasher.update(name.as_bytes());
        hasher.update([0]);
    }
    let Balances { available, reserved, spent, debt } = entry.balances;
    for amount in [entry.posting.amount, available, reserved, spent, debt] {
        hasher.update(amount.micropoints().to_be_bytes());
    }
    hasher.update(entry.reservation.map_or([0; 16], |id| *id.0.as_bytes()));
    hasher.update(entry.recorded_at.0.to_be_bytes());
    B256::from_slice(&hasher.finalize())
}
