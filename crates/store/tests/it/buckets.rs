//! Points that expire or are of a kind, as rows: what is spent first, where it comes back to, and expiry.

use domain::TenantId;
use domain::ledger::buckets::{BucketRefusal, ExpiredRefund};
use domain::ledger::funds::FundsRefusal;
use domain::ledger::tcc::TccOutcome;
use futures::future::join_all;
use store::buckets::DueLot;
use store::funds::{Direction, FundsOutcome, MoveFunds};
use store::settlement::Owner;
use time::OffsetDateTime;

use crate::Company;
use crate::builder::{HEAD, User, VALIDITY};
use crate::chain::{Chain, landing};

/// Year 2100, in microseconds.
pub(crate) const FAR: i64 = 4_102_444_800_000_000;
/// A day before.
const SOONER: i64 = FAR - 24 * 3_600 * 1_000_000;

impl User {
    const fn owner(&self) -> Owner {
        Owner { tenant: self.tenant, account: self.account }
    }

    /// From now on the account's time is at least this: no clock was ever behind an account.
    async fn time_is(&self, company: &Company, time: i64) {
        let statement =
            "UPDATE accounts SET recorded_at = to_timestamp($2 / 1000000) WHERE account_id = $1";
        let date = OffsetDateTime::from_unix_timestamp(time / 1_000_000).unwrap().date();
        company.month(date.year(), date.month().into()).await;
        let mut superuser = company.superuser().await;
        let set = sqlx::query(statement).bind(self.account.0).bind(time);
        assert_eq!(set.execute(&mut superuser).await.unwrap().rows_affected(), 1);
    }

    async fn sweeps(&self) -> usize {
        self.store.expire_points(self.owner()).await.unwrap()
    }

    /// The last so many entries, oldest first, as people read them.
    async fn wrote(&self, entries: u16) -> Vec<String> {
        let lines = self.store.entries(self.tenant, self.account, None, entries).await.unwrap();
        let said = lines.iter().rev().map(|line| {
            let bucket = line.lot.as_ref().map_or("–", |lot| lot.bucket.as_str());
            let (kind, amount) = (&line.kind, line.amount.micropoints());
            format!("{kind}: {} → {} {amount} of {bucket}", line.from, line.to)
        });
        said.collect()
    }

    /// With so many points in `soon`, in `late` and without a bucket.
    async fn with_three(company: &Company, each: u64) -> Self {
        let ann = company.user("ann", each).await;
        ann.credit_to("late", Some(FAR), each).await;
        ann.credit_to("soon", Some(SOONER), each).await;
        ann
    }
}

fn named(lots: &[(&str, u64)]) -> Vec<(String, u64)> {
    lots.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
}

#[tokio::test]
async fn what_expires_soonest_is_spent_first_and_the_rest_returns_to_its_lot() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    assert_eq!(ann.lots().await, named(&[("soon", 10), ("late", 10)]));
    assert!(matches!(ann.debit(3, "debit").await, FundsOutcome::Applied(_)));
    assert_eq!(ann.tries("trip", 20).await, TccOutcome::Applied);
    assert_eq!(ann.lots().await, []);
    assert_eq!(
        ann.wrote(4).await,
        [
            "debit: available → redeemed 3 of soon",
            "reserve: available → reserved 7 of soon",
            "reserve: available → reserved 10 of late",
            "reserve: available → reserved 3 of –",
        ]
    );
    assert_eq!(ann.confirms("trip", 9).await, TccOutcome::Applied);
    assert_eq!(
        ann.wrote(4).await,
        [
            "confirm: reserved → spent 7 of soon",
            "confirm: reserved → spent 2 of late",
            "confirm: reserved → available 3 of –",
            "confirm: reserved → available 8 of late",
        ]
    );
    assert_eq!(ann.lots().await, named(&[("late", 8)]));
    assert_eq!(ann.balances().await, [18, 0, 9, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_bump_a_landing_and_its_undo_move_the_points_of_their_lots() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    let mut chain = Chain::start(&company.store).await;
    ann.operation(1, 8).granted().await;
    ann.operation(1, 14).granted().await;
    chain.mine(&[landing(&ann, 1, 25)]).await;
    chain.apply().await;
    assert_eq!(ann.lots().await, []);
    assert_eq!(
        ann.wrote(4).await,
        [
            "confirm: reserved → spent 10 of soon",
            "confirm: reserved → spent 4 of late",
            "confirm: available → spent 6 of late",
            "confirm: available → spent 5 of –",
        ]
    );
    chain.reorganise().await;
    chain.apply().await;
    assert_eq!(
        ann.wrote(4).await,
        [
            "undo: spent → reserved 4 of late",
            "undo: spent → reserved 10 of soon",
            "undo: spent → available 5 of –",
            "undo: spent → available 6 of late",
        ]
    );
    assert_eq!(ann.lots().await, named(&[("late", 6)]));
    chain.mine(&[landing(&ann, 1, 3)]).await;
    chain.apply().await;
    chain.finalise().await;
    chain.apply().await;
    assert_eq!(ann.lots().await, named(&[("soon", 7), ("late", 10)]));
    company.finish().await;
}

#[tokio::test]
async fn reserved_points_survive_the_sweep_and_return_by_the_companys_rule() {
    for (rule, available, events) in [(ExpiredRefund::Keep, 14, 1), (ExpiredRefund::Forfeit, 10, 2)]
    {
        let company = Company::new().await;
        company.store.set_expired_refund(company.tenant, rule).await.unwrap();
        assert_eq!(company.store.expired_refund(company.tenant).await.unwrap(), Some(rule));
        let ann = company.user("ann", 10).await;
        ann.credit_to("soon", Some(SOONER), 10).await;
        ann.tries("trip", 6).await;
        assert_eq!(ann.sweeps().await, 0, "its time is not past");
        ann.time_is(&company, SOONER).await;
        assert_eq!(ann.sweeps().await, 1);
        assert_eq!(ann.balances().await, [10, 6, 0, 0]);
        assert_eq!(ann.wrote(1).await, ["expire: available → expired 4 of soon"]);
        ann.confirms("trip", 2).await;
        let said: &[&str] = match rule {
            ExpiredRefund::Keep => &["confirm: reserved → available 4 of –"],
            ExpiredRefund::Forfeit => &[
                "confirm: reserved → available 4 of soon",
                "expire: available → expired 4 of soon",
            ],
        };
        assert_eq!(ann.wrote(u16::try_from(said.len()).unwrap()).await, said);
        assert_eq!(ann.balances().await, [available, 0, 2, 0]);
        assert_eq!(ann.lots().await, []);
        let expired = "SELECT count(*) FROM outbox WHERE kind = 'points.expired'";
        assert_eq!(company.count(expired).await, events);
        assert_eq!(ann.sweeps().await, 0);
        company.finish().await;
    }
    assert_eq!(ExpiredRefund::default(), ExpiredRefund::Keep);
}

#[tokio::test]
async fn an_undo_after_the_expiry_reserves_again_and_the_release_goes_by_the_rule() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    let mut chain = Chain::start(&company.store).await;
    ann.operation(1, 12).granted().await;
    chain.mine(&[landing(&ann, 1, 11)]).await;
    chain.apply().await;
    ann.time_is(&company, SOONER).await;
    assert_eq!(ann.sweeps().await, 1, "an empty lot is swept as well");
    assert_eq!(ann.wrote(1).await, ["confirm: reserved → spent 1 of late"]);
    chain.reorganise().await;
    chain.apply().await;
    assert_eq!(
        ann.wrote(2).await,
        ["undo: spent → reserved 1 of late", "undo: spent → reserved 10 of soon"]
    );
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    assert_eq!(chain.release().await.len(), 1);
    assert_eq!(
        ann.wrote(2).await,
        ["release: reserved → available 2 of late", "release: reserved → available 10 of –"]
    );
    assert_eq!(ann.lots().await, named(&[("late", 10)]));
    assert_eq!(ann.balances().await, [30, 0, 0, 0]);
    company.finish().await;
}

#[tokio::test]
async fn a_late_landing_takes_from_the_lots_and_its_undo_gives_back() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    let mut chain = Chain::start(&company.store).await;
    ann.operation(1, 12).granted().await;
    let block = chain.mine(&[]).await;
    chain.mine_past(HEAD + VALIDITY).await;
    chain.finalise().await;
    chain.release().await;
    chain.mine(&[landing(&ann, 1, 35)]).await;
    chain.apply().await;
    assert!(block.operations.is_empty());
    assert_eq!(ann.balances().await, [0, 0, 35, 5]);
    // Repays 3 of the 5 from itself; what the undo finds repaid goes to the default bucket.
    ann.credit_to("gift", None, 3).await;
    assert_eq!(ann.wrote(1).await, ["credit: available → debt 3 of gift"]);
    chain.reorganise().await;
    chain.apply().await;
    assert_eq!(ann.balances().await, [33, 0, 0, 0]);
    assert_eq!(ann.lots().await, named(&[("soon", 10), ("late", 10)]));
    company.finish().await;
}

#[tokio::test]
async fn two_sweepers_at_once_expire_a_lot_once() {
    let company = Company::new().await;
    let other = company.replica(4);
    let ann = User::with_three(&company, 10).await;
    ann.time_is(&company, FAR).await;
    let sweepers = [ann.clone(), ann.through(&other), ann.clone(), ann.through(&other)];
    let swept = join_all(sweepers.iter().map(User::sweeps)).await;
    assert_eq!(swept.iter().sum::<usize>(), 2, "{swept:?}");
    assert_eq!(ann.balances().await, [10, 0, 0, 0]);
    let expired = "SELECT count(*) FROM outbox WHERE kind = 'points.expired'";
    assert_eq!(company.count(expired).await, 2);
    other.close().await;
    company.finish().await;
}

async fn due(company: &Company) -> Vec<DueLot> {
    company.store.due_lots(None, 100).await.unwrap()
}

#[tokio::test]
async fn lots_are_due_by_the_databases_clock_in_the_order_of_their_times_and_once() {
    let company = Company::new().await;
    let (ann, bob) = (company.user("ann", 5).await, company.user("bob", 5).await);
    ann.credit_to("far", Some(FAR), 1).await;
    // A machine that is busy for longer than that refuses the credit, which is then made again.
    let mut ahead = 200_000;
    let soon = loop {
        ahead *= 2;
        let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let soon = company.count(now).await + ahead;
        let commands =
            [bob.lot_credit("soon", Some(soon), 7), ann.lot_credit("soon", Some(soon + 1), 7)];
        let made = join_all(commands.iter().map(|command| company.store.move_funds(command))).await;
        if made.into_iter().all(|made| matches!(made.unwrap(), FundsOutcome::Applied(_))) {
            break soon;
        }
    };
    let is_past = "SELECT count(*) FROM buckets WHERE bucket = 'soon' AND NOT expiry_swept
        AND expires_at > clock_timestamp()";
    company.eventually(is_past, 0).await;
    let found = due(&company).await;
    let last = found.len() - 2;
    assert_eq!([found[last].owner, found[last + 1].owner], [bob.owner(), ann.owner()], "{soon}");
    let behind = company.store.due_lots(Some(found[last].place), 100).await.unwrap();
    assert_eq!(behind, found[last + 1..]);
    assert_eq!(company.store.due_lots(None, 1).await.unwrap(), found[..1]);
    assert!(bob.sweeps().await >= 1 && ann.sweeps().await >= 1);
    assert_eq!(due(&company).await, []);
    assert_eq!(ann.lots().await, named(&[("far", 1)]));
    company.finish().await;
}

#[tokio::test]
async fn a_credit_to_a_bucket_whose_time_is_past_is_refused_and_nothing_is_remembered() {
    let company = Company::new().await;
    let ann = company.user("ann", 5).await;
    let expired = FundsOutcome::Refused(FundsRefusal::Bucket(BucketRefusal::Expired));
    let command = ann.lot_credit("old", Some(1_000_000), 5);
    assert_eq!(company.store.move_funds(&command).await.unwrap(), expired);
    ann.time_is(&company, SOONER - 1).await;
    ann.credit_to("soon", Some(SOONER), 5).await;
    ann.time_is(&company, SOONER).await;
    let again = ann.lot_credit("soon", Some(SOONER), 6);
    assert_eq!(company.store.move_funds(&again).await.unwrap(), expired);
    assert_eq!(ann.balances().await, [10, 0, 0, 0], "what is there stays until it is swept");
    ann.sweeps().await;
    assert_eq!(company.store.move_funds(&again).await.unwrap(), expired);
    assert_eq!(company.count("SELECT count(*) FROM movements").await, 2);
    company.finish().await;
}

#[tokio::test]
async fn a_reference_is_for_one_bucket_and_one_expiry() {
    let company = Company::new().await;
    let ann = company.user("ann", 5).await;
    let first = ann.lot_credit("gift", Some(FAR), 5);
    let FundsOutcome::Applied(movement) = company.store.move_funds(&first).await.unwrap() else {
        panic!("not applied")
    };
    assert_eq!(movement.lot, first.lot);
    let again =
        MoveFunds { keyed: ann.movement(Direction::Credit, 1, "other").keyed, ..first.clone() };
    assert_eq!(company.store.move_funds(&again).await.unwrap(), FundsOutcome::Replayed(movement));
    let plain = MoveFunds { lot: None, ..again.clone() };
    let sooner = MoveFunds { lot: ann.lot_credit("gift", Some(SOONER), 5).lot, ..again.clone() };
    let gold = MoveFunds { lot: ann.lot_credit("gold", Some(FAR), 5).lot, ..again };
    for (other, fields) in
        [(plain, vec!["bucket", "expiresAt"]), (sooner, vec!["expiresAt"]), (gold, vec!["bucket"])]
    {
        let conflict = company.store.move_funds(&other).await.unwrap();
        assert_eq!(conflict, FundsOutcome::Conflict(fields));
    }
    company.finish().await;
}

#[tokio::test]
async fn a_reservation_from_before_the_first_lot_returns_to_the_default_bucket() {
    let company = Company::new().await;
    let ann = company.user("ann", 10).await;
    ann.tries("old", 6).await;
    ann.credit_to("gift", None, 5).await;
    ann.tries("new", 7).await;
    ann.cancels("old").await;
    assert_eq!(ann.wrote(1).await, ["release: reserved → available 6 of –"]);
    ann.cancels("new").await;
    assert_eq!(ann.lots().await, named(&[("gift", 5)]));
    company.finish().await;
}

/// How often anything looked into the tables of lots.
const LOOKS: &str = "SELECT sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0))::bigint
    FROM pg_stat_user_tables WHERE relname IN ('buckets', 'reservation_legs')";
const CONNECTED: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'stipend'";

#[tokio::test]
async fn commands_of_accounts_without_lots_never_look_for_lots() {
    let company = Company::new().await;
    let looks = company.count(LOOKS).await;
    let ann = company.user("ann", 100).await;
    ann.tries("trip", 20).await;
    ann.confirms("trip", 9).await;
    ann.debit(3, "debit").await;
    ann.operation(1, 8).granted().await;
    let mut chain = Chain::start(&company.store).await;
    chain.mine(&[landing(&ann, 1, 25)]).await;
    chain.apply().await;
    assert_eq!(ann.sweeps().await, 0);
    // A connection's counters are there once it has ended.
    company.store.close().await;
    company.eventually(CONNECTED, 0).await;
    assert_eq!(company.count(LOOKS).await, looks);
    let other = company.replica(2);
    let ann = ann.through(&other);
    ann.credit_to("gift", None, 1).await;
    ann.tries("another", 1).await;
    other.close().await;
    company.eventually(CONNECTED, 0).await;
    assert!(company.count(LOOKS).await > looks, "the counters count");
    company.finish().await;
}

#[tokio::test]
async fn spending_from_lots_and_returning_to_them_touches_no_index() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    ann.tries("trip", 5).await;
    ann.confirms("trip", 2).await;
    let updates = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'buckets'";
    company.eventually(updates, 2).await;
    let hot = "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'buckets'";
    assert_eq!(company.count(hot).await, 2);
    company.finish().await;
}

#[tokio::test]
async fn no_lot_with_points_can_be_marked_as_swept_by_any_hand() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    ann.debit(10, "all of soon").await;
    let mut superuser = company.superuser().await;
    for statement in [
        "UPDATE buckets SET expiry_swept = true WHERE bucket = 'late'",
        "UPDATE buckets SET expiry_swept = true, expires_at = NULL WHERE bucket = 'soon'",
    ] {
        let refused = sqlx::query(statement).execute(&mut superuser).await.unwrap_err();
        let constraint = refused.as_database_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some("buckets_swept_is_empty"));
    }
    company.finish().await;
}

#[tokio::test]
async fn the_lots_of_another_companys_account_are_out_of_reach() {
    let company = Company::new().await;
    let ann = User::with_three(&company, 10).await;
    let other = Owner { tenant: TenantId(ann.account.0), account: ann.account };
    ann.time_is(&company, FAR).await;
    assert_eq!(company.store.expire_points(other).await.unwrap(), 0);
    assert_eq!(ann.lots().await.len(), 2);
    assert_eq!(company.store.expired_refund(other.tenant).await.unwrap(), None);
    company.finish().await;
}
