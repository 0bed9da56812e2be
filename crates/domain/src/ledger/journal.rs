//! The entry and its hash chain.
//!
//! The chain binds what a line says and whose it is: it begins with [`genesis`], which no two accounts
//! share, so that no line can be moved to another account, and every field of a line is hashed.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

use super::buckets::{Lot, Part};
use super::tcc::DbTime;
use super::{Balances, Posting, PostingError};
use crate::{AccountId, ReservationId, TenantId};

/// What a genesis hash is of, before whose it is. Another form of the entry takes another name.
const GENESIS_DOMAIN: &[u8] = b"stipend journal 1";

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
    /// Points taken because their time is past.
    Expire,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Credit,
        Self::Debit,
        Self::Reserve,
        Self::Confirm,
        Self::Undo,
        Self::Finalise,
        Self::Release,
        Self::Expire,
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
            Self::Expire => "expire",
        }
    }
}

/// Which life of the database wrote a line: bumped when it is restored from a backup, so that what
/// was lost and what was written instead can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub i32);

/// Where an account's journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence of the last entry; 0 before the first.
    pub seq: i64,
    /// Its hash; the account's [`genesis`] before the first.
    pub hash: B256,
    /// The balances after it.
    pub balances: Balances,
}

impl Head {
    /// The head of an account that nothing ever happened to.
    #[must_use]
    pub fn new(tenant: TenantId, account: AccountId) -> Self {
        Self { seq: 0, hash: genesis(tenant, account), balances: Balances::default() }
    }
}

/// What all entries of one command share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The command.
    pub kind: EntryKind,
    /// The reservation it belongs to.
    pub reservation: Option<ReservationId>,
    /// The company's own name of it.
    pub reference: Option<String>,
    /// The life of the database that writes it.
    pub incarnation: Incarnation,
    /// Database time, non-decreasing per account.
    pub recorded_at: DbTime,
}

/// One immutable line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Gapless per account, from 1.
    pub seq: i64,
    /// What it shares with the other entries of its command.
    pub line: Line,
    /// The transfer.
    pub posting: Posting,
    /// Which points, where they are not the default bucket's.
    pub lot: Option<Lot>,
    /// The balances after it.
    pub balances: Balances,
    /// [`hash`] of the predecessor's hash and every field above.
    pub hash: B256,
}

/// Writes postings as entries behind `head`, and moves it.
///
/// # Errors
/// When a posting does not fit the balances; `head` is left as it was.
pub fn append(
    head: &mut Head,
    line: &Line,
    postings: &[Posting],
) -> Result<Vec<Entry>, PostingError> {
    append_each(head, line, postings.iter().map(|posting| (*posting, None)))
}

/// The same for postings of single lots.
///
/// # Errors
/// As [`append`].
pub fn append_parts(
    head: &mut Head,
    line: &Line,
    parts: &[Part],
) -> Result<Vec<Entry>, PostingError> {
    append_each(head, line, parts.iter().map(|part| (part.posting, part.lot.as_ref())))
}

fn append_each<'a>(
    head: &mut Head,
    line: &Line,
    parts: impl ExactSizeIterator<Item = (Posting, Option<&'a Lot>)>,
) -> Result<Vec<Entry>, PostingError> {
    let mut next = *head;
    let mut entries = Vec::with_capacity(parts.len());
    for (posting, lot) in parts {
        let balances = next.balances.after(&posting)?;
        let seq = next.seq.saturating_add(1);
        let (line, lot) = (line.clone(), lot.cloned());
        let mut entry = Entry { seq, line, posting, lot, balances, hash: B256::ZERO };
        entry.hash = hash(&next.hash, &entry);
        next = Head { seq, hash: entry.hash, balances };
        entries.push(entry);
    }
    *head = next;
    Ok(entries)
}

/// The hash that stands for the predecessor of an account's first entry: SHA-256 of
/// `stipend journal 1`, the 16 bytes of the tenant's id and those of the account's.
#[must_use]
pub fn genesis(tenant: TenantId, account: AccountId) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(GENESIS_DOMAIN);
    hasher.update(tenant.0.as_bytes());
    hasher.update(account.0.as_bytes());
    B256::from_slice(&hasher.finalize())
}

/// The hash of an entry behind a predecessor: SHA-256 of, in this order,
///
/// - the predecessor's hash (32 bytes), the incarnation (4), the sequence (8);
/// - kind, column that the points leave, column that they enter: each as a text;
/// - amount, then available, reserved, spent and debt after it, in micropoints (8 each);
/// - the reservation: 0, or 1 and its id (16); the reference: 0, or 1 and it as a text;
/// - the bucket: 0, or 1 and its name as a text, then its expiry: 0, or 1 and it like the time;
/// - the time in microseconds since 1970 (8).
///
/// Integers are big-endian; a text is its length in bytes (4) and its UTF-8.
#[must_use]
pub fn hash(previous: &B256, entry: &Entry) -> B256 {
    let Entry { seq, line, posting, lot, balances, hash: _ } = entry;
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(line.incarnation.0.to_be_bytes());
    hasher.update(seq.to_be_bytes());
    for name in [line.kind.as_str(), posting.from.as_str(), posting.to.as_str()] {
        update_text(&mut hasher, name);
    }
    let Balances { available, reserved, spent, debt } = *balances;
    for amount in [posting.amount, available, reserved, spent, debt] {
        hasher.update(amount.micropoints().to_be_bytes());
    }
    hasher.update([u8::from(line.reservation.is_some())]);
    if let Some(reservation) = line.reservation {
        hasher.update(reservation.0.as_bytes());
    }
    hasher.update([u8::from(line.reference.is_some())]);
    if let Some(reference) = &line.reference {
        update_text(&mut hasher, reference);
    }
    hasher.update([u8::from(lot.is_some())]);
    if let Some(lot) = lot {
        update_text(&mut hasher, lot.bucket.as_str());
        hasher.update([u8::from(lot.expires_at.is_some())]);
        if let Some(expires_at) = lot.expires_at {
            hasher.update(expires_at.0.to_be_bytes());
        }
    }
    hasher.update(line.recorded_at.0.to_be_bytes());
    B256::from_slice(&hasher.finalize())
}

fn update_text(hasher: &mut Sha256, text: &str) {
    // No text of a line is anywhere near 4 GiB.
    hasher.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    hasher.update(text.as_bytes());
}
