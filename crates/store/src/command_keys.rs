//! Keyed commands: the row that turns a repeat into a replay.

use alloy_primitives::B256;
use domain::ReservationId;
use domain::ids::CommandKey;
use domain::ledger::tcc::DbTime;
use uuid::Uuid;

use crate::book::{Book, NewKey, Owner};
use crate::{StoreError, codec};

/// The caller's key of a command, and a hash of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The `Idempotency-Key`, unique per account.
    pub key: CommandKey,
    /// Hash of the request's body: the same key with another one is refused.
    pub request_hash: B256,
}

/// What a key was used for.
#[derive(Clone, Debug)]
pub(crate) struct UsedKey {
    pub(crate) request_hash: B256,
    pub(crate) target: KeyTarget,
}

/// The immutable rows from which a keyed answer is made again.
#[derive(Clone, Debug)]
pub(crate) enum KeyTarget {
    Movement { command: &'static str, reference: String },
    Grant { reservation: ReservationId, grant_no: i32 },
}

const CREDIT: &str = "credit";
const DEBIT: &str = "debit";
const SPONSOR: &str = "sponsor";

/// [`KeyTarget`] as the database has it.
pub(crate) struct KeyColumns {
    pub(crate) command: &'static str,
    pub(crate) reference: Option<String>,
    pub(crate) reservation: Option<Uuid>,
    pub(crate) grant_no: Option<i32>,
}

impl KeyTarget {
    pub(crate) fn read(
        command: &str,
        reference: Option<String>,
        reservation: Option<ReservationId>,
        grant_no: Option<i32>,
    ) -> Result<Self, StoreError> {
        let movement = |command| -> Result<Self, StoreError> {
            Ok(Self::Movement { command, reference: codec::present(reference)? })
        };
        match command {
            SPONSOR => Ok(Self::Grant {
                reservation: codec::present(reservation)?,
                grant_no: codec::present(grant_no)?,
            }),
            CREDIT => movement(CREDIT),
            DEBIT => movement(DEBIT),
            _ => Err(StoreError::Corrupt("command key")),
        }
    }

    pub(crate) fn columns(&self) -> KeyColumns {
        match self {
            Self::Movement { command, reference } => KeyColumns {
                command,
                reference: Some(reference.clone()),
                reservation: None,
                grant_no: None,
            },
            Self::Grant { reservation, grant_no } => KeyColumns {
                command: SPONSOR,
                reference: None,
                reservation: Some(reservation.0),
                grant_no: Some(*grant_no),
            },
        }
    }
}

impl Book {
    /// Remembers what a key was used for.
    pub(crate) fn remember(&mut self, owner: Owner, keyed: &Keyed, target: KeyTarget, now: DbTime) {
        let Keyed { key, request_hash } = keyed.clone();
        let used = UsedKey { request_hash, target: target.clone() };
        self.keys.insert((owner, key.clone()), used);
        self.rows.keys.push(NewKey { owner, key, request_hash, target, now });
    }
}
