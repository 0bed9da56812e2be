//! What gas costs in points.

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};

use crate::{Points, Wei};

/// Basis points: 10 000 are the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bps(pub u32);

/// The whole, in basis points.
pub const WHOLE_BPS: u32 = 10_000;

/// The price of gas as an integer fraction, fixed when a reservation opens and inherited by its
/// fee bumps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Micropoints per 10¹⁸ wei, at least 1, below 2⁶³.
    pub micropoints_per_e18_wei: u64,
    /// What the company adds to the price.
    pub markup: Bps,
    /// Where the price came from, for people: `fixed`, a feed's address, a URL.
    pub source: String,
    /// The block at which the price was read.
    pub block_number: u64,
}

/// A cost that cannot be written as points.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wei} wei costs more than {} points", Points::MAX)]
pub struct CostOutOfRange {
    /// What was to be priced, in wei.
    pub wei: Wei,
}

impl Quote {
    /// What `wei` costs in points: the exact fraction, rounded up to a whole micropoint in the
    /// house's favour.
    ///
    /// # Errors
    /// When the cost is above [`Points::MAX`].
    pub fn cost(&self, wei: Wei) -> Result<Points, CostOutOfRange> {
        let out_of_range = || CostOutOfRange { wei };
        let whole = u64::from(WHOLE_BPS);
        let rate = U256::from(self.micropoints_per_e18_wei)
            * U256::from(whole.saturating_add(u64::from(self.markup.0)));
        let denominator = U256::from(1_000_000_000_000_000_000_u64) * U256::from(whole);
        let numerator = wei.0.checked_mul(rate).ok_or_else(out_of_range)?;
        let micropoints = numerator.div_ceil(denominator);
        u64::try_from(micropoints).ok().and_then(Points::from_micropoints).ok_or_else(out_of_range)
    }
}
