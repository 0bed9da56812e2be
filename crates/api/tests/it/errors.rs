use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use alloy_primitives::{Address, U256};
use api::rpc::error::{RpcFailure, has_class_code};
use api::{ApiError, HistoryRefusal};
use chain::RpcError;
use domain::bounds::BoundsRefusal;
use domain::ids::ExternalId;
use domain::ledger::buckets::BucketRefusal;
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::GrantRefusal;
use domain::ledger::tcc::TccRefusal;
use domain::quote::CostOutOfRange;
use domain::{ChainId, FeePerGas, Gas, Wei};
use erc4337::json::ParseError;
use proptest::prelude::*;
use service::Refusal;
use service::identity::Reach;
use store::StoreError;

use crate::house::points;

/// Codes that only REST answers with.
const REST_ONLY: [&str; 33] = [
    "account_not_found",
    "already_settled",
    "amount_not_told",
    "archived",
    "balance_too_large",
    "biz_id_conflict",
    "body_too_large",
    "bucket_expired",
    "cancelled",
    "cursor_invalid",
    "exceeds_reserved",
    "idempotency_key_invalid",
    "idempotency_key_missing",
    "idempotency_key_reused",
    "method_not_allowed",
    "not_found",
    "not_yet_closed",
    "reference_conflict",
    "rejected",
    "secret_key_required",
    "sponsorship_not_found",
    "statement_failed",
    "statement_not_found",
    "statement_not_ready",
    "statement_too_long",
    "timed_out",
    "too_many_buckets",
    "too_many_statements",
    "too_old",
    "wallet_in_use",
    "wallet_linked_elsewhere",
    "wrong_kind",
    "zero_amount",
];
/// Codes that only JSON-RPC answers with.
const RPC_ONLY: [&str; 8] = [
    "batch_too_large",
    "bundler_refused",
    "chain_not_named",
    "not_a_request",
    "not_sponsored",
    "operation_changed",
    "unknown_method",
    "user_proof_required",
];

fn every_refusal() -> Vec<Refusal> {
    let chain = ChainId(1);
    let address = Address::repeat_byte(1);
    let cost = CostOutOfRange { wei: Wei(U256::MAX) };
    vec![
        Refusal::UnknownChain(chain),
        Refusal::UnknownEntryPoint(address),
        Refusal::EntryPointV06,
        Refusal::NoPaymaster(address),
        Refusal::WalletNotLinked(address),
        Refusal::UserProofRequired,
        Refusal::ChainNotReady(chain),
        Refusal::ChainHalted { chain, reason: "r".to_owned() },
        Refusal::StaleHead { chain, seconds: 9 },
        Refusal::GasNotEstimated,
        Refusal::SignatureTooLong { length: 2, most: 1 },
        Refusal::GasOutOfRange,
        Refusal::PaymasterGas { field: "f", value: Gas(1), least: Gas(2), most: Gas(3) },
        Refusal::Bounds(BoundsRefusal::TooHigh { field: "f", value: U256::MAX, bound: U256::ONE }),
        Refusal::Bounds(BoundsRefusal::BelowBaseFee {
            value: FeePerGas(1),
            base_fee: FeePerGas(2),
        }),
        Refusal::SimulationFailed("AA23 reverted".to_owned()),
        Refusal::DelegateUnknown,
        Refusal::DelegateNotAllowed(address),
        Refusal::DelegateChanged,
        Refusal::AuthorisationInvalid,
        Refusal::GasTankShort,
        Refusal::ParallelUnsupported,
        Refusal::NotCommitted,
        Refusal::CommitExpired { valid_until: 1, head: 2 },
        shortage(),
        debt(),
        Refusal::Grant(GrantRefusal::NonceUsed),
        Refusal::Grant(GrantRefusal::Closing),
        Refusal::Grant(GrantRefusal::TooManyGrants),
        Refusal::Grant(GrantRefusal::CostOutOfRange(cost)),
        Refusal::WalletMoved,
        Refusal::PaymasterChanged,
        Refusal::KeyReused,
        Refusal::NotSponsored,
        Refusal::OperationChanged,
        Refusal::UnknownMethod("m".to_owned()),
        Refusal::ChainNotNamed,
    ]
}

fn shortage() -> Refusal {
    let (available, needed) = (points("1.5"), points("3"));
    Refusal::Grant(GrantRefusal::InsufficientPoints { available, needed })
}

fn debt() -> Refusal {
    let (debt, ceiling) = (points("1.5"), points("0"));
    Refusal::Grant(GrantRefusal::DebtAboveCeiling { debt, ceiling })
}

const EVERY_HISTORY_REFUSAL: [HistoryRefusal; 7] = [
    HistoryRefusal::NotYetClosed { seconds: 7 },
    HistoryRefusal::Archived,
    HistoryRefusal::TooLong { lines: 2, most: 1 },
    HistoryRefusal::TooMany(100),
    HistoryRefusal::StatementNotFound,
    HistoryRefusal::StatementNotReady,
    HistoryRefusal::StatementFailed,
];

fn every_tcc_refusal() -> [TccRefusal; 9] {
    [
        TccRefusal::InsufficientPoints { available: points("1.5"), requested: points("3") },
        TccRefusal::ZeroAmount,
        TccRefusal::NotFound,
        TccRefusal::ExceedsReserved { reserved: points("1.5"), requested: points("3") },
        TccRefusal::AlreadySettled { settled: points("1.5") },
        TccRefusal::Cancelled,
        TccRefusal::Rejected,
        TccRefusal::Conflict { fields: vec!["amount", "expiresAt"] },
        TccRefusal::TooOld,
    ]
}

fn every_error() -> Vec<ApiError> {
    let unreachable = || RpcError::Unreachable { host: "h:1".into(), reason: "r".into() };
    let mut errors = vec![
        ApiError::MalformedJson("x".to_owned()),
        ApiError::InvalidRequest("x".to_owned()),
        ApiError::InvalidUserOperation(ParseError::Missing { path: "sender".to_owned() }),
        ApiError::IdempotencyKeyMissing,
        ApiError::IdempotencyKeyInvalid("".parse::<ExternalId>().unwrap_err()),
        ApiError::CursorInvalid,
        ApiError::Unauthorized,
        ApiError::SecretKeyRequired,
        ApiError::NotFound,
        ApiError::MethodNotAllowed,
        ApiError::AccountNotFound,
        ApiError::SponsorshipNotFound,
        ApiError::BodyTooLarge,
        ApiError::TimedOut,
        ApiError::WalletLinkedElsewhere,
        ApiError::WalletInUse,
        ApiError::ReferenceConflict(vec!["amount", "reason"]),
        ApiError::Funds(FundsRefusal::InsufficientPoints {
            available: points("1.5"),
            requested: points("3"),
        }),
        ApiError::Funds(FundsRefusal::BalanceTooLarge),
        ApiError::Funds(FundsRefusal::ZeroAmount),
        ApiError::Funds(BucketRefusal::Expired.into()),
        ApiError::Funds(BucketRefusal::TooMany.into()),
        ApiError::WrongKind,
        ApiError::AmountNotTold,
        ApiError::AlreadySettled,
        ApiError::Store(StoreError::Busy),
        ApiError::Store(StoreError::Unavailable(Arc::new(sqlx::Error::PoolTimedOut))),
        ApiError::Store(StoreError::Corrupt("x")),
        ApiError::Node(unreachable()),
        ApiError::Bundler(unreachable()),
        ApiError::Bundler(RpcError::Rpc { code: -32_521, message: "m".into(), data: None }),
        ApiError::Signer,
        ApiError::Internal("x".to_owned()),
        ApiError::NotARequest("x"),
        ApiError::BatchTooLarge(100),
        ApiError::MethodNotFound,
    ];
    errors.extend(every_refusal().into_iter().map(ApiError::Refused));
    errors.extend(every_tcc_refusal().into_iter().map(ApiError::Tcc));
    errors.extend(EVERY_HISTORY_REFUSAL.map(ApiError::History));
    errors
}

/// Stops to compile when a kind of error is added, so that the lists above grow with it.
fn kind(error: &ApiError) -> &'static str {
    match error {
        ApiError::MalformedJson(_) => "malformed",
        ApiError::InvalidRequest(_) => "invalid",
        ApiError::InvalidUserOperation(_) => "operation",
        ApiError::IdempotencyKeyMissing => "key missing",
        ApiError::IdempotencyKeyInvalid(_) => "key invalid",
        ApiError::CursorInvalid => "cursor",
        ApiError::Unauthorized => "unauthorized",
        ApiError::SecretKeyRequired => "secret",
        ApiError::NotFound => "path",
        ApiError::MethodNotAllowed => "method",
        ApiError::AccountNotFound => "account",
        ApiError::SponsorshipNotFound => "sponsorship",
        ApiError::BodyTooLarge => "body",
        ApiError::TimedOut => "time",
        ApiError::WalletLinkedElsewhere => "linked",
        ApiError::WalletInUse => "in use",
        ApiError::ReferenceConflict(_) => "reference",
        ApiError::Funds(_) => "funds",
        ApiError::Tcc(_) => "tcc",
        ApiError::WrongKind => "wrong kind",
        ApiError::AmountNotTold => "amount",
        ApiError::History(refusal) => refusal.code(),
        ApiError::AlreadySettled => "settled",
        ApiError::Refused(refusal) => refusal_kind(refusal),
        ApiError::Store(_) => "store",
        ApiError::Node(_) => "node",
        ApiError::Bundler(_) => "bundler",
        ApiError::Signer => "signer",
        ApiError::Internal(_) => "internal",
        ApiError::NotARequest(_) => "no request",
        ApiError::BatchTooLarge(_) => "batch",
        ApiError::MethodNotFound => "rpc method",
    }
}

fn refusal_kind(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownChain(_)
        | Refusal::UnknownEntryPoint(_)
        | Refusal::EntryPointV06
        | Refusal::NoPaymaster(_)
        | Refusal::WalletNotLinked(_)
        | Refusal::UserProofRequired
        | Refusal::ChainNotReady(_)
        | Refusal::ChainHalted { .. }
        | Refusal::StaleHead { .. }
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
        | Refusal::GasTankShort
        | Refusal::ParallelUnsupported
        | Refusal::NotCommitted
        | Refusal::CommitExpired { .. }
        | Refusal::Grant(_)
        | Refusal::WalletMoved
        | Refusal::PaymasterChanged
        | Refusal::KeyReused
        | Refusal::NotSponsored
        | Refusal::OperationChanged
        | Refusal::UnknownMethod(_)
        | Refusal::ChainNotNamed => refusal.code(),
    }
}

/// `code → (HTTP, JSON-RPC, repeat)`, as the page writes them.
fn table_of_code() -> BTreeMap<String, [String; 3]> {
    let mut table = BTreeMap::new();
    // The one code of which the column says less than the answer: see the test below.
    let sticky =
        |error: &ApiError| matches!(error, ApiError::Tcc(TccRefusal::InsufficientPoints { .. }));
    for error in every_error().into_iter().filter(|error| !sticky(error)) {
        let code = error.code();
        let status = error.status().as_u16().to_string();
        let rpc = RpcFailure::from(&error).code().to_string();
        let row = [
            if RPC_ONLY.contains(&code) { "–".to_owned() } else { status },
            match code {
                "bundler_refused" => "the bundler's".to_owned(),
                code if REST_ONLY.contains(&code) => "–".to_owned(),
                _ => rpc,
            },
            if error.is_retryable() { "yes" } else { "no" }.to_owned(),
        ];
        let earlier = table.insert(code.to_owned(), row.clone());
        assert!(earlier.is_none_or(|earlier| earlier == row), "{code} has two meanings");
    }
    table
}

#[test]
fn the_page_of_errors_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = fs::read_to_string(path).unwrap();
    let mut documented = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [code, http, rpc, repeat, meaning, remedy] = cells[..] else { panic!("{line}") };
        assert!(!meaning.is_empty() && !remedy.is_empty(), "{line}");
        let row = [http, rpc, repeat].map(str::to_owned);
        let earlier = documented.insert(code.trim_matches('`').to_owned(), row);
        assert!(earlier.is_none(), "{code} is listed twice");
    }
    assert_eq!(documented, table_of_code());
}

#[test]
fn every_kind_of_error_is_in_the_table() {
    let kinds: BTreeSet<_> = every_error().iter().map(kind).collect();
    // 30 kinds of our own, 7 codes about the past, and 37 of refusals to sponsor.
    assert_eq!(kinds.len(), 30 + 7 + 37);
}

#[test]
fn no_refusal_of_a_biz_id_is_worth_repeating() {
    for refusal in every_tcc_refusal() {
        let error = ApiError::Tcc(refusal);
        assert!(!error.is_retryable(), "{}", error.code());
    }
}

#[test]
fn no_code_makes_clients_repeat_a_call() {
    for error in every_error() {
        let code = RpcFailure::from(&error).code();
        assert!(![-32_603, -32_005, -32_007, -1, 429].contains(&code), "{}: {code}", error.code());
    }
}

#[test]
fn only_a_simulations_own_words_may_name_an_entry_points_error() {
    for error in every_error() {
        let failure = RpcFailure::from(&error);
        let is_simulation = failure.reason() == "simulation_failed";
        assert_eq!(has_class_code(failure.message()), is_simulation, "{}", failure.message());
    }
}

proptest! {
    #[test]
    fn no_address_reads_like_an_entry_points_error(bytes: [u8; 20]) {
        let address = Address::from(bytes);
        for refusal in [Refusal::WalletNotLinked(address), Refusal::UnknownEntryPoint(address)] {
            let failure = RpcFailure::from(&ApiError::Refused(refusal));
            prop_assert!(!has_class_code(failure.message()), "{}", failure.message());
        }
    }
}

#[test]
fn an_address_that_reads_like_an_error_is_left_out_of_the_message() {
    let refusal = Refusal::WalletNotLinked(Address::repeat_byte(0xaa) | Address::with_last_byte(0));
    let message = RpcFailure::from(&ApiError::Refused(refusal)).message().to_owned();
    assert!(message.starts_with("wallet 0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa"), "{message}");
    let mut bytes = [0xaa; 20];
    bytes[19] = 0x31;
    let refusal = Refusal::WalletNotLinked(Address::from(bytes));
    let message = RpcFailure::from(&ApiError::Refused(refusal)).message().to_owned();
    assert!(message.starts_with("wallet … is not linked to an account"), "{message}");
}

#[test]
fn balances_are_told_only_with_proof_of_the_user() {
    let error = ApiError::Refused(debt());
    assert!(RpcFailure::new(&error, Reach::AnyAccount, None).message().contains("owes 1.5"));
    let untold = RpcFailure::new(&error, Reach::NoAccount, None);
    assert_eq!(untold.message(), "the account owes too much for a new sponsorship");

    let error = ApiError::Refused(shortage());
    let told = RpcFailure::new(&error, Reach::AnyAccount, None);
    assert_eq!(
        told.message(),
        "insufficient points: the account has 1.5 points available, the operation needs 3 more"
    );
    assert_eq!(told.code(), -32_501);
    let untold = RpcFailure::new(&error, Reach::NoAccount, None);
    assert_eq!(untold.message(), "insufficient points");
    assert_eq!(untold.data(), told.data());
    assert!(!untold.data().unwrap().to_string().contains("1.5"));
}

#[test]
fn a_bundlers_own_error_stays_as_it_came() {
    let data = Some(serde_json::json!({ "a": 1 }));
    let (code, message) = (-32_507, "AA24 signature error".to_owned());
    let error =
        ApiError::Bundler(RpcError::Rpc { code, message: message.clone(), data: data.clone() });
    let failure = RpcFailure::new(&error, Reach::NoAccount, Some(Address::ZERO));
    assert_eq!((failure.code(), failure.message()), (code, message.as_str()));
    assert_eq!(failure.data(), data.as_ref());
}

#[test]
fn causes_stay_inside() {
    for error in every_error() {
        let Some(cause) = error.cause() else { continue };
        assert!(!error.to_string().contains(&cause), "{}", error.code());
    }
}
