//! How a command becomes one transaction, run again until its outcome is known.

use core::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

use crate::StoreError;

/// How often a transaction is run before its failure is reported.
const ATTEMPTS: u32 = 4;
/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// One command: what happens in its transaction. It is run again after a failure that says nothing
/// about the commit, so that it must find what an earlier run of itself committed, by its key.
pub(crate) trait Command: Sync {
    /// What the command answers.
    type Outcome: Send;

    /// The statements of the command; the caller commits.
    fn execute(
        &self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Outcome, StoreError>> + Send;
}

/// Runs a command in a transaction of its own and commits it.
pub(crate) async fn commit<C: Command>(
    pool: &PgPool,
    command: &C,
) -> Result<C::Outcome, StoreError> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        match run(pool, command).await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tracing::debug!(attempt, %error, "command is run again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
                attempt = attempt.saturating_add(1);
            }
            outcome => return outcome,
        }
    }
}

async fn run<C: Command>(pool: &PgPool, command: &C) -> Result<C::Outcome, StoreError> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    let outcome = command.execute(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcome)
}
