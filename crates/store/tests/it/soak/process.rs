//! The processes that commands are sent to, and how a command's answer gets lost.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use store::{Store, StoreError};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::RwLock;
use tokio::time::timeout;

use super::script::{Dice, Trouble};
use crate::wire::{At, Wire};

/// Connections of one process beside those of its commands.
const CONNECTIONS: u32 = 4;

/// Why a caller has no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection or the process went away, or the account was busy.
    Failed,
    /// The caller went away.
    Abandoned,
    /// Nothing that may be repeated: what the soak is here to find.
    Defect(StoreError),
}

/// One process on the database. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Process {
    /// Lives as long as the test.
    Steady(Store),
    /// Its connections are cut.
    Wired(Store, Arc<Wire>),
    /// Dies and is started again.
    Mortal(Arc<Mortal>),
}

/// A process with a runtime of its own: when that goes, everything in it stops where it is.
#[derive(Debug)]
pub(super) struct Mortal {
    url: String,
    life: RwLock<Life>,
    waiting: AtomicI64,
}

#[derive(Debug)]
struct Life {
    store: Store,
    runtime: Option<Runtime>,
}

impl Life {
    fn begin(url: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let store = Store::connect_lazy(url, CONNECTIONS).unwrap();
        Self { store, runtime: Some(runtime) }
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    pub(super) fn steady(url: &str) -> Self {
        Self::Steady(Store::connect_lazy(url, CONNECTIONS).unwrap())
    }

    pub(super) async fn wired(url: &str) -> Self {
        let (wire, url) = Wire::to(url).await;
        Self::Wired(Store::connect_lazy(&url, CONNECTIONS).unwrap(), wire)
    }

    pub(super) fn mortal(url: &str) -> Self {
        let (life, waiting) = (RwLock::new(Life::begin(url)), AtomicI64::new(0));
        Self::Mortal(Arc::new(Mortal { url: url.to_owned(), life, waiting }))
    }

    /// The store, to ask it without trouble.
    pub(super) async fn store(&self) -> Store {
        match self {
            Self::Steady(store) => store.clone(),
            Self::Wired(store, wire) => {
                wire.mend();
                store.clone()
            }
            Self::Mortal(mortal) => mortal.life.read().await.store.clone(),
        }
    }

    /// Runs a command once, in the trouble that the dice decide.
    pub(super) async fn run<T, Answer>(
        &self,
        trouble: Trouble,
        dice: &mut Dice,
        command: impl Fn(Store) -> Answer,
    ) -> Result<T, Lost>
    where
        T: Send + 'static,
        Answer: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = match self {
            Self::Steady(store) => {
                let answer = command(store.clone());
                if trouble == Trouble::Abandon && dice.one_in(3) {
                    let patience = Duration::from_micros(
                        [0, 300, 1_500, 4_000][usize::try_from(dice.below(4)).unwrap()],
                    );
                    timeout(patience, answer).await.map_err(|_| Lost::Abandoned)?
                } else {
                    answer.await
                }
            }
            Self::Wired(store, wire) => {
                if trouble == Trouble::Cut && !wire.is_armed() && dice.one_in(5) {
                    let is_behind = dice.one_in(2);
                    if dice.one_in(3) {
                        wire.cut(At::Commit, 0, is_behind);
                    } else {
                        wire.cut(At::Message, dice.below(36), is_behind);
                    }
                }
                wire.waits(1);
                let answer = command(store.clone()).await;
                wire.waits(-1);
                answer
            }
            Self::Mortal(mortal) => {
                mortal.waiting.fetch_add(1, Ordering::SeqCst);
                let task = {
                    let life = mortal.life.read().await;
                    life.runtime.as_ref().map(|runtime| runtime.spawn(command(life.store.clone())))
                };
                let answer = match task {
                    Some(task) => task.await.map_err(|_| Lost::Failed),
                    None => Err(Lost::Failed),
                };
                mortal.waiting.fetch_sub(1, Ordering::SeqCst);
                answer?
            }
        };
        answer
            .map_err(|error| if error.is_transient() { Lost::Failed } else { Lost::Defect(error) })
    }

    /// Ends the process in the middle of whatever it does, and starts it anew; whether somebody waited for it.
    pub(super) async fn kill(&self) -> bool {
        let Self::Mortal(mortal) = self else { return false };
        let is_hit = mortal.waiting.load(Ordering::SeqCst) > 0;
        let mut life = mortal.life.write().await;
        life.end();
        *life = Life::begin(&mortal.url);
        is_hit
    }

    /// Whether it runs commands again after a lost answer, so that it may hear of its own.
    pub(super) const fn may_repeat(&self) -> bool {
        !matches!(self, Self::Steady(_))
    }
}
