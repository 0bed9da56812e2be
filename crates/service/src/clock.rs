//! The wall clock, which may refuse to sign and decides nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, by this host.
#[expect(clippy::disallowed_methods, reason = "only to refuse a head that is stale")]
pub(crate) fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
