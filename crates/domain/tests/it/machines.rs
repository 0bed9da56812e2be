//! The two machines as tables and diagrams, printed by driving them: every command is given to every
//! state, and what comes of it is written down.

use std::fmt::Write as _;

use domain::ledger::sponsorship::{
    CancelOutcome, FactOutcome, GrantOutcome, GrantRefusal, SetAside, SponsorshipState, Unsettled,
};
use domain::ledger::tcc::{DbTime, TccCommand, TccOutcome, TccRefusal, TccState, TccTerms};

use crate::account::Account;
use crate::fixtures::{
    HEAD, VALIDITY, landed, landed_again, micro, release_proof, request, request_at, slot,
    used_nonce,
};

/// What a command did to an account in some state.
pub(crate) struct Cell {
    answer: String,
    /// Where the reservation stood and stands, when the command wrote it.
    moved: Option<(&'static str, &'static str)>,
    /// The points that went, as `from → to`.
    pub(crate) postings: Vec<String>,
}

impl Cell {
    fn text(&self) -> String {
        let mut text = self.answer.clone();
        if let Some((from, to)) = self.moved
            && from != to
        {
            write!(text, " → **{to}**").unwrap();
        }
        if !self.postings.is_empty() {
            write!(text, " ({})", self.postings.join(", ")).unwrap();
        }
        text
    }
}

/// A command given to every state: its name, and a cell for each state in the machine's order.
pub(crate) struct Row {
    command: &'static str,
    cells: Vec<Cell>,
}

/// The postings that an account gained beyond its first `known`, without their amounts.
pub(crate) fn gained(account: &Account, known: usize) -> Vec<String> {
    let said = |posting: &domain::ledger::Posting| format!("{} → {}", posting.from, posting.to);
    account.postings[known..].iter().map(said).collect()
}

pub(crate) fn table(states: &[&str], rows: &[Row]) -> String {
    let mut text = format!("| command | {} |\n|", states.join(" | "));
    text.push_str(&" --- |".repeat(states.len() + 1));
    for Row { command, cells } in rows {
        let cells: Vec<_> = cells.iter().map(Cell::text).collect();
        write!(text, "\n| {command} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// The arrows of a machine: which commands lead from one state to another, or write it anew.
pub(crate) fn diagram(rows: &[Row]) -> String {
    let mut arrows: Vec<String> = Vec::new();
    for Row { command, cells } in rows {
        // The variants of a command share its arrows.
        let verb = command.split([' ', ',', '(']).next().unwrap();
        for (from, to) in cells.iter().filter_map(|cell| cell.moved) {
            let from = if from == NOTHING { "[*]" } else { from };
            let arrow = format!("    {from} --> {to}: {verb}");
            if !arrows.contains(&arrow) {
                arrows.push(arrow);
            }
        }
    }
    format!("```mermaid\nstateDiagram-v2\n{}\n```", arrows.join("\n"))
}

const NOTHING: &str = "nothing";

pub(crate) const TCC_STATES: [&str; 5] = [NOTHING, "open", "settled", "released", "rejected"];

fn tcc_state(account: &Account) -> &'static str {
    account.biz.get(&0).map_or(NOTHING, |reservation| match reservation.state {
        TccState::Open => "open",
        TccState::Settled { .. } => "settled",
        TccState::Released => "released",
        TccState::Rejected { .. } => "rejected",
    })
}

fn tcc_try(amount: u64) -> TccCommand {
    let terms = TccTerms { amount: micro(amount), expires_at: Some(DbTime(200)) };
    TccCommand::Try { terms, issued_at: DbTime(100), oldest: DbTime(0) }
}

fn tcc_confirm(amount: u64) -> TccCommand {
    TccCommand::Confirm { amount: Some(micro(amount)) }
}

/// An account of 100 points whose biz id stands in `state`: tried with 60, settled with 25.
fn tcc_account(state: &str) -> Account {
    let mut account = Account::with(if state == "rejected" { 50 } else { 100 });
    let history = match state {
        "open" | "rejected" => vec![tcc_try(60)],
        "settled" => vec![tcc_try(60), tcc_confirm(25)],
        "released" => vec![tcc_try(60), TccCommand::Cancel],
        _ => Vec::new(),
    };
    for command in history {
        account.tcc(0, &command);
    }
    assert_eq!(tcc_state(&account), state);
    account
}

pub(crate) fn tcc_rows() -> Vec<Row> {
    let commands = [
        ("try", tcc_try(60)),
        ("try of more than is available", tcc_try(101)),
        ("confirm(x)", tcc_confirm(25)),
        ("confirm(another x)", tcc_confirm(26)),
        ("confirm(more than reserved)", tcc_confirm(61)),
        ("cancel", TccCommand::Cancel),
        ("expire", TccCommand::Expire { now: DbTime(200) }),
    ];
    let row = |(name, command): (&'static str, TccCommand)| Row {
        command: name,
        cells: TCC_STATES.iter().map(|state| tcc_cell(state, &command)).collect(),
    };
    commands.into_iter().map(row).collect()
}

fn tcc_cell(state: &'static str, command: &TccCommand) -> Cell {
    let mut account = tcc_account(state);
    let (known, before) = (account.postings.len(), account.biz.get(&0).copied());
    let outcome = account.tcc(0, command);
    let answer = match outcome {
        TccOutcome::Applied => "applied".to_owned(),
        TccOutcome::Replayed => "replay".to_owned(),
        TccOutcome::Refused(refusal) => format!("refused: {}", tcc_refusal(&refusal)),
    };
    let changed = before != account.biz.get(&0).copied();
    Cell {
        answer,
        moved: changed.then(|| (state, tcc_state(&account))),
        postings: gained(&account, known),
    }
}

fn tcc_refusal(refusal: &TccRefusal) -> String {
    match refusal {
        TccRefusal::InsufficientPoints { .. } => "insufficient points".to_owned(),
        TccRefusal::ZeroAmount => "zero amount".to_owned(),
        TccRefusal::NotFound => "not found".to_owned(),
        TccRefusal::ExceedsReserved { .. } => "exceeds reserved".to_owned(),
        TccRefusal::AlreadySettled { .. } => "already settled".to_owned(),
        TccRefusal::Cancelled => "cancelled".to_owned(),
        TccRefusal::Rejected => "rejected".to_owned(),
        TccRefusal::Conflict { fields } => format!("another {}", fields.join(" and ")),
        TccRefusal::TooOld => "too old".to_owned(),
    }
}

pub(crate) const SPONSORSHIP_STATES: [&str; 6] =
    [NOTHING, "open", "provisional", "final", "released", "late"];

fn sponsorship_state(account: &Account) -> &'static str {
    account.sponsorships.get(&0).map_or(NOTHING, |reservation| match reservation.state {
        SponsorshipState::Open => "open",
        SponsorshipState::Provisional(settlement) => match settlement.before {
            Unsettled::Open => "provisional",
            Unsettled::Released => "late",
        },
        SponsorshipState::Final(_) => "final",
        SponsorshipState::Released => "released",
    })
}

/// An account of 100 points whose slot stands in `state`: granted 60, landed at 50 in block 1.
fn sponsorship_account(state: &str) -> Account {
    let mut account = Account::with(100);
    if state != NOTHING {
        account.grant(0, &request(1, 60));
    }
    if matches!(state, "provisional" | "final") {
        account.confirm(&landed(1, 50));
    }
    if state == "final" {
        account.finalise(&landed(1, 50));
    }
    if matches!(state, "released" | "late") {
        account.cancel(0, &release_proof(slot(0), PAST));
    }
    if state == "late" {
        account.confirm(&landed(1, 50));
    }
    assert_eq!(sponsorship_state(&account), state);
    account
}

/// The first chain time that is past the grant's window.
const PAST: u64 = HEAD + VALIDITY + 1;

pub(crate) fn sponsorship_rows() -> Vec<Row> {
    type Command = fn(&mut Account) -> String;
    let commands: [(&'static str, Command); 16] = [
        ("grant", |account| granted(&account.grant(0, &request(1, 60)))),
        ("grant, its window nearly over", |account| {
            granted(&account.grant(0, &request_at(1, 60, HEAD + VALIDITY - 59)))
        }),
        ("grant, a bump", |account| granted(&account.grant(0, &request(2, 70)))),
        ("grant of more than is available", |account| granted(&account.grant(0, &request(2, 101)))),
        ("close", |account| {
            if account.close(0) { "applied" } else { "nothing to close" }.to_owned()
        }),
        ("confirm", |account| told(account.confirm(&landed(1, 50)))),
        ("confirm, the block is back", |account| told(account.confirm(&landed_again(1, 50)))),
        ("confirm in another block", |account| told(account.confirm(&landed(2, 50)))),
        ("confirm of more than was held", |account| told(account.confirm(&landed(1, 130)))),
        ("undo", |account| told(account.undo(&landed(1, 50)))),
        ("undo of another visit", |account| told(account.undo(&landed_again(1, 50)))),
        ("finalise", |account| told(account.finalise(&landed(1, 50)))),
        ("finalise another block", |account| told(account.finalise(&landed(2, 50)))),
        ("cancel, every window past", |account| {
            cancelled(account.cancel(0, &release_proof(slot(0), PAST)))
        }),
        ("cancel, too soon", |account| {
            cancelled(account.cancel(0, &release_proof(slot(0), PAST - 1)))
        }),
        ("cancel, the nonce used by something else", |account| {
            cancelled(account.cancel(0, &used_nonce(slot(0))))
        }),
    ];
    let cell = |state: &'static str, command: Command| {
        let mut account = sponsorship_account(state);
        let (known, before) = (account.postings.len(), account.sponsorships.get(&0).cloned());
        let answer = command(&mut account);
        let changed = before.as_ref() != account.sponsorships.get(&0);
        Cell {
            answer,
            moved: changed.then(|| (state, sponsorship_state(&account))),
            postings: gained(&account, known),
        }
    };
    let row = |(name, command): (&'static str, Command)| Row {
        command: name,
        cells: SPONSORSHIP_STATES.iter().map(|state| cell(state, command)).collect(),
    };
    commands.into_iter().map(row).collect()
}

fn granted(outcome: &GrantOutcome) -> String {
    match outcome {
        GrantOutcome::Granted => "granted",
        GrantOutcome::Replayed(_) => "the same grant",
        GrantOutcome::Refused(refusal) => match refusal {
            GrantRefusal::InsufficientPoints { .. } => "refused: insufficient points",
            GrantRefusal::NonceUsed => "refused: nonce used",
            GrantRefusal::Closing => "refused: closing",
            GrantRefusal::TooManyGrants => "refused: too many grants",
            GrantRefusal::CostOutOfRange(_) => "refused: cost out of range",
            GrantRefusal::DebtAboveCeiling { .. } => "refused: debt above ceiling",
        },
    }
    .to_owned()
}

fn told(outcome: FactOutcome) -> String {
    match outcome {
        FactOutcome::Applied => "applied",
        FactOutcome::AppliedWithShortage { .. } => "applied, alarm",
        FactOutcome::Replayed => "replay",
        FactOutcome::SetAside(reason) => match reason {
            SetAside::UnknownOperation => "set aside: unknown operation",
            SetAside::SettledElsewhere => "set aside: settled elsewhere",
            SetAside::UndoAfterFinal => "set aside: undo after final",
            SetAside::CostOutOfRange => "set aside: cost out of range",
            SetAside::FinalBeforeSettled => "set aside: final before settled",
        },
    }
    .to_owned()
}

fn cancelled(outcome: CancelOutcome) -> String {
    match outcome {
        CancelOutcome::Released => "applied",
        CancelOutcome::Replayed => "replay",
        CancelOutcome::NotYet => "not yet",
        CancelOutcome::AlreadySettled => "refused: already settled",
    }
    .to_owned()
}
