//! Grants as they are committed: the only form in which a signature leaves the database.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use domain::chain_fact::ChainTime;
use domain::ledger::sponsorship::Grant;
use domain::{AppId, Gas, Points, ReservationId, Slot, Wei};
use erc4337::sponsorship::SignatureForm;
use sqlx::PgConnection;
use sqlx::types::BigDecimal;
use uuid::Uuid;

use crate::book::Owner;
use crate::{StoreError, codec};

/// Gas limits of the paymaster's two functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymasterGas {
    /// paymasterVerificationGasLimit.
    pub verification: Gas,
    /// paymasterPostOpGasLimit.
    pub post_op: Gas,
}

/// A grant as it is committed: the only form in which a signature leaves the database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedGrant {
    /// The reservation that backs it, shown as the sponsorship's id.
    pub reservation: ReservationId,
    /// Its number under the reservation, from 1.
    pub grant_no: i32,
    /// The application that asked for it.
    pub app: AppId,
    /// The paymaster that pays.
    pub paymaster: Address,
    /// Where the operation can land.
    pub slot: Slot,
    /// What the operation can cost at most.
    pub max_cost: Wei,
    /// The same in points: what this grant needs set aside.
    pub points: Points,
    /// The last block time at which the operation can land.
    pub valid_until: ChainTime,
    /// In which form it was signed.
    pub form: SignatureForm,
    /// The digest that was signed.
    pub digest: B256,
    /// The signature.
    pub signature: [u8; 64],
    /// The operation's hash.
    pub user_op_hash: B256,
    /// Gas limits of the paymaster, as signed.
    pub paymaster_gas: PaymasterGas,
    /// The sender's EIP-7702 delegate when this was signed, if it had one. It is pinned: with the marker
    /// the digest binds it, and without the marker an operation is not passed on once it has changed.
    pub delegate: Option<Address>,
}

/// The grants of reservations, in their order, as the machine sees them and as they were committed.
pub(crate) async fn load_grants(
    connection: &mut PgConnection,
    reservations: &[(Owner, ReservationId)],
) -> Result<HashMap<ReservationId, Vec<(Grant, CommittedGrant)>>, StoreError> {
    if reservations.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = reservations.iter().map(|(_, id)| id.0).collect();
    let (tenants, accounts): (Vec<Uuid>, Vec<Uuid>) =
        reservations.iter().map(|(owner, _)| (owner.tenant.0, owner.account.0)).unzip();
    let mut rows = sqlx::query_as!(
        Row,
        r#"SELECT r.reservation_id, r.paymaster AS "paymaster!", r.chain_id AS "chain_id!",
            r.entry_point AS "entry_point!", r.sender AS "sender!", r.nonce AS "nonce!",
            g.grant_no, g.app_id, g.request_hash, g.max_cost_wei, g.max_cost_micropoints,
            g.valid_until, g.digest, g.signature, g.paymaster_verification_gas_limit,
            g.paymaster_post_op_gas_limit, g.user_op_hash, g.delegate, g.form
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS n (tenant_id, account_id, reservation_id)
        JOIN reservations r ON r.tenant_id = n.tenant_id AND r.account_id = n.account_id
            AND r.reservation_id = n.reservation_id
        JOIN grants g ON g.tenant_id = r.tenant_id AND g.account_id = r.account_id
            AND g.reservation_id = r.reservation_id
        ORDER BY g.reservation_id, g.grant_no"#,
        &tenants,
        &accounts,
        &ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    // Only a look-up, or the repeat of a very old keyed request, asks for one that is not there.
    if ids.iter().any(|id| !rows.iter().any(|row| row.reservation_id == *id)) {
        rows.extend(archived_rows(connection, &tenants, &accounts, &ids).await?);
    }
    let mut grants: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        let committed = CommittedGrant {
            reservation: ReservationId(row.reservation_id),
            grant_no: row.grant_no,
            app: AppId(row.app_id),
            paymaster: codec::address(&row.paymaster)?,
            slot: codec::slot(row.chain_id, &row.entry_point, &row.sender, &row.nonce)?,
            max_cost: codec::wei(&row.max_cost_wei)?,
            points: codec::points(row.max_cost_micropoints)?,
            valid_until: codec::chain_time(row.valid_until)?,
            form: form(&row.form)?,
            digest: codec::hash(&row.digest)?,
            signature: signature(&row.signature)?,
            user_op_hash: codec::hash(&row.user_op_hash)?,
            paymaster_gas: PaymasterGas {
                verification: Gas(codec::unsigned(row.paymaster_verification_gas_limit)?),
                post_op: Gas(codec::unsigned(row.paymaster_post_op_gas_limit)?),
            },
            delegate: row.delegate.as_deref().map(codec::address).transpose()?,
        };
        let machine = Grant {
            request_hash: codec::hash(&row.request_hash)?,
            max_cost: committed.max_cost,
            points: committed.points,
            valid_until: committed.valid_until,
        };
        grants.entry(committed.reservation).or_default().push((machine, committed));
    }
    Ok(grants)
}

/// A grant's columns, with those of its reservation.
struct Row {
    reservation_id: Uuid,
    paymaster: Vec<u8>,
    chain_id: i64,
    entry_point: Vec<u8>,
    sender: Vec<u8>,
    nonce: Vec<u8>,
    grant_no: i32,
    app_id: Uuid,
    request_hash: Vec<u8>,
    max_cost_wei: BigDecimal,
    max_cost_micropoints: i64,
    valid_until: i64,
    digest: Vec<u8>,
    signature: Vec<u8>,
    paymaster_verification_gas_limit: i64,
    paymaster_post_op_gas_limit: i64,
    user_op_hash: Vec<u8>,
    delegate: Option<Vec<u8>>,
    form: String,
}

async fn archived_rows(
    connection: &mut PgConnection,
    tenants: &[Uuid],
    accounts: &[Uuid],
    ids: &[Uuid],
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT r.reservation_id, r.paymaster AS "paymaster!", r.chain_id AS "chain_id!",
            r.entry_point AS "entry_point!", r.sender AS "sender!", r.nonce AS "nonce!",
            g.grant_no, g.app_id, g.request_hash, g.max_cost_wei, g.max_cost_micropoints,
            g.valid_until, g.digest, g.signature, g.paymaster_verification_gas_limit,
            g.paymaster_post_op_gas_limit, g.user_op_hash, g.delegate, g.form
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS n (tenant_id, account_id, reservation_id)
        JOIN archived_reservations r ON r.tenant_id = n.tenant_id AND r.account_id = n.account_id
            AND r.reservation_id = n.reservation_id
        JOIN archived_grants g ON g.tenant_id = r.tenant_id AND g.account_id = r.account_id
            AND g.reservation_id = r.reservation_id
        ORDER BY g.reservation_id, g.grant_no"#,
        tenants,
        accounts,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// A form as the database names it.
pub(crate) const fn form_name(form: SignatureForm) -> &'static str {
    match form {
        SignatureForm::Sequential => "sequential",
        SignatureForm::Parallel => "parallel",
    }
}

fn form(name: &str) -> Result<SignatureForm, StoreError> {
    [SignatureForm::Sequential, SignatureForm::Parallel]
        .into_iter()
        .find(|form| form_name(*form) == name)
        .ok_or(StoreError::Corrupt("signature form"))
}

fn signature(bytes: &[u8]) -> Result<[u8; 64], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("signature length"))
}
