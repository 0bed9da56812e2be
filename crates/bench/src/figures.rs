//! What was measured, in whole numbers: a float is nowhere added or multiplied.

use core::fmt;
use core::time::Duration;

use serde::{Serialize, Serializer};

/// A number with three decimal places, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thousandths(pub(crate) u64);

impl Thousandths {
    /// `numerator / denominator`, rounded down; 0 where there is nothing to divide by.
    pub(crate) fn ratio(numerator: u64, denominator: u64) -> Self {
        let thousandths = (u128::from(numerator) * 1_000).checked_div(denominator.into());
        Self(thousandths.and_then(|found| u64::try_from(found).ok()).unwrap_or_default())
    }
}

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000))
    }
}

impl Serialize for Thousandths {
    /// As a JSON number: the text is read as one, so that nothing is computed in binary fractions.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number: f64 = self.to_string().parse().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

/// What one measurement found. An operation is a reserve, or a reserve with its confirm.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Newly applied operations per second.
    pub(crate) per_second: u64,
    /// Half of the operations took this many microseconds or less.
    pub(crate) p50_micros: u64,
    /// 99 of 100 operations took this many microseconds or less.
    pub(crate) p99_micros: u64,
    /// CPU time of all of PostgreSQL's processes per operation, in nanoseconds.
    pub(crate) cpu_nanos: u64,
    /// Write-ahead log per operation, in bytes.
    pub(crate) wal_bytes: u64,
    /// Growth of the database per operation, in bytes.
    pub(crate) disk_bytes: u64,
    /// How many operations the figures are of.
    pub(crate) operations: u64,
    /// How many were answered otherwise: refused, or unknown. They count nowhere else.
    pub(crate) not_applied: u64,
}

impl Figures {
    /// The median of each figure by itself; of counts the sum.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let median = |pick: fn(&Self) -> u64| {
            let mut values: Vec<u64> = rounds.iter().map(pick).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Self {
            per_second: median(|round| round.per_second),
            p50_micros: median(|round| round.p50_micros),
            p99_micros: median(|round| round.p99_micros),
            cpu_nanos: median(|round| round.cpu_nanos),
            wal_bytes: median(|round| round.wal_bytes),
            disk_bytes: median(|round| round.disk_bytes),
            operations: rounds.iter().map(|round| round.operations).sum(),
            not_applied: rounds.iter().map(|round| round.not_applied).sum(),
        }
    }
}

/// How many happened per second.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> u64 {
    let rate = (u128::from(count) * 1_000_000_000).checked_div(elapsed.as_nanos());
    rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or_default()
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The value that so many of 100 of the sorted values do not exceed.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (100, 198));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (7, 7));
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_ratio_shows_three_places() {
        assert_eq!(Thousandths::ratio(9, 5).to_string(), "1.800");
        assert_eq!(Thousandths::ratio(1, 3).to_string(), "0.333");
        assert_eq!(Thousandths::ratio(1, 0).to_string(), "0.000");
        assert_eq!(serde_json::to_string(&Thousandths(12_034)).unwrap(), "12.034");
    }

    #[test]
    fn the_median_is_taken_of_each_figure_by_itself() {
        let round =
            |per_second, p50_micros| Figures { per_second, p50_micros, ..Figures::default() };
        let median = Figures::median(&[round(10, 7), round(30, 9), round(20, 8)]);
        assert_eq!((median.per_second, median.p50_micros), (20, 8));
    }
}
