//! The batching writer: where every command of the ledger becomes part of a transaction.
//!
//! ```text
//! caller ── run ──▶ bounded queue ──▶ lane ──▶ lock · load · decide in order of arrival · save · COMMIT ──▶ answers
//! ```
//! There is no timer. While a lane's batch is in flight the next one fills; what is there when it comes back, up to a
//! cap, is the next batch. An account's commands all go through one lane of a process, so that they meet in one batch
//! instead of waiting for each other's locks. Other processes have writers of their own, and meet at the row's lock.
//!
//! | what | becomes |
//! | --- | --- |
//! | a refusal, a repeat, a conflict | an outcome of its own command; its neighbours do not notice |
//! | a command that is alone | decided without a lock, and written by one statement, or else as a batch of one |
//! | an account that somebody else holds | left out of the batch; its commands wait for it apart, in their order |
//! | a defect, such as a broken constraint | the batch is ended, and each of its commands decided by itself |
//! | a deadlock, a lost connection, or silence | the batch is run again: a command that was committed is found by its key |
//! | a full queue | [`StoreError::Busy`], at once and with nothing done |
//! | a caller that has gone | its command is not begun |
//!
//! **Invariant:** no answer leaves before the commit that it rests on.

mod held;
mod job;
mod session;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::StoreError;
use crate::book::{Owner, Patience};
use crate::command::Command;
use held::Held;
use job::{Job, Queued};
use session::{Connections, Session};

/// How many commands share a commit at most: what loads and saves within a few milliseconds.
const BATCH: usize = 256;
/// How many commands may wait for each lane.
const QUEUE: usize = 4_096;
/// How many accounts that somebody else holds are waited for at once.
const PATIENT: u32 = 4;

/// The lanes of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    lanes: Arc<[mpsc::Sender<Box<dyn Job>>]>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What a lane needs beside its queue.
#[derive(Debug)]
struct Lane {
    session: Session,
    held: Held,
    connections: Connections,
    tasks: TaskTracker,
    patient: Arc<Semaphore>,
}

impl Writer {
    /// How many connections so many lanes use.
    pub(crate) const fn connections(lanes: u32) -> u32 {
        lanes.saturating_add(PATIENT)
    }

    /// Starts the lanes. Nothing connects before the first command.
    pub(crate) fn start(pool: &PgPool, lanes: u32) -> Self {
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let patient = Arc::new(Semaphore::new(PATIENT.try_into().unwrap_or(1)));
        let connections = Connections::new(pool.clone());
        let lanes = (0..lanes.max(1))
            .map(|_| {
                let (queue, waiting) = mpsc::channel(QUEUE);
                let lane = Lane {
                    session: Session::new(connections.clone()),
                    held: Held::default(),
                    connections: connections.clone(),
                    tasks: tasks.clone(),
                    patient: Arc::clone(&patient),
                };
                tasks.spawn(lane.work(waiting, closing.clone()));
                queue
            })
            .collect();
        Self { lanes, closing, tasks }
    }

    /// Carries a command out, once.
    ///
    /// # Errors
    /// [`StoreError::Busy`] with nothing done; otherwise the command may have been committed, and is found by its key.
    pub(crate) async fn run<C: Command>(&self, command: C) -> Result<C::Outcome, StoreError> {
        let gone = || StoreError::Unavailable(Arc::new(sqlx::Error::PoolClosed));
        let mut hasher = DefaultHasher::new();
        command.owner().hash(&mut hasher);
        let lanes = u64::try_from(self.lanes.len()).unwrap_or(u64::MAX);
        let lane = hasher.finish().checked_rem(lanes).unwrap_or_default();
        let lane = usize::try_from(lane).ok().and_then(|lane| self.lanes.get(lane));
        let (reply, answer) = oneshot::channel();
        let queued = Box::new(Queued::new(command, reply));
        lane.ok_or_else(gone)?.try_send(queued).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())?
    }

    /// Takes no more commands, and waits until those that were taken are answered.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Lane {
    async fn work(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>, closing: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let taken = tokio::select! {
                taken = waiting.recv_many(&mut batch, BATCH) => taken,
                () = closing.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            let jobs: Vec<_> = batch
                .drain(..)
                .filter(|job| !job.is_abandoned())
                .filter_map(|job| self.held.join(job))
                .collect();
            if !jobs.is_empty() {
                let is_batch = jobs.len() > 1;
                self.carry_out(jobs).await;
                self.session.rest();
                if is_batch {
                    // Those who were answered have the chance to come back first, and to share the next commit.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Carries a batch out; the commands of accounts that somebody else holds wait apart.
    async fn carry_out(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if let [job] = jobs.as_mut_slice()
            && job.may_go_alone()
            && self.session.commit_alone(job).await
        {
            jobs.into_iter().for_each(|job| job.answer(Ok(())));
            return;
        }
        let mut by_owner: BTreeMap<Owner, Vec<_>> = BTreeMap::new();
        for job in self.session.settle(jobs, Patience::Skip).await {
            by_owner.entry(job.owner()).or_default().push(job);
        }
        for (owner, jobs) in by_owner {
            if self.held.wait(owner, jobs) {
                let (held, patient) = (self.held.clone(), Arc::clone(&self.patient));
                let session = Session::new(self.connections.clone());
                self.tasks.spawn(wait_for(owner, held, patient, session));
            }
        }
    }
}

/// Carries out what waits for an account, batch by batch. Between two batches others have their turn.
async fn wait_for(owner: Owner, held: Held, patient: Arc<Semaphore>, mut session: Session) {
    loop {
        let Ok(_turn) = patient.acquire().await else { return };
        let Some(jobs) = held.take(owner) else { return };
        // An account that was made a moment ago may not be locked yet.
        let again = session.settle(jobs, Patience::Wait).await;
        held.wait(owner, again);
        session.rest();
    }
}
