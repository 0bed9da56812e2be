//! Ether on the command line: exact, and shown in both units.

use core::fmt;
use core::str::FromStr;

use alloy_primitives::U256;

/// The decimal places of one ether in wei.
const ETHER_PLACES: usize = 18;
/// The decimal places of one gwei in wei.
const GWEI_PLACES: usize = 9;

/// An amount of the chain's currency in wei. Read as `0.5ether`, `100gwei` or `5wei`, never without a unit; shown in
/// ether and in wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amount(pub(crate) U256);

/// The text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAnAmount {
    /// A number alone does not say what it counts.
    #[error("an amount needs a unit: 0.5ether, 100gwei or 5wei")]
    NoUnit,
    /// The number is not written in digits.
    #[error("an amount is digits, with or without a point, and a unit: 0.5ether, 100gwei or 5wei")]
    NoNumber,
    /// There are more places than a wei has.
    #[error("an amount cannot be finer than one wei: {0} decimal places at most with this unit")]
    TooFine(usize),
    /// It does not fit into 256 bits.
    #[error("the amount is larger than any chain can hold")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let places = match unit.trim_start() {
            "ether" => ETHER_PLACES,
            "gwei" => GWEI_PLACES,
            "wei" => 0,
            "" => return Err(NotAnAmount::NoUnit),
            _ => return Err(NotAnAmount::NoNumber),
        };
        let (whole, fraction) = match number.split_once('.') {
            Some((_, "")) => return Err(NotAnAmount::NoNumber),
            Some((whole, fraction)) => (whole, fraction),
            None => (number, ""),
        };
        if whole.is_empty() || fraction.contains('.') {
            return Err(NotAnAmount::NoNumber);
        }
        if fraction.len() > places {
            return Err(NotAnAmount::TooFine(places));
        }
        let digits = format!("{whole}{fraction:0<places$}");
        U256::from_str_radix(&digits, 10).map(Self).map_err(|_| NotAnAmount::TooLarge)
    }
}

impl Amount {
    /// The ether alone, without the wei: `0.5`.
    pub(crate) fn in_ether(self) -> String {
        self.with_places(ETHER_PLACES)
    }

    fn with_places(self, places: usize) -> String {
        let digits = self.0.to_string();
        let padded = format!("{digits:0>width$}", width = places.saturating_add(1));
        let (whole, fraction) = padded.split_at(padded.len().saturating_sub(places));
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ether ({} wei)", self.in_ether(), self.0)
    }
}

/// A price per gas, shown in gwei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerGas(pub(crate) u128);

impl fmt::Display for PerGas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gwei", Amount(U256::from(self.0)).with_places(GWEI_PLACES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wei(text: &str) -> U256 {
        text.parse::<Amount>().unwrap().0
    }

    #[test]
    fn an_amount_is_exact_in_every_unit() {
        assert_eq!(wei("0.5ether"), U256::from(500_000_000_000_000_000_u64));
        assert_eq!(wei("100gwei"), U256::from(100_000_000_000_u64));
        assert_eq!(wei("1.000000001 gwei"), U256::from(1_000_000_001_u64));
        assert_eq!(wei("5wei"), U256::from(5));
        assert_eq!(wei("0.000000000000000001ether"), U256::from(1));
        assert_eq!(wei("0ether"), U256::ZERO);
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_reason() {
        for (text, reason) in [
            ("5", NotAnAmount::NoUnit),
            ("", NotAnAmount::NoUnit),
            ("ether", NotAnAmount::NoNumber),
            (".5ether", NotAnAmount::NoNumber),
            ("5.ether", NotAnAmount::NoNumber),
            ("1.2.3ether", NotAnAmount::NoNumber),
            ("-1ether", NotAnAmount::NoNumber),
            ("1e18wei", NotAnAmount::NoNumber),
            ("1Ether", NotAnAmount::NoNumber),
            ("1,5ether", NotAnAmount::NoNumber),
            ("0.5wei", NotAnAmount::TooFine(0)),
            ("0.0000000001gwei", NotAnAmount::TooFine(9)),
        ] {
            assert_eq!(text.parse::<Amount>(), Err(reason), "{text}");
        }
        let large = format!("{}ether", "9".repeat(70));
        assert_eq!(large.parse::<Amount>(), Err(NotAnAmount::TooLarge));
    }

    #[test]
    fn an_amount_is_shown_in_both_units() {
        let shown = |text: &str| text.parse::<Amount>().unwrap().to_string();
        assert_eq!(shown("0.5ether"), "0.5 ether (500000000000000000 wei)");
        assert_eq!(shown("12ether"), "12 ether (12000000000000000000 wei)");
        assert_eq!(shown("1wei"), "0.000000000000000001 ether (1 wei)");
        assert_eq!(shown("0wei"), "0 ether (0 wei)");
        assert_eq!(PerGas(1_500_000_000).to_string(), "1.5 gwei");
        assert_eq!(PerGas(7).to_string(), "0.000000007 gwei");
    }
}
