//! `stipend admin paymaster migrate`: a deposit moves from one instance to another, by way of its owner.
//!
//! Two transactions, because an EntryPoint pays a deposit out to an account, and only value that comes with a call becomes
//! a deposit. A run that stops between them leaves the ether with the owner; `--amount` says how much of it is meant.

use std::process::ExitCode;

use alloy_primitives::{Address, U256};
use clap::Args;

use super::amount::Amount;
use super::contract::Instance;
use super::error::PaymasterError;
use super::funds::{Scene, Share, warn_of_signed};
use super::session::{Place, Sending, Session};
use super::step::{Step, line};
use crate::config::Config;

/// Which deposit goes where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Migrate {
    /// The paymaster whose deposit moves.
    #[arg(long, value_name = "ADDRESS")]
    from_paymaster: Address,
    /// The paymaster that it moves to.
    #[arg(long, value_name = "ADDRESS")]
    to_paymaster: Address,
    /// How much arrives. What the old deposit cannot give comes from the owner's own ether, as after a run that stopped
    /// half-way. Default: all of the old deposit but what --leave leaves.
    #[arg(long)]
    amount: Option<Amount>,
    /// What stays in the old deposit, for operations that are signed and not in a block yet.
    #[arg(long, default_value = "0wei")]
    leave: Amount,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    sending: Sending,
}

/// Moves a deposit, or shows how it would move.
pub(crate) async fn run(
    migrate: Migrate,
    config: Option<&Config>,
) -> Result<ExitCode, PaymasterError> {
    if migrate.from_paymaster == migrate.to_paymaster {
        let text = "--from-paymaster and --to-paymaster are the same".to_owned();
        return Err(PaymasterError::Argument(text));
    }
    let session = Session::open(&migrate.place, migrate.sending, config).await?;
    let (node, chain) = (session.node(), session.chain());
    let old = Instance::read(node, chain, migrate.from_paymaster).await?;
    let new = Instance::read(node, chain, migrate.to_paymaster).await?;
    old.warn_of_code();
    new.insist_on_code()?;
    warn_of_owners(&old, &new);

    let from =
        Scene { sender: session.sender, paymaster: &old, stakes: old.stakes(node, None).await? };
    let to =
        Scene { sender: session.sender, paymaster: &new, stakes: new.stakes(node, None).await? };
    let Some(parts) = parts(from.stakes.deposit, migrate.leave.0, migrate.amount) else {
        let owned = Amount(node.balance(old.roles.owner).await?);
        return Err(PaymasterError::NothingToMove(nothing_to_move(&from, &to, owned)));
    };
    let steps = steps(&from, &to, parts)?;
    warn_of_signed(old.address, config);
    if parts.withdrawn != parts.arriving {
        let own = Amount(parts.arriving.saturating_sub(parts.withdrawn));
        eprintln!(
            "{own} of it comes from the sender's own ether, as after a run that stopped half-way."
        );
    }
    if !parts.withdrawn.is_zero() {
        let amount = match parts.share() {
            Share::All => "--amount and what the first says was withdrawn".to_owned(),
            Share::Part(_) => format!("--amount {}wei", parts.arriving),
        };
        eprintln!(
            "Should it stop between the two, the ether is with {}: run it again with {amount}.",
            session.sender
        );
    }
    let outcome = session.carry_out(&steps).await?;
    outcome.print_hashes();
    Ok(outcome.exit_code())
}

/// What moves, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    /// Out of the old deposit.
    withdrawn: U256,
    /// Into the new one.
    arriving: U256,
    /// Whether it is everything, however much that is when the withdrawal lands.
    everything: bool,
}

impl Parts {
    fn share(self) -> Share {
        if self.everything { Share::All } else { Share::Part(Amount(self.withdrawn)) }
    }
}

/// What moves, or `None` when it is nothing.
fn parts(deposit: U256, leave: U256, amount: Option<Amount>) -> Option<Parts> {
    let movable = deposit.saturating_sub(leave);
    let arriving = amount.map_or(movable, |amount| amount.0);
    let everything = amount.is_none() && leave.is_zero();
    let parts = Parts { withdrawn: movable.min(arriving), arriving, everything };
    (!arriving.is_zero()).then_some(parts)
}

fn steps<'a>(
    from: &Scene<'a>,
    to: &Scene<'a>,
    parts: Parts,
) -> Result<Vec<(Step, Option<&'a Instance>)>, PaymasterError> {
    let deposit = to.deposit(Amount(parts.arriving))?;
    if parts.withdrawn.is_zero() {
        return Ok(vec![(deposit, Some(to.paymaster))]);
    }
    let withdrawal = from.withdraw(parts.share(), from.sender)?;
    let mut deposit = Step { arriving: withdrawal.brings, passes_on: parts.everything, ..deposit };
    if parts.everything {
        deposit.title.push_str(", or as much as was withdrawn");
    }
    Ok(vec![(withdrawal, Some(from.paymaster)), (deposit, Some(to.paymaster))])
}

fn warn_of_owners(old: &Instance, new: &Instance) {
    if old.roles.owner != new.roles.owner {
        eprintln!(
            "Mind: the new paymaster has another owner, who alone can withdraw what arrives:"
        );
        line("old owner", &old.roles.owner.to_string());
        line("new owner", &new.roles.owner.to_string());
    }
}

fn nothing_to_move(from: &Scene<'_>, to: &Scene<'_>, owned: Amount) -> String {
    format!(
        "there is nothing to move: the deposit of {} is {}, and that of {} is {}. If a run before this one stopped between \
         its two transactions, the ether is with the owner {}, who has {owned}: name what is to go on with --amount",
        from.paymaster.address,
        Amount(from.stakes.deposit),
        to.paymaster.address,
        Amount(to.stakes.deposit),
        from.paymaster.roles.owner,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(deposit: u64, leave: u64, amount: Option<u64>) -> Option<(u64, u64)> {
        let amount = amount.map(|amount| Amount(U256::from(amount)));
        let parts = parts(U256::from(deposit), U256::from(leave), amount)?;
        Some((parts.withdrawn.to(), parts.arriving.to()))
    }

    #[test]
    fn all_moves_but_what_is_left() {
        assert_eq!(moved(10, 0, None), Some((10, 10)));
        assert_eq!(moved(10, 3, None), Some((7, 7)));
        assert_eq!(moved(10, 0, Some(4)), Some((4, 4)));
    }

    #[test]
    fn what_the_old_deposit_cannot_give_comes_from_the_owner() {
        assert_eq!(moved(0, 0, Some(10)), Some((0, 10)));
        assert_eq!(moved(10, 4, Some(10)), Some((6, 10)));
    }

    #[test]
    fn without_a_sum_everything_moves_however_much_that_is_then() {
        let everything = |leave: u64, amount: Option<u64>| {
            let amount = amount.map(|amount| Amount(U256::from(amount)));
            parts(U256::from(10), U256::from(leave), amount).unwrap().everything
        };
        assert!(everything(0, None));
        assert!(!everything(1, None));
        assert!(!everything(0, Some(10)));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(moved(0, 0, None), None);
        assert_eq!(moved(3, 5, None), None);
        assert_eq!(moved(3, 0, Some(0)), None);
    }
}
