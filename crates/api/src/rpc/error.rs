//! Errors as JSON-RPC clients understand them.
//!
//! Codes of the family -32500 ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)) reach the dApp after one request;
//! -32603, -32005, -32007 and -1 make clients repeat the call four times, so that they are never ours. Clients choose an
//! error's class by texts such as `AA31` anywhere in the message, so that ours never hold one, not even inside an
//! address.

use alloy_primitives::Address;
use chain::RpcError;
use domain::bounds::BoundsRefusal;
use domain::ledger::sponsorship::GrantRefusal;
use serde::Serialize;
use serde_json::{Value, json};
use service::Refusal;
use service::identity::Reach;
use store::StoreError;

use crate::ApiError;

/// The text is no JSON.
pub const PARSE_ERROR: i64 = -32_700;
/// JSON, but no request.
pub const INVALID_REQUEST: i64 = -32_600;
/// No such method.
pub const METHOD_NOT_FOUND: i64 = -32_601;
/// The parameters are wrong in themselves.
pub const INVALID_PARAMS: i64 = -32_602;
/// A part of ours does not answer, or the simulation failed.
pub const NOT_NOW: i64 = -32_500;
/// The paymaster refuses: points or policy.
pub const REFUSED: i64 = -32_501;
/// The paymaster's deposit is short.
pub const TANK_SHORT: i64 = -32_508;
/// Too much of one sender.
pub const THROTTLED: i64 = -32_504;
/// Unauthorized ([EIP-1193](https://eips.ethereum.org/EIPS/eip-1193#provider-errors)).
pub const UNAUTHORIZED: i64 = 4_100;

/// The error object of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcFailure {
    code: i64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip)]
    reason: &'static str,
    #[serde(skip)]
    cause: Option<String>,
}

impl From<&ApiError> for RpcFailure {
    /// For a caller who may see what the error says.
    fn from(error: &ApiError) -> Self {
        Self::new(error, Reach::AnyAccount, None)
    }
}

impl RpcFailure {
    /// The failure as a caller of this reach may hear it (promise 9: without proof of the user codes, not balances), with
    /// the paymaster where it is known. A bundler's own error stays as it came.
    #[must_use]
    pub fn new(error: &ApiError, reach: Reach, paymaster: Option<Address>) -> Self {
        if let ApiError::Bundler(RpcError::Rpc { code, message, data }) = error {
            return Self {
                code: *code,
                message: message.clone(),
                data: data.clone(),
                reason: error.code(),
                cause: None,
            };
        }
        let mut data = json!({ "reason": error.code(), "retryable": error.is_retryable() });
        if let Some(fields) = data.as_object_mut() {
            if let Some(paymaster) = paymaster {
                fields.insert("paymaster".to_owned(), paymaster.to_checksum(None).into());
            }
            if let Some(seconds) = error.retry_after_seconds() {
                fields.insert("retryAfter".to_owned(), seconds.into());
            }
        }
        Self {
            code: code(error),
            message: message(error, reach),
            data: Some(data),
            reason: error.code(),
            cause: error.cause(),
        }
    }

    /// The JSON-RPC code.
    #[must_use]
    pub const fn code(&self) -> i64 {
        self.code
    }

    /// What the dApp reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What programs read.
    #[must_use]
    pub const fn data(&self) -> Option<&Value> {
        self.data.as_ref()
    }

    /// The stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// What went wrong inside, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

/// The JSON-RPC code of an error of ours.
#[must_use]
pub const fn code(error: &ApiError) -> i64 {
    match error {
        ApiError::MalformedJson(_) => PARSE_ERROR,
        ApiError::NotARequest(_) | ApiError::BatchTooLarge(_) => INVALID_REQUEST,
        ApiError::MethodNotFound => METHOD_NOT_FOUND,
        ApiError::InvalidRequest(_)
        | ApiError::InvalidUserOperation(_)
        | ApiError::IdempotencyKeyMissing
        | ApiError::IdempotencyKeyInvalid(_)
        | ApiError::CursorInvalid => INVALID_PARAMS,
        ApiError::Unauthorized | ApiError::SecretKeyRequired => UNAUTHORIZED,
        ApiError::Refused(refusal) => refusal_code(refusal),
        ApiError::Store(StoreError::Busy) => THROTTLED,
        ApiError::NotFound
        | ApiError::MethodNotAllowed
        | ApiError::AccountNotFound
        | ApiError::SponsorshipNotFound
        | ApiError::BodyTooLarge
        | ApiError::WalletLinkedElsewhere
        | ApiError::WalletInUse
        | ApiError::ReferenceConflict(_)
        | ApiError::Funds(_)
        | ApiError::Tcc(_)
        | ApiError::WrongKind
        | ApiError::AmountNotTold
        | ApiError::History(_)
        | ApiError::AlreadySettled => REFUSED,
        ApiError::TimedOut
        | ApiError::Store(_)
        | ApiError::Node(_)
        | ApiError::Bundler(_)
        | ApiError::Signer
        | ApiError::Internal(_) => NOT_NOW,
    }
}

/// The JSON-RPC code of a refusal: invalid params where the request is wrong in itself, so that nobody could sponsor it
/// as it is.
#[must_use]
pub const fn refusal_code(refusal: &Refusal) -> i64 {
    match refusal {
        Refusal::UnknownChain(_)
        | Refusal::UnknownEntryPoint(_)
        | Refusal::EntryPointV06
        | Refusal::NoPaymaster(_)
        | Refusal::GasNotEstimated
        | Refusal::SignatureTooLong { .. }
        | Refusal::GasOutOfRange
        | Refusal::DelegateUnknown
        | Refusal::ParallelUnsupported
        | Refusal::NotCommitted
        | Refusal::Grant(GrantRefusal::CostOutOfRange(_))
        | Refusal::KeyReused
        | Refusal::ChainNotNamed => INVALID_PARAMS,
        Refusal::UnknownMethod(_) => METHOD_NOT_FOUND,
        Refusal::ChainNotReady(_)
        | Refusal::ChainHalted { .. }
        | Refusal::StaleHead { .. }
        | Refusal::SimulationFailed(_) => NOT_NOW,
        Refusal::GasTankShort => TANK_SHORT,
        Refusal::Grant(GrantRefusal::TooManyGrants) => THROTTLED,
        Refusal::WalletNotLinked(_)
        | Refusal::UserProofRequired
        | Refusal::PaymasterGas { .. }
        | Refusal::Bounds(BoundsRefusal::TooHigh { .. } | BoundsRefusal::BelowBaseFee { .. })
        | Refusal::Grant(
            GrantRefusal::InsufficientPoints { .. }
            | GrantRefusal::DebtAboveCeiling { .. }
            | GrantRefusal::NonceUsed
            | GrantRefusal::Closing,
        )
        | Refusal::DelegateNotAllowed(_)
        | Refusal::DelegateChanged
        | Refusal::AuthorisationInvalid
        | Refusal::CommitExpired { .. }
        | Refusal::WalletMoved
        | Refusal::PaymasterChanged
        | Refusal::NotSponsored
        | Refusal::OperationChanged => REFUSED,
    }
}

fn message(error: &ApiError, reach: Reach) -> String {
    if let ApiError::Refused(refusal) = error {
        if reach == Reach::NoAccount
            && let Some(untold) = without_balances(refusal)
        {
            return untold.to_owned();
        }
        // What a simulation says is the bundler's own, and its class is meant.
        if matches!(refusal, Refusal::SimulationFailed(_)) {
            return error.to_string();
        }
    }
    without_class_codes(error.to_string())
}

/// What is said instead of a refusal that names balances.
const fn without_balances(refusal: &Refusal) -> Option<&'static str> {
    if matches!(refusal, Refusal::Grant(GrantRefusal::InsufficientPoints { .. })) {
        Some("insufficient points")
    } else if matches!(refusal, Refusal::Grant(GrantRefusal::DebtAboveCeiling { .. })) {
        Some("the account owes too much for a new sponsorship")
    } else {
        None
    }
}

/// Leaves hex out of a message in which it happens to read like an EntryPoint's error code.
fn without_class_codes(message: String) -> String {
    if !has_class_code(&message) {
        return message;
    }
    let mut words: Vec<&str> = Vec::new();
    for word in message.split(' ') {
        words.push(if has_class_code(word) { "…" } else { word });
    }
    words.join(" ")
}

/// Whether a text holds `aa` and two digits, as in `AA31`.
#[must_use]
pub fn has_class_code(text: &str) -> bool {
    text.as_bytes().windows(4).any(|bytes| {
        matches!(bytes, [a, b, c, d]
            if a.eq_ignore_ascii_case(&b'a') && b.eq_ignore_ascii_case(&b'a')
                && c.is_ascii_digit() && d.is_ascii_digit())
    })
}
