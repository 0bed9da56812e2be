//! What is looked at after each sequence: every answer explained, the six invariants, and every way to read the books
//! against the list of what happened.

use alloy_primitives::U256;
use domain::ledger::tcc::DbTime;
use domain::{Points, ReservationId};
use sqlx::types::{BigDecimal, Uuid};
use sqlx::{PgConnection, Row};
use store::Store;
use store::accounts::AccountBalances;
use store::journal::{AsOf, EntryLine};
use store::statements::Period;
use store::verify::Scope;
use store::views::{SponsorshipFilter, SponsorshipView, ViewState};

use super::answers::{Names, answer};
use super::explain::{Account, Recorded, explain};
use super::model::{Past, Story};
use super::request::{Call, Request, Told};
use super::script::{BIZ_IDS, NONCES};
use super::steps::biz_id;
use super::world::World;
use crate::builder::User;

/// Lets the rules of `invariants` look at one company's rows only: what is called like a table is found here first.
const VIEWS: &str = "
    CREATE TEMP VIEW accounts AS SELECT * FROM public.accounts
        WHERE tenant_id = current_setting('soak.tenant')::uuid;
    CREATE TEMP VIEW entries AS SELECT * FROM public.entries
        WHERE tenant_id = current_setting('soak.tenant')::uuid;
    CREATE TEMP VIEW reservations AS SELECT * FROM public.reservations
        WHERE tenant_id = current_setting('soak.tenant')::uuid;
    CREATE TEMP VIEW grants AS SELECT * FROM public.grants
        WHERE tenant_id = current_setting('soak.tenant')::uuid;
    CREATE TEMP VIEW outbox AS SELECT * FROM public.outbox
        WHERE tenant_id = current_setting('soak.tenant')::uuid;";

/// A connection that looks at the rows.
pub(super) async fn auditor(url: &str) -> Result<PgConnection, sqlx::Error> {
    let mut auditor = <PgConnection as sqlx::Connection>::connect(url).await?;
    sqlx::raw_sql(VIEWS).execute(&mut auditor).await?;
    Ok(auditor)
}

fn micropoints(amount: i64) -> u64 {
    u64::try_from(amount).unwrap()
}

/// Everything that is wrong with the books of a sequence's company, in the order in which it tells most.
pub(super) async fn check(world: &World, auditor: &mut PgConnection) -> Result<(), String> {
    let database = |error: sqlx::Error| format!("the auditor's statement: {error}");
    let tenant = world.users[0].tenant;
    sqlx::query("SELECT set_config('soak.tenant', $1, false)")
        .bind(tenant.to_string())
        .execute(&mut *auditor)
        .await
        .map_err(database)?;
    // What somebody gave up on may still be under way. It waits until everything is looked at.
    sqlx::raw_sql("BEGIN").execute(&mut *auditor).await.map_err(database)?;
    sqlx::query("SELECT FROM public.accounts WHERE tenant_id = $1 FOR NO KEY UPDATE")
        .bind(tenant.0)
        .execute(&mut *auditor)
        .await
        .map_err(database)?;
    let found = look(world, auditor).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *auditor).await.map_err(database)?;
    let stories = found?;
    // Time passes for one company in eight: what is said about the past is asked of those.
    if world.script.seed.is_multiple_of(8) {
        sqlx::query("UPDATE public.entries SET recorded_at = recorded_at - interval '1 day' WHERE tenant_id = $1")
            .bind(tenant.0)
            .execute(&mut *auditor)
            .await
            .map_err(database)?;
        // A process that was killed left its users' store behind.
        let store = world.processes[0].store().await;
        for (user, story) in world.users.iter().zip(&stories) {
            past_is_the_models(&store, user, story).await?;
        }
    }
    Ok(())
}

async fn look(world: &World, auditor: &mut PgConnection) -> Result<Vec<Story>, String> {
    let store = world.processes[0].store().await;
    let mut stories = Vec::new();
    for user in 0..world.users.len() {
        let story = explained(world, user, auditor).await?;
        reads_are_the_models(&store, &world.users[user], &story).await?;
        stories.push(story);
    }
    chain_is_settled(world, &stories, auditor).await?;
    let broken = crate::invariants::violations(auditor).await;
    if !broken.is_empty() {
        return Err(format!("the rules of the books are broken: {broken:#?}"));
    }
    let scope = Scope { tenant: Some(world.users[0].tenant), ..Scope::default() };
    let mut verification = store.verification(scope);
    while let Some(found) = verification.step(&|_| ()).await.map_err(|error| error.to_string())? {
        if let Some(first) = found.first() {
            return Err(format!("the verification disagrees: {first}"));
        }
    }
    Ok(stories)
}

async fn explained(
    world: &World,
    user: usize,
    auditor: &mut PgConnection,
) -> Result<Story, String> {
    let account = world.users[user].account.0;
    let calls = world.calls.lock().unwrap().clone();
    let calls: Vec<&Call> = calls.iter().filter(|call| call.user == user).collect();
    let rows = sqlx::query(
        "SELECT o.kind, o.reservation_id, o.entry_seq, e.reference,
            coalesce(e.available_after_micropoints, 0) AS available,
            coalesce(e.reserved_after_micropoints, 0) AS reserved,
            coalesce(e.spent_after_micropoints, 0) AS spent, coalesce(e.debt_after_micropoints, 0) AS debt
        FROM outbox o LEFT JOIN entries e ON e.account_id = o.account_id AND e.seq = o.entry_seq
        WHERE o.account_id = $1 AND o.kind NOT LIKE 'wallet.%' ORDER BY o.event_seq",
    );
    let rows =
        rows.bind(account).fetch_all(&mut *auditor).await.map_err(|error| error.to_string())?;
    let record: Vec<Recorded> = rows
        .iter()
        .map(|row| Recorded {
            kind: row.get("kind"),
            reservation: row.get::<Option<Uuid>, _>("reservation_id").map(ReservationId),
            reference: row.get("reference"),
            entry_seq: row.get("entry_seq"),
            after: ["available", "reserved", "spent", "debt"]
                .map(|column| micropoints(row.get(column))),
        })
        .collect();
    let rows =
        sqlx::query("SELECT reservation_id, biz_id, nonce FROM reservations WHERE account_id = $1");
    let rows =
        rows.bind(account).fetch_all(&mut *auditor).await.map_err(|error| error.to_string())?;
    let key = |row: &sqlx::postgres::PgRow| match row.get::<Option<String>, _>("biz_id") {
        Some(biz_id) => biz_id.strip_prefix("trip ").unwrap().parse().unwrap(),
        None => U256::from_be_slice(row.get::<Option<&[u8]>, _>("nonce").unwrap()).to::<u64>(),
    };
    let keys =
        rows.iter().map(|row| (ReservationId(row.get("reservation_id")), key(row))).collect();
    let rows = sqlx::query(
        "SELECT reservation_id, grant_no, max_cost_wei, valid_until FROM grants WHERE account_id = $1",
    );
    let rows =
        rows.bind(account).fetch_all(&mut *auditor).await.map_err(|error| error.to_string())?;
    let grants = rows
        .iter()
        .map(|row| {
            let wei = row.get::<BigDecimal, _>("max_cost_wei").to_string().parse().unwrap();
            let id = (ReservationId(row.get("reservation_id")), row.get("grant_no"));
            (id, (wei, micropoints(row.get("valid_until"))))
        })
        .collect();
    let links = world.links[user].lock().await.clone();
    let gone = world.gone.lock().unwrap().clone();
    let account = Account {
        record: &record,
        calls: &calls,
        keys: &keys,
        grants: &grants,
        gone: &gone,
        links: &links,
    };
    explain(&account).map_err(|why| format!("account {user}: {why}"))
}

/// What the look-ups say is what happened.
async fn reads_are_the_models(store: &Store, user: &User, story: &Story) -> Result<(), String> {
    let failed = |error: store::StoreError| format!("a read failed: {error:?}");
    let (past, (tenant, account)) = (story.now(), (user.tenant, user.account));
    let found = store.balances(tenant, account).await.map_err(failed)?.unwrap();
    let entry_seq = found.entry_seq;
    let (expected, _) = answer(past, &Request::Balances, Names { entry_seq, reservation: None });
    let AccountBalances { balances: all, pending, .. } = found;
    let balances = [all.available, all.reserved, all.spent, all.debt].map(Points::micropoints);
    same(
        "balances",
        &Told::Balances { balances, pending: pending.micropoints(), entry_seq },
        &expected,
    )?;
    for biz in 0..BIZ_IDS {
        let found = store.tcc_reservation(tenant, account, &biz_id(biz)).await.map_err(failed)?;
        let (expected, _) = answer(past, &Request::Look { biz }, Names::default());
        same(
            "the look-up of a biz id",
            &Told::Looked(found.map(|view| view.reservation)),
            &expected,
        )?;
    }
    pages_are_whole(store, user, story, entry_seq).await?;
    let filter = SponsorshipFilter { account: Some(account), ..SponsorshipFilter::default() };
    let listed = store.sponsorships(tenant, &filter, 100).await.map_err(failed)?;
    let mut told: Vec<_> = listed.iter().map(|view| told_of(view)).collect();
    let mut expected: Vec<_> = (0..NONCES).flat_map(|nonce| attempts(past, nonce)).collect();
    told.sort();
    expected.sort();
    same("the list of sponsorships", &told, &expected)?;
    for state in [
        ViewState::Open,
        ViewState::SettledProvisional,
        ViewState::SettledFinal,
        ViewState::Released,
    ] {
        let filter = SponsorshipFilter { states: Some(&[state]), ..filter };
        let found = store.sponsorships(tenant, &filter, 100).await.map_err(failed)?;
        let of_state: Vec<_> = listed.iter().filter(|view| view.state == state).cloned().collect();
        same("the list of one state", &found, &of_state)?;
    }
    for view in &listed {
        let (found, grants, timeline) =
            store.sponsorship(tenant, view.id).await.map_err(failed)?.unwrap();
        same("the look-up of a sponsorship", &found, view)?;
        let nonce = view.slot.nonce.to::<u64>();
        let signed: Vec<_> = past.signed(nonce).filter(|it| it.reservation == view.id).collect();
        same("the number of its grants", &grants.len(), &signed.len())?;
        let granted = timeline.iter().filter(|event| event.kind == "sponsorship.granted").count();
        same("its timeline", &granted, &signed.len())?;
    }
    Ok(())
}

fn same<T: PartialEq + core::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: told {found:#?}, by the list of what happened {expected:#?}"))
}

/// Nonce, attempt, state, cost, reserved, whether it closes, and the last window.
type Shown = (u64, u32, &'static str, Option<u64>, u64, bool, u64);

fn told_of(view: &SponsorshipView) -> Shown {
    let state = match view.state {
        ViewState::Open => "open",
        ViewState::SettledProvisional => "provisional",
        ViewState::SettledFinal => "final",
        ViewState::Released => "released",
    };

    let cost = view.settlement.map(|settlement| settlement.cost.micropoints());
    let nonce = view.slot.nonce.to::<u64>();
    let (reserved, until) = (view.reserved.micropoints(), view.last_valid_until.0);
    (nonce, view.attempt, state, cost, reserved, view.closing, until)
}

/// The attempts on a slot, as the list of what happened has them.
fn attempts(past: Past<'_>, nonce: u64) -> Vec<Shown> {
    let mut ids: Vec<ReservationId> =
        past.signed(nonce).map(|variant| variant.reservation).collect();
    ids.dedup();
    let last = ids.last().copied();
    let shown = ids.iter().zip(1..).map(|(id, attempt)| {
        let signed: Vec<_> =
            past.signed(nonce).filter(|variant| variant.reservation == *id).collect();
        let rate = signed[0].rate;
        let reserved = signed.iter().map(|variant| variant.wei * rate).max().unwrap();
        let until = signed.iter().map(|variant| variant.valid_until).max().unwrap();
        let (state, cost) = match past.standing(nonce).filter(|_| Some(*id) == last) {
            Some((_, cost)) if past.is_final(nonce) => ("final", Some(cost)),
            Some((_, cost)) => ("provisional", Some(cost)),
            None if Some(*id) == last && past.is_open(nonce) => ("open", None),
            None => ("released", None),
        };
        (nonce, attempt, state, cost, reserved, past.was_closed(*id), until)
    });
    shown.collect()
}

/// Pages meet without a gap, and the lines of each command come to the balances of the list.
async fn pages_are_whole(
    store: &Store,
    user: &User,
    story: &Story,
    last: i64,
) -> Result<(), String> {
    let failed = |error: store::StoreError| format!("a page failed: {error:?}");
    let mut lines: Vec<EntryLine> = Vec::new();
    loop {
        let before = lines.last().map(|line| line.seq);
        let page = store.entries(user.tenant, user.account, before, 7).await.map_err(failed)?;
        if page.is_empty() {
            break;
        }
        lines.extend(page);
    }
    lines.reverse();
    let sequence: Vec<i64> = lines.iter().map(|line| line.seq).collect();
    same("the sequence of the pages", &sequence, &(1..=last).collect())?;
    let between = store.entries_between(user.tenant, user.account, (0, last), u16::MAX);
    same("the lines between", &between.await.map_err(failed)?, &lines)?;
    let now = story.now().balances();
    let told = lines.last().map_or([0; 4], balances_after);
    same("the last line", &told, &now)
}

fn balances_after(line: &EntryLine) -> [u64; 4] {
    let all = line.balances;
    [all.available, all.reserved, all.spent, all.debt].map(Points::micropoints)
}

/// A past balance is that after the last line by then, and periods that meet cover every line once.
async fn past_is_the_models(store: &Store, user: &User, story: &Story) -> Result<(), String> {
    let failed = |error: store::StoreError| format!("the past could not be read: {error:?}");
    let between = store.entries_between(user.tenant, user.account, (0, i64::MAX), u16::MAX);
    let lines = between.await.map_err(failed)?;
    let balances: Vec<[u64; 4]> =
        (0..=story.len()).map(|count| story.after(count).balances()).collect();
    for line in &lines {
        let last = lines.iter().rfind(|other| other.recorded_at <= line.recorded_at).unwrap();
        let found =
            store.head_as_of(user.tenant, user.account, line.recorded_at).await.map_err(failed)?;
        let AsOf::Closed(head) = found else { return Err("yesterday is not closed".to_owned()) };
        same("the balance as of a time", &(head.seq, head.balances), &(last.seq, last.balances))?;
        if !balances.contains(&balances_after(last)) {
            return Err(format!("a past balance that never was: {last:?}"));
        }
        let mut covered = Vec::new();
        for (from, until) in
            [(0, line.recorded_at.0), (line.recorded_at.0, line.recorded_at.0 + 86_400_000_000 / 2)]
        {
            let period = Period { from: DbTime(from), until: DbTime(until) };
            let span = store.span(user.tenant, user.account, period).await.map_err(failed)?;
            let AsOf::Closed(span) = span else { return Err("yesterday is not closed".to_owned()) };
            covered.push((span.opening.seq, span.closing.seq));
        }
        let expected = lines.iter().filter(|other| other.recorded_at < line.recorded_at).count();
        let expected = i64::try_from(expected).unwrap();
        let whole = i64::try_from(lines.len()).unwrap();
        same("the statements of two periods", &covered, &vec![(0, expected), (expected, whole)])?;
    }
    Ok(())
}

/// What the blocks that stand have charged is what the slots have spent, but for what nobody had asked for.
async fn chain_is_settled(
    world: &World,
    stories: &[Story],
    auditor: &mut PgConnection,
) -> Result<(), String> {
    let chain = world.chain.lock().await;
    for mined in &chain.blocks {
        for operation in &mined.block.operations {
            let user = world
                .users
                .iter()
                .position(|user| user.wallet.address == operation.sender)
                .unwrap();
            let (past, nonce) = (stories[user].now(), operation.nonce.to::<u64>());
            let progress: (String, Option<String>) = sqlx::query_as(
                "SELECT progress, set_aside_reason FROM chain_events WHERE chain_id = $1 AND block_hash = $2
                    AND log_index = $3 AND visit = $4",
            )
            .bind(i64::try_from(world.chain_id.0).unwrap())
            .bind(mined.block.block.hash.as_slice())
            .bind(i32::try_from(operation.log_index).unwrap())
            .bind(i32::try_from(mined.visit).unwrap())
            .fetch_one(&mut *auditor)
            .await
            .map_err(|error| error.to_string())?;
            if progress == ("set_aside".to_owned(), Some("unknown_operation".to_owned())) {
                continue;
            }
            let wei = operation.actual_gas_cost.to::<u64>();
            let standing = past.standing(nonce).map(|(sighting, cost)| (sighting.block.hash, cost));
            let charged =
                past.signed(nonce).next().map(|_| (mined.block.block.hash, past.cost(nonce, wei)));
            same(&format!("nonce {nonce} of account {user}, {progress:?}"), &standing, &charged)?;
        }
    }
    for (user, story) in stories.iter().enumerate() {
        for nonce in 0..NONCES {
            let Some((sighting, _)) = story.now().standing(nonce) else { continue };
            let mut stands = chain.blocks.iter().map(|mined| mined.block.block.hash);
            if !stands.any(|hash| hash == sighting.block.hash) {
                return Err(format!(
                    "nonce {nonce} of account {user} is settled in a block that went away"
                ));
            }
        }
    }
    Ok(())
}
