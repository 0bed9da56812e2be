//! The ledger held against the chain, to the micropoint and the wei.
//!
//! Everything is computed anew, from the lines of the journal on one side and from raw logs, receipts and deposits on the other.

use std::collections::BTreeMap;

use alloy::{
    primitives::{Address, B256, U256},
    providers::Provider,
    rpc::types::{Filter, TransactionRequest},
    sol,
    sol_types::{SolCall, SolEvent},
};
use sha2::{Digest, Sha256};

use crate::{
    env::Env,
    ledger::{Balances, Entry, Reservation, Settlement},
    user::{Sent, User, max_cost_of},
    wait,
};

sol! {
    /// What an EntryPoint says of an operation, and of the deposits it keeps.
    interface IEntryPoint {
        /// An operation was carried out and charged.
        event UserOperationEvent(bytes32 indexed userOpHash, address indexed sender, address indexed paymaster,
            uint256 nonce, bool success, uint256 actualGasCost, uint256 actualGasUsed);
        /// The deposit of an account or paymaster, in wei.
        function balanceOf(address account) external view returns (uint256);
    }
}

const CATCH_UP_SECONDS: u64 = 30;

/// Leaves the function with a message when two things differ that must not.
macro_rules! agree {
    ($left:expr, $right:expr, $($what:tt)+) => {
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!("{}: {left:?} is not {right:?}", format_args!($($what)+)));
        }
    };
}

impl User {
    /// Holds the account's books against the journal, its reservations, and the chain.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub async fn books(&self, env: &Env) -> Result<(), String> {
        let account = env.ledger.account(&self.external_id).await.unwrap();
        let entries = env.ledger.entries(&self.external_id).await;
        let last = journal_adds_up(&entries)?;
        agree!(account.balances, last, "balances and the sum of entries");
        agree!(account.entry_seq, count(&entries), "the number of entries");
        agree!(account.entry_hash, chained_hash(&account.genesis, &entries)?, "the account's hash");

        let (mut held, mut spent) = (0, 0);
        for reservation in self.reservations().await {
            let sums = Sums::of(&entries, &reservation);
            let (now_held, now_spent) = reservation_adds_up(env, &reservation, &sums)?;
            held += now_held;
            spent += now_spent;
            if let Some(settlement) = &reservation.settlement {
                chain_agrees(env, &reservation, settlement).await?;
            }
        }
        agree!(account.balances.reserved, held, "reserved and what reservations hold");
        agree!(account.balances.spent, spent, "spent and what operations cost");
        agree!(account.balances.debt, 0, "debt");
        self.api_agrees(env, account.balances).await
    }

    /// The same, where they must.
    ///
    /// # Panics
    /// When they do not fit.
    pub async fn books_agree(&self, env: &Env) {
        self.books(env).await.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.external_id));
    }

    /// Settled for good, at exactly what the chain charged, with the rest returned; and the books agree. Returns what was reserved and what
    /// was spent, in micropoints.
    pub async fn settled_exactly(&self, env: &Env, sent: &Sent) -> (i64, i64) {
        let settled = self.settles(sent).await;
        let settlement = settled.settlement.as_ref().unwrap();
        assert_eq!(settled.reserved, env.micropoints(max_cost_of(&sent.op)), "reserved at most");
        assert_eq!(settlement.cost, env.micropoints(settlement.gas_cost));
        assert!(settlement.cost < settled.reserved, "something is returned");
        self.books_agree(env).await;
        (settled.reserved, settlement.cost)
    }

    /// The balances that the API tells are those of the database.
    async fn api_agrees(&self, env: &Env, balances: Balances) -> Result<(), String> {
        let told = env.api.get(&format!("v1/accounts/{}", self.external_id)).await.success();
        let Balances { available, reserved, spent, debt } = balances;
        for (name, micropoints) in
            [("available", available), ("reserved", reserved), ("spent", spent), ("debt", debt)]
        {
            agree!(told[name], points(micropoints), "{name}, as the API tells it");
        }
        Ok(())
    }
}

impl Env {
    /// Holds what the gas tanks paid against what the ledger settled, from the first block to the last final one that the service knows: each
    /// deposit fell by the sum of the charges, and each charge settled one reservation. The appliers have so many seconds to catch up.
    ///
    /// # Errors
    /// When a wei is missing, or a fact was set aside, or the chain is halted.
    pub async fn tanks(&self, seconds: u64) -> Result<(), String> {
        let what = "the service takes the start of the test for final";
        let block = wait::until(what, CATCH_UP_SECONDS, async || {
            let last = self.ledger.final_block().await;
            last.filter(|&last| last >= self.first_block).ok_or(format!("the last is {last:?}"))
        })
        .await;
        for (version, &paymaster) in &self.endpoints.paymasters {
            let entry_point = self.endpoints.entry_points[version];
            let charged = self.charges(entry_point, paymaster, block).await;
            let total: U256 = charged.iter().map(|(_, cost)| cost).sum();
            let left = self.deposit_at(entry_point, paymaster, block).await;
            agree!(self.deposit - left, total, "fall of deposit {version} and its charges");
            let settled = wait::for_at_most(seconds, async || {
                let settled = self.ledger.settled_up_to(block, paymaster).await;
                agree!(settled, charged, "settlements and charges of paymaster {version}");
                Ok(())
            });
            settled.await?;
        }
        agree!(self.ledger.set_aside().await, Vec::<String>::new(), "facts that were set aside");
        agree!(self.ledger.halted().await, None, "the reason of a halt");
        Ok(())
    }

    /// The same, where they must.
    ///
    /// # Panics
    /// When they do not fit.
    pub async fn tanks_agree(&self) {
        self.tanks(CATCH_UP_SECONDS).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    }

    /// Hash and cost of every operation that a paymaster was charged for, in the order of their hashes.
    async fn charges(
        &self,
        entry_point: Address,
        paymaster: Address,
        last_block: u64,
    ) -> Vec<(B256, U256)> {
        let filter = Filter::new()
            .address(entry_point)
            .event_signature(IEntryPoint::UserOperationEvent::SIGNATURE_HASH)
            .topic3(paymaster.into_word())
            .from_block(0)
            .to_block(last_block);
        let logs = self.stack.node().provider().get_logs(&filter).await.unwrap();
        let mut charges: Vec<_> = logs
            .iter()
            .map(|log| IEntryPoint::UserOperationEvent::decode_log(&log.inner).unwrap())
            .map(|event| (event.userOpHash, event.actualGasCost))
            .collect();
        charges.sort_unstable();
        charges
    }

    async fn deposit_at(&self, entry_point: Address, paymaster: Address, block: u64) -> U256 {
        let query = IEntryPoint::balanceOfCall { account: paymaster };
        let request =
            TransactionRequest::default().to(entry_point).input(query.abi_encode().into());
        let output = self.stack.node().provider().call(request).block(block.into()).await.unwrap();
        IEntryPoint::balanceOfCall::abi_decode_returns(&output).unwrap()
    }
}

/// Adds the journal up from nothing and compares each line's balances on the way; returns the last.
fn journal_adds_up(entries: &[Entry]) -> Result<Balances, String> {
    let mut columns: BTreeMap<&str, i64> = BTreeMap::new();
    for (entry, number) in entries.iter().zip(1_i64..) {
        agree!(entry.seq, number, "the number of an entry without a gap");
        *columns.entry(&entry.from).or_default() -= entry.amount;
        *columns.entry(&entry.to).or_default() += entry.amount;
        agree!(entry.after, balances(&columns), "balances after entry {number}");
    }
    agree!(columns.values().sum::<i64>(), 0, "the sum of the journal");
    Ok(balances(&columns))
}

fn count(entries: &[Entry]) -> i64 {
    i64::try_from(entries.len()).unwrap()
}

fn balances(columns: &BTreeMap<&str, i64>) -> Balances {
    let column = |name: &str| columns.get(name).copied().unwrap_or_default();
    // The entries of debt carry the opposite sign: what leaves the column is lent.
    Balances {
        available: column("available"),
        reserved: column("reserved"),
        spent: column("spent"),
        debt: -column("debt"),
    }
}

/// The hash that the chain of entries ends with. It begins with what names the account; each line's is SHA-256 over its predecessor's and the
/// line's own fields, where a text follows its length, and what may be absent follows a 1.
fn chained_hash(genesis: &[u8], entries: &[Entry]) -> Result<Vec<u8>, String> {
    let mut last = Sha256::digest(genesis).to_vec();
    for entry in entries {
        let mut hasher = Sha256::new();
        hasher.update(&last);
        hasher.update(entry.incarnation.to_be_bytes());
        hasher.update(entry.seq.to_be_bytes());
        for name in [&entry.kind, &entry.from, &entry.to] {
            hasher.update(text(name));
        }
        let Balances { available, reserved, spent, debt } = entry.after;
        for amount in [entry.amount, available, reserved, spent, debt] {
            hasher.update(amount.to_be_bytes());
        }
        if entry.reservation.is_empty() {
            hasher.update([0]);
        } else {
            hasher.update([1]);
            hasher.update(&entry.reservation);
        }
        match &entry.reference {
            None => hasher.update([0]),
            Some(reference) => {
                hasher.update([1]);
                hasher.update(text(reference));
            }
        }
        match &entry.bucket {
            None => hasher.update([0]),
            Some(bucket) => {
                hasher.update([1]);
                hasher.update(text(bucket));
                hasher.update([u8::from(entry.expires_at.is_some())]);
                entry.expires_at.iter().for_each(|at| hasher.update(at.to_be_bytes()));
            }
        }
        hasher.update(entry.recorded_at.to_be_bytes());
        last = hasher.finalize().to_vec();
        agree!(entry.hash, last, "the hash of entry {}", entry.seq);
    }
    Ok(last)
}

fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// What the journal says of one reservation, in micropoints.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    reserved: i64,
    confirmed: i64,
    undone: i64,
    finalised: i64,
    released: i64,
}

impl Sums {
    fn of(entries: &[Entry], reservation: &Reservation) -> Self {
        let mut sums = Self::default();
        for entry in entries.iter().filter(|entry| entry.reservation == reservation.id_bytes) {
            let sum = match entry.kind.as_str() {
                "reserve" => &mut sums.reserved,
                "confirm" => &mut sums.confirmed,
                "undo" => &mut sums.undone,
                "finalise" => &mut sums.finalised,
                "release" => &mut sums.released,
                // What came back to a bucket that has expired: returned all the same.
                "expire" => continue,
                other => panic!("an entry of kind {other} belongs to a reservation"),
            };
            *sum += entry.amount;
        }
        sums
    }
}

/// The reservation is what its entries say, and its price is right; returns what it still holds and what it spent.
fn reservation_adds_up(
    env: &Env,
    reservation: &Reservation,
    sums: &Sums,
) -> Result<(i64, i64), String> {
    let id = &reservation.id;
    agree!(sums.reserved, reservation.reserved, "what was reserved under {id}");
    let dearest = env.micropoints(reservation.dearest);
    agree!(reservation.reserved, dearest, "reservation {id} and its dearest grant");
    let cost = reservation.settlement.as_ref().map_or(0, |settled| settled.cost);
    agree!(sums.confirmed - sums.undone, cost, "what was spent under {id}");
    if let Some(settled) = &reservation.settlement {
        agree!(settled.cost, env.micropoints(settled.gas_cost), "the price of {id}");
    }
    let (finalised, released) = match reservation.state.as_str() {
        "open" | "settled_provisional" => (0, 0),
        "settled_final" => (reservation.reserved - cost, 0),
        "released" => (0, reservation.reserved),
        other => return Err(format!("{id} is {other}")),
    };
    agree!((sums.finalised, sums.released), (finalised, released), "what returned under {id}");
    Ok((reservation.reserved - cost - finalised - released, cost))
}

/// The chain has exactly one event for the operation, and it says what the ledger says.
async fn chain_agrees(
    env: &Env,
    reservation: &Reservation,
    settled: &Settlement,
) -> Result<(), String> {
    let id = &reservation.id;
    let filter = Filter::new()
        .address(reservation.entry_point)
        .event_signature(IEntryPoint::UserOperationEvent::SIGNATURE_HASH)
        .topic1(settled.user_op_hash)
        .from_block(0);
    let logs = env.stack.node().provider().get_logs(&filter).await.unwrap();
    agree!(logs.len(), 1, "the number of events for {id}");
    let log = &logs[0];
    let event = IEntryPoint::UserOperationEvent::decode_log(&log.inner).unwrap();
    agree!(event.actualGasCost, settled.gas_cost, "wei that the EntryPoint charged for {id}");
    agree!(event.success, settled.success, "the success of {id}");
    agree!(event.sender, reservation.sender, "the sender of {id}");
    agree!(event.nonce, reservation.nonce, "the nonce of {id}");
    agree!(event.paymaster, reservation.paymaster, "the paymaster of {id}");
    agree!(log.block_hash, Some(settled.block_hash), "the block of {id}");
    agree!(log.block_number, Some(settled.block_number), "the block number of {id}");
    agree!(log.transaction_hash, Some(settled.transaction_hash), "the bundle of {id}");
    Ok(())
}

/// Micropoints as the API writes points.
pub fn points(micropoints: i64) -> String {
    let (whole, fraction) = (micropoints / 1_000_000, micropoints % 1_000_000);
    let text = format!("{whole}.{fraction:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
