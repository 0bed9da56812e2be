//! Grants as they are committed: the only form in which a signature leaves the database.

use alloy_primitives::{Address, B256};
use domain::chain_fact::ChainTime;
use domain::{AppId, ChainId, Gas, Points, ReservationId, Slot, TenantId, Wei};
use erc4337::sponsorship::SignatureForm;
use sqlx::PgConnection;

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

/// One grant of a reservation.
pub(crate) async fn load_grant(
    connection: &mut PgConnection,
    tenant: TenantId,
    reservation: ReservationId,
    grant_no: i32,
) -> Result<Option<CommittedGrant>, StoreError> {
    let grants = load_committed(connection, tenant, reservation).await?;
    Ok(grants.into_iter().find(|grant| grant.grant_no == grant_no))
}

/// All grants of a reservation, in their order.
pub(crate) async fn load_committed(
    connection: &mut PgConnection,
    tenant: TenantId,
    reservation: ReservationId,
) -> Result<Vec<CommittedGrant>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.reservation_id, r.paymaster AS "paymaster!", r.chain_id AS "chain_id!",
            r.entry_point AS "entry_point!", r.sender AS "sender!", r.nonce AS "nonce!",
            g.grant_no, g.app_id, g.max_cost_wei, g.max_cost_micropoints, g.valid_until, g.digest,
            g.signature, g.paymaster_verification_gas_limit, g.paymaster_post_op_gas_limit,
            g.user_op_hash, g.delegate, g.form
        FROM reservations r
        JOIN grants g ON g.tenant_id = r.tenant_id AND g.account_id = r.account_id
            AND g.reservation_id = r.reservation_id
        WHERE r.tenant_id = $1 AND r.reservation_id = $2 ORDER BY g.grant_no"#,
        tenant.0,
        reservation.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(CommittedGrant {
                reservation: ReservationId(row.reservation_id),
                grant_no: row.grant_no,
                app: AppId(row.app_id),
                paymaster: codec::address(&row.paymaster)?,
                slot: Slot {
                    chain_id: ChainId(codec::unsigned(row.chain_id)?),
                    entry_point: codec::address(&row.entry_point)?,
                    sender: codec::address(&row.sender)?,
                    nonce: codec::nonce(&row.nonce)?,
                },
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
            })
        })
        .collect()
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
