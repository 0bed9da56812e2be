//! How long a sponsorship is valid.

use erc4337::sponsorship::TIME_LIMIT;

use crate::chain_fact::ChainTime;

/// The longest validity that may be configured, in seconds. Points stay reserved at least as long.
pub const MAX_VALIDITY_SECONDS: u32 = 3_600;
/// A repeat is answered with the same grant while at least this much of its window remains, in
/// seconds of chain time; bundlers want up to 30 s of it when they receive the operation.
pub const MIN_REMAINING_SECONDS: u64 = 60;
/// The shortest validity that may be configured, in seconds: a repeat within the first minute must
/// still find enough of the window left.
pub const MIN_VALIDITY_SECONDS: u32 = 120;

/// A validity that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window that ends at {ends_at} cannot be signed")]
pub struct UnsignableWindow {
    ends_at: u64,
}

/// The end of the window that opens at the chain's head: `head + validity`. The start is always 0,
/// because simulation runs at the latest block's time, which lags the wall clock.
///
/// # Errors
/// When the end is zero (which means for ever) or reaches [`TIME_LIMIT`].
pub const fn valid_until(
    head: ChainTime,
    validity_seconds: u32,
) -> Result<ChainTime, UnsignableWindow> {
    let ends_at = head.0.saturating_add(validity_seconds as u64);
    if ends_at == 0 || ends_at >= TIME_LIMIT {
        return Err(UnsignableWindow { ends_at });
    }
    Ok(ChainTime(ends_at))
}

/// Whether a grant has enough of its window left to be handed out again at chain time `head`.
#[must_use]
pub const fn is_reusable(valid_until: ChainTime, head: ChainTime) -> bool {
    valid_until.0 >= head.0.saturating_add(MIN_REMAINING_SECONDS)
}

/// Whether no block from `at` on can include an operation that is valid until `valid_until`: block
/// timestamps never fall, and the EntryPoint accepts `timestamp <= validUntil`.
#[must_use]
pub const fn is_past(valid_until: ChainTime, at: ChainTime) -> bool {
    at.0 > valid_until.0
}
