//! Deposit and stake of one instance: what each command does about them.

use std::process::ExitCode;

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolEvent, SolValue};
use chain::transactions::CallRequest;
use clap::Args;
use domain::window::MAX_VALIDITY_SECONDS;

use super::amount::{Amount, NotAnAmount};
use super::contract::{IPaymaster, IStakes, Instance, input};
use super::error::PaymasterError;
use super::session::{Place, Sending, Session};
use super::step::{Proof, Step};
use crate::config::Config;

/// One instance, and who acts on it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The paymaster's address.
    paymaster: Address,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    sending: Sending,
}

/// How much of the deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// Everything that is there when the transaction lands.
    All,
    /// So much.
    Part(Amount),
}

impl core::str::FromStr for Share {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Part) }
    }
}

/// What to do about deposit or stake.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Add to the deposit.
    Deposit(Amount),
    /// Take out of the deposit.
    Withdraw {
        /// How much.
        share: Share,
        /// Who gets it; the owner by default.
        to: Option<Address>,
    },
    /// Send the whole deposit to the vault.
    MoveToVault,
    /// Add to the stake.
    Stake {
        /// How much.
        amount: Amount,
        /// Seconds between unlocking and withdrawal.
        delay: u32,
    },
    /// Start the delay.
    Unlock,
    /// Take the unlocked stake out.
    WithdrawStake {
        /// Who gets it; the owner by default.
        to: Option<Address>,
    },
}

/// Carries an order out, or shows what it would do.
pub(crate) async fn run(
    target: Target,
    order: Order,
    config: Option<&Config>,
) -> Result<ExitCode, PaymasterError> {
    let session = Session::open(&target.place, target.sending, config).await?;
    let paymaster = Instance::read(session.node(), session.chain(), target.paymaster).await?;
    match order {
        Order::Deposit(_) | Order::Stake { .. } => paymaster.insist_on_code()?,
        Order::Withdraw { .. }
        | Order::MoveToVault
        | Order::Unlock
        | Order::WithdrawStake { .. } => paymaster.warn_of_code(),
    }
    let stakes = paymaster.stakes(session.node(), None).await?;
    let scene = Scene { sender: session.sender, paymaster: &paymaster, stakes };
    let step = scene.step(order)?;
    if matches!(order, Order::Withdraw { .. }) {
        warn_of_signed(paymaster.address, config);
    }
    let outcome = session.carry_out(&[(step, Some(&paymaster))]).await?;
    outcome.print_hashes();
    Ok(outcome.exit_code())
}

/// Nobody takes away the deposit that signed operations are to be paid from without having been told.
pub(crate) fn warn_of_signed(paymaster: Address, config: Option<&Config>) {
    let longest = MAX_VALIDITY_SECONDS;
    let window = config.map_or(longest, |config| config.sponsorship.validity_seconds);
    eprintln!(
        "Mind: operations that are signed for {paymaster} and in no block yet are paid from what stays there. Beyond it the \
         EntryPoint refuses them with AA31, and their points come back when their windows are past. To spare them, stop \
         signing for it first, and wait {window} s of chain time, the longest window as configured ({longest} s with any \
         configuration); or leave there what they may cost."
    );
}

/// What `all` means, in words.
const EVERYTHING: &str = "everything that is there when it lands";

/// An instance with its deposit and stake, and who acts on it.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// Who acts.
    pub(crate) sender: Address,
    /// On what.
    pub(crate) paymaster: &'a Instance,
    /// With what in the EntryPoint.
    pub(crate) stakes: IStakes::DepositInfo,
}

impl Scene<'_> {
    fn step(&self, order: Order) -> Result<Step, PaymasterError> {
        match order {
            Order::Deposit(amount) => self.deposit(amount),
            Order::Withdraw { share, to } => {
                self.withdraw(share, to.unwrap_or(self.paymaster.roles.owner))
            }
            Order::MoveToVault => Ok(self.move_to_vault()),
            Order::Stake { amount, delay } => Ok(self.stake(amount, delay)),
            Order::Unlock => Ok(self.unlock()),
            Order::WithdrawStake { to } => {
                Ok(self.withdraw_stake(to.unwrap_or(self.paymaster.roles.owner)))
            }
        }
    }

    /// Adds to the deposit.
    pub(crate) fn deposit(&self, amount: Amount) -> Result<Step, PaymasterError> {
        some(amount)?;
        let call = self.call(amount.0, input(&IPaymaster::depositCall {}));
        let title = format!("Add {amount} to the deposit of {}", self.paymaster.address);
        let after = self.stakes.deposit.saturating_add(amount.0);
        Ok(Step {
            effects: vec![self.deposit_becomes(after)],
            proof: self.event(IStakes::Deposited::SIGNATURE_HASH, None),
            ..self.plain(title, call, "deposit()".to_owned())
        })
    }

    /// Takes out of the deposit. All of it is asked for without a sum, which an operation that lands first would make
    /// too large.
    pub(crate) fn withdraw(&self, share: Share, to: Address) -> Result<Step, PaymasterError> {
        let deposit = Amount(self.stakes.deposit);
        // All of nothing is sent too: something may arrive before it lands, and it has to be safe to repeat.
        let (amount, asked, what) = match share {
            Share::All => (deposit, U256::MAX, format!("{EVERYTHING} ({deposit} now)")),
            Share::Part(amount) => {
                some(amount)?;
                (amount, amount.0, amount.to_string())
            }
        };
        if deposit < amount {
            return Err(PaymasterError::Short { deposit, asked: amount });
        }
        let call = IPaymaster::withdrawCall { to, amount: asked };
        let title = format!("Withdraw {what} of the deposit of {} to {to}", self.paymaster.address);
        let after = self.stakes.deposit.saturating_sub(amount.0);
        let decoded = match share {
            Share::All => format!("withdraw(to = {to}, amount = the largest: everything)"),
            Share::Part(amount) => format!("withdraw(to = {to}, amount = {})", amount.0),
        };
        Ok(Step {
            effects: vec![self.deposit_becomes(after)],
            brings: self.mine(to, amount.0),
            proof: self.withdrawn(to, (share != Share::All).then_some(amount.0)),
            ..self.plain(title, self.call(U256::ZERO, input(&call)), decoded)
        })
    }

    fn move_to_vault(&self) -> Step {
        let vault = self.paymaster.roles.vault;
        let title =
            format!("Send the whole deposit of {} to its vault {vault}", self.paymaster.address);
        let call = self.call(U256::ZERO, input(&IPaymaster::moveDepositToVaultCall {}));
        Step {
            effects: vec![self.deposit_becomes(U256::ZERO)],
            // How much it is, the block decides.
            proof: self.withdrawn(vault, None),
            ..self.plain(title, call, "moveDepositToVault()".to_owned())
        }
    }

    fn stake(&self, amount: Amount, delay: u32) -> Step {
        let call = IPaymaster::addStakeCall { unstakeDelaySec: delay };
        let staked: U256 = self.stakes.stake.to();
        let after = staked.saturating_add(amount.0);
        let title = format!("Add {amount} to the stake of {}", self.paymaster.address);
        Step {
            effects: vec![
                both("stake", staked, after),
                (
                    "unstake delay".to_owned(),
                    format!("{} s", self.stakes.unstakeDelaySec),
                    format!("{delay} s, which can only grow until the stake is withdrawn"),
                ),
            ],
            proof: self.event(
                IStakes::StakeLocked::SIGNATURE_HASH,
                Some((after, U256::from(delay)).abi_encode_params().into()),
            ),
            ..self.plain(
                title,
                self.call(amount.0, input(&call)),
                format!("addStake(unstakeDelaySec = {delay})"),
            )
        }
    }

    fn unlock(&self) -> Step {
        let title = format!(
            "Unlock the stake of {}: it can be withdrawn {} s later, and counts as none with bundlers from now on",
            self.paymaster.address, self.stakes.unstakeDelaySec
        );
        let call = self.call(U256::ZERO, input(&IPaymaster::unlockStakeCall {}));
        Step {
            effects: vec![("stake".to_owned(), self.lock().to_owned(), "unlocked".to_owned())],
            proof: self.event(IStakes::StakeUnlocked::SIGNATURE_HASH, None),
            ..self.plain(title, call, "unlockStake()".to_owned())
        }
    }

    /// How the stake is now.
    fn lock(&self) -> &'static str {
        match (self.stakes.staked, self.stakes.stake.is_zero()) {
            (true, _) => "locked",
            (false, true) => "none",
            (false, false) => "unlocked",
        }
    }

    /// What of an amount for `to` comes to the sender.
    fn mine(&self, to: Address, amount: U256) -> U256 {
        if to == self.sender { amount } else { U256::ZERO }
    }

    fn withdraw_stake(&self, to: Address) -> Step {
        let staked: U256 = self.stakes.stake.to();
        let title = format!(
            "Withdraw the whole stake of {}, {}, to {to}",
            self.paymaster.address,
            Amount(staked)
        );
        let call = IPaymaster::withdrawStakeCall { to };
        Step {
            effects: vec![both("stake", staked, U256::ZERO)],
            brings: self.mine(to, staked),
            proof: self.event(
                IStakes::StakeWithdrawn::SIGNATURE_HASH,
                Some((to, staked).abi_encode_params().into()),
            ),
            ..self.plain(
                title,
                self.call(U256::ZERO, input(&call)),
                format!("withdrawStake(to = {to})"),
            )
        }
    }

    fn call(&self, value: U256, input: Bytes) -> CallRequest {
        CallRequest { from: self.sender, to: self.paymaster.address, value, input }
    }

    /// A step that changes nothing that is worth a line.
    fn plain(&self, title: String, call: CallRequest, decoded: String) -> Step {
        Step {
            title,
            call,
            decoded,
            effects: Vec::new(),
            returns: None,
            arriving: U256::ZERO,
            brings: U256::ZERO,
            passes_on: false,
            proof: Proof::Code,
        }
    }

    fn deposit_becomes(&self, after: U256) -> (String, String, String) {
        both("deposit", self.stakes.deposit, after)
    }

    /// The EntryPoint's word that it has paid out to somebody.
    fn withdrawn(&self, to: Address, exactly: Option<U256>) -> Proof {
        let emitter = self.paymaster.roles.entry_point;
        Proof::Withdrawn { emitter, paymaster: self.paymaster.address, to, exactly }
    }

    /// The EntryPoint's event of this kind about this paymaster.
    fn event(&self, kind: B256, data: Option<Bytes>) -> Proof {
        Proof::Event {
            emitter: self.paymaster.roles.entry_point,
            topics: vec![kind, self.paymaster.address.into_word()],
            data,
        }
    }
}

fn both(what: &str, before: U256, after: U256) -> (String, String, String) {
    (what.to_owned(), Amount(before).to_string(), Amount(after).to_string())
}

fn some(amount: Amount) -> Result<(), PaymasterError> {
    if amount == Amount::default() {
        return Err(PaymasterError::Argument(
            "there is nothing to move: the amount is zero".into(),
        ));
    }
    Ok(())
}
