//! Checkpoints before a month of entries leaves: of every account with a line in it, where the account stood at the
//! month's end. Each is verified, from the checkpoint before it: numbers, balances, times and hashes of all lines in
//! between. A month with a line that disagrees does not leave.
//!
//! What is read does not change any more, so that no snapshot is taken.

use domain::{AccountId, TenantId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::rows::{self, Keys, Listed};
use super::walk::Walk;
use super::{Checked, Disagreement, GROUP_ACCOUNTS, GROUP_LINES, begin, first_group, slice_of};
use crate::partitions::Month;
use crate::{Store, StoreError};

/// How far the checkpoints of a month are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpointed {
    /// Go on behind this account.
    Until((Uuid, Uuid)),
    /// All are written.
    All,
    /// These lines are not what they must be: the month stays.
    Refused(Vec<Disagreement>),
}

impl Store {
    /// Writes the checkpoints of the next accounts at the end of a month.
    ///
    /// # Errors
    /// When the database does not carry it out; the step may be repeated.
    pub async fn checkpoint_month(
        &self,
        month: Month,
        after: Option<(Uuid, Uuid)>,
    ) -> Result<Checkpointed, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let until = month.next().begins()?;
        let after = after.unwrap_or_default();
        let listed = rows::list_until(&mut connection, after, until, GROUP_ACCOUNTS).await?;
        let Some(last) = listed.last() else { return Ok(Checkpointed::All) };
        let reached = (last.tenant, last.account);
        let due: Vec<Listed> = listed.into_iter().filter(|listed| listed.lines() > 0).collect();
        let mut found = Vec::new();
        let mut rest = due.as_slice();
        while !rest.is_empty() {
            let group = first_group(rest, GROUP_LINES);
            let walks = match group {
                [one] => vec![one_account(&mut connection, *one).await?],
                several => some_accounts(&mut connection, several).await?,
            };
            remember(&mut connection, &walks).await?;
            found.extend(walks.into_iter().filter_map(Result::err).map(|wrong| *wrong));
            rest = rest.get(group.len()..).unwrap_or_default();
        }
        Ok(if found.is_empty() {
            Checkpointed::Until(reached)
        } else {
            Checkpointed::Refused(found)
        })
    }
}

async fn remember(
    connection: &mut PgConnection,
    walks: &[Checked<Walk>],
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    for walk in walks.iter().flatten() {
        if let Some(time) = walk.time() {
            rows::remember(&mut transaction, walk.key(), walk.head(), time).await?;
        }
    }
    Ok(transaction.commit().await?)
}

/// Accounts whose lines are read at once.
async fn some_accounts(
    connection: &mut PgConnection,
    group: &[Listed],
) -> Result<Vec<Checked<Walk>>, StoreError> {
    let keys = Keys::up_to(group);
    let walks = begin(connection, group, &keys).await?;
    let entries = rows::entries(connection, &keys, i64::MAX).await?;
    let walks = walks.into_iter().zip(group).map(|(walk, listed)| {
        let key = (listed.tenant, listed.account);
        let lines = slice_of(&entries, key, |row| (row.tenant_id, row.account_id));
        let mut walk = walk?;
        lines.iter().try_for_each(|line| walk.line(line))?;
        whole(walk, listed)
    });
    Ok(walks.collect())
}

/// One account, page by page.
async fn one_account(
    connection: &mut PgConnection,
    listed: Listed,
) -> Result<Checked<Walk>, StoreError> {
    let mut keys = Keys::up_to(&[listed]);
    let (tenant, account) = (TenantId(listed.tenant), AccountId(listed.account));
    let walk = begin(connection, &[listed], &keys).await?.into_iter().next();
    let mut walk = match walk.unwrap_or_else(|| Ok(Walk::from_the_start(tenant, account))) {
        Ok(walk) => walk,
        Err(wrong) => return Ok(Err(wrong)),
    };
    loop {
        keys.bases = vec![walk.seq()];
        let lines = rows::entries(connection, &keys, GROUP_LINES).await?;
        if lines.is_empty() {
            return Ok(whole(walk, &listed));
        }
        if let Err(wrong) = lines.iter().try_for_each(|line| walk.line(line)) {
            return Ok(Err(wrong));
        }
    }
}

/// Whether the walk came to the account's last line of the month.
fn whole(walk: Walk, listed: &Listed) -> Checked<Walk> {
    if walk.seq() == listed.entry_seq {
        return Ok(walk);
    }
    let (expected, found) = (listed.entry_seq.to_string(), walk.seq().to_string());
    Err(walk.disagreement("seq", expected, found))
}
