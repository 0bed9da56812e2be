//! What a batch has to load before its commands can be decided.

use std::collections::{BTreeSet, HashSet};

use domain::Slot;
use domain::ids::{BizId, CommandKey, Reference};

use super::{LogKey, Owner};
use crate::wallets::Wallet;

/// Every row that a decision of the batch may read, each once.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// In the order in which they are locked.
    pub(super) owners: BTreeSet<Owner>,
    pub(super) slots: HashSet<(Owner, Slot)>,
    pub(super) biz_ids: HashSet<(Owner, BizId)>,
    /// Of those, what is looked for in the archive as well.
    pub(super) old_biz_ids: HashSet<(Owner, BizId)>,
    pub(super) keys: HashSet<(Owner, CommandKey)>,
    pub(super) references: HashSet<(Owner, Reference)>,
    pub(super) links: HashSet<(Owner, Wallet)>,
    pub(super) logs: HashSet<(Owner, LogKey)>,
}

impl Needs {
    pub(crate) fn owner(&mut self, owner: Owner) {
        self.owners.insert(owner);
    }

    /// The latest attempt on a slot.
    pub(crate) fn slot(&mut self, owner: Owner, slot: Slot) {
        self.slots.insert((owner, slot));
    }

    /// What was set aside under a biz id.
    pub(crate) fn biz_id(&mut self, owner: Owner, biz_id: &BizId) {
        self.biz_ids.insert((owner, biz_id.clone()));
    }

    /// The same, and in the archive where it is nowhere else.
    pub(crate) fn old_biz_id(&mut self, owner: Owner, biz_id: &BizId) {
        self.biz_id(owner, biz_id);
        self.old_biz_ids.insert((owner, biz_id.clone()));
    }

    /// What a key was used for.
    pub(crate) fn key(&mut self, owner: Owner, key: &CommandKey) {
        self.keys.insert((owner, key.clone()));
    }

    /// What was moved under a reference.
    pub(crate) fn reference(&mut self, owner: Owner, reference: &Reference) {
        self.references.insert((owner, reference.clone()));
    }

    /// Whether a wallet is linked to the account.
    pub(crate) fn link(&mut self, owner: Owner, wallet: Wallet) {
        self.links.insert((owner, wallet));
    }

    /// Which steps of a log left their mark, and whether its block is on the chain.
    pub(crate) fn log(&mut self, owner: Owner, log: LogKey) {
        self.logs.insert((owner, log));
    }

    /// The one biz id, where nothing else is needed beside its account.
    pub(super) fn only_biz_id(&self) -> Option<&(Owner, BizId)> {
        // What may be in the archive is looked for there afterwards.
        let Self { owners, slots, biz_ids, old_biz_ids: _, keys, references, links, logs } = self;
        let others = slots.len() + keys.len() + references.len() + links.len() + logs.len();
        (owners.len() == 1 && others == 0).then(|| biz_ids.iter().next()).flatten()
    }
}
