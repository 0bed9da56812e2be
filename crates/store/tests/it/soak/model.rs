//! The naive model: a list of what happened to one account, and what can be looked up in it.
//!
//! It keeps no state and shares no code with the machines, only the words of their answers. Every balance is a sum over
//! the list from its beginning; what is owed is the one number that is carried along the list, because it is what is
//! left over where the sums do not suffice.

use domain::ReservationId;
use domain::chain_fact::Sighting;

use super::script::NONCES;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happened {
    Moved { credit: bool, amount: u64, reference: String, key: String, seq: i64 },
    Held { biz: u64, amount: u64, expires: Option<i64> },
    TurnedAway { biz: u64, amount: u64, expires: Option<i64>, available: u64 },
    Spent { biz: u64, amount: u64 },
    GivenBack { biz: u64 },
    Granted(Variant),
    Closed { nonce: u64 },
    Returned { nonce: u64 },
    Landed { nonce: u64, sighting: Sighting, wei: u64, lent: u64 },
    SeenAgain { nonce: u64, sighting: Sighting },
    Vanished { nonce: u64, sighting: Sighting },
    BecameFinal { nonce: u64 },
}

/// A variant of a slot's operation that was signed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variant {
    pub(super) nonce: u64,
    pub(super) wei: u64,
    /// Micropoints per wei; that of the attempt's first variant counts.
    pub(super) rate: u64,
    pub(super) paymaster: usize,
    pub(super) valid_until: u64,
    pub(super) reservation: ReservationId,
    pub(super) grant_no: i32,
}

impl Happened {
    const fn nonce(&self) -> Option<u64> {
        match self {
            Self::Granted(Variant { nonce, .. })
            | Self::Closed { nonce }
            | Self::Returned { nonce }
            | Self::Landed { nonce, .. }
            | Self::SeenAgain { nonce, .. }
            | Self::Vanished { nonce, .. }
            | Self::BecameFinal { nonce } => Some(*nonce),
            Self::Moved { .. }
            | Self::Held { .. }
            | Self::TurnedAway { .. }
            | Self::Spent { .. }
            | Self::GivenBack { .. } => None,
        }
    }
}

/// Some first part of everything that happened to an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    pub(super) list: &'a [Happened],
    pub(super) debt: u64,
}

/// Everything that happened to an account, and what was owed after each of it.
#[derive(Clone, Debug)]
pub(super) struct Story {
    list: Vec<Happened>,
    debts: Vec<u64>,
}

impl Story {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), debts: vec![0] }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// What was known after so many things had happened.
    pub(super) fn after(&self, count: usize) -> Past<'_> {
        Past { list: &self.list[..count], debt: self.debts[count] }
    }

    pub(super) fn now(&self) -> Past<'_> {
        self.after(self.len())
    }

    pub(super) fn push(&mut self, happened: Happened) {
        let debt = self.now().owed_after(&happened);
        self.list.push(happened);
        self.debts.push(debt);
    }

    pub(super) fn pop(&mut self) {
        self.list.pop();
        self.debts.pop();
    }
}

impl<'a> Past<'a> {
    fn owed_after(self, happened: &Happened) -> u64 {
        match happened {
            Happened::Moved { credit: true, amount, .. } => self.debt - self.debt.min(*amount),
            Happened::Landed { lent, .. } => self.debt + lent,
            Happened::Vanished { nonce, .. } => {
                let lent =
                    self.present(*nonce).into_iter().rev().find_map(|happened| match happened {
                        Happened::Landed { lent, .. } => Some(*lent),
                        _ => None,
                    });
                self.debt - self.debt.min(lent.unwrap())
            }
            _ => self.debt,
        }
    }

    /// What happened to a slot since its points were last returned.
    fn present(self, nonce: u64) -> Vec<&'a Happened> {
        let of_slot: Vec<_> = self.list.iter().filter(|it| it.nonce() == Some(nonce)).collect();
        let returned = of_slot.iter().rposition(|it| matches!(it, Happened::Returned { .. }));
        of_slot[returned.map_or(0, |at| at + 1)..].to_vec()
    }

    pub(super) fn variants(self, nonce: u64) -> Vec<&'a Variant> {
        let signed = self.present(nonce).into_iter().filter_map(|it| match it {
            Happened::Granted(variant) => Some(variant),
            _ => None,
        });
        signed.collect()
    }

    /// Every variant that was ever signed for a slot.
    pub(super) fn signed(self, nonce: u64) -> impl DoubleEndedIterator<Item = &'a Variant> {
        self.list.iter().filter_map(move |it| match it {
            Happened::Granted(variant) if variant.nonce == nonce => Some(variant),
            _ => None,
        })
    }

    /// What so many wei cost by the price of the slot's last attempt.
    pub(super) fn cost(self, nonce: u64, wei: u64) -> u64 {
        let last = self.signed(nonce).next_back().unwrap().reservation;
        wei * self.signed(nonce).find(|variant| variant.reservation == last).unwrap().rate
    }

    pub(super) fn dearest(self, nonce: u64) -> u64 {
        let costs = self.variants(nonce).into_iter().map(|variant| self.cost(nonce, variant.wei));
        costs.max().unwrap_or(0)
    }

    /// Where the slot's operation stands now, and what it cost.
    pub(super) fn standing(self, nonce: u64) -> Option<(Sighting, u64)> {
        let mut standing = None;
        for happened in self.present(nonce) {
            match *happened {
                Happened::Landed { sighting, wei, .. } => {
                    standing = Some((sighting, self.cost(nonce, wei)))
                }
                Happened::SeenAgain { sighting, .. } => {
                    standing = standing.map(|(_, cost)| (sighting, cost))
                }
                Happened::Vanished { .. } => standing = None,
                _ => {}
            }
        }
        standing
    }

    pub(super) fn is_final(self, nonce: u64) -> bool {
        self.present(nonce).iter().any(|it| matches!(it, Happened::BecameFinal { .. }))
    }

    pub(super) fn is_closed(self, nonce: u64) -> bool {
        self.present(nonce).iter().any(|it| matches!(it, Happened::Closed { .. }))
    }

    /// Whether an attempt was closed at its user's wish.
    pub(super) fn was_closed(self, reservation: ReservationId) -> bool {
        self.list.iter().any(|it| match it {
            Happened::Closed { nonce } => {
                let of_slot = self.list.iter().take_while(|other| !core::ptr::eq(*other, it));
                let last = of_slot.filter_map(|other| match other {
                    Happened::Granted(variant) if variant.nonce == *nonce => {
                        Some(variant.reservation)
                    }
                    _ => None,
                });
                last.last() == Some(reservation)
            }
            _ => false,
        })
    }

    /// Whether an attempt waits for its operation to land.
    pub(super) fn is_open(self, nonce: u64) -> bool {
        self.standing(nonce).is_none() && !self.variants(nonce).is_empty()
    }

    /// Whether a sighting of the slot's operation was taken before.
    pub(super) fn has_taken(self, nonce: u64, seen: &Sighting) -> bool {
        self.list.iter().any(|it| match it {
            Happened::Landed { nonce: slot, sighting, .. }
            | Happened::SeenAgain { nonce: slot, sighting } => (*slot, sighting) == (nonce, seen),
            _ => false,
        })
    }

    /// What the slot holds of the user's points.
    fn held(self, nonce: u64) -> u64 {
        let cost = self.standing(nonce).map_or(0, |(_, cost)| cost);
        if self.is_final(nonce) { 0 } else { self.dearest(nonce).saturating_sub(cost) }
    }

    /// What of the reserved points will return when landed operations are final.
    pub(super) fn pending(self) -> u64 {
        (0..NONCES)
            .filter(|nonce| self.standing(*nonce).is_some())
            .map(|nonce| self.held(nonce))
            .sum()
    }

    /// The first try of a biz id: amount and expiry.
    pub(super) fn terms(self, biz_id: u64) -> Option<(u64, Option<i64>)> {
        self.list.iter().find_map(|it| match it {
            Happened::Held { biz, amount, expires }
            | Happened::TurnedAway { biz, amount, expires, .. } => {
                (*biz == biz_id).then_some((*amount, *expires))
            }
            _ => None,
        })
    }

    pub(super) fn was_given_back(self, biz_id: u64) -> bool {
        self.list.iter().any(|it| matches!(it, Happened::GivenBack { biz } if *biz == biz_id))
    }

    /// What was available when the try was turned away, if it was.
    pub(super) fn turned_away_with(self, biz_id: u64) -> Option<u64> {
        self.list.iter().find_map(|it| match it {
            Happened::TurnedAway { biz, available, .. } if *biz == biz_id => Some(*available),
            _ => None,
        })
    }

    pub(super) fn spent_on(self, biz_id: u64) -> Option<u64> {
        self.list.iter().find_map(|it| match it {
            Happened::Spent { biz, amount } if *biz == biz_id => Some(*amount),
            _ => None,
        })
    }

    pub(super) fn holds(self, biz_id: u64) -> bool {
        let held = self.terms(biz_id).is_some() && self.turned_away_with(biz_id).is_none();
        held && !self.was_given_back(biz_id) && self.spent_on(biz_id).is_none()
    }

    /// The movement under a reference.
    pub(super) fn moved(self, name: &str) -> Option<&'a Happened> {
        self.list
            .iter()
            .find(|it| matches!(it, Happened::Moved { reference, .. } if reference == name))
    }

    /// The movement that a key was used for.
    pub(super) fn moved_by_key(self, used: &str) -> Option<&'a Happened> {
        self.list.iter().find(|it| matches!(it, Happened::Moved { key, .. } if key == used))
    }

    fn sum(self, amount: impl Fn(&Happened) -> u64) -> u64 {
        self.list.iter().map(amount).sum()
    }

    /// Micropoints available, reserved, spent and owed.
    pub(super) fn balances(self) -> [u64; 4] {
        let moved = |is_credit| {
            self.sum(|it| match it {
                Happened::Moved { credit, amount, .. } if *credit == is_credit => *amount,
                _ => 0,
            })
        };
        let tried = self.sum(|it| match it {
            Happened::Held { biz, amount, .. } if self.holds(*biz) => *amount,
            _ => 0,
        });
        let confirmed =
            self.sum(|it| if let Happened::Spent { amount, .. } = it { *amount } else { 0 });
        let landed: u64 =
            (0..NONCES).filter_map(|nonce| self.standing(nonce)).map(|(_, cost)| cost).sum();
        let reserved = tried + (0..NONCES).map(|nonce| self.held(nonce)).sum::<u64>();
        let spent = confirmed + landed;
        // A list that takes more than there was fails here, in words of its own.
        let available = (moved(true) + self.debt)
            .checked_sub(moved(false) + reserved + spent)
            .unwrap_or_else(|| panic!("more was taken than there was: {:?}", self.list));
        [available, reserved, spent, self.debt]
    }

    pub(super) fn available(self) -> u64 {
        self.balances()[0]
    }

    /// What a landing takes beyond what its slot holds: from what is available, and lent.
    pub(super) fn shortage(self, nonce: u64, cost: u64) -> (u64, u64) {
        let excess = cost.saturating_sub(self.held(nonce));
        let from_available = excess.min(self.available());
        (from_available, excess - from_available)
    }
}
