//! Every error of the edge: one closed list of `code`, HTTP status and `retryable`.
//!
//! The codes are part of the API and never change their meaning. `docs/errors.md` lists them all; a test holds the two
//! against each other.

use axum::http::StatusCode;
use chain::RpcError;
use domain::ids::InvalidName;
use domain::ledger::buckets::BucketRefusal;
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::GrantRefusal;
use domain::ledger::tcc::TccRefusal;
use erc4337::json::ParseError;
use service::{Causes, Refusal, ServiceError};
use store::StoreError;

use crate::HistoryRefusal;

/// Why a request was not carried out. What it says is for the caller; causes inside go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is no JSON text at all.
    #[error("the body is not valid JSON: {0}")]
    MalformedJson(String),
    /// A field, parameter or header is not what it must be.
    #[error("{0}")]
    InvalidRequest(String),
    /// The UserOperation cannot be read.
    #[error("userOperation: {0}")]
    InvalidUserOperation(#[from] ParseError),
    /// A money command came without its key.
    #[error("this request needs an Idempotency-Key header, so that it can be repeated safely")]
    IdempotencyKeyMissing,
    /// The key cannot be one.
    #[error(transparent)]
    IdempotencyKeyInvalid(#[from] InvalidName),
    /// The cursor is none of ours.
    #[error("the cursor is not one that this list has given out")]
    CursorInvalid,
    /// No key, or an unknown or revoked one.
    #[error("the API key is missing, unknown or revoked")]
    Unauthorized,
    /// A publishable key where only a server may ask.
    #[error("this request needs a secret key; a publishable key only serves /rpc")]
    SecretKeyRequired,
    /// There is nothing under this path.
    #[error("there is nothing under this path")]
    NotFound,
    /// The path has no such method.
    #[error("this path does not have this method")]
    MethodNotAllowed,
    /// The company has no account of this name.
    #[error("there is no account of this name")]
    AccountNotFound,
    /// The company has no sponsorship of this id.
    #[error("there is no sponsorship of this id")]
    SponsorshipNotFound,
    /// The body is longer than what is read.
    #[error("the body is too long")]
    BodyTooLarge,
    /// The request took too long; it may have been carried out.
    #[error("the request took too long; repeat it as it is")]
    TimedOut,
    /// The wallet belongs to another account.
    #[error("the wallet is linked to another account; unlink it there first")]
    WalletLinkedElsewhere,
    /// An operation of the wallet is not done yet.
    #[error("an operation of the wallet is open or not yet final")]
    WalletInUse,
    /// The reference names another credit or debit.
    #[error("the reference was used before with another {}", .0.join(" and another "))]
    ReferenceConflict(Vec<&'static str>),
    /// The ledger refuses the credit or debit.
    #[error("{}", funds_words(.0))]
    Funds(#[from] FundsRefusal),
    /// The ledger refuses a command on a biz id.
    #[error("{}", tcc_words(.0))]
    Tcc(#[from] TccRefusal),
    /// The biz id is a sponsorship's id.
    #[error("this bizId is the id of a sponsorship, which only its requests and the chain command")]
    WrongKind,
    /// A coordinator's confirm is to spend an amount that nobody has told yet.
    #[error("nobody has told yet how much is to be spent; confirm it under /v1/tcc/confirm")]
    AmountNotTold,
    /// About the past: not now, not so, or not there.
    #[error(transparent)]
    History(#[from] HistoryRefusal),
    /// The operation landed before it could be cancelled.
    #[error("the operation has landed; it cannot be cancelled any more")]
    AlreadySettled,
    /// Against the rules of sponsoring.
    #[error("{}", refusal_words(.0))]
    Refused(#[from] Refusal),
    /// The database.
    #[error("{}", store_words(.0))]
    Store(#[from] StoreError),
    /// The chain's node.
    #[error("the chain's node does not answer as it should; repeat the request later")]
    Node(RpcError),
    /// The chain's bundler; its own errors keep their code, message and data on JSON-RPC.
    #[error("{}", bundler_words(.0))]
    Bundler(RpcError),
    /// The key could not sign.
    #[error("the signer does not answer; repeat the request later")]
    Signer,
    /// A defect of ours.
    #[error("an internal error; it is in the log under this request's id")]
    Internal(String),
    /// JSON, but no JSON-RPC request.
    #[error("not a JSON-RPC 2.0 request: {0}")]
    NotARequest(&'static str),
    /// Too many calls in one batch.
    #[error("a batch has at most {0} calls here")]
    BatchTooLarge(usize),
    /// No such JSON-RPC method.
    #[error("this method is not served here")]
    MethodNotFound,
}

impl ApiError {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MalformedJson(_) => "malformed_json",
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidUserOperation(_) => "invalid_user_operation",
            Self::IdempotencyKeyMissing => "idempotency_key_missing",
            Self::IdempotencyKeyInvalid(_) => "idempotency_key_invalid",
            Self::CursorInvalid => "cursor_invalid",
            Self::Unauthorized => "unauthorized",
            Self::SecretKeyRequired => "secret_key_required",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AccountNotFound => "account_not_found",
            Self::SponsorshipNotFound => "sponsorship_not_found",
            Self::BodyTooLarge => "body_too_large",
            Self::TimedOut => "timed_out",
            Self::WalletLinkedElsewhere => "wallet_linked_elsewhere",
            Self::WalletInUse => "wallet_in_use",
            Self::ReferenceConflict(_) => "reference_conflict",
            Self::Funds(FundsRefusal::InsufficientPoints { .. }) => "insufficient_points",
            Self::Funds(FundsRefusal::BalanceTooLarge) => "balance_too_large",
            Self::Funds(FundsRefusal::ZeroAmount) => "zero_amount",
            Self::Funds(FundsRefusal::Bucket(BucketRefusal::Expired)) => "bucket_expired",
            Self::Funds(FundsRefusal::Bucket(BucketRefusal::TooMany)) => "too_many_buckets",
            Self::Tcc(refusal) => tcc_code(refusal),
            Self::WrongKind => "wrong_kind",
            Self::AmountNotTold => "amount_not_told",
            Self::History(refusal) => refusal.code(),
            Self::AlreadySettled => "already_settled",
            Self::Refused(refusal) => refusal.code(),
            Self::Store(StoreError::Busy) => "busy",
            Self::Store(error) if error.is_transient() => "database_unavailable",
            Self::Store(_) | Self::Internal(_) => "internal_error",
            Self::Node(_) => "node_unavailable",
            Self::Bundler(RpcError::Rpc { .. }) => "bundler_refused",
            Self::Bundler(_) => "bundler_unavailable",
            Self::Signer => "signer_unavailable",
            Self::NotARequest(_) => "not_a_request",
            Self::BatchTooLarge(_) => "batch_too_large",
            Self::MethodNotFound => "unknown_method",
        }
    }

    /// The HTTP status on REST. JSON-RPC answers 200 whatever the outcome, because clients repeat other statuses.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MalformedJson(_)
            | Self::InvalidRequest(_)
            | Self::InvalidUserOperation(_)
            | Self::IdempotencyKeyMissing
            | Self::IdempotencyKeyInvalid(_)
            | Self::CursorInvalid
            | Self::NotARequest(_)
            | Self::BatchTooLarge(_)
            | Self::MethodNotFound => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::SecretKeyRequired => StatusCode::FORBIDDEN,
            Self::NotFound | Self::AccountNotFound | Self::SponsorshipNotFound => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WalletLinkedElsewhere
            | Self::WalletInUse
            | Self::ReferenceConflict(_)
            | Self::Funds(
                FundsRefusal::InsufficientPoints { .. }
                | FundsRefusal::BalanceTooLarge
                | FundsRefusal::Bucket(_),
            )
            | Self::AlreadySettled => StatusCode::CONFLICT,
            Self::Funds(FundsRefusal::ZeroAmount) | Self::WrongKind => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Tcc(refusal) => tcc_status(refusal),
            Self::AmountNotTold => StatusCode::TOO_EARLY,
            Self::History(refusal) => refusal.status(),
            Self::Refused(refusal) => refusal_status(refusal),
            Self::Store(StoreError::Busy) => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Bundler(RpcError::Rpc { .. }) => StatusCode::BAD_GATEWAY,
            Self::TimedOut | Self::Node(_) | Self::Bundler(_) | Self::Signer => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Whether the same request may succeed later without a change of it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Store(error) => error.is_transient(),
            Self::History(refusal) => refusal.is_retryable(),
            Self::Bundler(error) => !matches!(error, RpcError::Rpc { .. }),
            Self::TimedOut
            | Self::WalletInUse
            | Self::Funds(FundsRefusal::InsufficientPoints { .. })
            | Self::AmountNotTold
            | Self::Node(_)
            | Self::Signer => true,
            Self::MalformedJson(_)
            | Self::InvalidRequest(_)
            | Self::InvalidUserOperation(_)
            | Self::IdempotencyKeyMissing
            | Self::IdempotencyKeyInvalid(_)
            | Self::CursorInvalid
            | Self::Unauthorized
            | Self::SecretKeyRequired
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::AccountNotFound
            | Self::SponsorshipNotFound
            | Self::BodyTooLarge
            | Self::WalletLinkedElsewhere
            | Self::ReferenceConflict(_)
            | Self::Funds(
                FundsRefusal::BalanceTooLarge | FundsRefusal::ZeroAmount | FundsRefusal::Bucket(_),
            )
            | Self::Tcc(_)
            | Self::WrongKind
            | Self::AlreadySettled
            | Self::Internal(_)
            | Self::NotARequest(_)
            | Self::BatchTooLarge(_)
            | Self::MethodNotFound => false,
        }
    }

    /// After how many seconds a repeat makes sense, where a part of ours is down.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        if let Self::History(HistoryRefusal::NotYetClosed { seconds }) = self {
            return Some(u32::try_from(*seconds).unwrap_or(u32::MAX));
        }
        let status = self.status();
        let is_full = status == StatusCode::TOO_MANY_REQUESTS;
        let is_down = self.is_retryable() && status == StatusCode::SERVICE_UNAVAILABLE;
        (is_full || is_down).then_some(1)
    }

    /// What went wrong inside, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        match self {
            Self::Store(error) => Some(Causes(error).to_string()),
            Self::Node(error) | Self::Bundler(error) => Some(Causes(error).to_string()),
            Self::Internal(cause) => Some(cause.clone()),
            Self::MalformedJson(_)
            | Self::InvalidRequest(_)
            | Self::InvalidUserOperation(_)
            | Self::IdempotencyKeyMissing
            | Self::IdempotencyKeyInvalid(_)
            | Self::CursorInvalid
            | Self::Unauthorized
            | Self::SecretKeyRequired
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::AccountNotFound
            | Self::SponsorshipNotFound
            | Self::BodyTooLarge
            | Self::TimedOut
            | Self::WalletLinkedElsewhere
            | Self::WalletInUse
            | Self::ReferenceConflict(_)
            | Self::Funds(_)
            | Self::Tcc(_)
            | Self::WrongKind
            | Self::AmountNotTold
            | Self::History(_)
            | Self::AlreadySettled
            | Self::Refused(_)
            | Self::Signer
            | Self::NotARequest(_)
            | Self::BatchTooLarge(_)
            | Self::MethodNotFound => None,
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => Self::Refused(refusal),
            ServiceError::Store(error) => Self::Store(error),
            ServiceError::Node(error) => Self::Node(error),
            ServiceError::Bundler(error) => Self::Bundler(error),
            ServiceError::Sign(_) | ServiceError::NoSigner(_) => Self::Signer,
        }
    }
}

const fn tcc_code(refusal: &TccRefusal) -> &'static str {
    match refusal {
        TccRefusal::InsufficientPoints { .. } => "insufficient_points",
        TccRefusal::ZeroAmount => "zero_amount",
        TccRefusal::NotFound => "not_found",
        TccRefusal::ExceedsReserved { .. } => "exceeds_reserved",
        TccRefusal::AlreadySettled { .. } => "already_settled",
        TccRefusal::Cancelled => "cancelled",
        TccRefusal::Rejected => "rejected",
        TccRefusal::Conflict { .. } => "biz_id_conflict",
        TccRefusal::TooOld => "too_old",
    }
}

const fn tcc_status(refusal: &TccRefusal) -> StatusCode {
    match refusal {
        TccRefusal::NotFound => StatusCode::NOT_FOUND,
        TccRefusal::ZeroAmount | TccRefusal::ExceedsReserved { .. } | TccRefusal::TooOld => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        TccRefusal::InsufficientPoints { .. }
        | TccRefusal::AlreadySettled { .. }
        | TccRefusal::Cancelled
        | TccRefusal::Rejected
        | TccRefusal::Conflict { .. } => StatusCode::CONFLICT,
    }
}

/// A refusal's HTTP status: 422 where the request itself would have to change, 409 where the world would.
const fn refusal_status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownChain(_)
        | Refusal::UnknownEntryPoint(_)
        | Refusal::EntryPointV06
        | Refusal::NoPaymaster(_)
        | Refusal::WalletNotLinked(_)
        | Refusal::GasNotEstimated
        | Refusal::SignatureTooLong { .. }
        | Refusal::GasOutOfRange
        | Refusal::PaymasterGas { .. }
        | Refusal::Bounds(_)
        | Refusal::SimulationFailed(_)
        | Refusal::DelegateUnknown
        | Refusal::DelegateNotAllowed(_)
        | Refusal::DelegateChanged
        | Refusal::AuthorisationInvalid
        | Refusal::ParallelUnsupported
        | Refusal::NotCommitted
        | Refusal::Grant(GrantRefusal::CostOutOfRange(_))
        | Refusal::KeyReused
        | Refusal::OperationChanged
        | Refusal::NotSponsored => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::UnknownMethod(_) | Refusal::ChainNotNamed => StatusCode::BAD_REQUEST,
        Refusal::UserProofRequired => StatusCode::FORBIDDEN,
        Refusal::ChainNotReady(_)
        | Refusal::ChainHalted { .. }
        | Refusal::GasTankShort
        | Refusal::StaleHead { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Grant(
            GrantRefusal::InsufficientPoints { .. }
            | GrantRefusal::DebtAboveCeiling { .. }
            | GrantRefusal::NonceUsed
            | GrantRefusal::Closing
            | GrantRefusal::TooManyGrants,
        )
        | Refusal::CommitExpired { .. }
        | Refusal::WalletMoved
        | Refusal::PaymasterChanged => StatusCode::CONFLICT,
    }
}

/// A refusal in words. A shortage starts with its name, because dApps show the text as it is.
pub(crate) fn refusal_words(refusal: &Refusal) -> String {
    match refusal.shortage() {
        Some(_) => format!("insufficient points: {refusal}"),
        None => refusal.to_string(),
    }
}

fn funds_words(refusal: &FundsRefusal) -> String {
    match refusal {
        FundsRefusal::InsufficientPoints { .. } => format!("insufficient points: {refusal}"),
        FundsRefusal::BalanceTooLarge | FundsRefusal::ZeroAmount | FundsRefusal::Bucket(_) => {
            refusal.to_string()
        }
    }
}

fn tcc_words(refusal: &TccRefusal) -> String {
    if matches!(refusal, TccRefusal::InsufficientPoints { .. }) {
        format!("insufficient points: {refusal}; this is remembered for its bizId")
    } else {
        refusal.to_string()
    }
}

const fn store_words(error: &StoreError) -> &'static str {
    if matches!(error, StoreError::Busy) {
        "too many requests are waiting; nothing was done; repeat the request as it is"
    } else if error.is_transient() {
        "the database does not answer; repeat the request as it is"
    } else {
        "an internal error; it is in the log under this request's id"
    }
}

fn bundler_words(error: &RpcError) -> String {
    match error {
        RpcError::Rpc { message, .. } => message.clone(),
        RpcError::Unreachable { .. }
        | RpcError::TimedOut { .. }
        | RpcError::TooLarge { .. }
        | RpcError::Malformed { .. } => {
            "the chain's bundler does not answer as it should; repeat the request later".to_owned()
        }
    }
}
