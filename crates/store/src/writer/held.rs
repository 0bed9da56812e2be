//! Commands whose account somebody else holds: they wait for it apart from their lane, in the order of their arrival, and
//! however many there are with one connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job::Job;
use super::{BATCH, QUEUE};
use crate::StoreError;
use crate::book::Owner;

type Jobs = Vec<Box<dyn Job>>;

/// One queue for each account that is waited for. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<Owner, Jobs>>>);

impl core::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Held").field("accounts", &self.queues().len()).finish()
    }
}

impl Held {
    fn queues(&self) -> MutexGuard<'_, HashMap<Owner, Jobs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a command behind those that wait for the same account; gives it back where none does.
    pub(super) fn join(&self, job: Box<dyn Job>) -> Option<Box<dyn Job>> {
        let mut queues = self.queues();
        let Some(queue) = queues.get_mut(&job.owner()) else { return Some(job) };
        if queue.len() < QUEUE {
            queue.push(job);
        } else {
            job.answer(Err(StoreError::Busy));
        }
        None
    }

    /// Lets commands wait for an account, before those that do already. Whether they are the first, so that somebody must
    /// [take](Held::take) them.
    pub(super) fn wait(&self, owner: Owner, jobs: Jobs) -> bool {
        match self.queues().entry(owner) {
            Entry::Occupied(mut queue) => {
                queue.get_mut().splice(..0, jobs);
                false
            }
            Entry::Vacant(place) => {
                place.insert(jobs);
                true
            }
        }
    }

    /// The next batch of an account's commands; `None` once nobody waits for it any more.
    pub(super) fn take(&self, owner: Owner) -> Option<Jobs> {
        let mut queues = self.queues();
        let queue = queues.get_mut(&owner)?;
        queue.retain(|job| !job.is_abandoned());
        if queue.is_empty() {
            queues.remove(&owner);
            return None;
        }
        let rest = queue.split_off(queue.len().min(BATCH));
        Some(core::mem::replace(queue, rest))
    }
}
