//! TCC against a list of what happened.

use domain::ledger::funds::FundsRefusal;
use domain::ledger::tcc::{DbTime, TccCommand, TccOutcome, TccRefusal, TccTerms};
use proptest::prelude::*;

use super::{COMMANDS, config};
use crate::account::Account;
use crate::fixtures::{balances, micro};

#[derive(Clone, Copy, Debug)]
enum Happened {
    Credited(u64),
    Debited(u64),
    Held { biz: u8, terms: TccTerms },
    TurnedAway { biz: u8, terms: TccTerms, available: u64 },
    Spent { biz: u8, amount: u64 },
    GivenBack { biz: u8 },
}

/// Everything that ever happened to an account.
#[derive(Default)]
struct History(Vec<Happened>);

impl History {
    fn sum(&self, amount: impl Fn(&Happened) -> Option<u64>) -> u64 {
        self.0.iter().filter_map(amount).sum()
    }

    fn find<T>(&self, mut what: impl FnMut(&Happened) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(&mut what)
    }

    fn terms(&self, biz: u8) -> Option<TccTerms> {
        self.find(|happened| match happened {
            Happened::Held { biz: id, terms } | Happened::TurnedAway { biz: id, terms, .. } => {
                (*id == biz).then_some(*terms)
            }
            Happened::Credited(_)
            | Happened::Debited(_)
            | Happened::Spent { .. }
            | Happened::GivenBack { .. } => None,
        })
    }

    fn was_held(&self, biz: u8) -> bool {
        self.0.iter().any(|it| matches!(it, Happened::Held { biz: id, .. } if *id == biz))
    }

    fn was_given_back(&self, biz: u8) -> bool {
        self.0.iter().any(|it| matches!(it, Happened::GivenBack { biz: id } if *id == biz))
    }

    fn turned_away_with(&self, biz: u8) -> Option<u64> {
        self.find(|it| match it {
            Happened::TurnedAway { biz: id, available, .. } if *id == biz => Some(*available),
            _ => None,
        })
    }

    fn spent_on(&self, biz: u8) -> Option<u64> {
        self.find(|it| match it {
            Happened::Spent { biz: id, amount } if *id == biz => Some(*amount),
            _ => None,
        })
    }

    fn is_open(&self, biz: u8) -> bool {
        self.was_held(biz) && !self.was_given_back(biz) && self.spent_on(biz).is_none()
    }

    fn reserved(&self) -> u64 {
        self.sum(|it| match it {
            Happened::Held { biz, terms } if self.is_open(*biz) => Some(terms.amount.micropoints()),
            _ => None,
        })
    }

    fn spent(&self) -> u64 {
        self.sum(|it| match it {
            Happened::Spent { amount, .. } => Some(*amount),
            _ => None,
        })
    }

    fn available(&self) -> u64 {
        let credited = self.sum(|it| match it {
            Happened::Credited(amount) => Some(*amount),
            _ => None,
        });
        let debited = self.sum(|it| match it {
            Happened::Debited(amount) => Some(*amount),
            _ => None,
        });
        credited - debited - self.reserved() - self.spent()
    }

    fn happens(&mut self, event: Happened) -> TccOutcome {
        self.0.push(event);
        TccOutcome::Applied
    }

    fn answer(&mut self, biz: u8, command: &TccCommand) -> TccOutcome {
        match *command {
            TccCommand::Try { terms, issued_at, oldest } => {
                if self.terms(biz).is_none() && !self.was_given_back(biz) {
                    self.answer_first_try(biz, terms, issued_at < oldest)
                } else {
                    self.answer_late_try(biz, terms)
                }
            }
            TccCommand::Confirm { amount } => self.answer_confirm(biz, amount),
            TccCommand::Cancel => self.answer_cancel(biz),
            TccCommand::Expire { now } => {
                let expires_at = self.terms(biz).and_then(|terms| terms.expires_at);
                if self.is_open(biz) && expires_at.is_some_and(|at| at <= now) {
                    self.happens(Happened::GivenBack { biz })
                } else {
                    TccOutcome::Replayed
                }
            }
        }
    }

    fn answer_first_try(&mut self, biz: u8, terms: TccTerms, forgotten: bool) -> TccOutcome {
        let (amount, available) = (terms.amount.micropoints(), self.available());
        if amount == 0 {
            return TccOutcome::Refused(TccRefusal::ZeroAmount);
        }
        if forgotten {
            return TccOutcome::Refused(TccRefusal::TooOld);
        }
        if amount <= available {
            return self.happens(Happened::Held { biz, terms });
        }
        self.happens(Happened::TurnedAway { biz, terms, available });
        insufficient(available, amount)
    }

    fn answer_late_try(&self, biz: u8, terms: TccTerms) -> TccOutcome {
        let Some(first) = self.terms(biz) else {
            return TccOutcome::Refused(TccRefusal::Cancelled);
        };
        let differing = [
            ("amount", first.amount != terms.amount),
            ("expiresAt", first.expires_at != terms.expires_at),
        ];
        let fields: Vec<_> =
            differing.iter().filter(|(_, differs)| *differs).map(|(field, _)| *field).collect();
        if !fields.is_empty() {
            return TccOutcome::Refused(TccRefusal::Conflict { fields });
        }
        if let Some(available) = self.turned_away_with(biz) {
            return insufficient(available, first.amount.micropoints());
        }
        if self.was_given_back(biz) {
            return TccOutcome::Refused(TccRefusal::Cancelled);
        }
        TccOutcome::Replayed
    }

    fn answer_confirm(&mut self, biz: u8, amount: Option<domain::Points>) -> TccOutcome {
        if self.turned_away_with(biz).is_some() {
            return TccOutcome::Refused(TccRefusal::Rejected);
        }
        if self.was_given_back(biz) {
            return TccOutcome::Refused(TccRefusal::Cancelled);
        }
        let Some(terms) = self.terms(biz) else {
            return TccOutcome::Refused(TccRefusal::NotFound);
        };
        let requested = amount.unwrap_or(terms.amount);
        match self.spent_on(biz) {
            Some(spent) if spent == requested.micropoints() => TccOutcome::Replayed,
            Some(_) => TccOutcome::Refused(TccRefusal::Conflict { fields: vec!["amount"] }),
            None if requested > terms.amount => TccOutcome::Refused(TccRefusal::ExceedsReserved {
                reserved: terms.amount,
                requested,
            }),
            None => self.happens(Happened::Spent { biz, amount: requested.micropoints() }),
        }
    }

    fn answer_cancel(&mut self, biz: u8) -> TccOutcome {
        if let Some(spent) = self.spent_on(biz) {
            return TccOutcome::Refused(TccRefusal::AlreadySettled { settled: micro(spent) });
        }
        if self.was_given_back(biz) || self.turned_away_with(biz).is_some() {
            return TccOutcome::Replayed;
        }
        self.happens(Happened::GivenBack { biz })
    }
}

fn insufficient(available: u64, requested: u64) -> TccOutcome {
    TccOutcome::Refused(TccRefusal::InsufficientPoints {
        available: micro(available),
        requested: micro(requested),
    })
}

#[derive(Clone, Debug)]
enum Command {
    Credit(u64),
    Debit(u64),
    Biz(u8, TccCommand),
    /// The delivery of this many commands ago comes again.
    Again(usize),
}

fn any_command() -> impl Strategy<Value = Command> {
    let biz = 0_u8..4;
    let amount = prop_oneof![9 => (1_u64..=40).prop_map(micro), 1 => Just(micro(0))];
    let expiry = prop_oneof![2 => Just(None), 1 => (0_i64..4).prop_map(|at| Some(DbTime(at)))];
    let terms =
        (amount.clone(), expiry).prop_map(|(amount, expires_at)| TccTerms { amount, expires_at });
    let tried = (terms, 0_i64..10).prop_map(|(terms, issued_at)| TccCommand::Try {
        terms,
        issued_at: DbTime(issued_at),
        oldest: DbTime(1),
    });
    let tcc = prop_oneof![
        4 => tried,
        4 => prop::option::of(amount).prop_map(|amount| TccCommand::Confirm { amount }),
        2 => Just(TccCommand::Cancel),
        1 => (0_i64..4).prop_map(|now| TccCommand::Expire { now: DbTime(now) }),
    ];
    prop_oneof![
        2 => (1_u64..=60).prop_map(Command::Credit),
        1 => (1_u64..=40).prop_map(Command::Debit),
        12 => (biz, tcc).prop_map(|(biz, command)| Command::Biz(biz, command)),
        4 => (1_usize..8).prop_map(Command::Again),
    ]
}

fn drive(account: &mut Account, history: &mut History, command: &Command) {
    match command {
        Command::Credit(amount) => {
            assert_eq!(account.credit(*amount), Ok(()));
            history.happens(Happened::Credited(*amount));
        }
        Command::Debit(amount) => {
            let available = history.available();
            if *amount <= available {
                assert_eq!(account.debit(*amount), Ok(()));
                history.happens(Happened::Debited(*amount));
            } else {
                let refusal = FundsRefusal::InsufficientPoints {
                    available: micro(available),
                    requested: micro(*amount),
                };
                assert_eq!(account.debit(*amount), Err(refusal));
            }
        }
        Command::Biz(biz, command) => {
            let (before, entries) = (account.balances(), account.head.seq);
            let outcome = account.tcc(*biz, command);
            assert_eq!(outcome, history.answer(*biz, command));
            if outcome != TccOutcome::Applied {
                assert_eq!((account.balances(), account.head.seq), (before, entries));
            }
        }
        Command::Again(_) => unreachable!("resolved by the caller"),
    }
    let expected = balances(history.available(), history.reserved(), history.spent(), 0);
    assert_eq!(account.balances(), expected);
    account.check_books();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tcc_answers_as_the_history_of_the_account_says(
        commands in prop::collection::vec(any_command(), 1..=COMMANDS)
    ) {
        let (mut account, mut history) = (Account::new(), History::default());
        let mut delivered: Vec<Command> = Vec::new();
        for command in commands {
            let command = match command {
                Command::Again(ago) => match delivered.len().checked_sub(ago) {
                    Some(index) => delivered[index].clone(),
                    None => continue,
                },
                first @ (Command::Credit(_) | Command::Debit(_) | Command::Biz(..)) => first,
            };
            drive(&mut account, &mut history, &command);
            delivered.push(command);
        }
    }
}
