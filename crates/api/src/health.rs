//! Probes: whether the process lives, and whether it can do its work.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures::future::join_all;
use serde::Serialize;
use service::Service;
use service::chains::Chain;
use store::partitions::LOW_MONTHS_AHEAD;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::app::App;

/// How long an answer is good for, so that probes cannot load the database and the nodes.
const FRESH: Duration = Duration::from_secs(1);
/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The last look at the parts.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Report)>>);

/// What is ready.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Clone, Debug, Serialize)]
struct Check {
    part: String,
    ready: bool,
    /// What will keep it from being ready one day, if nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Readiness {
    /// The report, at most [`FRESH`] old. Callers that come together share one look.
    async fn report(&self, service: &Service) -> Report {
        let mut last = self.0.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = look(service).await;
        *last = Some((Instant::now(), report.clone()));
        report
    }
}

async fn look(service: &Service) -> Report {
    let nodes = join_all(service.chains().map(node));
    let (database, mut checks) = tokio::join!(database(service), nodes);
    checks.insert(0, database);
    Report { ready: checks.iter().all(|check| check.ready), checks }
}

async fn database(service: &Service) -> Check {
    let answer = timeout(PATIENCE, service.store().check()).await;
    let ready = match answer {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the database is not ready");
            false
        }
        Err(_) => false,
    };
    let warning = if ready { few_months(service).await } else { None };
    Check { part: "database".to_owned(), ready, warning }
}

/// Commands go on while the current month has its partition, so that few months ahead are a warning only.
async fn few_months(service: &Service) -> Option<String> {
    let months = timeout(PATIENCE, service.store().months_ahead()).await.ok()?.ok()?;
    (months < LOW_MONTHS_AHEAD).then(|| format!("{months} months of partitions are ahead"))
}

/// A node is ready when it is on the chain that it is configured for.
async fn node(chain: &Chain) -> Check {
    let answer = timeout(PATIENCE, chain.node.chain_id()).await;
    let ready = matches!(answer, Ok(Ok(id)) if id == chain.id);
    Check { part: format!("chain {}", chain.id), ready, warning: None }
}

/// The process answers.
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// 200 when everything that a request needs answers, 503 otherwise; the body says what does not.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Report>) {
    let report = app.readiness.report(&app.service).await;
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
