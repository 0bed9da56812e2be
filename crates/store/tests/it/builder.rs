//! A company with its users, as the tests speak of them.

use core::time::Duration;
use std::sync::atomic::{AtomicU8, Ordering};

use alloy_primitives::{Address, B256, U256, keccak256};
use devstack::postgres::{TestDatabase, test_database};
use domain::chain_fact::ChainTime;
use domain::ledger::buckets::Lot;
use domain::ledger::sponsorship::{GrantRefusal, GrantRequest};
use domain::ledger::tcc::{DbTime, TccOutcome, TccTerms};
use domain::quote::Bps;
use domain::seal::Sealed;
use domain::{AccountId, AppId, ChainId, Gas, Points, Quote, Slot, TenantId, Wei};
use erc4337::sponsorship::SignatureForm;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use store::funds::{Direction, FundsOutcome, MoveFunds};
use store::paymasters::Paymaster;
use store::sponsorships::{CommittedGrant, GrantAnswer, GrantCommand, PaymasterGas};
use store::tcc::{TccAnswer, TccCall, TccRequest};
use store::wallets::{LinkOutcome, Wallet};
use store::{Keyed, Store, StoreError};

pub(crate) const CHAIN: ChainId = ChainId(31_337);
pub(crate) const ENTRY_POINT: Address = Address::repeat_byte(0xee);
pub(crate) const PAYMASTER: Address = Address::repeat_byte(0xaa);
/// Chain time of the head at which requests are judged, unless a test moves it.
pub(crate) const HEAD: u64 = 10_000;
/// The block at which everything is priced.
pub(crate) const PRICED_AT: u64 = 1;
/// The validity of a grant, in seconds.
pub(crate) const VALIDITY: u64 = 180;
/// Connections of one store: more than tasks that any test here sets off at once need.
const CONNECTIONS: u32 = 16;
/// Longer than anything here takes on a busy machine; only a defect reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn micro(micropoints: u64) -> Points {
    Points::from_micropoints(micropoints).unwrap()
}

/// One company with its application and paymaster, in a database of its own.
pub(crate) struct Company {
    pub(crate) db: TestDatabase,
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
}

impl Company {
    pub(crate) async fn new() -> Self {
        let db = test_database(async |owner_url| store::migrate(&owner_url).await.unwrap());
        let db = db.await.unwrap();
        let store = Store::connect_lazy(&db.runtime_url, CONNECTIONS).unwrap();
        Self::join(db, store, "acme", PAYMASTER).await
    }

    /// Another company of the same installation.
    pub(crate) async fn neighbour(&self, name: &str, paymaster: Address) -> Self {
        Self::join(self.db.clone(), self.store.clone(), name, paymaster).await
    }

    async fn join(db: TestDatabase, store: Store, name: &str, paymaster: Address) -> Self {
        let tenant = store.ensure_tenant(name).await.unwrap();
        let app = store.ensure_app(tenant, "shop").await.unwrap();
        let company = Self { db, store, tenant, app };
        company.register(paymaster).await;
        company
    }

    pub(crate) async fn register(&self, paymaster: Address) {
        let paymaster = Paymaster {
            chain: CHAIN,
            address: paymaster,
            tenant: self.tenant,
            entry_point: ENTRY_POINT,
        };
        assert_eq!(self.store.register_paymaster(&paymaster).await.unwrap(), paymaster);
    }

    /// Another process on the same database.
    pub(crate) fn replica(&self, connections: u32) -> Store {
        Store::connect_lazy(&self.db.runtime_url, connections).unwrap()
    }

    /// A user with a wallet and so many micropoints.
    pub(crate) async fn user(&self, name: &str, points: u64) -> User {
        let account = self.store.ensure_account(self.tenant, &name.parse().unwrap()).await.unwrap();
        let wallet = Address::from_word(keccak256(name));
        let user = User {
            store: self.store.clone(),
            tenant: self.tenant,
            app: self.app,
            account,
            wallet: Wallet { chain: CHAIN, address: wallet },
        };
        let linked = self.store.link_wallet(self.tenant, account, user.wallet).await.unwrap();
        assert_eq!(linked, LinkOutcome::Linked);
        if points > 0 {
            user.credit(points, "opening").await;
        }
        user
    }

    /// A connection that may do anything, to look at rows and to break them.
    pub(crate) async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.db.superuser_url).await.unwrap()
    }

    /// One number from the database.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let mut superuser = self.superuser().await;
        sqlx::query_scalar(sql).fetch_one(&mut superuser).await.unwrap()
    }

    /// Makes the partition of a month that is long past or far ahead, such as `2001-01`, for tests whose rows go there.
    pub(crate) async fn month(&self, year: i32, month: u8) {
        let month = time::Month::try_from(month).unwrap();
        let first = time::Date::from_calendar_date(year, month, 1).unwrap();
        let until = first.replace_day(28).unwrap().checked_add(time::Duration::days(4)).unwrap();
        let until = until.replace_day(1).unwrap();
        let mut maintenance = PgConnection::connect(&self.db.maintenance_url).await.unwrap();
        for table in
            ["entries", "outbox", "archived_reservations", "archived_grants", "archived_legs"]
        {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table}_{year:04}_{:02} PARTITION OF {table}
                FOR VALUES FROM ('{first} 00:00:00+00') TO ('{until} 00:00:00+00')",
                u8::from(month)
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut maintenance).await.unwrap();
        }
    }

    /// Waits until so many of the store's commands wait for a lock.
    pub(crate) async fn blocked(&self, commands: i64) {
        self.eventually(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'stipend' AND wait_event_type = 'Lock'",
            commands,
        )
        .await;
    }

    pub(crate) async fn eventually(&self, sql: &'static str, expected: i64) {
        let mut superuser = self.superuser().await;
        let wait = async {
            while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut superuser).await.unwrap()
                != expected
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }

    /// Recomputes the books; the last line of every test.
    pub(crate) async fn finish(self) {
        crate::invariants::hold(&self.db).await;
        self.store.close().await;
    }
}

/// One user's account and wallet, and what can be asked of them.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) store: Store,
    pub(crate) tenant: TenantId,
    pub(crate) app: AppId,
    pub(crate) account: AccountId,
    pub(crate) wallet: Wallet,
}

impl User {
    /// The same user, asked through another process.
    pub(crate) fn through(&self, store: &Store) -> Self {
        Self { store: store.clone(), ..self.clone() }
    }

    pub(crate) fn movement(&self, direction: Direction, amount: u64, reference: &str) -> MoveFunds {
        let body = format!("{} {amount} {reference}", direction.as_str());
        MoveFunds {
            tenant: self.tenant,
            account: self.account,
            direction,
            amount: micro(amount),
            lot: None,
            reason: "test".to_owned(),
            reference: reference.parse().unwrap(),
            keyed: Keyed {
                key: format!("key of {reference}").parse().unwrap(),
                request_hash: keccak256(body),
            },
        }
    }

    pub(crate) async fn credit(&self, amount: u64, reference: &str) -> FundsOutcome {
        let command = self.movement(Direction::Credit, amount, reference);
        self.store.move_funds(&command).await.unwrap()
    }

    /// A credit to a bucket, with an expiry or none.
    pub(crate) fn lot_credit(
        &self,
        bucket: &str,
        expires_at: Option<i64>,
        amount: u64,
    ) -> MoveFunds {
        let reference = format!("{bucket} {expires_at:?} {amount}");
        let lot = Lot { bucket: bucket.parse().unwrap(), expires_at: expires_at.map(DbTime) };
        MoveFunds { lot: Some(lot), ..self.movement(Direction::Credit, amount, &reference) }
    }

    pub(crate) async fn credit_to(&self, bucket: &str, expires_at: Option<i64>, amount: u64) {
        let command = self.lot_credit(bucket, expires_at, amount);
        let outcome = self.store.move_funds(&command).await.unwrap();
        assert!(matches!(outcome, FundsOutcome::Applied(_)), "{outcome:?}");
    }

    /// What is in buckets, in the order of spending.
    pub(crate) async fn lots(&self) -> Vec<(String, u64)> {
        let found = self.store.balances(self.tenant, self.account).await.unwrap().unwrap();
        let lots = found.lots.into_iter();
        lots.map(|lot| (lot.lot.bucket.to_string(), lot.available.micropoints())).collect()
    }

    pub(crate) async fn debit(&self, amount: u64, reference: &str) -> FundsOutcome {
        let command = self.movement(Direction::Debit, amount, reference);
        self.store.move_funds(&command).await.unwrap()
    }

    pub(crate) fn tcc_call(&self, biz_id: &str, request: TccRequest) -> TccCall {
        let (tenant, account) = (self.tenant, self.account);
        TccCall { tenant, account, biz_id: biz_id.parse().unwrap(), request }
    }

    pub(crate) async fn tcc(&self, biz_id: &str, request: TccRequest) -> TccOutcome {
        match self.store.tcc(&self.tcc_call(biz_id, request)).await.unwrap() {
            TccAnswer::Decided(outcome, _) => outcome,
            TccAnswer::NoAccount => panic!("the account is gone"),
        }
    }

    pub(crate) async fn tries(&self, biz_id: &str, amount: u64) -> TccOutcome {
        self.tcc(biz_id, try_for(amount)).await
    }

    pub(crate) async fn confirms(&self, biz_id: &str, amount: u64) -> TccOutcome {
        self.tcc(biz_id, TccRequest::Confirm { amount: Some(micro(amount)) }).await
    }

    pub(crate) async fn cancels(&self, biz_id: &str) -> TccOutcome {
        self.tcc(biz_id, TccRequest::Cancel).await
    }

    pub(crate) fn slot(&self, nonce: u64) -> Slot {
        let (chain_id, sender) = (self.wallet.chain, self.wallet.address);
        Slot { chain_id, entry_point: ENTRY_POINT, sender, nonce: U256::from(nonce) }
    }

    /// An operation of at most so many wei in this slot, to be sponsored.
    pub(crate) fn operation(&self, nonce: u64, max_cost: u64) -> Operation {
        Operation {
            user: self.clone(),
            nonce,
            max_cost,
            head: HEAD,
            paymaster: PAYMASTER,
            micropoints_per_wei: 1,
            keyed: None,
        }
    }

    /// Micropoints available, reserved, spent and owed.
    pub(crate) async fn balances(&self) -> [u64; 4] {
        let found = self.store.balances(self.tenant, self.account).await.unwrap().unwrap();
        let all = found.balances;
        [all.available, all.reserved, all.spent, all.debt].map(Points::micropoints)
    }

    pub(crate) async fn pending(&self) -> u64 {
        let found = self.store.balances(self.tenant, self.account).await.unwrap().unwrap();
        found.pending.micropoints()
    }
}

pub(crate) fn try_for(amount: u64) -> TccRequest {
    let terms = TccTerms { amount: micro(amount), expires_at: None };
    TccRequest::Try { terms, issued_at: DbTime(i64::MAX) }
}

/// A request for a grant. The same nonce and cost are the same request; another cost is a bump.
#[derive(Clone)]
pub(crate) struct Operation {
    user: User,
    nonce: u64,
    max_cost: u64,
    head: u64,
    paymaster: Address,
    micropoints_per_wei: u64,
    keyed: Option<Keyed>,
}

impl Operation {
    pub(crate) fn at(self, head: u64) -> Self {
        Self { head, ..self }
    }

    pub(crate) fn by(self, paymaster: Address) -> Self {
        Self { paymaster, ..self }
    }

    pub(crate) fn priced(self, micropoints_per_wei: u64) -> Self {
        Self { micropoints_per_wei, ..self }
    }

    /// With the caller's key; the body is this operation.
    pub(crate) fn keyed(self, key: &str) -> Self {
        let keyed = Keyed { key: key.parse().unwrap(), request_hash: self.request_hash() };
        Self { keyed: Some(keyed), ..self }
    }

    /// The same request, asked through another process.
    pub(crate) fn through(&self, store: &Store) -> Self {
        Self { user: self.user.through(store), ..self.clone() }
    }

    fn request_hash(&self) -> B256 {
        keccak256(format!("{} {}", self.nonce, self.max_cost))
    }

    /// What the signer hands over: each time another signature, so that an answer tells which one
    /// was committed.
    pub(crate) async fn ask(&self) -> Result<GrantAnswer, StoreError> {
        static SIGNATURES: AtomicU8 = AtomicU8::new(1);
        let signature = Sealed::new([SIGNATURES.fetch_add(1, Ordering::Relaxed); 64]);
        let command = GrantCommand {
            tenant: self.user.tenant,
            account: self.user.account,
            app: self.user.app,
            slot: self.user.slot(self.nonce),
            paymaster: self.paymaster,
            request: GrantRequest {
                request_hash: self.request_hash(),
                max_cost: Wei(U256::from(self.max_cost)),
                quote: Quote {
                    micropoints_per_e18_wei: self.micropoints_per_wei * 1_000_000_000_000_000_000,
                    markup: Bps(0),
                    source: "fixed".to_owned(),
                    block_number: PRICED_AT,
                },
                valid_until: ChainTime(self.head + VALIDITY),
                head: ChainTime(self.head),
                debt_ceiling: Points::ZERO,
            },
            form: SignatureForm::Sequential,
            digest: B256::repeat_byte(0xd1),
            signature,
            user_op_hash: self.request_hash(),
            paymaster_gas: PaymasterGas { verification: Gas(60_000), post_op: Gas(0) },
            delegate: None,
            keyed: self.keyed.clone(),
        };
        self.user.store.grant(command).await
    }

    pub(crate) async fn sponsor(&self) -> GrantAnswer {
        self.ask().await.unwrap()
    }

    pub(crate) async fn granted(&self) -> CommittedGrant {
        let answer = self.sponsor().await;
        let GrantAnswer::Granted(grant) = answer else { panic!("not granted: {answer:?}") };
        grant
    }

    pub(crate) async fn replayed(&self) -> CommittedGrant {
        let answer = self.sponsor().await;
        let GrantAnswer::Replayed(grant) = answer else { panic!("not replayed: {answer:?}") };
        grant
    }

    pub(crate) async fn refused(&self) -> GrantRefusal {
        let answer = self.sponsor().await;
        let GrantAnswer::Refused(refusal) = answer else { panic!("not refused: {answer:?}") };
        refusal
    }
}

/// Repeats a command as a caller does that heard nothing, until its answer is known.
pub(crate) async fn until_known<T, Answer>(run: impl Fn() -> Answer) -> T
where
    Answer: Future<Output = Result<T, StoreError>>,
{
    let repeat = async {
        loop {
            match run().await {
                Err(error) if error.is_transient() => {}
                answer => break answer.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, repeat).await.unwrap()
}
