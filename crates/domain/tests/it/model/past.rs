//! What happened to an account and its slots, and what can be looked up in it.

use domain::chain_fact::Sighting;

/// How many slots the sequences use.
pub(super) const SLOTS: u8 = 2;

/// Micropoints per 10¹⁸ wei and markup: a whole one, and one that has to be rounded.
pub(super) const PRICES: [(u64, u32); 2] =
    [(1_000_000_000_000_000_000, 0), (1_500_000_000_000_000_000, 333)];

#[derive(Clone, Copy, Debug)]
pub(super) enum Happened {
    Credited(u64),
    Debited(u64),
    Granted { nonce: u8, name: u8, wei: u64, price: usize, valid_until: u64 },
    Closed { nonce: u8 },
    Landed { nonce: u8, sighting: Sighting, wei: u64 },
    SeenAgain { nonce: u8, sighting: Sighting },
    Vanished { nonce: u8 },
    BecameFinal { nonce: u8 },
    Returned { nonce: u8 },
}

const fn nonce_of(happened: &Happened) -> Option<u8> {
    match *happened {
        Happened::Credited(_) | Happened::Debited(_) => None,
        Happened::Granted { nonce, .. }
        | Happened::Closed { nonce }
        | Happened::Landed { nonce, .. }
        | Happened::SeenAgain { nonce, .. }
        | Happened::Vanished { nonce }
        | Happened::BecameFinal { nonce }
        | Happened::Returned { nonce } => Some(nonce),
    }
}

/// A variant that was signed: its name, what it can cost in micropoints and the end of its window.
pub(super) struct Variant {
    pub(super) name: u8,
    pub(super) cost: u64,
    pub(super) valid_until: u64,
}

/// Some first part of everything that happened to an account.
#[derive(Clone, Copy)]
pub(super) struct Past<'a>(pub(super) &'a [Happened]);

impl<'a> Past<'a> {
    /// What happened to a slot, cut where its points were returned; the last part is the present.
    pub(super) fn attempts(self, nonce: u8) -> Vec<Vec<&'a Happened>> {
        let mut attempts = vec![Vec::new()];
        for happened in self.0.iter().filter(|it| nonce_of(it) == Some(nonce)) {
            if matches!(happened, Happened::Returned { .. }) {
                attempts.push(Vec::new());
            } else {
                attempts.last_mut().unwrap().push(happened);
            }
        }
        attempts
    }

    pub(super) fn present(self, nonce: u8) -> Vec<&'a Happened> {
        self.attempts(nonce).pop().unwrap()
    }

    pub(super) fn knows(self, nonce: u8) -> bool {
        self.0.iter().any(|it| nonce_of(it) == Some(nonce))
    }

    /// The price of the last attempt that had one.
    pub(super) fn cost(self, nonce: u8, wei: u64) -> u64 {
        let price = self.attempts(nonce).iter().rev().find_map(|attempt| {
            attempt.iter().find_map(|it| match it {
                Happened::Granted { price, .. } => Some(*price),
                _ => None,
            })
        });
        price_of(wei, price.unwrap())
    }

    /// The variants that the slot's present attempt has signed.
    pub(super) fn variants(self, nonce: u8) -> Vec<Variant> {
        let signed = self.present(nonce).into_iter().filter_map(|it| match *it {
            Happened::Granted { name, wei, valid_until, .. } => {
                Some(Variant { name, cost: self.cost(nonce, wei), valid_until })
            }
            _ => None,
        });
        signed.collect()
    }

    pub(super) fn dearest(self, nonce: u8) -> u64 {
        self.variants(nonce).iter().map(|variant| variant.cost).max().unwrap_or(0)
    }

    /// Where the slot's operation stands now, and what it cost.
    pub(super) fn standing(self, nonce: u8) -> Option<(Sighting, u64)> {
        let mut standing = None;
        for happened in self.present(nonce) {
            match *happened {
                Happened::Landed { sighting, wei, .. } => {
                    standing = Some((sighting, self.cost(nonce, wei)));
                }
                Happened::SeenAgain { sighting, .. } => {
                    standing = standing.map(|(_, cost)| (sighting, cost));
                }
                Happened::Vanished { .. } => standing = None,
                _ => {}
            }
        }
        standing
    }

    pub(super) fn is_final(self, nonce: u8) -> bool {
        self.present(nonce).iter().any(|it| matches!(it, Happened::BecameFinal { .. }))
    }

    pub(super) fn is_closed(self, nonce: u8) -> bool {
        self.present(nonce).iter().any(|it| matches!(it, Happened::Closed { .. }))
    }

    /// What the slot holds of the user's points.
    pub(super) fn held(self, nonce: u8) -> u64 {
        let cost = self.standing(nonce).map_or(0, |(_, cost)| cost);
        if self.is_final(nonce) { 0 } else { self.dearest(nonce).saturating_sub(cost) }
    }

    pub(super) fn over_slots(self, amount: impl Fn(u8) -> u64) -> u64 {
        (0..SLOTS).map(amount).sum()
    }

    pub(super) fn reserved(self) -> u64 {
        self.over_slots(|nonce| self.held(nonce))
    }

    pub(super) fn spent(self) -> u64 {
        self.over_slots(|nonce| self.standing(nonce).map_or(0, |(_, cost)| cost))
    }

    /// What is left, given what was lent.
    pub(super) fn available(self, debt: u64) -> u64 {
        let (mut credited, mut debited) = (0, 0);
        for happened in self.0 {
            match happened {
                Happened::Credited(amount) => credited += amount,
                Happened::Debited(amount) => debited += amount,
                _ => {}
            }
        }
        credited + debt - debited - self.reserved() - self.spent()
    }

    /// What a landing takes beyond what its slot holds: from what is available, and lent.
    pub(super) fn shortage(self, nonce: u8, cost: u64, debt: u64) -> (u64, u64) {
        let excess = cost.saturating_sub(self.held(nonce));
        let from_available = excess.min(self.available(debt));
        (from_available, excess - from_available)
    }

    /// What the user owes: loans less repayments, with loans of vanished blocks forgiven.
    pub(super) fn debt(self) -> u64 {
        let mut debt = 0;
        let mut lent = [0; SLOTS as usize];
        for (index, happened) in self.0.iter().enumerate() {
            let before = Past(&self.0[..index]);
            match *happened {
                Happened::Credited(amount) => debt -= amount.min(debt),
                Happened::Landed { nonce, wei, .. } => {
                    let (_, loan) = before.shortage(nonce, before.cost(nonce, wei), debt);
                    lent[usize::from(nonce)] = loan;
                    debt += loan;
                }
                Happened::Vanished { nonce } => debt -= lent[usize::from(nonce)].min(debt),
                _ => {}
            }
        }
        debt
    }
}

pub(super) fn price_of(wei: u64, price: usize) -> u64 {
    let (rate, markup) = PRICES[price];
    let exact = u128::from(wei) * u128::from(rate) * u128::from(10_000 + markup);
    u64::try_from(exact.div_ceil(10_000_000_000_000_000_000_000)).unwrap()
}
