//! What was asked and what was told, as the model understands it.

use domain::ReservationId;
use domain::chain_fact::Sighting;
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, GrantRefusal};
use domain::ledger::tcc::{TccOutcome, TccReservation};
use store::facts::FactStep;
use store::sponsorships::CloseOutcome;
use store::wallets::UnlinkOutcome;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Move {
        credit: bool,
        amount: u64,
        reference: String,
        key: String,
    },
    Try {
        biz: u64,
        amount: u64,
        expires: Option<i64>,
        too_old: bool,
    },
    Confirm {
        biz: u64,
        amount: Option<u64>,
    },
    Cancel {
        biz: u64,
    },
    Expire {
        biz: u64,
    },
    Grant {
        nonce: u64,
        wei: u64,
        rate: u64,
        paymaster: usize,
        key: Option<String>,
        head: u64,
        valid_until: u64,
    },
    Close {
        nonce: u64,
        reservation: ReservationId,
    },
    Unlink,
    Fact {
        step: FactStep,
        nonce: u64,
        sighting: Sighting,
        wei: u64,
    },
    Release {
        nonce: u64,
        at: u64,
    },
    Balances,
    Look {
        biz: u64,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Moved {
        again: bool,
        seq: i64,
        available: u64,
        debt: u64,
    },
    Short(FundsRefusal),
    Conflict(Vec<&'static str>),
    KeyReused,
    Tcc(TccOutcome, Option<TccReservation>),
    Granted {
        again: bool,
        reservation: ReservationId,
        grant_no: i32,
    },
    NotGranted(GrantRefusal),
    WalletMoved,
    PaymasterChanged,
    Closed(CloseOutcome),
    Unlinked(UnlinkOutcome),
    Fact(FactOutcome),
    Released(CancelOutcome),
    Balances {
        balances: [u64; 4],
        pending: u64,
        entry_seq: i64,
    },
    Looked(Option<TccReservation>),
    /// Nothing more is known: the caller went away, or the answer was lost.
    Nothing,
}

/// Whether an answer says that something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Happened,
    NothingHappened,
    Either,
}

impl Told {
    pub(super) fn claim(&self) -> Claim {
        let is_new = match self {
            Self::Moved { again, .. } | Self::Granted { again, .. } => !again,
            Self::Tcc(outcome, _) => match outcome {
                TccOutcome::Applied => true,
                TccOutcome::Replayed => false,
                // The first of them is remembered.
                TccOutcome::Refused(_) => return Claim::Either,
            },
            Self::Fact(outcome) => {
                matches!(outcome, FactOutcome::Applied | FactOutcome::AppliedWithShortage { .. })
            }
            Self::Released(outcome) => *outcome == CancelOutcome::Released,
            Self::Closed(CloseOutcome::Closing(_)) | Self::Nothing => return Claim::Either,
            _ => false,
        };
        if is_new { Claim::Happened } else { Claim::NothingHappened }
    }
}

/// One call, from the moment before it to the moment after its answer.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) user: usize,
    pub(super) request: Request,
    pub(super) told: Told,
    pub(super) called: u64,
    /// `u64::MAX` where nobody heard the answer: it may still be carried out.
    pub(super) answered: u64,
    /// Whether its process runs commands again by itself after a lost answer.
    pub(super) may_repeat: bool,
}
