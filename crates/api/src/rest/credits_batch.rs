//! Many credits in one request.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, keccak256};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use domain::Points;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::bulk::{
    BatchAnswer, CreditBatch, CreditLine, LineRefusal, LineText, MAX_LINES, MissingAccounts,
};
use store::bulk::LineRecord;

use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::idempotency::{self, IdempotencyKey};
use crate::json::{Body, shortened};
use crate::wire;

/// The longest body of a batch, in bytes: [`MAX_LINES`] lines of 400 bytes each.
pub(super) const BODY_LIMIT: usize = 4 << 20;
/// The part of a request's time for which a batch takes up lines, in percent. The rest is for those under way, and for
/// the answer.
const TIME_SHARE: u32 = 65;
/// When a batch that is not complete may be asked for again, in seconds.
const RETRY_SECONDS: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BatchTerms {
    #[serde(default)]
    create_accounts: bool,
    /// Each is read by itself, so that one that cannot be read leaves the others alone.
    lines: Vec<Box<RawValue>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LineTerms {
    external_id: String,
    amount: String,
    reason: String,
    reference: String,
    bucket: Option<String>,
    expires_at: Option<String>,
}

/// What can be told of a line that is not one: its names, where they are there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineNames {
    #[serde(default)]
    external_id: Option<serde_json::Value>,
    #[serde(default)]
    reference: Option<serde_json::Value>,
}

/// A line as it was sent.
struct SentLine {
    external_id: Option<String>,
    reference: Option<String>,
    read: Result<CreditLine, LineRefusal>,
    /// The same for every spelling of the line.
    canonical: String,
}

/// Made of the request and of immutable rows alone, so that a replay is the same to the byte.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchBody {
    complete: bool,
    total: usize,
    applied: usize,
    replayed: usize,
    refused: usize,
    lines: Vec<LineBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LineBody {
    index: usize,
    external_id: Option<String>,
    reference: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
struct ProgressBody {
    complete: bool,
    total: usize,
    done: usize,
}

/// `POST /v1/credits:batch`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    IdempotencyKey(key): IdempotencyKey,
    Body(terms): Body<BatchTerms>,
) -> Result<Response, ApiError> {
    let total = terms.lines.len();
    if !(1..=MAX_LINES).contains(&total) {
        let words = format!("lines must be 1 to {MAX_LINES}, got {total}");
        return Err(ApiError::InvalidRequest(words));
    }
    let mut names = Vec::with_capacity(total);
    let mut lines = Vec::with_capacity(total);
    let mut canonical = Vec::with_capacity(total);
    for sent in terms.lines.iter().map(|line| read(line.get())) {
        names.push((sent.external_id, sent.reference));
        lines.push(sent.read);
        canonical.push(sent.canonical);
    }
    let missing = match terms.create_accounts {
        true => MissingAccounts::Create,
        false => MissingAccounts::Refuse,
    };
    let request_hash = request_hash(terms.create_accounts, &canonical);
    let batch = CreditBatch { tenant: caller.tenant, key, request_hash, missing, lines };
    let time = batch_time(app.settings.request_timeout);
    // A task of its own, so that a client that hangs up does not leave lines without their outcome.
    let work = tokio::spawn(async move { app.service.credit_batch(&batch, time).await });
    match work.await.map_err(|error| ApiError::Internal(error.to_string()))?? {
        BatchAnswer::Complete { records, replayed } => {
            Ok(idempotency::answer(&complete_body(names, records), replayed))
        }
        BatchAnswer::InProgress { done } => {
            let body = ProgressBody { complete: false, total, done };
            let retry = [(RETRY_AFTER, RETRY_SECONDS.to_string())];
            Ok((StatusCode::ACCEPTED, retry, axum::Json(body)).into_response())
        }
    }
}

/// For how long a batch may take up lines, of a request that may take so long.
fn batch_time(request_timeout: Duration) -> Duration {
    // Whole milliseconds, because the database's intervals have no nanoseconds.
    let share = request_timeout.as_millis().saturating_mul(TIME_SHARE.into()) / 100;
    Duration::from_millis(u64::try_from(share).unwrap_or(u64::MAX))
}

fn read(text: &str) -> SentLine {
    match serde_json::from_str::<LineTerms>(text) {
        Ok(terms) => SentLine {
            read: CreditLine::read(&LineText {
                external_id: &terms.external_id,
                amount: &terms.amount,
                reason: &terms.reason,
                reference: &terms.reference,
                bucket: terms.bucket.as_deref(),
                expires_at: terms.expires_at.as_deref(),
            }),
            canonical: canonical(&terms),
            external_id: Some(terms.external_id),
            reference: Some(terms.reference),
        },
        Err(error) => {
            let LineNames { external_id, reference } =
                serde_json::from_str(text).unwrap_or_default();
            let name = |value: Option<serde_json::Value>| {
                value.and_then(|value| value.as_str().map(str::to_owned))
            };
            let words = error.to_string();
            // The place is one in the line's own text, which the sender has never seen apart.
            let words = words.rsplit_once(" at line ").map_or(&*words, |(words, _)| words);
            SentLine {
                external_id: name(external_id),
                reference: name(reference),
                read: Err(LineRefusal::Invalid(shortened(words))),
                canonical: text.to_owned(),
            }
        }
    }
}

/// An amount and a time have several spellings, and an object its fields in any order.
fn canonical(terms: &LineTerms) -> String {
    let amount =
        terms.amount.parse().map_or(terms.amount.clone(), |points: Points| points.to_string());
    let (bucket, written) = (terms.bucket.as_deref(), terms.expires_at.as_deref());
    let expires_at = match service::lot::read(bucket, written) {
        Ok(Some(lot)) => lot.expires_at.map(wire::timestamp),
        Ok(None) | Err(_) => written.map(str::to_owned),
    };
    let lot = (terms.bucket.as_ref(), expires_at);
    let fields = (&terms.external_id, &amount, &terms.reason, &terms.reference, lot);
    // Strings always have a JSON form.
    serde_json::to_string(&fields).unwrap_or_default()
}

fn request_hash(create_accounts: bool, lines: &[String]) -> B256 {
    let text = serde_json::to_vec(&("credits:batch", create_accounts, lines));
    keccak256(text.unwrap_or_default())
}

fn complete_body(
    names: Vec<(Option<String>, Option<String>)>,
    records: Vec<LineRecord>,
) -> BatchBody {
    let lines: Vec<_> = names
        .into_iter()
        .zip(records)
        .enumerate()
        .map(|(index, ((external_id, reference), record))| {
            let (status, entry_seq, refusal) = match record {
                LineRecord::Applied { entry_seq } => ("applied", Some(entry_seq), None),
                LineRecord::Replayed { entry_seq } => ("replayed", Some(entry_seq), None),
                LineRecord::Refused { code, detail } => ("refused", None, Some((code, detail))),
            };
            let (code, detail) = refusal.unzip();
            LineBody { index, external_id, reference, status, entry_seq, code, detail }
        })
        .collect();
    let count = |status: &str| lines.iter().filter(|line| line.status == status).count();
    BatchBody {
        complete: true,
        total: lines.len(),
        applied: count("applied"),
        replayed: count("replayed"),
        refused: count("refused"),
        lines,
    }
}
