//! What an account's lots and the legs of its reservations must hold, by its lines alone: pure, and
//! apart from the rules by which they are decided.

use core::fmt;
use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::lot_rows::{LegRow, LotRow};
use super::rows::EntryRow;

/// How many reservations with legs are remembered. Above it those of the account are not compared, so
/// that memory stays bounded.
const MAX_TRACKED: usize = 1_000_000;

/// Which points: bucket and expiry, as rows have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LotKey(pub(super) String, pub(super) Option<OffsetDateTime>);

impl fmt::Display for LotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)?;
        match self.1.and_then(|expires_at| expires_at.format(&Rfc3339).ok()) {
            Some(expires_at) => write!(f, " until {expires_at}"),
            None => Ok(()),
        }
    }
}

/// What a leg must say, in micropoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LegSums {
    reserved: i128,
    settled: i128,
    returned: i128,
    taken: i128,
}

impl LegSums {
    fn fields(self) -> [(&'static str, i128); 4] {
        [
            ("reserved by a leg", self.reserved),
            ("settled by a leg", self.settled),
            ("returned by a leg", self.returned),
            ("taken by a leg", self.taken),
        ]
    }
}

/// A leg on the way through the lines.
#[derive(Clone, Copy, Debug, Default)]
struct Leg {
    sums: LegSums,
    is_shown: bool,
    /// Whether it began after the walk, so that its row may have been passed over.
    is_late: bool,
}

/// A row, or the lack of one, that does not say what the lines say.
pub(super) struct Differing {
    pub(super) lot: LotKey,
    pub(super) reservation: Option<Uuid>,
    pub(super) field: &'static str,
    pub(super) expected: i128,
    pub(super) found: i128,
}

/// Everything that the lines say of lots.
#[derive(Debug, Default)]
pub(super) struct LotSums {
    available: BTreeMap<LotKey, i128>,
    legs: HashMap<Uuid, BTreeMap<LotKey, Leg>>,
    has_too_many_legs: bool,
    is_past_the_walk: bool,
}

impl LotSums {
    /// The next line.
    pub(super) fn line(&mut self, row: &EntryRow) {
        let key = row.bucket.as_ref().map(|name| LotKey(name.clone(), row.bucket_expires_at));
        let amount = i128::from(row.amount_micropoints);
        let (from, to) = (row.from_column.as_str(), row.to_column.as_str());
        if let Some(key) = key.clone() {
            let available = self.available.entry(key).or_default();
            *available += if to == "available" { amount } else { 0 };
            *available -= if from == "available" { amount } else { 0 };
        }
        let Some(reservation) = row.reservation_id.filter(|_| !self.has_too_many_legs) else {
            return;
        };
        if let (Some(key), true) = (key, is_of_a_leg(from, to)) {
            let is_late = self.is_past_the_walk;
            let legs = self.legs.entry(reservation).or_default();
            let leg = legs.entry(key).or_insert(Leg { is_late, ..Leg::default() });
            match (from, to) {
                ("available", "reserved") => leg.sums.reserved += amount,
                ("available", _) => leg.sums.taken += amount,
                ("reserved", _) => leg.sums.settled += amount,
                _ => leg.sums.settled -= amount,
            }
            if self.legs.len() > MAX_TRACKED {
                self.legs = HashMap::new();
                self.has_too_many_legs = true;
            }
        }
        // What gives back gives everything back, be it to its lot or, where that has expired, elsewhere.
        for leg in self.legs.get_mut(&reservation).into_iter().flat_map(BTreeMap::values_mut) {
            match (from, to) {
                ("reserved", "available") => {
                    leg.sums.returned = leg.sums.reserved - leg.sums.settled;
                }
                ("spent", "available") => leg.sums.taken = 0,
                _ => {}
            }
        }
    }

    /// What follows are lines that came while rows were read.
    pub(super) const fn end_of_walk(&mut self) {
        self.is_past_the_walk = true;
    }

    /// All lots of the account, held against the lines.
    pub(super) fn lots(&self, rows: &[LotRow]) -> Result<(), Differing> {
        let mut expected = self.available.clone();
        for row in rows {
            let lot = LotKey(row.bucket.clone(), row.expires_at);
            let (expected, found) =
                (expected.remove(&lot).unwrap_or_default(), i128::from(row.available));
            if expected != found {
                let (reservation, field) = (None, "available of a bucket");
                return Err(Differing { lot, reservation, field, expected, found });
            }
        }
        match expected.into_iter().find(|(_, available)| *available != 0) {
            Some((lot, expected)) => {
                let (reservation, field) = (None, "available of a bucket");
                Err(Differing { lot, reservation, field, expected, found: 0 })
            }
            None => Ok(()),
        }
    }

    /// One leg, held against the lines.
    pub(super) fn leg(&mut self, row: &LegRow) -> Result<(), Differing> {
        if self.has_too_many_legs {
            return Ok(());
        }
        let lot = LotKey(row.bucket.clone(), row.expires_at);
        let known = self.legs.get_mut(&row.reservation_id).and_then(|legs| legs.get_mut(&lot));
        let expected = known.map_or(LegSums::default(), |leg| {
            leg.is_shown = true;
            leg.sums
        });
        let found = LegSums {
            reserved: row.reserved.into(),
            settled: row.settled.into(),
            returned: row.returned.into(),
            taken: row.taken.into(),
        };
        differing(row.reservation_id, &lot, expected, found)
    }

    /// Whether the legs that were shown are all.
    pub(super) fn legs_end(&self) -> Result<(), Differing> {
        for (reservation, legs) in &self.legs {
            for (lot, leg) in legs.iter().filter(|(_, leg)| !leg.is_shown && !leg.is_late) {
                differing(*reservation, lot, leg.sums, LegSums::default())?;
            }
        }
        Ok(())
    }
}

/// Whether a line between these columns is a leg's; the others of a reservation follow from them.
fn is_of_a_leg(from: &str, to: &str) -> bool {
    matches!(
        (from, to),
        ("available", "reserved" | "spent") | ("reserved", "spent") | ("spent", "reserved")
    )
}

fn differing(
    reservation: Uuid,
    lot: &LotKey,
    expected: LegSums,
    found: LegSums,
) -> Result<(), Differing> {
    for ((field, expected), (_, found)) in expected.fields().into_iter().zip(found.fields()) {
        if expected != found {
            let (lot, reservation) = (lot.clone(), Some(reservation));
            return Err(Differing { lot, reservation, field, expected, found });
        }
    }
    Ok(())
}
