//! The loops around ingest, apply and release, one task per chain, and around expiry, anchors, statements
//! and maintenance.
//!
//! Several processes may run them at once: the cursor moves by compare-and-set, every step of every
//! event leaves its mark once, a reservation and a lot of points expire once, a day has one anchor, a part of a
//! statement one writer, and every step of maintenance may be taken twice, so that a second worker costs work
//! and nothing else.

use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use domain::ChainId;
use store::archive::Maintenance;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::anchor::Anchoring;
use crate::expire::Sweep;
use crate::expire_points::PointsSweep;
use crate::ingest::{Ingested, Reading};
use crate::maintain::{ArchiveSettings, Maintainer, watch_months};
use crate::{Causes, Service, ServiceError};

/// The pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often is looked whether a new day is to be anchored.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(30);

/// How often partitions are looked after, and whether an old month can leave.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(20);
/// How often is looked whether there are partitions ahead.
const WATCH_INTERVAL: Duration = Duration::from_secs(600);

/// How the workers run.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The pause at the head of a chain, and where nothing is due.
    pub poll_interval: Duration,
    /// Where the journal's anchors are kept outside the database.
    pub anchor_file: Option<PathBuf>,
    /// The database as the maintenance role; `None` where another process maintains.
    pub maintenance: Option<Maintenance>,
    /// When old months leave the database; `None` to keep them.
    pub archive: Option<ArchiveSettings>,
}

/// A worker ended by a defect.
#[derive(Debug, thiserror::Error)]
#[error("a worker ended by a defect; all others were stopped")]
pub struct WorkerDied(#[from] tokio::task::JoinError);

/// Runs all workers until `stop`; each finishes its step first.
///
/// # Errors
/// When a worker ended by a defect: the others are stopped, and the process should end and be
/// started anew, because a chain that nobody follows settles nothing.
pub async fn run(
    service: Arc<Service>,
    settings: WorkerSettings,
    stop: CancellationToken,
) -> Result<(), WorkerDied> {
    let WorkerSettings { poll_interval, anchor_file, maintenance, archive } = settings;
    let mut tasks = JoinSet::new();
    for chain in service.chains() {
        tasks.spawn(follow(Arc::clone(&service), chain.id, poll_interval, stop.clone()));
    }
    tasks.spawn(sweep(Arc::clone(&service), poll_interval, stop.clone()));
    tasks.spawn(sweep_points(Arc::clone(&service), poll_interval, stop.clone()));
    tasks.spawn(anchor(Arc::clone(&service), anchor_file, stop.clone()));
    tasks.spawn(write_statements(Arc::clone(&service), poll_interval, stop.clone()));
    tasks.spawn(watch(Arc::clone(&service), stop.clone()));
    if let Some(database) = maintenance {
        let maintainer = Maintainer::new(service.store().clone(), database, archive);
        tasks.spawn(maintain(maintainer, stop.clone()));
    } else {
        tracing::warn!(
            "database.maintenance_url is not set: this worker makes no partitions ahead"
        );
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
    let mut pace = Pace::new(poll_interval);
    let mut reading = Reading::default();
    while !stop.is_cancelled() {
        let outcome = pass(&service, chain, &mut reading).await;
        if let Err(error) = &outcome {
            tracing::warn!(chain = chain.0, error = %Causes(error), "worker pass failed");
        }
        pace.pause(outcome.ok(), &stop).await;
    }
}

/// Expires what the company's own services left open past its time. Not of any chain.
async fn sweep(service: Arc<Service>, poll_interval: Duration, stop: CancellationToken) {
    let mut pace = Pace::new(poll_interval);
    let mut sweep = Sweep::default();
    while !stop.is_cancelled() {
        let outcome = service.expire_pass(&mut sweep).await;
        if let Err(error) = &outcome {
            tracing::warn!(error = %Causes(error), "expiry pass failed");
        }
        pace.pause(outcome.ok().map(|swept| swept.is_more_due), &stop).await;
    }
}

/// Expires points whose bucket's time is past. Not of any chain.
async fn sweep_points(service: Arc<Service>, poll_interval: Duration, stop: CancellationToken) {
    let mut pace = Pace::new(poll_interval);
    let mut sweep = PointsSweep::default();
    while !stop.is_cancelled() {
        let outcome = service.expire_points_pass(&mut sweep).await;
        if let Err(error) = &outcome {
            tracing::warn!(error = %Causes(error), "expiry of points failed");
        }
        pace.pause(outcome.ok().map(|swept| swept.is_more_due), &stop).await;
    }
}

/// Anchors the journal once a day, and keeps the file outside the database up to date.
async fn anchor(service: Arc<Service>, file: Option<PathBuf>, stop: CancellationToken) {
    let mut pace = Pace::new(ANCHOR_INTERVAL);
    let mut anchoring = Anchoring::default();
    while !stop.is_cancelled() {
        let outcome = service.anchor_pass(&mut anchoring).await;
        if let Err(error) = &outcome {
            tracing::warn!(error = %Causes(error), "anchoring pass failed");
        }
        let is_anchored = matches!(outcome, Ok(false));
        if let Some(path) = file.as_deref().filter(|_| is_anchored)
            && let Err(error) = service.copy_anchors(path).await
        {
            tracing::error!(path = %path.display(), error = %Causes(&error), "anchors not kept outside");
        }
        pace.pause(outcome.ok(), &stop).await;
    }
}

/// Makes partitions ahead, and moves away what is old.
async fn maintain(mut maintainer: Maintainer, stop: CancellationToken) {
    let mut pace = Pace::new(MAINTAIN_INTERVAL);
    while !stop.is_cancelled() {
        let outcome = maintainer.pass().await;
        if let Err(error) = &outcome {
            tracing::error!(error = %Causes(error), "maintenance failed");
        }
        pace.pause(outcome.ok(), &stop).await;
    }
    maintainer.close().await;
}

/// Says when partitions run out, whoever should make them.
async fn watch(service: Arc<Service>, stop: CancellationToken) {
    let mut pace = Pace::new(WATCH_INTERVAL);
    while !stop.is_cancelled() {
        let outcome = watch_months(service.store()).await;
        if let Err(error) = &outcome {
            tracing::warn!(error = %Causes(error), "the partitions were not looked at");
        }
        pace.pause(outcome.ok().map(|_| false), &stop).await;
    }
}

/// Writes statements that are too long to wait for.
async fn write_statements(service: Arc<Service>, poll_interval: Duration, stop: CancellationToken) {
    let mut pace = Pace::new(poll_interval);
    while !stop.is_cancelled() {
        let outcome = service.statement_pass().await;
        if let Err(error) = &outcome {
            tracing::warn!(error = %Causes(error), "statement pass failed");
        }
        pace.pause(outcome.ok(), &stop).await;
    }
}

/// How long a worker rests between two rounds.
struct Pace {
    poll_interval: Duration,
    failure_pause: Duration,
}

impl Pace {
    const fn new(poll_interval: Duration) -> Self {
        Self { poll_interval, failure_pause: FIRST_PAUSE }
    }

    /// Rests until the next round, or until `stop`. `is_more` says whether there is more to do at once; `None`
    /// after a failure.
    async fn pause(&mut self, is_more: Option<bool>, stop: &CancellationToken) {
        let pause = match is_more {
            Some(true) => Duration::ZERO,
            Some(false) => self.poll_interval,
            None => self.failure_pause,
        };
        self.failure_pause = match is_more {
            Some(_) => FIRST_PAUSE,
            None => self.failure_pause.saturating_mul(2).min(LONGEST_PAUSE),
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round; whether there is more to do at once.
async fn pass(
    service: &Service,
    chain: ChainId,
    reading: &mut Reading,
) -> Result<bool, ServiceError> {
    // Each runs whatever became of the one before: a node that is away holds up no settlement, and an
    // event that waits holds up no release.
    let ingested = service.ingest_step(chain, reading).await;
    let applied = service.apply_pass(chain).await;
    let released = service.release_pass(chain).await;
    if !matches!(ingested, Ok(Ingested::UpToDate | Ingested::Halted) | Err(_)) {
        // A node may keep no state of the blocks that are caught up with. They are read all the same.
        let watched = service.watch_nonces(chain).await;
        let errors = [applied.err(), released.err(), watched.err()];
        for error in errors.iter().flatten() {
            tracing::warn!(chain = chain.0, error = %Causes(error), "worker pass failed in part");
        }
        return Ok(true);
    }
    ingested?;
    Ok(applied? > 0 || released? > 0)
}
