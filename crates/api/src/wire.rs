//! How single values look in our own JSON.

use core::fmt;

use alloy_primitives::Address;
use domain::ChainId;
use domain::ledger::tcc::DbTime;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An address with its checksum ([ERC-55](https://eips.ethereum.org/EIPS/eip-55)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex20(pub(crate) Address);

impl Serialize for Hex20 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_checksum(None))
    }
}

/// A quantity in minimal hex, as Ethereum JSON-RPC writes it.
pub(crate) fn quantity(value: impl fmt::LowerHex) -> String {
    format!("{value:#x}")
}

/// Database time in UTC ([RFC 3339](https://www.rfc-editor.org/rfc/rfc3339)), to the microsecond.
pub(crate) fn timestamp(at: DbTime) -> String {
    let nanos = i128::from(at.0).saturating_mul(1_000);
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Reads a time of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) with any offset. Up to the next whole microsecond:
/// nothing is recorded between two, so that "at or after" and "before" mean the same as for the time itself.
pub(crate) fn parse_timestamp(text: &str) -> Option<DbTime> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    let micros = nanos.checked_add(999)?.div_euclid(1_000);
    // An offset may lead out of the years that can be kept.
    OffsetDateTime::from_unix_timestamp_nanos(micros.checked_mul(1_000)?).ok()?;
    i64::try_from(micros).ok().map(DbTime)
}

/// The same, down to the last whole microsecond: "at or before" means the same as for the time itself.
pub(crate) fn parse_timestamp_down(text: &str) -> Option<DbTime> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1_000)).ok().map(DbTime)
}

/// `0x` and 40 hex digits of any case.
pub(crate) fn address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40)?;
    digits.parse().ok()
}

/// A chain id in decimal.
pub(crate) fn chain_id(text: &str) -> Option<ChainId> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).and_then(servable)
}

/// Chain ids from 2⁶³ on are not kept.
pub(crate) fn servable(id: u64) -> Option<ChainId> {
    i64::try_from(id).is_ok().then_some(ChainId(id))
}
