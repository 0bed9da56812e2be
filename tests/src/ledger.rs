//! What the database holds, read as the runtime role with statements of our own.

use alloy::primitives::{Address, B256, U256};
use sqlx::{PgPool, Row, postgres::PgRow};

/// The service's database.
#[derive(Debug)]
pub struct Ledger {
    pool: PgPool,
}

/// The columns of a user's account, in micropoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balances {
    /// What the user may spend.
    pub available: i64,
    /// What open reservations hold.
    pub reserved: i64,
    /// What settled operations cost.
    pub spent: i64,
    /// What the user owes.
    pub debt: i64,
}

/// An account's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its balances.
    pub balances: Balances,
    /// The number of its last entry.
    pub entry_seq: i64,
    /// That entry's hash.
    pub entry_hash: Vec<u8>,
    /// What its first entry is chained to, before it is hashed.
    pub genesis: Vec<u8>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: i64,
    /// The command.
    pub kind: String,
    /// The column that the points leave.
    pub from: String,
    /// The column that they enter.
    pub to: String,
    /// How many micropoints.
    pub amount: i64,
    /// The balances after it.
    pub after: Balances,
    /// The reservation it belongs to, as the 16 bytes of its id; empty where it belongs to none.
    pub reservation: Vec<u8>,
    /// The company's own name of it.
    pub reference: Option<String>,
    /// The bucket of its points; none for the default one.
    pub bucket: Option<String>,
    /// When they expire, in microseconds since 1970.
    pub expires_at: Option<i64>,
    /// The life of the database that wrote it.
    pub incarnation: i32,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// One attempt on a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, which the API shows as the sponsorship's.
    pub id: String,
    /// The same in 16 bytes.
    pub id_bytes: Vec<u8>,
    /// `open`, `settled_provisional`, `settled_final` or `released`.
    pub state: String,
    /// From 1.
    pub attempt: i32,
    /// Whether it takes no more repeats and bumps.
    pub closing: bool,
    /// Micropoints that were set aside.
    pub reserved: i64,
    /// The last block time at which a grant can land.
    pub last_valid_until: u64,
    /// Where it can land.
    pub entry_point: Address,
    /// The smart account.
    pub sender: Address,
    /// The nonce.
    pub nonce: U256,
    /// Who pays the chain.
    pub paymaster: Address,
    /// How many variants were signed.
    pub grants: i64,
    /// What the dearest of them can cost, in wei.
    pub dearest: U256,
    /// What the chain said, once it did.
    pub settlement: Option<Settlement>,
}

/// What the chain said of an operation, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The block.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// The bundle.
    pub transaction_hash: B256,
    /// The operation.
    pub user_op_hash: B256,
    /// Whether its calls succeeded.
    pub success: bool,
    /// What the gas tank paid, in wei.
    pub gas_cost: U256,
    /// What the user paid, in micropoints.
    pub cost: i64,
}

impl Ledger {
    /// Connects as the runtime role.
    pub async fn connect(url: &str) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(8).connect(url).await;
        Self { pool: pool.unwrap() }
    }

    /// The account that the company calls so.
    pub async fn account(&self, external_id: &str) -> Option<Account> {
        let row = sqlx::query(
            "SELECT a.available_micropoints, a.reserved_micropoints, a.spent_micropoints,
                a.debt_micropoints, a.entry_seq, a.entry_hash,
                'stipend journal 1'::bytea || uuid_send(a.tenant_id) || uuid_send(a.account_id)
            FROM accounts a JOIN account_names n USING (tenant_id, account_id)
            WHERE n.external_id = $1",
        )
        .bind(external_id)
        .fetch_optional(&self.pool)
        .await
        .unwrap();
        row.map(|row| Account {
            balances: Balances {
                available: row.get(0),
                reserved: row.get(1),
                spent: row.get(2),
                debt: row.get(3),
            },
            entry_seq: row.get(4),
            entry_hash: row.get(5),
            genesis: row.get(6),
        })
    }

    /// The account's journal, oldest first.
    pub async fn entries(&self, external_id: &str) -> Vec<Entry> {
        let rows = sqlx::query(
            "SELECT e.seq, e.kind, e.from_column, e.to_column, e.amount_micropoints,
                e.available_after_micropoints, e.reserved_after_micropoints,
                e.spent_after_micropoints, e.debt_after_micropoints,
                coalesce(uuid_send(e.reservation_id), ''::bytea),
                (extract(epoch FROM e.recorded_at) * 1000000)::bigint, e.entry_hash,
                e.incarnation, e.reference, e.bucket,
                (extract(epoch FROM e.bucket_expires_at) * 1000000)::bigint
            FROM entries e JOIN account_names n USING (tenant_id, account_id)
            WHERE n.external_id = $1 ORDER BY e.seq",
        )
        .bind(external_id)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.iter().map(entry).collect()
    }

    /// The account's sponsorships, oldest first.
    pub async fn reservations(&self, external_id: &str) -> Vec<Reservation> {
        let rows = sqlx::query(
            "SELECT r.reservation_id::text, uuid_send(r.reservation_id), r.state, r.attempt, r.closing,
                r.reserved_micropoints, r.last_valid_until, r.entry_point, r.sender, r.nonce, r.paymaster,
                (SELECT count(*) FROM grants g WHERE g.reservation_id = r.reservation_id),
                (SELECT max(max_cost_wei)::text FROM grants g WHERE g.reservation_id = r.reservation_id),
                r.settled_block_number, r.settled_block_hash, r.settled_transaction_hash,
                r.settled_user_op_hash, r.settled_success, r.settled_gas_cost_wei::text,
                r.from_reserved_micropoints + r.from_available_micropoints + r.from_debt_micropoints
            FROM reservations r JOIN account_names n USING (tenant_id, account_id)
            WHERE n.external_id = $1 AND r.kind = 'sponsorship' ORDER BY r.opened_at, r.reservation_id",
        )
        .bind(external_id)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.iter().map(reservation).collect()
    }

    /// What settled up to a block through one paymaster: the operations' hashes and costs in wei, in the order of their hashes.
    pub async fn settled_up_to(&self, block: u64, paymaster: Address) -> Vec<(B256, U256)> {
        let rows = sqlx::query(
            "SELECT settled_user_op_hash, settled_gas_cost_wei::text FROM reservations
            WHERE state IN ('settled_provisional', 'settled_final') AND settled_block_number <= $1
                AND paymaster = $2 ORDER BY settled_user_op_hash",
        )
        .bind(i64::try_from(block).unwrap())
        .bind(paymaster.as_slice())
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.iter().map(|row| (hash(&row.get::<Vec<u8>, _>(0)), number(row.get(1)))).collect()
    }

    /// The last block that the service takes for final; none before it has read one.
    pub async fn final_block(&self) -> Option<u64> {
        self.cursor("SELECT final_number FROM chain_cursors").await
    }

    /// The last block that the service has read.
    pub async fn head_block(&self) -> Option<u64> {
        self.cursor("SELECT block_number FROM chain_cursors").await
    }

    /// Chain facts that the service could not apply, with its reasons.
    pub async fn set_aside(&self) -> Vec<String> {
        let reasons =
            "SELECT set_aside_reason FROM chain_events WHERE set_aside_reason IS NOT NULL";
        sqlx::query_scalar(reasons).fetch_all(&self.pool).await.unwrap()
    }

    /// How many sponsorships are open, whoever's they are.
    pub async fn open(&self) -> i64 {
        let open =
            "SELECT count(*) FROM reservations WHERE kind = 'sponsorship' AND state = 'open'";
        sqlx::query_scalar(open).fetch_one(&self.pool).await.unwrap()
    }

    /// Whether the service has seen that something else used a nonce up.
    pub async fn is_used_up(&self, nonce: U256) -> bool {
        let used = "SELECT EXISTS (SELECT FROM used_slots WHERE nonce = $1)";
        let used = sqlx::query_scalar(used).bind(nonce.to_be_bytes_vec());
        used.fetch_one(&self.pool).await.unwrap()
    }

    /// Why the chain is halted, if it is.
    pub async fn halted(&self) -> Option<String> {
        let reason = "SELECT halt_reason FROM chain_cursors WHERE halt_reason IS NOT NULL";
        sqlx::query_scalar(reason).fetch_optional(&self.pool).await.unwrap()
    }

    /// Why signing rests until the ingester takes it back, if it does.
    pub async fn doubt(&self) -> Option<String> {
        let doubt = "SELECT doubt FROM chain_cursors WHERE doubt IS NOT NULL";
        sqlx::query_scalar(doubt).fetch_optional(&self.pool).await.unwrap()
    }

    async fn cursor(&self, statement: &'static str) -> Option<u64> {
        let block: Option<i64> =
            sqlx::query_scalar(statement).fetch_optional(&self.pool).await.unwrap();
        block.map(|block| u64::try_from(block).unwrap())
    }
}

fn entry(row: &PgRow) -> Entry {
    Entry {
        seq: row.get(0),
        kind: row.get(1),
        from: row.get(2),
        to: row.get(3),
        amount: row.get(4),
        after: Balances {
            available: row.get(5),
            reserved: row.get(6),
            spent: row.get(7),
            debt: row.get(8),
        },
        reservation: row.get(9),
        recorded_at: row.get(10),
        hash: row.get(11),
        incarnation: row.get(12),
        reference: row.get(13),
        bucket: row.get(14),
        expires_at: row.get(15),
    }
}

fn reservation(row: &PgRow) -> Reservation {
    let unsigned = |column: i64| u64::try_from(column).unwrap();
    let settlement = row.get::<Option<i64>, _>(13).map(|block| Settlement {
        block_number: unsigned(block),
        block_hash: hash(&row.get::<Vec<u8>, _>(14)),
        transaction_hash: hash(&row.get::<Vec<u8>, _>(15)),
        user_op_hash: hash(&row.get::<Vec<u8>, _>(16)),
        success: row.get(17),
        gas_cost: number(row.get(18)),
        cost: row.get(19),
    });
    Reservation {
        id: row.get(0),
        id_bytes: row.get(1),
        state: row.get(2),
        attempt: row.get(3),
        closing: row.get(4),
        reserved: row.get(5),
        last_valid_until: unsigned(row.get(6)),
        entry_point: Address::from_slice(&row.get::<Vec<u8>, _>(7)),
        sender: Address::from_slice(&row.get::<Vec<u8>, _>(8)),
        nonce: U256::from_be_slice(&row.get::<Vec<u8>, _>(9)),
        paymaster: Address::from_slice(&row.get::<Vec<u8>, _>(10)),
        grants: row.get(11),
        dearest: row.get::<Option<&str>, _>(12).map(number).unwrap_or_default(),
        settlement,
    }
}

fn hash(bytes: &[u8]) -> B256 {
    B256::from_slice(bytes)
}

/// A `numeric` column in decimal digits.
fn number(digits: &str) -> U256 {
    digits.parse().unwrap()
}
