//! The loops around ingest, apply and release: one task per chain.
//!
//! Several processes may run them at once: the cursor moves by compare-and-set and every step of
//! every event leaves its mark once, so that a second worker costs work and nothing else.

use core::time::Duration;
use std::sync::Arc;

use domain::ChainId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ingest::Ingested;
use crate::{Causes, Service, ServiceError};

/// The pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A worker ended by a defect.
#[derive(Debug, thiserror::Error)]
#[error("a worker ended by a defect; all others were stopped")]
pub struct WorkerDied(#[from] tokio::task::JoinError);

/// Runs the workers of all chains until `stop`; each finishes its step first.
///
/// # Errors
/// When a worker ended by a defect: the others are stopped, and the process should end and be
/// started anew, because a chain that nobody follows settles nothing.
pub async fn run(
    service: Arc<Service>,
    poll_interval: Duration,
    stop: CancellationToken,
) -> Result<(), WorkerDied> {
    let mut tasks = JoinSet::new();
    for chain in service.chains() {
        tasks.spawn(follow(Arc::clone(&service), chain.id, poll_interval, stop.clone()));
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        if let Err(defect) = ended {
            stop.cancel();
            outcome = Err(WorkerDied(defect));
        }
    }
    outcome
}

async fn follow(
    service: Arc<Service>,
    chain: ChainId,
    poll_interval: Duration,
    stop: CancellationToken,
) {
    let mut failure_pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let pause = match pass(&service, chain).await {
            Ok(true) => {
                failure_pause = FIRST_PAUSE;
                Duration::ZERO
            }
            Ok(false) => {
                failure_pause = FIRST_PAUSE;
                poll_interval
            }
            Err(error) => {
                tracing::warn!(chain = chain.0, error = %Causes(&error), "worker pass failed");
                let pause = failure_pause;
                failure_pause = failure_pause.saturating_mul(2).min(LONGEST_PAUSE);
                pause
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round; whether there is more to do at once.
async fn pass(service: &Service, chain: ChainId) -> Result<bool, ServiceError> {
    // Each runs whatever became of the one before: a node that is away holds up no settlement, and an
    // event that waits holds up no release.
    let ingested = service.ingest_step(chain).await;
    let applied = service.apply_pass(chain).await;
    let released = service.release_pass(chain).await;
    let moved = matches!(ingested?, Ingested::Block(_) | Ingested::WalkedBack(_));
    Ok(moved || applied? > 0 || released? > 0)
}
