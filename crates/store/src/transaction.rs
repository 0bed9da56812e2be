//! How a change of a directory becomes one transaction, run again until its outcome is known.

use core::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use crate::StoreError;

/// How often a transaction is run before its failure is reported.
pub(crate) const ATTEMPTS: u32 = 4;
/// The pause after the first failure; it doubles.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// One change of names or links, which moves no points. It is run again after a failure that says
/// nothing about the commit, so that it must find what an earlier run of itself committed.
pub(crate) trait Transaction: Sync {
    /// What it answers.
    type Outcome: Send;

    /// Its statements; the caller commits.
    fn execute(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Outcome, StoreError>> + Send;
}

/// Runs a change in a transaction of its own and commits it.
pub(crate) async fn commit<C: Transaction>(
    pool: &PgPool,
    change: &C,
) -> Result<C::Outcome, StoreError> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        match run(pool, change).await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tracing::debug!(attempt, %error, "a transaction is run again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
                attempt = attempt.saturating_add(1);
            }
            outcome => return outcome,
        }
    }
}

async fn run<C: Transaction>(pool: &PgPool, change: &C) -> Result<C::Outcome, StoreError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let outcome = change.execute(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcome)
}
