//! What a sequence does, made from its seed alone: the same seed is the same script, so that a failure can be looked at
//! again. Only the order in which its callers come to their turn is the machine's.

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    pub(super) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        (self.roll() >> 16) % bound
    }

    pub(super) const fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// Keys of each kind: few, so that commands meet.
pub(super) const BIZ_IDS: u64 = 4;
pub(super) const NONCES: u64 = 3;
const REFERENCES: u64 = 5;

/// What may go wrong around a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// Connections are cut between any two messages.
    Cut,
    /// Callers go away at any await.
    Abandon,
    /// A whole process dies and is started again.
    Kill,
}

impl Trouble {
    /// The same for who stays until the answer.
    pub(super) fn without_abandoning(self) -> Self {
        if self == Self::Abandon { Self::None } else { self }
    }
}

/// Who is asked, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) trouble: Trouble,
    /// Micropoints of each account to begin with.
    pub(super) opening: Vec<u64>,
    /// How many processes there are.
    pub(super) processes: usize,
    /// The steps of each caller.
    pub(super) callers: Vec<Vec<Step>>,
    pub(super) duplicates: u64,
    pub(super) conflicts: u64,
}

/// One step of a caller, on one user's account where it has one.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) user: usize,
    /// Which process is asked.
    pub(super) process: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Move {
        credit: bool,
        amount: u64,
        reference: String,
        key: String,
    },
    Try {
        biz: u64,
        amount: u64,
        expires: Option<i64>,
        too_old: bool,
    },
    Confirm {
        biz: u64,
        amount: Option<u64>,
    },
    Cancel {
        biz: u64,
    },
    Expire {
        biz: u64,
    },
    Grant {
        nonce: u64,
        wei: u64,
        rate: u64,
        paymaster: usize,
        key: Option<String>,
    },
    Close {
        nonce: u64,
    },
    Unlink,
    Link,
    Mine {
        landings: Vec<(usize, u64, u64)>,
    },
    /// So many blocks go away, and perhaps the last that went comes back.
    Reorganise {
        depth: u64,
        returns: bool,
    },
    /// All blocks but so many are final.
    Finalise {
        above: u64,
    },
    /// Chain time moves: to within the last minute of open windows, or past them.
    Tick {
        past_windows: bool,
    },
    Apply,
    Release,
    /// A proof that was read long ago is used again.
    Stale {
        pick: u64,
    },
    Balances,
    Look {
        biz: u64,
    },
}

impl What {
    /// Whether it has a key, a biz id or a slot under which it may be sent again.
    const fn is_keyed(&self) -> bool {
        matches!(
            self,
            Self::Move { .. }
                | Self::Try { .. }
                | Self::Confirm { .. }
                | Self::Cancel { .. }
                | Self::Grant { .. }
        )
    }

    /// The same key with another body; `None` where there is no such thing.
    fn twisted(&self, dice: &mut Dice) -> Option<Self> {
        let mut twisted = self.clone();
        match &mut twisted {
            // A reference has either one key for all bodies, or keys of one body each, so that the list of what happened
            // tells which keys are known.
            Self::Move { amount, reference, credit, .. } if reference.starts_with('k') => {
                match dice.below(3) {
                    0 => reference.push('\''),
                    1 => *credit = !*credit,
                    _ => *amount += 1,
                }
            }
            Self::Move { key, .. } if dice.one_in(3) => key.push('\''),
            Self::Move { amount, reference, key, credit } => {
                *amount += 1;
                *key = key_of_body(*credit, *amount, reference);
            }
            Self::Try { amount, expires, .. } if dice.one_in(2) => {
                *expires = if expires.is_none() { Some(LONG_AGO) } else { None };
                *amount += dice.below(2);
            }
            Self::Try { amount, .. } | Self::Confirm { amount: Some(amount), .. } => *amount += 1,
            Self::Grant { wei, key: Some(_), .. } => *wei += 1,
            Self::Grant { wei, rate, paymaster, .. } => match dice.below(3) {
                0 => *rate = 3 - *rate,
                1 => *paymaster = 1 - *paymaster,
                _ => *wei += 7,
            },
            _ => return None,
        }
        Some(twisted)
    }
}

/// A time that every clock is past, in microseconds since 1970.
pub(super) const LONG_AGO: i64 = 1_000_000;
/// A time that no clock of the tests reaches.
const FAR_AHEAD: i64 = 253_402_300_000_000_000;

impl Script {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        // New connections are what costs most.
        let trouble = match dice.below(20) {
            0..11 => Trouble::None,
            11..15 => Trouble::Cut,
            15..19 => Trouble::Abandon,
            _ => Trouble::Kill,
        };
        let users = [1, 1, 1, 2, 2, 3][usize::try_from(dice.below(6)).unwrap()];
        let callers = 1 + usize::try_from(dice.below(4)).unwrap();
        let mut script = Self {
            seed,
            trouble,
            opening: (0..users)
                .map(|_| [0, 60, 200, 500][usize::try_from(dice.below(4)).unwrap()])
                .collect(),
            processes: 1 + usize::try_from(dice.below(2)).unwrap(),
            callers: vec![Vec::new(); callers],
            duplicates: 0,
            conflicts: 0,
        };
        // Short ones more often: they are as likely to fail, and easier to read.
        let length = 8 + dice.below(17) + if dice.one_in(4) { dice.below(16) } else { 0 };
        let bent = dice.below(3);
        let mut written: Vec<Step> = Vec::new();
        for _ in 0..length {
            let step = script.next(&mut dice, &written, bent);
            let caller = usize::try_from(dice.below(u64::try_from(callers).unwrap())).unwrap();
            script.callers[caller].push(step.clone());
            written.push(step);
        }
        script
    }

    fn next(&mut self, dice: &mut Dice, written: &[Step], bent: u64) -> Step {
        let mut pick =
            |bound: usize| usize::try_from(dice.below(u64::try_from(bound).unwrap())).unwrap();
        let (user, process) = (pick(self.opening.len()), pick(self.processes));
        let earlier: Vec<_> =
            written.iter().rev().take(6).filter(|step| step.what.is_keyed()).collect();
        if !earlier.is_empty() {
            let earlier = earlier[pick(earlier.len())].clone();
            match dice.below(10) {
                0 | 1 => {
                    self.duplicates += 1;
                    return Step { process, ..earlier };
                }
                2 => {
                    if let Some(what) = earlier.what.twisted(dice) {
                        self.conflicts += 1;
                        return Step { user: earlier.user, process, what };
                    }
                }
                _ => {}
            }
        }
        let users = self.opening.len();
        let what = match (dice.below(20), bent) {
            (0..4, _) => movement(dice),
            (4..12, 0) | (4..8, 1) => tcc(dice),
            (18, _) => What::Balances,
            (19, _) => What::Look { biz: dice.below(BIZ_IDS) },
            (17, _) if dice.one_in(3) => {
                if dice.one_in(2) {
                    What::Unlink
                } else {
                    What::Link
                }
            }
            (16, _) if bent != 0 => What::Close { nonce: dice.below(NONCES) },
            (_, _) => slots(dice, users),
        };
        Step { user, process, what }
    }

    pub(super) fn steps(&self) -> usize {
        self.callers.iter().map(Vec::len).sum()
    }

    /// The same without one step; `None` behind the last.
    pub(super) fn without(&self, step: usize) -> Option<Self> {
        let mut shorter = self.clone();
        let mut index = step;
        for caller in &mut shorter.callers {
            if index < caller.len() {
                caller.remove(index);
                return Some(shorter);
            }
            index -= caller.len();
        }
        None
    }
}

fn movement(dice: &mut Dice) -> What {
    let name = dice.below(REFERENCES);
    let reference = format!("{}{name}", if name < 2 { 'k' } else { 'r' });
    let (credit, amount) = (!dice.one_in(3), 1 + dice.below(90));
    let key = match name < 2 {
        true => format!("key of {reference}"),
        false => key_of_body(credit, amount, &reference),
    };
    What::Move { credit, amount, reference, key }
}

fn key_of_body(credit: bool, amount: u64, reference: &str) -> String {
    format!("key of {reference} {amount} {}", if credit { "in" } else { "out" })
}

fn tcc(dice: &mut Dice) -> What {
    let biz = dice.below(BIZ_IDS);
    match dice.below(8) {
        0..3 => {
            // A biz id asks for the same each time, unless a twist says otherwise.
            let amount = if dice.one_in(16) { 0 } else { 10 + 25 * biz };
            let expires =
                [None, Some(LONG_AGO), None, Some(FAR_AHEAD)][usize::try_from(biz).unwrap()];
            What::Try { biz, amount, expires, too_old: dice.one_in(20) }
        }
        3 | 4 => {
            let amount = [None, Some(0), Some(8), Some(10 + 25 * biz), Some(200)]
                [usize::try_from(dice.below(5)).unwrap()];
            What::Confirm { biz, amount }
        }
        5 | 6 => What::Cancel { biz },
        _ => What::Expire { biz },
    }
}

fn slots(dice: &mut Dice, users: usize) -> What {
    let nonce = dice.below(NONCES);
    match dice.below(20) {
        0..6 => {
            let key = dice.one_in(3).then(|| format!("sponsor {}", dice.below(3)));
            let wei = 20 + 15 * dice.below(4);
            // A key's requests differ, now and then; a request without one is a repeat or a bump.
            let rate = if dice.one_in(5) { 2 } else { 1 };
            let paymaster = usize::from(dice.one_in(10));
            What::Grant { nonce, wei, rate, paymaster, key }
        }
        6..10 => {
            let landings = (0..1 + dice.below(2))
                .map(|_| {
                    let user = usize::try_from(dice.below(u64::try_from(users).unwrap())).unwrap();
                    (user, dice.below(NONCES), 1 + dice.below(90))
                })
                .collect();
            What::Mine { landings }
        }
        10 | 11 => What::Reorganise { depth: 1 + dice.below(2), returns: dice.one_in(2) },
        12 => What::Finalise { above: dice.below(2) },
        13 => What::Tick { past_windows: !dice.one_in(3) },
        14..17 => What::Apply,
        17 | 18 => What::Release,
        _ => What::Stale { pick: dice.roll() },
    }
}
