//! Carrying a plan out: tried as a whole, then sent one by one, each seen in a block before the next.

use core::time::Duration;
use std::process::ExitCode;

use alloy_primitives::{B256, U256};
use alloy_sol_types::SolEvent;
use chain::RpcError;
use chain::transactions::Receipt;
use tokio::time::{Instant, sleep};

use super::amount::Amount;
use super::contract::{IStakes, Instance};
use super::error::PaymasterError;
use super::session::Session;
use super::step::{Prepared, Proof, Step, Turn, line};

/// The pause between two looks for a receipt.
const POLL: Duration = Duration::from_millis(500);
/// How often a line says that the wait goes on.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How a plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A step would fail; nothing was sent.
    WouldFail,
    /// It would succeed; nothing was sent, because the command does not say `--send`.
    DryRun,
    /// Every step is in a block and did what it is for; their hashes.
    Done(Vec<B256>),
}

impl Outcome {
    /// Prints the hashes to standard output, each on its line.
    pub(crate) fn print_hashes(&self) {
        if let Self::Done(hashes) = self {
            for hash in hashes {
                println!("{hash}");
            }
        }
    }

    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> ExitCode {
        match self {
            Self::WouldFail => ExitCode::FAILURE,
            Self::DryRun | Self::Done(_) => ExitCode::SUCCESS,
        }
    }
}

impl Session {
    /// Prints and tries every step; with `--send`, sends one after the other. `paymaster` is whose state is shown
    /// after each, where there is one already.
    pub(crate) async fn carry_out(
        &self,
        steps: &[(Step, Option<&Instance>)],
    ) -> Result<Outcome, PaymasterError> {
        let mut prepared = Vec::with_capacity(steps.len());
        for (ahead, (step, _)) in (0..).zip(steps) {
            let turn = if ahead == 0 { Turn::First } else { Turn::Later(ahead) };
            prepared.push(step.prepare(self, turn).await?);
        }
        for (number, ((step, _), prepared)) in (1..).zip(steps.iter().zip(&prepared)) {
            step.print(number, prepared);
        }
        if prepared.iter().any(|prepared| prepared.verdict.is_err()) {
            eprintln!("Nothing was sent.");
            return Ok(Outcome::WouldFail);
        }
        if !self.sends() {
            eprintln!(
                "This was a dry run: nothing was sent. The same command with --send and the key does it."
            );
            return Ok(Outcome::DryRun);
        }
        let mut hashes = Vec::with_capacity(steps.len());
        let mut withdrawn = None;
        for (number, ((step, paymaster), planned)) in (1..).zip(steps.iter().zip(prepared)) {
            let step = &step.after(withdrawn);
            let prepared =
                if number == 1 { planned } else { step.prepare(self, Turn::Later(0)).await? };
            if let Err(refusal) = &prepared.verdict {
                eprintln!("Step {number} would fail now, and was not sent: {refusal}");
                return Ok(Outcome::WouldFail);
            }
            let (hash, receipt) = self.send(number, step, &prepared).await?;
            withdrawn = check(step, hash, &receipt)?;
            if let Some(wei) = withdrawn {
                line("withdrawn", &Amount(wei).to_string());
            }
            if let Some(paymaster) = paymaster {
                self.print_state(paymaster, &receipt).await;
            }
            hashes.push(hash);
        }
        Ok(Outcome::Done(hashes))
    }

    async fn send(
        &self,
        number: usize,
        step: &Step,
        prepared: &Prepared,
    ) -> Result<(B256, Receipt), PaymasterError> {
        let signer = self.signer.as_ref().ok_or(PaymasterError::NoKey)?;
        let signed = signer.sign(&step.transaction(self, prepared))?;
        eprintln!("Sending step {number}: transaction {}", signed.hash);
        match self.node().send_raw_transaction(&signed.raw).await {
            Ok(()) => {}
            Err(error @ RpcError::Rpc { .. }) => return Err(PaymasterError::Refused(error)),
            // It may have been taken all the same, so the chain is asked.
            Err(error) => {
                eprintln!("The node did not answer properly ({error}); looking for the transaction")
            }
        }
        let receipt = self.wait(signed.hash).await?;
        if !receipt.success {
            return Err(PaymasterError::Reverted(signed.hash));
        }
        eprintln!("Step {number} is in block {}.", receipt.block_number);
        Ok((signed.hash, receipt))
    }

    /// Waits for a transaction's block, and says so from time to time. Ctrl-C ends the wait, not the transaction.
    async fn wait(&self, hash: B256) -> Result<Receipt, PaymasterError> {
        let start = Instant::now();
        let mut said = start;
        let mut interrupt = core::pin::pin!(tokio::signal::ctrl_c());
        loop {
            match self.node().receipt(hash).await {
                Ok(Some(receipt)) => return Ok(receipt),
                Ok(None) => {}
                Err(error) => eprintln!("The node does not answer ({error}); still waiting"),
            }
            let waited = start.elapsed();
            let unconfirmed = PaymasterError::Unconfirmed { hash, seconds: waited.as_secs() };
            if waited > self.patience() {
                return Err(unconfirmed);
            }
            if said.elapsed() > HEARTBEAT {
                said = Instant::now();
                eprintln!("Waiting for its block: {} s", waited.as_secs());
            }
            tokio::select! {
                () = sleep(POLL) => {}
                _ = &mut interrupt => return Err(unconfirmed),
            }
        }
    }

    /// Reads the chain again, after the block. The receipt has shown already that the step did what it is for, so that a
    /// node that cannot tell more must not stop what comes after.
    async fn print_state(&self, paymaster: &Instance, receipt: &Receipt) {
        if let Err(error) = self.try_print_state(paymaster, receipt).await {
            eprintln!("What it led to cannot be read now ({error}): `show` tells later.");
        }
    }

    async fn try_print_state(
        &self,
        paymaster: &Instance,
        receipt: &Receipt,
    ) -> Result<(), RpcError> {
        let stakes = paymaster.stakes(self.node(), Some(receipt.block_hash)).await?;
        line("paymaster", &paymaster.address.to_string());
        line("deposit now", &Amount(stakes.deposit).to_string());
        line("stake now", &Amount(stakes.stake.to()).to_string());
        let fee = receipt.gas_used.0.saturating_mul(receipt.gas_price.0);
        line("fee paid", &Amount(U256::from(fee)).to_string());
        line("sender's ether now", &Amount(self.node().balance(self.sender).await?).to_string());
        Ok(())
    }
}

/// Whether the receipt shows what the step is for; answers how much was withdrawn, if that is it.
fn check(step: &Step, hash: B256, receipt: &Receipt) -> Result<Option<U256>, PaymasterError> {
    let shown = match &step.proof {
        Proof::Code => return Ok(None),
        Proof::Event { emitter, topics, data } => receipt.events.iter().any(|event| {
            event.address == *emitter
                && event.topics == *topics
                && data.as_ref().is_none_or(|data| *data == event.data)
        }),
        Proof::Withdrawn { emitter, paymaster, to, exactly } => {
            let paid =
                receipt.events.iter().filter(|event| event.address == *emitter).find_map(|event| {
                    let topics = event.topics.iter().copied();
                    let paid = IStakes::Withdrawn::decode_raw_log(topics, &event.data).ok()?;
                    (paid.account == *paymaster && paid.withdrawAddress == *to)
                        .then_some(paid.amount)
                });
            if paid.is_some() && exactly.is_none_or(|exactly| paid == Some(exactly)) {
                return Ok(paid);
            }
            false
        }
    };
    if shown {
        return Ok(None);
    }
    let what =
        "its receipt lacks the EntryPoint's event of it. Look at the transaction before you go on";
    Err(PaymasterError::NoEffect { hash, what: what.to_owned() })
}
