//! Between the columns' types and the domain's: the one place where numbers change their type.

use alloy_primitives::{Address, B256, U256};
use domain::chain_fact::{BlockRef, ChainTime};
use domain::ledger::tcc::DbTime;
use domain::quote::Bps;
use domain::{ChainId, Points, Quote, Slot, Wei};
use sqlx::types::BigDecimal;
use time::OffsetDateTime;

use crate::StoreError;

/// One column of many rows.
pub(crate) fn column<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// The same for a value that may not fit.
pub(crate) fn checked<R, T>(
    rows: &[R],
    value: impl Fn(&R) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.iter().map(value).collect()
}

pub(crate) fn points(micropoints: i64) -> Result<Points, StoreError> {
    u64::try_from(micropoints)
        .ok()
        .and_then(Points::from_micropoints)
        .ok_or(StoreError::Corrupt("negative points"))
}

pub(crate) fn micropoints(points: Points) -> i64 {
    // Points::MAX is i64::MAX, so that this never saturates.
    i64::try_from(points.micropoints()).unwrap_or(i64::MAX)
}

pub(crate) fn address(bytes: &[u8]) -> Result<Address, StoreError> {
    Address::try_from(bytes).map_err(|_| StoreError::Corrupt("address length"))
}

pub(crate) fn hash(bytes: &[u8]) -> Result<B256, StoreError> {
    B256::try_from(bytes).map_err(|_| StoreError::Corrupt("hash length"))
}

pub(crate) fn nonce(bytes: &[u8]) -> Result<U256, StoreError> {
    hash(bytes).map(Into::into)
}

pub(crate) fn nonce_bytes(nonce: U256) -> [u8; 32] {
    nonce.to_be_bytes()
}

pub(crate) fn uint(number: &BigDecimal) -> Result<U256, StoreError> {
    let text = number.with_scale(0).to_plain_string();
    U256::from_str_radix(&text, 10).map_err(|_| StoreError::Corrupt("unsigned integer"))
}

pub(crate) fn wei(number: &BigDecimal) -> Result<Wei, StoreError> {
    uint(number).map(Wei)
}

pub(crate) fn numeric(number: U256) -> Result<BigDecimal, StoreError> {
    number.to_string().parse().map_err(|_| StoreError::Corrupt("numeric"))
}

/// A number that the schema keeps in a signed column although it is never negative.
pub(crate) fn signed<N: TryInto<i64>>(number: N) -> Result<i64, StoreError> {
    number.try_into().map_err(|_| StoreError::Corrupt("number above 2^63"))
}

/// The same for a 32-bit column.
pub(crate) fn signed32<N: TryInto<i32>>(number: N) -> Result<i32, StoreError> {
    number.try_into().map_err(|_| StoreError::Corrupt("number above 2^31"))
}

/// A column that is never negative, as the domain's unsigned number.
pub(crate) fn unsigned<S, N: TryFrom<S>>(number: S) -> Result<N, StoreError> {
    N::try_from(number).map_err(|_| StoreError::Corrupt("negative number"))
}

pub(crate) fn chain_id(chain: ChainId) -> Result<i64, StoreError> {
    signed(chain.0)
}

pub(crate) fn chain_time(seconds: i64) -> Result<ChainTime, StoreError> {
    unsigned(seconds).map(ChainTime)
}

pub(crate) fn slot(
    chain: i64,
    entry_point: &[u8],
    sender: &[u8],
    nonce: &[u8],
) -> Result<Slot, StoreError> {
    Ok(Slot {
        chain_id: ChainId(unsigned(chain)?),
        entry_point: address(entry_point)?,
        sender: address(sender)?,
        nonce: self::nonce(nonce)?,
    })
}

pub(crate) fn quote(
    micropoints_per_e18_wei: i64,
    markup_bps: i32,
    source: String,
    block_number: i64,
) -> Result<Quote, StoreError> {
    Ok(Quote {
        micropoints_per_e18_wei: unsigned(micropoints_per_e18_wei)?,
        markup: Bps(unsigned(markup_bps)?),
        source,
        block_number: unsigned(block_number)?,
    })
}

pub(crate) fn block_ref(number: i64, hash: &[u8], timestamp: i64) -> Result<BlockRef, StoreError> {
    Ok(BlockRef {
        number: unsigned(number)?,
        hash: self::hash(hash)?,
        timestamp: chain_time(timestamp)?,
    })
}

pub(crate) fn db_time(time: OffsetDateTime) -> Result<DbTime, StoreError> {
    i64::try_from(time.unix_timestamp_nanos() / 1_000)
        .map(DbTime)
        .map_err(|_| StoreError::Corrupt("time"))
}

pub(crate) fn timestamp(time: DbTime) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0).saturating_mul(1_000))
        .map_err(|_| StoreError::Corrupt("time"))
}

/// A column that the row's shape promises.
pub(crate) fn present<T>(column: Option<T>) -> Result<T, StoreError> {
    column.ok_or(StoreError::Corrupt("missing column"))
}
