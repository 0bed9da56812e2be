//! What a failed simulation means, and what to do about it.

use core::fmt;

use alloy_primitives::U256;
use alloy_sol_types::{Revert, SolError, SolInterface};
use chain::RpcError;

use super::amount::Amount;
use super::contract::IPaymaster::IPaymasterErrors;
use super::contract::IStakes::IStakesErrors;

/// Why a transaction would fail, in words, and what the operator can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why.
    pub(crate) reason: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.reason, self.remedy)
    }
}

impl Refusal {
    /// A reason with its remedy.
    pub(crate) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }

    /// What a node's refusal of a simulation means. Other errors than a refusal are not about the transaction.
    pub(crate) fn of(error: &RpcError) -> Option<Self> {
        let RpcError::Rpc { message, .. } = error else { return None };
        let data = error.revert_data().unwrap_or_default();
        if let Ok(refused) = IPaymasterErrors::abi_decode(&data) {
            return Some(by_the_paymaster(&refused));
        }
        if let Ok(refused) = IStakesErrors::abi_decode(&data) {
            return Some(by_the_entry_point(&refused));
        }
        if let Ok(revert) = Revert::abi_decode(&data) {
            return Some(in_words(&revert.reason));
        }
        Some(in_words(message))
    }
}

fn by_the_paymaster(refused: &IPaymasterErrors) -> Refusal {
    match refused {
        IPaymasterErrors::CallerNotOwner(refused) => Refusal::new(
            format!(
                "only the owner may do this, which is {}, not {}",
                refused.owner, refused.caller
            ),
            "Use the owner's key",
        ),
        IPaymasterErrors::CallerNotGuardian(refused) => Refusal::new(
            format!(
                "only the guardian may do this, which is {}, not {}",
                refused.guardian, refused.caller
            ),
            "Use the guardian's key; the owner can `withdraw` instead",
        ),
    }
}

/// What v0.9 says. The older ones say the same in texts: see [`in_words`].
fn by_the_entry_point(refused: &IStakesErrors) -> Refusal {
    match refused {
        IStakesErrors::InsufficientDeposit(refused) => {
            let (held, asked) = (Amount(refused.currentDeposit), Amount(refused.withdrawAmount));
            Refusal::new(format!("the deposit is {held}, less than {asked}"), DEPOSIT_SHORT)
        }
        IStakesErrors::DepositWithdrawalFailed(refused) => {
            does_not_take(&refused.withdrawAddress.to_string())
        }
        IStakesErrors::StakeWithdrawalFailed(refused) => {
            does_not_take(&refused.withdrawAddress.to_string())
        }
        IStakesErrors::InvalidUnstakeDelay(refused) => Refusal::new(
            format!(
                "an unstake delay of {} s is shorter than the present one of {} s, or zero",
                refused.newUnstakeDelaySec, refused.currentUnstakeDelaySec
            ),
            DELAY_SHORT,
        ),
        IStakesErrors::InvalidStake(_) => Refusal::new(NO_STAKE, "Give an --amount above zero"),
        IStakesErrors::NotStaked(refused) if refused.currentStake == U256::ZERO => {
            Refusal::new(NO_STAKE, "There is nothing to unlock or to withdraw")
        }
        IStakesErrors::NotStaked(_) => Refusal::new(UNLOCKED, WHEN_DUE),
        IStakesErrors::StakeNotUnlocked(_) => Refusal::new(LOCKED, "Unlock it first: `unlock`"),
        IStakesErrors::WithdrawalNotDue(refused) => {
            let seconds = refused.withdrawTime.saturating_sub(refused.blockTimestamp);
            Refusal::new(format!("the stake is locked for another {seconds} s"), WHEN_DUE)
        }
    }
}

const DEPOSIT_SHORT: &str =
    "Ask for less, or for `all`. Operations that land in the meantime make the deposit fall";
const DELAY_SHORT: &str =
    "Give an --unstake-delay above zero and not below the present one, which `show` tells";
const NO_STAKE: &str = "there is no stake";
const LOCKED: &str = "the stake is locked";
const UNLOCKED: &str = "the stake is unlocked already";
const WHEN_DUE: &str = "`show` tells when it can be withdrawn";

fn does_not_take(receiver: &str) -> Refusal {
    Refusal::new(
        format!("{receiver} does not take plain ether"),
        "Give an account or a contract that does with --to; a vault is for ever, so that the owner has to withdraw",
    )
}

/// What v0.7 and v0.8 say, and what nodes say by themselves.
fn in_words(message: &str) -> Refusal {
    let said = message.to_ascii_lowercase();
    let says = |part: &str| said.contains(part);
    if says("withdraw amount too large") {
        return Refusal::new("the deposit is less than that", DEPOSIT_SHORT);
    }
    if says("failed to withdraw") {
        return does_not_take("the receiver");
    }
    if says("cannot decrease unstake time") || says("must specify unstake delay") {
        return Refusal::new(
            "the unstake delay is shorter than the present one, or zero",
            DELAY_SHORT,
        );
    }
    if says("no stake specified") || says("no stake to withdraw") || says("not staked") {
        return Refusal::new(NO_STAKE, "There is nothing to unlock or to withdraw");
    }
    if says("already unstaking") {
        return Refusal::new(UNLOCKED, WHEN_DUE);
    }
    if says("must call unlockstake() first") {
        return Refusal::new(LOCKED, "Unlock it first: `unlock`");
    }
    if says("stake withdrawal is not due") {
        return Refusal::new("the stake is still locked", WHEN_DUE);
    }
    if says("insufficient funds") {
        return Refusal::new(
            "the sender has too little ether",
            "Send it ether for the value and the fee first",
        );
    }
    Refusal::new(
        format!("the node says: {message}"),
        "`show` tells whether the contract is the right one and who may do what",
    )
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use serde_json::json;

    use super::super::contract::{IPaymaster, IStakes};
    use super::*;

    fn reverted(message: &str, data: &[u8]) -> RpcError {
        let data = Some(json!(format!("0x{}", hex::encode(data))));
        RpcError::Rpc { code: 3, message: message.to_owned(), data }
    }

    fn reason(error: &RpcError) -> String {
        Refusal::of(error).unwrap().reason
    }

    #[test]
    fn the_paymasters_own_refusal_names_both() {
        let (caller, owner) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let refused = IPaymaster::CallerNotOwner { caller, owner }.abi_encode();
        let reason = reason(&reverted("execution reverted", &refused));
        assert_eq!(reason, format!("only the owner may do this, which is {owner}, not {caller}"));
    }

    #[test]
    fn old_and_new_entry_points_are_understood_alike() {
        let old = Revert::from("Stake withdrawal is not due").abi_encode();
        assert_eq!(reason(&reverted("execution reverted", &old)), "the stake is still locked");
        let (due, now) = (U256::from(130), U256::from(100));
        let new = IStakes::WithdrawalNotDue { withdrawTime: due, blockTimestamp: now }.abi_encode();
        let reason = reason(&reverted("execution reverted", &new));
        assert_eq!(reason, "the stake is locked for another 30 s");
    }

    #[test]
    fn what_the_node_says_by_itself_is_passed_on() {
        let said = RpcError::Rpc { code: -32000, message: "out of order".to_owned(), data: None };
        assert_eq!(reason(&said), "the node says: out of order");
        let poor = "insufficient funds for gas * price + value".to_owned();
        let poor = RpcError::Rpc { code: -32000, message: poor, data: None };
        assert_eq!(reason(&poor), "the sender has too little ether");
    }

    #[test]
    fn a_node_that_does_not_answer_refuses_nothing() {
        let silent = RpcError::TimedOut { host: "localhost".to_owned() };
        assert_eq!(Refusal::of(&silent), None);
    }
}
