//! Commits, on connections that are kept from one to the next.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};

use super::job::Job;
use crate::StoreError;
use crate::book::{Book, Needs, Owner, Patience};
use crate::transaction::{ATTEMPTS, FIRST_PAUSE};

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

    /// Gives all back to the pool, which looks at each before it lends it again.
    fn give_back(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection as long as there is something to do with it. After a failure, which may have been its own, it goes back to
/// the pool, and the idle ones with it, because what ended one may have ended all.
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

    fn give_back(&mut self) {
        self.connection = None;
        self.connections.give_back();
    }

    /// Commits a lone command without a lock. Answers `false` when that cannot be, or is not known to have been: the locked
    /// way finds by its key what was committed.
    pub(super) async fn commit_alone(&mut self, job: &mut Box<dyn Job>) -> bool {
        let outcome = self.try_commit_alone(job).await;
        if let Err(error) = &outcome {
            tracing::debug!(%error, "a lone command takes the locked way");
            self.give_back();
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
            Err(defect) if jobs.len() > 1 && !defect.is_transient() => {
                tracing::error!(%defect, commands = jobs.len(), "a batch is decided one by one");
                self.settle_one_by_one(jobs).await;
                return Vec::new();
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

    async fn settle_one_by_one(&mut self, jobs: Vec<Box<dyn Job>>) {
        for job in jobs {
            let mut alone = vec![job];
            let outcome = self.commit(&mut alone, Patience::Wait).await.map(drop);
            if let Some(job) = alone.pop() {
                job.answer(outcome);
            }
        }
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
            let outcome = self.try_commit(jobs, patience).await;
            let Err(error) = &outcome else { return outcome };
            self.give_back();
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
