//! The load: so many clients, each with one operation in flight, for a fixed time.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use domain::ids::BizId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::Failure;
use crate::figures::{self, Figures};
use crate::matrix::{ACCOUNTS, Accounts, Timing};
use crate::server::{Sample, Server};

/// Whoever carries operations out, one at a time.
pub(crate) trait Client: Send + 'static {
    /// Carries an operation out on an account, and says whether it was newly applied.
    fn operate(
        &mut self,
        account: u32,
        biz_id: &BizId,
    ) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// The phase after the warm-up, which is 0, the atomic integer's default.
const MEASURING: u8 = 1;
/// The last phase: nobody begins another operation.
const STOPPING: u8 = 2;

/// What the clients share.
#[derive(Debug, Default)]
struct Progress {
    phase: AtomicU8,
    /// Operations that were answered, in any phase.
    done: AtomicU64,
}

/// An answer that said "newly applied", to be looked up afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) account: u32,
    pub(crate) biz_id: BizId,
}

/// What a load found.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) figures: Figures,
    /// Every operation that was newly applied, also those before and after the measured time.
    pub(crate) accepted: Vec<Accepted>,
}

/// What one client found.
#[derive(Debug, Default)]
struct Found {
    accepted: Vec<Accepted>,
    not_applied: u64,
    micros: Vec<u64>,
}

/// Which operations a load consists of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The beginning of every biz id, which no other load shares.
    pub(crate) name: String,
    pub(crate) accounts: Accounts,
    pub(crate) timing: Timing,
}

/// Runs the clients against a database of the server.
pub(crate) async fn run<C: Client>(
    clients: Vec<C>,
    plan: &Plan,
    server: &mut Server,
    database: &str,
) -> Result<Load, Failure> {
    let progress = Arc::new(Progress::default());
    let mut workers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        workers.spawn(work(client, number, plan.clone(), Arc::clone(&progress)));
    }
    tokio::time::sleep(plan.timing.warm_up).await;
    let before = Count::take(&progress, server, database).await?;
    progress.phase.store(MEASURING, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(plan.timing.measured).await;
    // Sampled while the load goes on, so that all figures are of a server at work.
    let after = Count::take(&progress, server, database).await?;
    progress.phase.store(STOPPING, Ordering::Relaxed);
    let elapsed = start.elapsed();

    let mut found = Found::default();
    while let Some(worker) = workers.join_next().await {
        let worker = worker??;
        found.accepted.extend(worker.accepted);
        found.micros.extend(worker.micros);
        found.not_applied += worker.not_applied;
    }
    found.micros.sort_unstable();
    let measured = u64::try_from(found.micros.len())?;
    let spent = after.since(&before);
    let figures = Figures {
        per_second: figures::per_second(measured, elapsed),
        p50_micros: figures::percentile(&found.micros, 50),
        p99_micros: figures::percentile(&found.micros, 99),
        cpu_nanos: spent.each(spent.sample.cpu_nanos),
        wal_bytes: spent.each(spent.sample.wal_bytes),
        disk_bytes: spent.each(spent.sample.disk_bytes),
        operations: measured,
        not_applied: found.not_applied,
    };
    Ok(Load { figures, accepted: found.accepted })
}

/// What the server had spent when so many operations were done.
#[derive(Debug)]
struct Count {
    done: u64,
    sample: Sample,
}

impl Count {
    async fn take(
        progress: &Progress,
        server: &mut Server,
        database: &str,
    ) -> Result<Self, Failure> {
        let done = progress.done.load(Ordering::Relaxed);
        Ok(Self { done, sample: server.sample(database).await? })
    }

    fn since(&self, earlier: &Self) -> Self {
        let done = self.done.saturating_sub(earlier.done);
        Self { done, sample: self.sample.since(&earlier.sample) }
    }

    fn each(&self, spent: u64) -> u64 {
        spent.checked_div(self.done).unwrap_or_default()
    }
}

async fn work<C: Client>(
    mut client: C,
    number: usize,
    plan: Plan,
    progress: Arc<Progress>,
) -> Result<Found, Failure> {
    let mut random = StdRng::seed_from_u64(u64::try_from(number)?);
    let mut found = Found::default();
    for count in 0_u64.. {
        if progress.phase.load(Ordering::Relaxed) == STOPPING {
            break;
        }
        let account = match plan.accounts {
            Accounts::Uniform => random.random_range(0..ACCOUNTS),
            Accounts::Hot => 0,
        };
        let biz_id: BizId = format!("{}-{number}-{count}", plan.name).parse()?;
        let start = Instant::now();
        let applied = client.operate(account, &biz_id).await?;
        let micros = figures::micros(start.elapsed());
        progress.done.fetch_add(1, Ordering::Relaxed);
        if !applied {
            found.not_applied += 1;
            continue;
        }
        found.accepted.push(Accepted { account, biz_id });
        if progress.phase.load(Ordering::Relaxed) == MEASURING {
            found.micros.push(micros);
        }
    }
    Ok(found)
}
