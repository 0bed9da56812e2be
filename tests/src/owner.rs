//! What only the owner of the database could do, for tests that break it or hold it up.

use devstack::postgres::Role;
use sqlx::{Connection, PgConnection, types::Uuid};

use crate::{env::Env, wait};

const WAIT_SECONDS: u64 = 10;

/// An account's row, locked by a session that is not the service's.
#[derive(Debug)]
pub struct HeldAccount {
    session: PgConnection,
    observer: PgConnection,
}

impl Env {
    /// Changes one row of an account, which a statement calls `$1`. The runtime role could not do most of this.
    ///
    /// # Panics
    /// When it does not change exactly one row.
    pub async fn as_owner(&self, statement: &'static str, external_id: &str) {
        let mut session = self.owner_session().await;
        let account = account(&mut session, external_id).await;
        let changed = sqlx::query(statement).bind(account).execute(&mut session).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
        session.close().await.unwrap();
    }

    /// Locks an account's row until it is released.
    pub async fn holds_account(&self, external_id: &str) -> HeldAccount {
        let mut session = self.owner_session().await;
        let account = account(&mut session, external_id).await;
        sqlx::query("BEGIN").execute(&mut session).await.unwrap();
        sqlx::query("SELECT FROM accounts WHERE account_id = $1 FOR UPDATE")
            .bind(account)
            .execute(&mut session)
            .await
            .unwrap();
        HeldAccount { session, observer: self.owner_session().await }
    }

    async fn owner_session(&self) -> PgConnection {
        let url = self.stack.postgres.url(Role::Owner, &self.options.database);
        PgConnection::connect(&url).await.unwrap()
    }
}

impl HeldAccount {
    /// Waits until so many sessions wait for the row.
    pub async fn is_waited_for(&mut self, sessions: i64) {
        // The observer is asked again and again, which needs it to be mutable.
        let observer = tokio::sync::Mutex::new(&mut self.observer);
        wait::until(&format!("{sessions} sessions wait"), WAIT_SECONDS, async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
            let mut observer = observer.lock().await;
            let waiting: i64 =
                sqlx::query_scalar(waiting).fetch_one(&mut **observer).await.unwrap();
            if waiting >= sessions { Ok(()) } else { Err(format!("{waiting} do")) }
        })
        .await;
    }

    /// Lets the row go.
    pub async fn release(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.session).await.unwrap();
    }
}

async fn account(session: &mut PgConnection, external_id: &str) -> Uuid {
    sqlx::query_scalar("SELECT account_id FROM account_names WHERE external_id = $1")
        .bind(external_id)
        .fetch_one(session)
        .await
        .unwrap()
}
