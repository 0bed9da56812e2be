//! Lots against a model of single points: each point is a thing of its own that lies somewhere and
//! remembers where it comes from. The model knows no legs and no sums.

use std::collections::BTreeMap;

use domain::chain_fact::ChainFact;
use domain::ledger::buckets::{BucketRefusal, ExpiredRefund, Leg, LotNo};
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::{CancelOutcome, FactOutcome, GrantOutcome};
use domain::ledger::tcc::{DbTime, TccCommand, TccOutcome};
use proptest::prelude::*;

use super::{CASES, COMMANDS};
use crate::buckets::{Holder, Key, lot};
use crate::fixtures::{confirm_of, landing, seen, slot, try_for, wei};

const BUCKETS: [&str; 3] = ["gift", "gold", "tier"];
const SLOTS: u8 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Credit { bucket: Option<u8>, expires_in: Option<i64>, amount: u64 },
    Debit { amount: u64 },
    Try { name: u8, amount: u64 },
    Confirm { name: u8, amount: u64 },
    Cancel { name: u8 },
    Grant { nonce: u8, max_cost: u64 },
    Land { nonce: u8, cost: u64 },
    Undo { nonce: u8 },
    Finalise { nonce: u8 },
    Release { nonce: u8 },
    Wait { time: i64 },
    Sweep,
    Rule { forfeit: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let amount = 1_u64..30;
    let expires_in = prop::option::of(1_i64..6);
    let (name, nonce) = (0_u8..3, 0..SLOTS);
    prop_oneof![
        4 => (prop::option::of(0_u8..3), expires_in, amount.clone()).prop_map(
            |(bucket, expires_in, amount)| Step::Credit { bucket, expires_in, amount }
        ),
        1 => amount.clone().prop_map(|amount| Step::Debit { amount }),
        2 => (name.clone(), amount.clone()).prop_map(|(name, amount)| Step::Try { name, amount }),
        1 => (name.clone(), amount.clone()).prop_map(|(name, amount)| Step::Confirm { name, amount }),
        1 => name.prop_map(|name| Step::Cancel { name }),
        4 => (nonce.clone(), amount.clone()).prop_map(|(nonce, max_cost)| Step::Grant { nonce, max_cost }),
        3 => (nonce.clone(), 1_u64..60).prop_map(|(nonce, cost)| Step::Land { nonce, cost }),
        2 => nonce.clone().prop_map(|nonce| Step::Undo { nonce }),
        1 => nonce.clone().prop_map(|nonce| Step::Finalise { nonce }),
        2 => nonce.prop_map(|nonce| Step::Release { nonce }),
        2 => (1_i64..4).prop_map(|time| Step::Wait { time }),
        1 => Just(Step::Sweep),
        1 => any::<bool>().prop_map(|forfeit| Step::Rule { forfeit }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Available,
    Held(Key),
    Settled(Key),
    Taken(Key),
    Gone,
}

/// One micropoint. Its lot is the place of the lot in the order of their making.
#[derive(Clone, Copy, Debug)]
struct Point {
    lot: Option<usize>,
    place: Place,
}

#[derive(Default)]
struct Model {
    points: Vec<Point>,
    /// Bucket, expiry, and whether it was swept, by age.
    lots: Vec<(u8, Option<i64>, bool)>,
    debt: u64,
    lent: BTreeMap<Key, u64>,
    forfeits: bool,
}

impl Model {
    /// Places of points that lie somewhere, in the order in which they are spent.
    fn at(&self, place: Place) -> Vec<usize> {
        let mut found: Vec<usize> =
            (0..self.points.len()).filter(|index| self.points[*index].place == place).collect();
        found.sort_by_key(|index| match self.points[*index].lot {
            None => (2, 0, 0),
            Some(age) => match self.lots[age].1 {
                Some(expires_at) => (0, expires_at, age),
                None => (1, 0, age),
            },
        });
        found
    }

    fn count(&self, place: Place, lot: Option<usize>) -> u64 {
        let here = self.points.iter().filter(|point| point.place == place && point.lot == lot);
        u64::try_from(here.count()).unwrap()
    }

    /// Moves as many of the first as there are; how many there were.
    fn carry(&mut self, from: Place, to: Place, most: u64) -> u64 {
        let moved: Vec<_> =
            self.at(from).into_iter().take(usize::try_from(most).unwrap()).collect();
        moved.iter().for_each(|index| self.points[*index].place = to);
        u64::try_from(moved.len()).unwrap()
    }

    /// Everything there comes back.
    fn come_back(&mut self, from: Place, now: i64) {
        for index in self.at(from) {
            let point = &mut self.points[index];
            point.place = Place::Available;
            let Some(age) = point.lot else { continue };
            let (_, expires_at, is_swept) = self.lots[age];
            if is_swept || expires_at.is_some_and(|at| at <= now) {
                if self.forfeits {
                    point.place = Place::Gone;
                } else {
                    point.lot = None;
                }
            }
        }
    }

    fn make(&mut self, lot: Option<usize>, amount: u64) {
        let point = Point { lot, place: Place::Available };
        self.points.extend((0..amount).map(|_| point));
    }

    fn credit(&mut self, bucket: Option<(u8, Option<i64>)>, amount: u64) {
        let lot = bucket.map(|(bucket, expires_at)| {
            let same = |lot: &(u8, Option<i64>, bool)| (lot.0, lot.1) == (bucket, expires_at);
            self.lots.iter().position(same).unwrap_or_else(|| {
                self.lots.push((bucket, expires_at, false));
                self.lots.len() - 1
            })
        });
        let repaid = amount.min(self.debt);
        self.debt -= repaid;
        self.make(lot, amount - repaid);
    }

    fn land(&mut self, key: Key, cost: u64) {
        let settled = self.carry(Place::Held(key), Place::Settled(key), cost);
        let taken = self.carry(Place::Available, Place::Taken(key), cost - settled);
        self.lent.insert(key, cost - settled - taken);
        self.debt += cost - settled - taken;
    }

    fn vanish(&mut self, key: Key, now: i64) {
        self.carry(Place::Settled(key), Place::Held(key), u64::MAX >> 1);
        self.come_back(Place::Taken(key), now);
        let lent = self.lent.remove(&key).unwrap();
        let owed = lent.min(self.debt);
        self.debt -= owed;
        self.make(None, lent - owed);
    }

    fn sweep(&mut self, now: i64) {
        for age in 0..self.lots.len() {
            if self.lots[age].1.is_some_and(|at| at <= now) {
                self.lots[age].2 = true;
                for point in &mut self.points {
                    if (point.lot, point.place) == (Some(age), Place::Available) {
                        point.place = Place::Gone;
                    }
                }
            }
        }
    }
}

/// Both, and what landed last in each slot.
struct Both {
    holder: Holder,
    model: Model,
    facts: BTreeMap<u8, ChainFact>,
    blocks: u8,
}

impl Both {
    fn step(&mut self, step: Step) {
        let now = self.holder.now.0;
        let (holder, model) = (&mut self.holder, &mut self.model);
        match step {
            Step::Credit { bucket, expires_in, amount } => {
                let named = bucket.map(|bucket| (bucket, expires_in.map(|time| now + time - 2)));
                let lot = named.map(|(bucket, at)| lot(BUCKETS[usize::from(bucket)], at));
                let outcome = holder.credit(lot.as_ref(), amount);
                if named.is_some_and(|(_, at)| at.is_some_and(|at| at <= now)) {
                    assert_eq!(outcome, Err(FundsRefusal::Bucket(BucketRefusal::Expired)));
                } else {
                    outcome.unwrap();
                    model.credit(named, amount);
                }
            }
            Step::Debit { amount } => {
                if holder.debit(amount).is_ok() {
                    assert_eq!(model.carry(Place::Available, Place::Gone, amount), amount);
                }
            }
            Step::Try { name, amount } => {
                if holder.tcc(name, &try_for(amount)) == TccOutcome::Applied {
                    let held = Place::Held(Key::Biz(name));
                    assert_eq!(model.carry(Place::Available, held, amount), amount);
                }
            }
            Step::Confirm { name, amount } => {
                if holder.tcc(name, &confirm_of(amount)) == TccOutcome::Applied {
                    let (held, key) = (Place::Held(Key::Biz(name)), Key::Biz(name));
                    assert_eq!(model.carry(held, Place::Settled(key), amount), amount);
                    model.come_back(held, now);
                }
            }
            Step::Cancel { name } => {
                if holder.tcc(name, &TccCommand::Cancel) == TccOutcome::Applied {
                    model.come_back(Place::Held(Key::Biz(name)), now);
                }
            }
            Step::Grant { .. }
            | Step::Land { .. }
            | Step::Undo { .. }
            | Step::Finalise { .. }
            | Step::Release { .. } => self.operation(step),
            Step::Wait { time } => holder.now = DbTime(now + time),
            Step::Sweep => {
                holder.sweep();
                model.sweep(now);
            }
            Step::Rule { forfeit } => {
                model.forfeits = forfeit;
                holder.rule = if forfeit { ExpiredRefund::Forfeit } else { ExpiredRefund::Keep };
            }
        }
    }

    fn operation(&mut self, step: Step) {
        let now = self.holder.now.0;
        let (holder, model) = (&mut self.holder, &mut self.model);
        match step {
            Step::Grant { nonce, max_cost } => {
                if holder.grant(nonce, max_cost) == GrantOutcome::Granted {
                    let key = holder.key(nonce);
                    let held = u64::try_from(model.at(Place::Held(key)).len()).unwrap();
                    let more = max_cost.saturating_sub(held);
                    assert_eq!(model.carry(Place::Available, Place::Held(key), more), more);
                }
            }
            Step::Land { nonce, cost } => {
                self.blocks += 1;
                let fact = landing(slot(nonce), seen(self.blocks, 0, 1), wei(cost));
                if matches!(
                    holder.confirm(nonce, &fact),
                    FactOutcome::Applied | FactOutcome::AppliedWithShortage { .. }
                ) {
                    model.land(holder.key(nonce), cost);
                    self.facts.insert(nonce, fact);
                }
            }
            Step::Undo { nonce } => {
                let Some(fact) = self.facts.get(&nonce) else { return };
                if holder.undo(nonce, fact) == FactOutcome::Applied {
                    model.vanish(holder.key(nonce), now);
                }
            }
            Step::Finalise { nonce } => {
                let Some(fact) = self.facts.get(&nonce) else { return };
                if holder.finalise(nonce, fact) == FactOutcome::Applied {
                    model.come_back(Place::Held(holder.key(nonce)), now);
                }
            }
            Step::Release { nonce } => {
                if holder.release(nonce) == CancelOutcome::Released {
                    model.come_back(Place::Held(holder.key(nonce)), now);
                }
            }
            _ => unreachable!("{step:?} is of no operation"),
        }
    }

    fn compare(&self) {
        let (holder, model) = (&self.holder, &self.model);
        let balances = holder.head.balances;
        let available = model.at(Place::Available).len();
        assert_eq!(u64::try_from(available).unwrap(), balances.available.micropoints());
        assert_eq!(model.debt, balances.debt.micropoints());
        assert!(holder.lots.total() <= u128::from(balances.available.micropoints()));
        assert_eq!(holder.lots.iter().count(), model.lots.len());
        for (no, state) in holder.lots.iter() {
            let age = age(no);
            assert_eq!(state.is_swept, model.lots[age].2);
            let available = model.count(Place::Available, Some(age));
            assert_eq!(state.available.micropoints(), available, "lot {no}");
            let of_lot =
                holder.entries.iter().filter(|entry| entry.lot.as_ref() == Some(&state.lot));
            let moved: i128 = of_lot.map(|entry| change_of_available(&entry.posting)).sum();
            assert_eq!(moved, i128::from(available), "lot {no} is what its entries say");
        }
        for (key, legs) in &holder.legs {
            for (no, _) in holder.lots.iter() {
                let leg = legs.get(&no).copied().unwrap_or_default();
                let Leg { settled, taken, .. } = leg;
                let told = [leg.held(), settled, taken].map(domain::Points::micropoints);
                let places = [Place::Held(*key), Place::Settled(*key), Place::Taken(*key)];
                assert_eq!(told, places.map(|place| model.count(place, Some(age(no)))), "{key:?}");
            }
        }
    }
}

fn age(no: LotNo) -> usize {
    usize::try_from(no.0).unwrap() - 1
}

fn change_of_available(posting: &domain::ledger::Posting) -> i128 {
    let amount = i128::from(posting.amount.micropoints());
    match (posting.from.as_str(), posting.to.as_str()) {
        ("available", _) => -amount,
        (_, "available") => amount,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_point_lies_where_a_model_of_single_points_has_it(
        steps in prop::collection::vec(step(), 1..=COMMANDS)
    ) {
        let (holder, model) = (Holder::new(), Model::default());
        let mut both = Both { holder, model, facts: BTreeMap::new(), blocks: 0 };
        for step in steps {
            both.step(step);
            both.compare();
        }
    }
}
