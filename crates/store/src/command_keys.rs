//! Keyed commands: the row that turns a repeat into a replay.

use alloy_primitives::B256;
use domain::ids::CommandKey;
use domain::{AccountId, ReservationId, TenantId};
use sqlx::PgConnection;

use crate::account_lock::LockedAccount;
use crate::{StoreError, codec};

/// The caller's key of a command, and a hash of what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The `Idempotency-Key`, unique per account.
    pub key: CommandKey,
    /// Hash of the request's body: the same key with another one is refused.
    pub request_hash: B256,
}

/// What a key was used for.
#[derive(Clone, Debug)]
pub(crate) struct UsedKey {
    pub(crate) request_hash: B256,
    pub(crate) target: KeyTarget,
}

/// The immutable rows from which a keyed answer is made again.
#[derive(Clone, Debug)]
pub(crate) enum KeyTarget {
    Movement { command: &'static str, reference: String },
    Grant { reservation: ReservationId, grant_no: i32 },
}

const CREDIT: &str = "credit";
const DEBIT: &str = "debit";
const SPONSOR: &str = "sponsor";

pub(crate) async fn find(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    key: &CommandKey,
) -> Result<Option<UsedKey>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT command, request_hash, reference, reservation_id, grant_no FROM command_keys
        WHERE tenant_id = $1 AND account_id = $2 AND command_key = $3"#,
        tenant.0,
        account.0,
        key.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let target = match row.command.as_str() {
        SPONSOR => KeyTarget::Grant {
            reservation: ReservationId(codec::present(row.reservation_id)?),
            grant_no: codec::present(row.grant_no)?,
        },
        CREDIT => {
            KeyTarget::Movement { command: CREDIT, reference: codec::present(row.reference)? }
        }
        DEBIT => KeyTarget::Movement { command: DEBIT, reference: codec::present(row.reference)? },
        _ => return Err(StoreError::Corrupt("command key")),
    };
    Ok(Some(UsedKey { request_hash: codec::hash(&row.request_hash)?, target }))
}

pub(crate) async fn remember(
    connection: &mut PgConnection,
    account: &LockedAccount,
    keyed: &Keyed,
    target: &KeyTarget,
) -> Result<(), StoreError> {
    let (command, reference, reservation, grant_no) = match target {
        KeyTarget::Movement { command, reference } => (*command, Some(reference), None, None),
        KeyTarget::Grant { reservation, grant_no } => {
            (SPONSOR, None, Some(reservation.0), Some(*grant_no))
        }
    };
    let now = codec::timestamp(account.now)?;
    sqlx::query!(
        r#"INSERT INTO command_keys (tenant_id, account_id, command_key, command, request_hash,
            reference, reservation_id, grant_no, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"#,
        account.tenant.0,
        account.account.0,
        keyed.key.as_str(),
        command,
        keyed.request_hash.as_slice(),
        reference,
        reservation,
        grant_no,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
