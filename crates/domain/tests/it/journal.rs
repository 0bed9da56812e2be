//! The entry and its hash chain.

use alloy_primitives::{B256, b256};
use domain::ledger::journal::{self, Entry, EntryKind, Head, Incarnation, Line};
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, Column, PostingError};
use domain::{AccountId, ReservationId, TenantId};
use proptest::prelude::*;
use uuid::Uuid;

use crate::fixtures::{micro, posting};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const ACCOUNT: AccountId = AccountId(Uuid::from_u128(2));

fn line(kind: EntryKind) -> Line {
    let incarnation = Incarnation(3);
    Line { kind, reservation: None, reference: None, incarnation, recorded_at: DbTime(1_000) }
}

/// A credit, a reservation of it and its settlement: four entries.
fn history() -> (Head, Vec<Entry>) {
    let reservation = Some(ReservationId(Uuid::from_u128(7)));
    let mut head = Head::new(TENANT, ACCOUNT);
    let mut entries = Vec::new();
    for (kind, postings, reservation) in [
        (EntryKind::Credit, vec![posting(Column::Issued, Column::Available, 100)], None),
        (EntryKind::Reserve, vec![posting(Column::Available, Column::Reserved, 60)], reservation),
        (
            EntryKind::Confirm,
            vec![
                posting(Column::Reserved, Column::Spent, 50),
                posting(Column::Reserved, Column::Available, 10),
            ],
            reservation,
        ),
    ] {
        let reference = (kind == EntryKind::Credit).then(|| "récit 1".to_owned());
        let recorded_at = DbTime(1_000 + head.seq);
        let line = Line { reservation, reference, recorded_at, ..line(kind) };
        entries.extend(journal::append(&mut head, &line, &postings).unwrap());
    }
    (head, entries)
}

/// The first entry that does not follow from its predecessor.
fn first_broken(entries: &[Entry]) -> Option<usize> {
    let mut previous = journal::genesis(TENANT, ACCOUNT);
    entries.iter().position(|entry| {
        let broken = journal::hash(&previous, entry) != entry.hash;
        previous = entry.hash;
        broken
    })
}

#[test]
fn entries_are_numbered_without_a_gap_and_carry_the_balances_after_them() {
    let (head, entries) = history();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let available = entries.iter().map(|entry| entry.balances.available.micropoints());
    assert_eq!(available.collect::<Vec<_>>(), [100, 40, 40, 50]);
    let last = entries.last().unwrap();
    assert_eq!(head, Head { seq: last.seq, hash: last.hash, balances: last.balances });
    assert_eq!(first_broken(&entries), None);
}

#[test]
fn any_changed_field_breaks_the_chain_at_that_entry() {
    type Change = fn(&mut Entry);
    let changes: [(&str, Change); 16] = [
        ("seq", |entry| entry.seq += 1),
        ("kind", |entry| entry.line.kind = EntryKind::Debit),
        ("from", |entry| entry.posting.from = Column::Promo),
        ("to", |entry| entry.posting.to = Column::House),
        ("amount", |entry| entry.posting.amount = micro(7)),
        ("available", |entry| entry.balances.available = micro(7)),
        ("reserved", |entry| entry.balances.reserved = micro(7)),
        ("spent", |entry| entry.balances.spent = micro(7)),
        ("debt", |entry| entry.balances.debt = micro(7)),
        ("reservation", |entry| entry.line.reservation = Some(ReservationId(Uuid::nil()))),
        ("reference", |entry| entry.line.reference = Some("another".to_owned())),
        ("empty reference", |entry| entry.line.reference = Some(String::new())),
        ("bucket", |entry| entry.lot = Some(crate::buckets::lot("gift", None))),
        ("incarnation", |entry| entry.line.incarnation = Incarnation(4)),
        ("recorded_at", |entry| entry.line.recorded_at = DbTime(0)),
        ("hash", |entry| entry.hash = B256::repeat_byte(1)),
    ];
    let (_, entries) = history();
    for index in 0..entries.len() {
        for (field, change) in changes {
            let mut tampered = entries.clone();
            change(&mut tampered[index]);
            assert_eq!(first_broken(&tampered), Some(index), "{field} of entry {index}");
        }
    }
}

#[test]
fn a_missing_a_foreign_and_a_swapped_entry_break_the_chain() {
    let (_, entries) = history();
    let mut missing = entries.clone();
    missing.remove(1);
    assert_eq!(first_broken(&missing), Some(1));
    let mut swapped = entries.clone();
    swapped.swap(1, 2);
    assert_eq!(first_broken(&swapped), Some(1));
    let mut doubled = entries.clone();
    doubled.insert(2, entries[1].clone());
    assert_eq!(first_broken(&doubled), Some(2));
}

#[test]
fn a_change_that_is_hashed_again_breaks_the_next_link() {
    let (_, mut entries) = history();
    entries[1].posting.amount = micro(61);
    entries[1].hash = journal::hash(&entries[0].hash, &entries[1]);
    assert_eq!(first_broken(&entries), Some(2));
}

#[test]
fn a_journal_of_another_account_or_tenant_breaks_at_its_first_entry() {
    let (_, entries) = history();
    let other = Uuid::from_u128(9);
    let hashes = [
        journal::genesis(TENANT, ACCOUNT),
        journal::genesis(TENANT, AccountId(other)),
        journal::genesis(TenantId(other), ACCOUNT),
        journal::genesis(TenantId(ACCOUNT.0), AccountId(TENANT.0)),
    ]
    .map(|genesis| journal::hash(&genesis, &entries[0]));
    assert_eq!(hashes.map(|hash| hash == entries[0].hash), [true, false, false, false]);
}

#[test]
fn texts_do_not_run_into_each_other() {
    let entry = |reference: &str, reservation| {
        let line =
            Line { reference: Some(reference.to_owned()), reservation, ..line(EntryKind::Credit) };
        let postings = [posting(Column::Issued, Column::Available, 1)];
        journal::append(&mut Head::new(TENANT, ACCOUNT), &line, &postings).unwrap().remove(0)
    };
    let id = Uuid::from_bytes(*b"0123456789abcdef");
    let told_apart = entry("x", Some(ReservationId(id))).hash;
    assert_ne!(told_apart, entry("0123456789abcdefx", None).hash);
}

/// Journals outlive releases: this value was computed apart, from the bytes that the form
/// prescribes.
#[test]
fn the_form_that_is_hashed_does_not_change() {
    let (head, _) = history();
    assert_eq!(
        head.hash,
        b256!("0x757c27fc4f0d09865ae3c25ed9bd342b5d930c8f58ea91eb5e460d6016e26858")
    );
}

#[test]
fn postings_that_do_not_fit_leave_the_head_where_it_was() {
    let (head, _) = history();
    let mut next = head;
    let postings = [
        posting(Column::Available, Column::Reserved, 50),
        posting(Column::Available, Column::Reserved, 1),
    ];
    let refusal = journal::append(&mut next, &line(EntryKind::Reserve), &postings);
    assert_eq!(
        refusal,
        Err(PostingError::Overdrawn { column: Column::Available, amount: micro(1) })
    );
    assert_eq!(next, head);
}

#[test]
fn no_postings_are_no_entries() {
    let (head, _) = history();
    let mut next = head;
    let appended = journal::append(&mut next, &line(EntryKind::Release), &[]);
    assert_eq!((appended, next), (Ok(Vec::new()), head));
}

#[test]
fn names_of_kinds_and_columns_are_distinct() {
    for (index, kind) in EntryKind::ALL.iter().enumerate() {
        assert!(EntryKind::ALL[..index].iter().all(|other| other.as_str() != kind.as_str()));
    }
    for (index, column) in Column::ALL.iter().enumerate() {
        assert!(Column::ALL[..index].iter().all(|other| other.as_str() != column.as_str()));
    }
}

proptest! {
    #[test]
    fn a_user_column_never_falls_below_zero_nor_passes_the_largest(
        amounts in prop::array::uniform4(0..=domain::Points::MAX.micropoints()),
        from in 0_usize..10, to in 0_usize..10, amount in 0..=domain::Points::MAX.micropoints()
    ) {
        let [available, reserved, spent, debt] = amounts.map(micro);
        let before = Balances { available, reserved, spent, debt };
        let (from, to) = (Column::ALL[from], Column::ALL[to]);
        // What a user owns less what is owed changes only by what crosses the border.
        let own = |balances: &Balances| {
            [balances.available, balances.reserved, balances.spent]
                .map(|column| i128::from(column.micropoints()))
                .iter()
                .sum::<i128>()
                - i128::from(balances.debt.micropoints())
        };
        let is_user = |column| {
            matches!(column, Column::Available | Column::Reserved | Column::Spent | Column::Debt)
        };
        match before.after(&posting(from, to, amount)) {
            Ok(after) => {
                let crossing = i128::from(is_user(to)) - i128::from(is_user(from));
                prop_assert_eq!(own(&after) - own(&before), crossing * i128::from(amount));
            }
            Err(PostingError::Overdrawn { column, .. }) => prop_assert!(
                (column == from && column != Column::Debt) || (column == to && column == Column::Debt)
            ),
            Err(PostingError::Overflow { column, .. }) => prop_assert!(
                (column == to && column != Column::Debt) || (column == from && column == Column::Debt)
            ),
        }
    }
}
