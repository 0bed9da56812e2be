//! Commits, on connections that are kept from one to the next.

use core::time::Duration;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};

use super::job::Job;
use crate::StoreError;
use crate::book::{Book, Needs, Owner, Patience};
use crate::transaction::{ATTEMPTS, FIRST_PAUSE};
use crate::{ACQUIRE_TIMEOUT, TRANSACTION_LIMIT};

/// How long one attempt may take: a connection, and a transaction that the database would let go on. Behind that nobody
/// knows whether the other end still lives, because a host that vanishes says nothing.
const ANSWER_LIMIT: Duration = ACQUIRE_TIMEOUT.saturating_add(TRANSACTION_LIMIT);

/// The connections of all lanes that nobody uses at the moment, the last used first: while there is little to do, it is
/// done on one connection, whose server process has all it needs at hand. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pool: PgPool,
    idle: Arc<Mutex<Vec<PoolConnection<Postgres>>>>,
}

impl Connections {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, idle: Arc::default() }
    }

    async fn take(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Ok(self.pool.acquire().await?),
        }
    }

    fn keep(&self, connection: PoolConnection<Postgres>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Hangs up on all. They do not go back to the pool, which would wait for the answer of a host that is gone.
    fn hang_up(&self) {
        let idle = core::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.into_iter().for_each(|connection| drop(connection.detach()));
    }
}

/// A connection as long as there is something to do with it.
#[derive(Debug)]
pub(super) struct Session {
    connections: Connections,
    connection: Option<PoolConnection<Postgres>>,
}

impl Session {
    pub(super) const fn new(connections: Connections) -> Self {
        Self { connections, connection: None }
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connections.take().await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Leaves the connection to whoever commits next.
    pub(super) fn rest(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.connections.keep(connection);
        }
    }

    /// Parts with a connection that may be why an attempt failed. Where the database did not answer the idle ones go too,
    /// because what ended one may have ended all.
    fn part(&mut self, error: &StoreError) {
        let connection = self.connection.take();
        if matches!(error, StoreError::Unavailable(_)) {
            drop(connection.map(PoolConnection::detach));
            self.connections.hang_up();
        }
    }

    /// Commits a lone command without a lock. Answers `false` when that cannot be, or is not known to have been: the locked
    /// way finds by its key what was committed.
    pub(super) async fn commit_alone(&mut self, job: &mut Box<dyn Job>) -> bool {
        let outcome = within_limit(self.try_commit_alone(job)).await;
        if let Err(error) = &outcome {
            tracing::debug!(%error, "a lone command takes the locked way");
            self.part(error);
        }
        outcome.unwrap_or(false)
    }

    async fn try_commit_alone(&mut self, job: &mut Box<dyn Job>) -> Result<bool, StoreError> {
        let mut needs = Needs::default();
        needs.owner(job.owner());
        job.needs(&mut needs);
        let connection = self.connection().await?;
        let mut book = Book::read(connection, &needs).await?;
        job.decide(&mut book)?;
        book.save_alone(connection).await
    }

    /// Answers every job but those whose account is held.
    pub(super) async fn settle(
        &mut self,
        mut jobs: Vec<Box<dyn Job>>,
        patience: Patience,
    ) -> Vec<Box<dyn Job>> {
        let held = match self.commit(&mut jobs, patience).await {
            Ok(held) => held,
            Err(defect) if jobs.len() > 1 && defect.is_of_one_command() => {
                tracing::error!(%defect, commands = jobs.len(), "a batch is decided one by one");
                return self.settle_one_by_one(jobs, patience).await;
            }
            Err(error) => {
                jobs.into_iter().for_each(|job| job.answer(Err(error.share())));
                return Vec::new();
            }
        };
        let (held, done): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| held.contains(&job.owner()));
        done.into_iter().for_each(|job| job.answer(Ok(())));
        held
    }

    /// The same, with a commit for each. Once the database is not available, the rest is told so without asking it again.
    async fn settle_one_by_one(
        &mut self,
        jobs: Vec<Box<dyn Job>>,
        patience: Patience,
    ) -> Vec<Box<dyn Job>> {
        let (mut held, mut left, mut failure) = (BTreeSet::new(), Vec::new(), None);
        for job in jobs {
            if let Some(failure) = &failure {
                job.answer(Err(StoreError::share(failure)));
            } else if held.contains(&job.owner()) {
                left.push(job);
            } else if !job.is_abandoned() {
                let mut alone = [job];
                let outcome = self.commit(&mut alone, patience).await;
                let [job] = alone;
                match outcome {
                    Ok(owners) if owners.contains(&job.owner()) => {
                        held.insert(job.owner());
                        left.push(job);
                    }
                    Ok(_) => job.answer(Ok(())),
                    Err(error) => {
                        failure =
                            matches!(error, StoreError::Unavailable(_)).then(|| error.share());
                        job.answer(Err(error));
                    }
                }
            }
        }
        left
    }

    /// Commits a batch, however often it takes to know that it is committed.
    async fn commit(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        patience: Patience,
    ) -> Result<BTreeSet<Owner>, StoreError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let outcome = within_limit(self.try_commit(jobs, patience)).await;
            let Err(error) = &outcome else { return outcome };
            self.part(error);
            if !error.is_transient() || attempt == ATTEMPTS {
                return outcome;
            }
            tracing::debug!(attempt, %error, commands = jobs.len(), "a batch is run again");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
    }

    async fn try_commit(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        patience: Patience,
    ) -> Result<BTreeSet<Owner>, StoreError> {
        let mut needs = Needs::default();
        for job in &*jobs {
            needs.owner(job.owner());
            job.needs(&mut needs);
        }
        let mut transaction = self.connection().await?.begin().await?;
        let (mut book, held) = Book::open(&mut transaction, &needs, patience).await?;
        for job in jobs.iter_mut().filter(|job| !held.contains(&job.owner())) {
            job.decide(&mut book)?;
        }
        book.save(&mut transaction).await?;
        transaction.commit().await?;
        Ok(held)
    }
}

async fn within_limit<T>(
    attempt: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(ANSWER_LIMIT, attempt)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()))
}
