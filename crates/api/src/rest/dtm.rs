//! The same participant for a [DTM](https://en.dtm.pub/) coordinator, in the words of its HTTP
//! protocol: 200 is success, 409 failure, 425 not yet, and everything else is tried again later.
//!
//! A coordinator repeats confirm and cancel until they succeed and cannot be told that they never
//! will, so that they are never answered 409. What cannot be is a 500 and an error in the log for
//! people. Answers hold none of the caller's words: DTM looks for two of its own in every body.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::ids::BizId;
use domain::ledger::tcc::{TccRefusal, TccState};
use domain::{ExternalId, Points, TenantId};
use serde::Deserialize;
use store::tcc::TccRequest;

use super::tcc::{self, Key, OutcomeBody};
use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::idempotency;
use crate::json::{Body, Params};
use crate::problem::Problem;

/// The only kind of transaction that is served.
const TRANS_TYPE: &str = "tcc";

/// What the coordinator adds to the URL. It may add more.
#[derive(Deserialize)]
pub(super) struct BranchParams {
    gid: String,
    branch_id: String,
    trans_type: String,
    op: String,
}

/// One body for all three calls, as the coordinator sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BranchTerms {
    external_id: ExternalId,
    amount: Option<Points>,
    issued_at: Option<String>,
    expires_at: Option<String>,
    #[serde(default)]
    confirm_amount: ConfirmAmount,
}

/// How much a confirm spends.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ConfirmAmount {
    /// What was tried.
    #[default]
    Tried,
    /// What somebody who knows it tells by `/v1/tcc/confirm`.
    Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Try,
    Confirm,
    Cancel,
}

impl Op {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }
}

/// One call of the coordinator.
struct Branch {
    tenant: TenantId,
    biz_id: BizId,
    terms: BranchTerms,
}

/// `POST /v1/dtm/try`
pub(super) async fn try_(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Params(params): Params<BranchParams>,
    Body(terms): Body<BranchTerms>,
) -> Result<Response, ApiError> {
    let biz_id = biz_id(&params, Op::Try)?;
    let branch = Branch { tenant: caller.tenant, biz_id, terms };
    let outcome = branch.tries(&app).await;
    Ok(branch.answer(Op::Try, outcome))
}

/// `POST /v1/dtm/confirm`
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Params(params): Params<BranchParams>,
    Body(terms): Body<BranchTerms>,
) -> Result<Response, ApiError> {
    let biz_id = biz_id(&params, Op::Confirm)?;
    let branch = Branch { tenant: caller.tenant, biz_id, terms };
    let outcome = match branch.terms.confirm_amount {
        ConfirmAmount::Tried => branch.confirms(&app).await,
        ConfirmAmount::Told => branch.was_told(&app).await,
    };
    Ok(branch.answer(Op::Confirm, outcome))
}

/// `POST /v1/dtm/cancel`
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Params(params): Params<BranchParams>,
    Body(terms): Body<BranchTerms>,
) -> Result<Response, ApiError> {
    let biz_id = biz_id(&params, Op::Cancel)?;
    let branch = Branch { tenant: caller.tenant, biz_id, terms };
    let outcome = branch.cancels(&app).await;
    Ok(branch.answer(Op::Cancel, outcome))
}

/// `gid/branch_id`. A branch id has no slash of its own, so that no two branches share a name.
fn biz_id(params: &BranchParams, op: Op) -> Result<BizId, ApiError> {
    let BranchParams { gid, branch_id, .. } = params;
    let refuse = |words: &str| Err(ApiError::InvalidRequest(words.to_owned()));
    if params.trans_type != TRANS_TYPE {
        return refuse("trans_type must be tcc");
    }
    if params.op != op.as_str() {
        return refuse("op must be the last word of the path");
    }
    if gid.is_empty() || branch_id.is_empty() || branch_id.contains('/') {
        return refuse("gid and branch_id must not be empty, and branch_id has no slash");
    }
    BizId::try_from(format!("{gid}/{branch_id}"))
        .map_err(|error| ApiError::InvalidRequest(format!("gid/branch_id: {error}")))
}

impl Branch {
    const fn key(&self) -> Key<'_> {
        Key { tenant: self.tenant, external_id: &self.terms.external_id, biz_id: &self.biz_id }
    }

    async fn tries(&self, app: &App) -> Result<(OutcomeBody, bool), ApiError> {
        let missing = |field| ApiError::InvalidRequest(format!("a try needs {field}"));
        let amount = self.terms.amount.ok_or_else(|| missing("amount"))?;
        let issued_at = self.terms.issued_at.as_deref().ok_or_else(|| missing("issuedAt"))?;
        let request = tcc::try_request(amount, issued_at, self.terms.expires_at.as_deref())?;
        tcc::decide(app, self.key(), request).await
    }

    async fn confirms(&self, app: &App) -> Result<(OutcomeBody, bool), ApiError> {
        tcc::decide(app, self.key(), TccRequest::Confirm { amount: self.terms.amount }).await
    }

    /// Success once somebody has told the amount by a confirm of their own; what is settled stays so.
    async fn was_told(&self, app: &App) -> Result<(OutcomeBody, bool), ApiError> {
        let found = tcc::look_up(app, self.key()).await?.ok_or(TccRefusal::NotFound)?.reservation;
        match found.state {
            TccState::Open => Err(ApiError::AmountNotTold),
            TccState::Settled { .. } => {
                let body = OutcomeBody::settled(&found);
                body.map(|body| (body, true)).ok_or(ApiError::AmountNotTold)
            }
            TccState::Released => Err(TccRefusal::Cancelled.into()),
            TccState::Rejected { .. } => Err(TccRefusal::Rejected.into()),
        }
    }

    /// An account that does not exist yet is made, for the tombstone that keeps the late try out.
    async fn cancels(&self, app: &App) -> Result<(OutcomeBody, bool), ApiError> {
        match tcc::decide(app, self.key(), TccRequest::Cancel).await {
            Err(ApiError::AccountNotFound) => {
                let name = &self.terms.external_id;
                app.service.store().ensure_account(self.tenant, name).await?;
                tcc::decide(app, self.key(), TccRequest::Cancel).await
            }
            outcome => outcome,
        }
    }

    /// What the coordinator makes of an outcome depends on the status alone.
    fn answer(&self, op: Op, outcome: Result<(OutcomeBody, bool), ApiError>) -> Response {
        let error = match outcome {
            Ok((body, replayed)) => return idempotency::answer_ok(&body, replayed),
            Err(error) => error,
        };
        let is_refused =
            matches!(error, ApiError::Tcc(_) | ApiError::AccountNotFound | ApiError::WrongKind);
        let mut problem = Problem::from(&error);
        if is_refused && op == Op::Try {
            problem.status = StatusCode::CONFLICT;
        } else if is_refused {
            problem.status = StatusCode::INTERNAL_SERVER_ERROR;
            tracing::error!(
                op = op.as_str(),
                branch = self.biz_id.as_str(),
                code = problem.code,
                "a DTM coordinator asks for what cannot be, and will ask again"
            );
        }
        problem.into_response()
    }
}
