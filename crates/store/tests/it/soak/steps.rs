//! Carrying a step of a script out.

use std::sync::atomic::Ordering;

use domain::ids::BizId;
use domain::ledger::sponsorship::{FactOutcome, SetAside};
use domain::ledger::tcc::{DbTime, TccTerms};
use store::facts::{FactStep, Work};
use store::funds::{Direction, FundsOutcome};
use store::slots::Releasable;
use store::sponsorships::GrantAnswer;
use store::tcc::{TccAnswer, TccRequest};
use store::wallets::UnlinkOutcome;

use super::request::{Request, Told};
use super::script::{Step, What};
use super::world::{Caller, PAYMASTERS, Proof, World};
use crate::builder::{User, VALIDITY, micro};

pub(super) fn biz_id(biz: u64) -> BizId {
    format!("trip {biz}").parse().unwrap()
}

impl World {
    pub(super) async fn step(&self, by: &mut Caller<'_>, step: &Step) -> Result<(), String> {
        let user = step.user;
        match &step.what {
            What::Move { credit, amount, reference, key } => {
                self.move_points(by, user, (*credit, *amount), reference, key).await
            }
            What::Try { .. } | What::Confirm { .. } | What::Cancel { .. } | What::Expire { .. } => {
                self.tcc(by, user, &step.what).await
            }
            What::Grant { .. } => self.grant(by, user, &step.what).await,
            What::Close { nonce } => self.close(by, user, *nonce).await,
            What::Unlink => self.unlink(by, user).await,
            What::Link => self.link(by, user).await,
            What::Mine { landings } => self.mine(by, landings, 0).await,
            What::Reorganise { depth, returns } => self.reorganise(by, *depth, *returns).await,
            What::Finalise { above } => self.finalise(by, usize::try_from(*above).unwrap()).await,
            What::Tick { past_windows } => {
                self.mine(by, &[], if *past_windows { VALIDITY + 1 } else { 120 }).await
            }
            What::Apply => self.apply(by).await.map(drop),
            What::Release => self.release(by).await,
            What::Stale { pick } => self.stale(by, *pick).await,
            What::Balances => self.read_balances(by, user).await,
            What::Look { biz } => self.look(by, user, *biz).await,
        }
    }

    pub(super) async fn move_points(
        &self,
        by: &mut Caller<'_>,
        user: usize,
        (credit, amount): (bool, u64),
        reference: &str,
        key: &str,
    ) -> Result<(), String> {
        let direction = if credit { Direction::Credit } else { Direction::Debit };
        let mut command = self.users[user].movement(direction, amount, reference);
        command.keyed.key = key.parse().unwrap();
        let request =
            Request::Move { credit, amount, reference: reference.to_owned(), key: key.to_owned() };
        let told = |outcome: &FundsOutcome| match outcome {
            FundsOutcome::Applied(moved) | FundsOutcome::Replayed(moved) => Told::Moved {
                again: matches!(outcome, FundsOutcome::Replayed(_)),
                seq: moved.entry_seq,
                available: moved.available_after.micropoints(),
                debt: moved.debt_after.micropoints(),
            },
            FundsOutcome::Refused(refusal) => Told::Short(refusal.clone()),
            FundsOutcome::Conflict(fields) => Told::Conflict(fields.clone()),
            FundsOutcome::KeyReused => Told::KeyReused,
            FundsOutcome::NoAccount => Told::Nothing,
        };
        let moved = |store: store::Store| {
            let command = command.clone();
            async move { store.move_funds(&command).await }
        };
        self.ask(by, (user, request), moved, told).await.map(drop)
    }

    async fn tcc(&self, by: &mut Caller<'_>, user: usize, what: &What) -> Result<(), String> {
        let (biz, request, command) = match *what {
            What::Try { biz, amount, expires, too_old } => {
                let terms = TccTerms { amount: micro(amount), expires_at: expires.map(DbTime) };
                let issued_at = DbTime(if too_old { 0 } else { i64::MAX });
                let request = Request::Try { biz, amount, expires, too_old };
                (biz, request, TccRequest::Try { terms, issued_at })
            }
            What::Confirm { biz, amount } => (
                biz,
                Request::Confirm { biz, amount },
                TccRequest::Confirm { amount: amount.map(micro) },
            ),
            What::Expire { biz } => (biz, Request::Expire { biz }, TccRequest::Expire),
            What::Cancel { biz } => (biz, Request::Cancel { biz }, TccRequest::Cancel),
            _ => unreachable!("no command on a biz id"),
        };
        let call = self.users[user].tcc_call(biz_id(biz).as_str(), command);
        let told = |answer: &TccAnswer| match answer {
            TccAnswer::Decided(outcome, reservation) => Told::Tcc(outcome.clone(), *reservation),
            TccAnswer::NoAccount => Told::Nothing,
        };
        let command = |store: store::Store| {
            let call = call.clone();
            async move { store.tcc(&call).await }
        };
        self.ask(by, (user, request), command, told).await.map(drop)
    }

    async fn grant(&self, by: &mut Caller<'_>, user: usize, what: &What) -> Result<(), String> {
        let What::Grant { nonce, wei, rate, paymaster, key } = what else {
            unreachable!("no grant")
        };
        let head = self.head.load(Ordering::SeqCst);
        let (nonce, wei, rate, paymaster) = (*nonce, *wei, *rate, *paymaster);
        let mut operation =
            self.users[user].operation(nonce, wei).at(head).by(PAYMASTERS[paymaster]).priced(rate);
        if let Some(key) = key {
            operation = operation.keyed(key);
        }
        let request = Request::Grant {
            nonce,
            wei,
            rate,
            paymaster,
            key: key.clone(),
            head,
            valid_until: head + VALIDITY,
        };
        let told = |answer: &GrantAnswer| match answer {
            GrantAnswer::Granted(grant) | GrantAnswer::Replayed(grant) => {
                let again = matches!(answer, GrantAnswer::Replayed(_));
                Told::Granted { again, reservation: grant.reservation, grant_no: grant.grant_no }
            }
            GrantAnswer::Refused(refusal) => Told::NotGranted(refusal.clone()),
            GrantAnswer::WalletMoved => Told::WalletMoved,
            GrantAnswer::PaymasterChanged => Told::PaymasterChanged,
            GrantAnswer::KeyReused => Told::KeyReused,
        };
        let command = |store: store::Store| {
            let operation = operation.through(&store);
            async move { operation.ask().await }
        };
        let answer = self.ask(by, (user, request), command, told).await?;
        let (GrantAnswer::Granted(grant) | GrantAnswer::Replayed(grant)) = answer else {
            return Ok(());
        };
        self.known.lock().unwrap().insert((user, nonce), grant.reservation);
        // What is handed out is what is committed, the signature included.
        let (tenant, id) = (self.users[user].tenant, grant.reservation);
        let found = self
            .insist(by, move |store| async move { store.sponsorship(tenant, id).await })
            .await?;
        let committed = found.map(|(_, grants, _)| grants).unwrap_or_default();
        if committed.contains(&grant) {
            return Ok(());
        }
        Err(format!("handed out {grant:?}, committed {committed:?}"))
    }

    async fn close(&self, by: &mut Caller<'_>, user: usize, nonce: u64) -> Result<(), String> {
        let known = self.known.lock().unwrap().get(&(user, nonce)).copied();
        let Some(reservation) = known else { return Ok(()) };
        let tenant = self.users[user].tenant;
        let command = move |store: store::Store| async move {
            store.close_sponsorship(tenant, reservation).await
        };
        let request = Request::Close { nonce, reservation };
        self.ask(by, (user, request), command, |outcome| Told::Closed(*outcome)).await.map(drop)
    }

    async fn unlink(&self, by: &mut Caller<'_>, user: usize) -> Result<(), String> {
        let mut links = self.links[user].lock().await;
        let (User { tenant, account, wallet, .. }, called) = (&self.users[user], self.tick());
        let (tenant, account, wallet) = (*tenant, *account, *wallet);
        let command = move |store: store::Store| async move {
            store.unlink_wallet(tenant, account, wallet).await
        };
        let calmer = by.trouble.without_abandoning();
        let trouble = core::mem::replace(&mut by.trouble, calmer);
        let answer = self
            .ask(by, (user, Request::Unlink), command, |outcome| Told::Unlinked(*outcome))
            .await;
        by.trouble = trouble;
        if answer? != UnlinkOutcome::InUse {
            links.push(((called, self.tick()), false));
        }
        Ok(())
    }

    async fn link(&self, by: &mut Caller<'_>, user: usize) -> Result<(), String> {
        let mut links = self.links[user].lock().await;
        let (User { tenant, account, wallet, .. }, called) = (&self.users[user], self.tick());
        let (tenant, account, wallet) = (*tenant, *account, *wallet);
        self.insist(
            by,
            move |store| async move { store.link_wallet(tenant, account, wallet).await },
        )
        .await?;
        links.push(((called, self.tick()), true));
        Ok(())
    }

    /// One round of an applier; how many events waited.
    pub(super) async fn apply(&self, by: &mut Caller<'_>) -> Result<usize, String> {
        let chain = self.chain_id;
        let works =
            self.insist(by, move |store| async move { store.fact_work(chain, 100).await }).await?;
        for work in &works {
            self.proofs.lock().unwrap().push(Proof::Fact(*work));
            self.apply_one(by, *work).await?;
        }
        Ok(works.len())
    }

    async fn apply_one(&self, by: &mut Caller<'_>, work: Work) -> Result<(), String> {
        let event = *work.fact.event();
        let user =
            self.users.iter().position(|user| user.wallet.address == event.slot.sender).unwrap();
        let (step, sighting) = (work.step, event.sighting);
        let nonce = event.slot.nonce.to::<u64>();
        let request =
            Request::Fact { step, nonce, sighting, wei: event.actual_gas_cost.0.to::<u64>() };
        let apply = move |store: store::Store| async move {
            match store.owner_of(&work.fact).await? {
                Some(owner) => store.apply_fact(owner, &work).await,
                // The undo of an event that nobody owned has nothing to take back.
                None if step == FactStep::Undo => Ok(FactOutcome::Replayed),
                None => Ok(FactOutcome::SetAside(SetAside::UnknownOperation)),
            }
        };
        let outcome = self.ask(by, (user, request), apply, |outcome| Told::Fact(*outcome)).await?;
        self.insist(by, move |store| async move {
            match outcome {
                FactOutcome::SetAside(reason) => store.set_aside(&work, &reason.to_string()).await,
                FactOutcome::Applied
                | FactOutcome::AppliedWithShortage { .. }
                | FactOutcome::Replayed => store.finish_work(&work).await,
            }
        })
        .await
    }

    /// One round of a releaser.
    pub(super) async fn release(&self, by: &mut Caller<'_>) -> Result<(), String> {
        let chain = self.chain_id;
        let found =
            self.insist(by, move |store| async move { store.releasable(chain, 100).await }).await?;
        for releasable in found {
            self.proofs.lock().unwrap().push(Proof::Release(releasable));
            self.release_one(by, releasable).await?;
        }
        Ok(())
    }

    async fn release_one(&self, by: &mut Caller<'_>, releasable: Releasable) -> Result<(), String> {
        let user = self.users.iter().position(|user| user.account == releasable.account).unwrap();
        let (slot, at) = (releasable.proof.slot(), releasable.proof.final_block().timestamp.0);
        let request = Request::Release { nonce: slot.nonce.to::<u64>(), at };
        let command = move |store: store::Store| async move { store.release(&releasable).await };
        self.ask(by, (user, request), command, |outcome| Told::Released(*outcome)).await.map(drop)
    }

    /// A worker that slept uses a proof that it read before.
    async fn stale(&self, by: &mut Caller<'_>, pick: u64) -> Result<(), String> {
        let proof = {
            let proofs = self.proofs.lock().unwrap();
            let count = u64::try_from(proofs.len()).unwrap();
            pick.checked_rem(count).map(|index| proofs[usize::try_from(index).unwrap()])
        };
        match proof {
            Some(Proof::Fact(work)) => self.apply_one(by, work).await,
            Some(Proof::Release(releasable)) => self.release_one(by, releasable).await,
            None => Ok(()),
        }
    }

    async fn read_balances(&self, by: &mut Caller<'_>, user: usize) -> Result<(), String> {
        let (tenant, account) = (self.users[user].tenant, self.users[user].account);
        let read = move |store: store::Store| async move { store.balances(tenant, account).await };
        let told = |found: &Option<store::accounts::AccountBalances>| {
            let found = found.as_ref().unwrap();
            let all = found.balances;
            Told::Balances {
                balances: [all.available, all.reserved, all.spent, all.debt]
                    .map(|points| points.micropoints()),
                pending: found.pending.micropoints(),
                entry_seq: found.entry_seq,
            }
        };
        self.ask(by, (user, Request::Balances), read, told).await.map(drop)
    }

    async fn look(&self, by: &mut Caller<'_>, user: usize, biz: u64) -> Result<(), String> {
        let (tenant, account) = (self.users[user].tenant, self.users[user].account);
        let read = move |store: store::Store| async move {
            store.tcc_reservation(tenant, account, &biz_id(biz)).await
        };
        let told = |found: &Option<store::tcc_views::TccView>| {
            Told::Looked(found.as_ref().map(|view| view.reservation))
        };
        self.ask(by, (user, Request::Look { biz }), read, told).await.map(drop)
    }
}
