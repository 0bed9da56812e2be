//! Every reason not to sponsor, by name. The names are part of the API and never change their meaning.

use alloy_primitives::Address;
use domain::bounds::BoundsRefusal;
use domain::ledger::sponsorship::GrantRefusal;
use domain::{ChainId, Gas, Points};

/// A request that is against the rules. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The chain is not served.
    #[error("chain {0} is not served here")]
    UnknownChain(ChainId),
    /// The EntryPoint is not served.
    #[error("EntryPoint {0} is not served on this chain")]
    UnknownEntryPoint(Address),
    /// EntryPoint v0.6 is not served, anywhere.
    #[error("EntryPoint v0.6 is not served; use an account for v0.7 or later")]
    EntryPointV06,
    /// The company has no paymaster for this EntryPoint.
    #[error("there is no paymaster of this company for EntryPoint {0} on this chain")]
    NoPaymaster(Address),
    /// Nobody linked the wallet to an account.
    #[error(
        "wallet {0} is not linked to an account; link it with PUT /v1/accounts/{{externalId}}/wallets/{{chainId}}/{{address}}"
    )]
    WalletNotLinked(Address),
    /// A publishable key alone proves no user.
    #[error(
        "a publishable key does not prove who the user is; ask through the company's server with a secret key, or on EntryPoint v0.9 let the account sign first (context.signingPhase)"
    )]
    UserProofRequired,
    /// Nobody reads the chain yet.
    #[error("chain {0} is not followed yet: its worker has not read a final block")]
    ChainNotReady(ChainId),
    /// The chain is halted.
    #[error("signing on chain {chain} is halted: {reason}")]
    ChainHalted {
        /// The chain.
        chain: ChainId,
        /// Why, for operators.
        reason: String,
    },
    /// The node's head is far from the wall clock.
    #[error("the newest block of chain {chain} is {seconds} s away from the wall clock")]
    StaleHead {
        /// The chain.
        chain: ChainId,
        /// How far.
        seconds: u64,
    },
    /// The operation has gas limits of zero where an estimate must come first.
    #[error("the operation has no gas limits yet; estimate them first")]
    GasNotEstimated,
    /// The account's signature is longer than any that is counted.
    #[error("the operation's signature has {length} bytes, at most {most} are sponsored here")]
    SignatureTooLong {
        /// How long it is.
        length: usize,
        /// The most that is sponsored.
        most: usize,
    },
    /// The operation's gas cannot be added up.
    #[error("the operation's gas limits and fees are beyond what the chain can express")]
    GasOutOfRange,
    /// The paymaster's own limits are too low to run it, or too high to pay for.
    #[error("{field} is {value}, between {least} and {most} is sponsored here")]
    PaymasterGas {
        /// The operation's field.
        field: &'static str,
        /// What it asks for.
        value: Gas,
        /// The least that the paymaster needs.
        least: Gas,
        /// The most that is sponsored.
        most: Gas,
    },
    /// A limit or fee is out of bounds.
    #[error(transparent)]
    Bounds(#[from] BoundsRefusal),
    /// The simulation of the bundler, or of the node, fails.
    #[error("the operation fails in simulation: {0}")]
    SimulationFailed(String),
    /// The operation carries the EIP-7702 marker and nothing says which delegate.
    #[error("the operation delegates by EIP-7702, but names no delegate and its sender has none")]
    DelegateUnknown,
    /// The sender delegates to a contract that nobody allowed.
    #[error(
        "the operation's sender delegates by EIP-7702 to {0}, which is not among the delegates allowed here"
    )]
    DelegateNotAllowed(Address),
    /// The EIP-7702 authorisation is not one that the chain carries out.
    #[error(
        "eip7702Auth is not signed by the sender for this chain and its present nonce; let the account sign it as well before finalize"
    )]
    AuthorisationInvalid,
    /// The paymaster's deposit does not cover the operation.
    #[error("the gas tank is too low for this operation just now")]
    GasTankShort,
    /// The sender has another delegate than when the operation was sponsored.
    #[error(
        "the operation's sender delegates to another contract than when it was sponsored; sponsor it again as it is now"
    )]
    DelegateChanged,
    /// Before v0.9 the account's signature covers the paymaster's.
    #[error("signing phases need EntryPoint v0.9; leave context.signingPhase out")]
    ParallelUnsupported,
    /// The operation does not carry what a commit answered.
    #[error(
        "the operation does not carry the paymaster fields of a commit; ask with signingPhase commit first, and let the account sign with its answer"
    )]
    NotCommitted,
    /// The window that the account signed is over soon, or longer than any that is given.
    #[error(
        "the operation was committed until {valid_until}, and the chain's head is at {head}; commit again, and let the account sign anew"
    )]
    CommitExpired {
        /// The end of the window, seconds.
        valid_until: u64,
        /// The head's time, seconds.
        head: u64,
    },
    /// The ledger's rules.
    #[error(transparent)]
    Grant(#[from] GrantRefusal),
    /// The wallet was unlinked meanwhile.
    #[error("the wallet was unlinked from its account meanwhile")]
    WalletMoved,
    /// The slot's open sponsorship rests on an earlier paymaster.
    #[error(
        "an operation with this nonce is open under an earlier paymaster; wait for it, or use another nonce"
    )]
    PaymasterChanged,
    /// The caller's key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// Only sponsored operations pass through.
    #[error("there is no live sponsorship of this application for this operation")]
    NotSponsored,
    /// The operation is not the one that was signed.
    #[error("the operation differs from the one that was sponsored; sponsor it again as it is now")]
    OperationChanged,
    /// The method does not pass through.
    #[error("method {0} is not served here")]
    UnknownMethod(String),
    /// Several chains are served, and the request names none.
    #[error("several chains are served here: name one with ?chainId=")]
    ChainNotNamed,
}

impl Refusal {
    /// What a simulation's reason means. `AA31` is said of the paymaster's deposit alone
    /// ([ERC-4337](https://eips.ethereum.org/EIPS/eip-4337)), which is not the operation's fault.
    pub(crate) fn simulation_failed(reason: String) -> Self {
        if reason.contains("AA31") { Self::GasTankShort } else { Self::SimulationFailed(reason) }
    }

    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownChain(_) => "unknown_chain",
            Self::UnknownEntryPoint(_) => "unknown_entry_point",
            Self::EntryPointV06 => "entry_point_v06",
            Self::NoPaymaster(_) => "no_paymaster",
            Self::WalletNotLinked(_) => "wallet_not_linked",
            Self::UserProofRequired => "user_proof_required",
            Self::ChainNotReady(_) => "chain_not_ready",
            Self::ChainHalted { .. } => "chain_halted",
            Self::StaleHead { .. } => "stale_head",
            Self::GasNotEstimated => "gas_not_estimated",
            Self::SignatureTooLong { .. } => "signature_too_long",
            Self::GasOutOfRange => "gas_out_of_range",
            Self::PaymasterGas { .. } => "paymaster_gas_out_of_bounds",
            Self::Bounds(BoundsRefusal::TooHigh { .. }) => "gas_out_of_bounds",
            Self::Bounds(BoundsRefusal::BelowBaseFee { .. }) => "fee_below_base_fee",
            Self::SimulationFailed(_) => "simulation_failed",
            Self::DelegateUnknown => "delegate_unknown",
            Self::DelegateNotAllowed(_) => "delegate_not_allowed",
            Self::DelegateChanged => "delegate_changed",
            Self::AuthorisationInvalid => "authorisation_invalid",
            Self::GasTankShort => "gas_tank_short",
            Self::ParallelUnsupported => "signing_phase_unsupported",
            Self::NotCommitted => "not_committed",
            Self::CommitExpired { .. } => "commit_expired",
            Self::Grant(GrantRefusal::InsufficientPoints { .. }) => "insufficient_points",
            Self::Grant(GrantRefusal::DebtAboveCeiling { .. }) => "debt_above_ceiling",
            Self::Grant(GrantRefusal::NonceUsed) => "nonce_used",
            Self::Grant(GrantRefusal::Closing) => "closing",
            Self::Grant(GrantRefusal::TooManyGrants) => "too_many_grants",
            Self::Grant(GrantRefusal::CostOutOfRange(_)) => "cost_out_of_range",
            Self::WalletMoved => "wallet_moved",
            Self::PaymasterChanged => "paymaster_changed",
            Self::KeyReused => "idempotency_key_reused",
            Self::NotSponsored => "not_sponsored",
            Self::OperationChanged => "operation_changed",
            Self::UnknownMethod(_) => "unknown_method",
            Self::ChainNotNamed => "chain_not_named",
        }
    }

    /// Whether the same request may succeed later without a change of it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::ChainNotReady(_)
            | Self::ChainHalted { .. }
            | Self::StaleHead { .. }
            | Self::GasTankShort
            | Self::WalletMoved
            | Self::PaymasterChanged
            | Self::Grant(
                GrantRefusal::InsufficientPoints { .. }
                | GrantRefusal::DebtAboveCeiling { .. }
                | GrantRefusal::Closing,
            )
            | Self::Bounds(BoundsRefusal::BelowBaseFee { .. }) => true,
            Self::UnknownChain(_)
            | Self::UnknownEntryPoint(_)
            | Self::EntryPointV06
            | Self::NoPaymaster(_)
            | Self::WalletNotLinked(_)
            | Self::UserProofRequired
            | Self::GasNotEstimated
            | Self::SignatureTooLong { .. }
            | Self::GasOutOfRange
            | Self::PaymasterGas { .. }
            | Self::Bounds(BoundsRefusal::TooHigh { .. })
            | Self::SimulationFailed(_)
            | Self::DelegateUnknown
            | Self::DelegateNotAllowed(_)
            | Self::DelegateChanged
            | Self::AuthorisationInvalid
            | Self::ParallelUnsupported
            | Self::NotCommitted
            | Self::CommitExpired { .. }
            | Self::Grant(
                GrantRefusal::NonceUsed
                | GrantRefusal::TooManyGrants
                | GrantRefusal::CostOutOfRange(_),
            )
            | Self::KeyReused
            | Self::NotSponsored
            | Self::OperationChanged
            | Self::UnknownMethod(_)
            | Self::ChainNotNamed => false,
        }
    }

    /// What is available and what is needed, where points are too few.
    #[must_use]
    pub const fn shortage(&self) -> Option<(Points, Points)> {
        if let Self::Grant(GrantRefusal::InsufficientPoints { available, needed }) = self {
            Some((*available, *needed))
        } else {
            None
        }
    }
}
