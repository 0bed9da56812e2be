//! Points: an exact decimal with six places, held as an integer of micropoints.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative amount of points, in micropoints (10⁻⁶ points), at most [`Points::MAX`].
///
/// On the wire it is a decimal string such as `"12.5"`; a JSON number is refused, because many
/// JSON readers turn it into a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Points(u64);

/// How many micropoints one point has.
const MICROPOINTS: u64 = 1_000_000;
const PLACES: usize = 6;

/// A text that is not an amount of points.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePointsError {
    /// Not of the form `digits` or `digits.digits`.
    #[error("an amount is a decimal string such as \"12.5\", without sign, exponent or spaces")]
    Syntax,
    /// More than six places, which rounding would silently change.
    #[error("an amount has at most 6 decimal places")]
    TooPrecise,
    /// Above [`Points::MAX`].
    #[error("an amount is at most {}", Points::MAX)]
    TooLarge,
}

impl Points {
    /// No points.
    pub const ZERO: Self = Self(0);
    /// The largest amount: 2⁶³ − 1 micropoints, what the database's signed integer can hold.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());

    /// An amount from micropoints; `None` above [`Points::MAX`].
    #[must_use]
    pub const fn from_micropoints(micropoints: u64) -> Option<Self> {
        if micropoints > Self::MAX.0 { None } else { Some(Self(micropoints)) }
    }

    /// The amount in micropoints.
    #[must_use]
    pub const fn micropoints(self) -> u64 {
        self.0
    }

    /// Whether this is no points at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above [`Points::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Self::from_micropoints(sum),
            None => None,
        }
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / MICROPOINTS, self.0 % MICROPOINTS);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Points {
    type Err = ParsePointsError;

    fn from_str(text: &str) -> Result<Self, ParsePointsError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(ParsePointsError::Syntax),
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(ParsePointsError::Syntax);
        }
        if fraction.len() > PLACES {
            return Err(ParsePointsError::TooPrecise);
        }
        let whole: u64 = whole.parse().map_err(|_| ParsePointsError::TooLarge)?;
        let fraction: u64 =
            format!("{fraction:0<PLACES$}").parse().map_err(|_| ParsePointsError::Syntax)?;
        whole
            .checked_mul(MICROPOINTS)
            .and_then(|micropoints| micropoints.checked_add(fraction))
            .and_then(Self::from_micropoints)
            .ok_or(ParsePointsError::TooLarge)
    }
}

impl Serialize for Points {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Points {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
