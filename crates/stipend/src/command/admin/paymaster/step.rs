//! One transaction: what it is for, what it would do, and what it would cost.

use alloy_primitives::{Address, B256, Bytes, U256};
use chain::RpcError;
use chain::transactions::CallRequest;
use signer::Transaction;

use super::amount::{Amount, PerGas};
use super::error::PaymasterError;
use super::refusal::Refusal;
use super::session::{Fees, Session};

/// What a transaction may use beyond its estimate, in percent: the state may change until it is in a block.
const GAS_MARGIN_PERCENT: u64 = 20;

/// One transaction that an operator wants.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What it is for, in words.
    pub(crate) title: String,
    /// The call; it comes from the session's sender.
    pub(crate) call: CallRequest,
    /// The call as one would write it.
    pub(crate) decoded: String,
    /// What it changes: what, and how it is before and after.
    pub(crate) effects: Vec<(String, String, String)>,
    /// What the simulation must return, where it matters.
    pub(crate) returns: Option<Bytes>,
    /// Wei that the step before brings to the sender.
    pub(crate) arriving: U256,
    /// Wei that this step brings to the sender.
    pub(crate) brings: U256,
    /// Whether its value is what the step before has withdrawn: only that one's receipt tells how much it was.
    pub(crate) passes_on: bool,
    /// What the chain must say in the transaction's receipt.
    pub(crate) proof: Proof,
}

/// What shows that a transaction did what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The code at the address, which the command looks at by itself.
    Code,
    /// An event of the EntryPoint about the paymaster.
    Event {
        /// The EntryPoint.
        emitter: Address,
        /// Which event, and whose.
        topics: Vec<B256>,
        /// Its other values, where they are known before.
        data: Option<Bytes>,
    },
    /// The EntryPoint's event that it has paid out a part of a paymaster's deposit.
    Withdrawn {
        /// The EntryPoint.
        emitter: Address,
        /// Whose deposit.
        paymaster: Address,
        /// To whom.
        to: Address,
        /// How much in wei, where it is known before.
        exactly: Option<U256>,
    },
}

/// Where among its sender's transactions a step comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The command's first: behind those that wait, or with `--replace` in the place of the first of them.
    First,
    /// Behind so many of the command's own that are yet to be sent.
    Later(u64),
}

/// A step with everything that the chain has to say about it.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// Its nonce, behind those of the sender's transactions that are in no block yet.
    nonce: u64,
    /// How many of those there are.
    waiting: u64,
    /// Whether it takes the place of the first of them.
    replaces: bool,
    /// What the gas costs.
    fees: Fees,
    /// The sender's ether.
    balance: U256,
    /// What it needs.
    gas: u64,
    /// Whether it would succeed. Without, the gas is unknown and zero.
    pub(crate) verdict: Result<(), Refusal>,
    /// Whether it was tried with one wei, because its ether is yet to arrive.
    is_tried_with_a_wei: bool,
}

impl Step {
    /// The step once the one before it has withdrawn so much.
    pub(crate) fn after(&self, withdrawn: Option<U256>) -> Self {
        let mut step = self.clone();
        if let (true, Some(wei)) = (step.passes_on, withdrawn) {
            step.call.value = wei;
        }
        step
    }

    /// Asks the chain about the step.
    pub(crate) async fn prepare(
        &self,
        session: &Session,
        turn: Turn,
    ) -> Result<Prepared, PaymasterError> {
        let node = session.node();
        let sent = node.transaction_count(session.sender).await?;
        let next = node.next_nonce(session.sender).await?.max(sent);
        let nonce = match (turn, session.replaces()) {
            (Turn::First, true) if next == sent => {
                return Err(PaymasterError::NothingToReplace(session.sender));
            }
            (Turn::First, true) => sent,
            (Turn::First, false) => next,
            // One of those before it takes the place of one that waits already.
            (Turn::Later(ahead), true) => next.saturating_add(ahead.saturating_sub(1)),
            (Turn::Later(ahead), false) => next.saturating_add(ahead),
        };
        let balance = node.balance(session.sender).await?;
        let mut prepared = Prepared {
            nonce,
            waiting: next.saturating_sub(sent),
            replaces: session.replaces() && turn == Turn::First,
            fees: session.fees().await?,
            balance,
            gas: 0,
            verdict: Ok(()),
            is_tried_with_a_wei: false,
        };
        let reachable = balance.saturating_add(self.arriving);
        if reachable < self.call.value {
            prepared.verdict = Err(too_little(reachable, self.call.value));
            return Ok(prepared);
        }
        let mut tried = self.call.clone();
        if balance < tried.value {
            prepared.is_tried_with_a_wei = true;
            tried.value = U256::from(1);
        }
        prepared.verdict = self.simulate(session, &tried).await?;
        if prepared.verdict.is_ok() {
            match node.estimate_gas(&tried).await {
                Ok(gas) => prepared.gas = u64::try_from(gas.0).unwrap_or(u64::MAX),
                Err(error) => prepared.verdict = Err(refusal(error)?),
            }
        }
        if prepared.verdict.is_ok() {
            let needed = self.call.value.saturating_add(prepared.dearest_fee());
            if reachable < needed {
                prepared.verdict = Err(too_little(reachable, needed));
            }
        }
        Ok(prepared)
    }

    async fn simulate(
        &self,
        session: &Session,
        tried: &CallRequest,
    ) -> Result<Result<(), Refusal>, PaymasterError> {
        let returned = match session.node().simulate(tried).await {
            Ok(returned) => returned,
            Err(error) => return Ok(Err(refusal(error)?)),
        };
        match &self.returns {
            Some(wanted) if *wanted != returned => Ok(Err(Refusal::new(
                format!("it would return {returned} instead of {wanted}"),
                "The contract at the other end is not the one that it should be",
            ))),
            Some(_) | None => Ok(Ok(())),
        }
    }

    /// The transaction to sign.
    pub(crate) fn transaction(&self, session: &Session, prepared: &Prepared) -> Transaction {
        Transaction {
            chain: session.chain(),
            nonce: prepared.nonce,
            to: self.call.to,
            value: self.call.value,
            input: self.call.input.clone(),
            gas_limit: prepared.gas_limit(),
            max_fee_per_gas: prepared.fees.most,
            max_priority_fee_per_gas: prepared.fees.tip,
        }
    }

    /// Prints the plan.
    pub(crate) fn print(&self, number: usize, prepared: &Prepared) {
        eprintln!("{number}. {}", self.title);
        line("from", &format!("{} (nonce {})", self.call.from, prepared.nonce));
        line("to", &self.call.to.to_string());
        line("value", &Amount(self.call.value).to_string());
        line("call", &self.decoded);
        if prepared.verdict.is_ok() {
            line("gas", &format!("{}, limit {}", prepared.gas, prepared.gas_limit()));
            let fees = prepared.fees;
            let dearest = Amount(prepared.dearest_fee());
            let (most, tip) = (PerGas(fees.most), PerGas(fees.tip));
            line("fee", &format!("{dearest} at most: {most} per gas, {tip} of it the tip"));
        }
        for (what, before, after) in &self.effects {
            line(what, &format!("{before} -> {after}"));
        }
        let before = prepared.balance.saturating_add(self.arriving);
        let spent = self.call.value.saturating_add(prepared.dearest_fee());
        let after = before.saturating_sub(spent).saturating_add(self.brings);
        let less = if self.arriving.is_zero() { "" } else { ", less the fee of what comes before" };
        line("sender's ether", &format!("{} -> {}{less}", Amount(before), Amount(after)));
        if prepared.replaces {
            line(
                "mind",
                &format!(
                    "it takes the place of transaction {} of this account, which is in no block yet; {} more wait behind it",
                    prepared.nonce,
                    prepared.waiting.saturating_sub(1)
                ),
            );
        } else if prepared.waiting > 0 {
            line(
                "mind",
                &format!(
                    "{} transaction(s) of this account are in no block yet; this one comes after",
                    prepared.waiting
                ),
            );
        }
        match &prepared.verdict {
            Ok(()) if prepared.is_tried_with_a_wei => {
                line(
                    "tried",
                    "it would succeed (with one wei: the rest comes from the step before)",
                );
            }
            Ok(()) => line("tried", "it would succeed"),
            Err(refusal) => line("tried", &format!("it would FAIL: {refusal}")),
        }
    }
}

impl Prepared {
    fn gas_limit(&self) -> u64 {
        let margin = self.gas.div_ceil(100).saturating_mul(GAS_MARGIN_PERCENT);
        self.gas.saturating_add(margin)
    }

    /// What the gas costs at most, in wei.
    fn dearest_fee(&self) -> U256 {
        U256::from(self.gas_limit()).saturating_mul(U256::from(self.fees.most))
    }
}

/// One line of a plan or a report.
pub(crate) fn line(what: &str, text: &str) {
    eprintln!("   {what:<18} {text}");
}

fn too_little(held: U256, needed: U256) -> Refusal {
    Refusal::new(
        format!("the sender has {}, and needs {}", Amount(held), Amount(needed)),
        "Send it ether for the value and the fee first",
    )
}

/// A refusal of a simulation, or the error that it is about something else.
fn refusal(error: RpcError) -> Result<Refusal, PaymasterError> {
    Refusal::of(&error).ok_or_else(|| error.into())
}
