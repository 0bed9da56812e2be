//! Running sequences, side by side, and telling what they met.

use core::fmt;
use core::time::Duration;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use devstack::postgres::TestDatabase;
use sqlx::PgConnection;

use super::books::{auditor, check};
use super::process::Process;
use super::request::Claim;
use super::script::{Dice, Script, Trouble};
use super::world::{Caller, Counts, World};
use crate::builder::PATIENCE;

/// What a run met so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) sequences: u64,
    pub(super) counts: Counts,
    pub(super) duplicates: u64,
    pub(super) conflicts: u64,
    /// Cuts before a message, behind one, and behind a COMMIT, while a command was in flight.
    pub(super) cuts: [u64; 3],
    pub(super) events: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.sequences += other.sequences;
        self.counts.add(&other.counts);
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.events += other.events;
        for (sum, cuts) in self.cuts.iter_mut().zip(other.cuts) {
            *sum += cuts;
        }
    }

    /// Whether there was something of every kind.
    pub(super) fn has_met_everything(&self) -> bool {
        let Counts { killed, abandoned, lost, resolved, .. } = self.counts;
        let [before, behind, commits] = self.cuts;
        [
            killed,
            abandoned,
            lost,
            resolved,
            before,
            behind,
            commits,
            self.duplicates,
            self.conflicts,
        ]
        .into_iter()
        .all(|count| count > 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sequences,
            counts,
            duplicates,
            conflicts,
            cuts: [before, behind, commits],
            events,
        } = self;
        writeln!(
            f,
            "{sequences} sequences, {} commands, {events} things that happened",
            counts.commands
        )?;
        writeln!(f, "  {duplicates} duplicates, {conflicts} conflicts")?;
        writeln!(
            f,
            "  cut with a command in flight: {before} before a message, {behind} behind one, {commits} behind a COMMIT"
        )?;
        writeln!(
            f,
            "  {} processes killed with a command in flight, {} callers gone",
            counts.killed, counts.abandoned
        )?;
        write!(f, "  {} answers lost in all, {} resolved by key", counts.lost, counts.resolved)
    }
}

/// A sequence whose answers or books are wrong.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) script: Script,
    pub(super) why: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the sequence of seed {} does not answer as the model does:",
            self.script.seed
        )?;
        writeln!(f, "{}\n\n{:#?}", self.why, self.script)
    }
}

/// Numbers of sequences, so that no two have a company or chain in common.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// One after another, on connections that stay.
struct Worker {
    url: String,
    auditor: PgConnection,
    steady: [Process; 2],
    wired: [Process; 2],
}

impl Worker {
    async fn begin(db: &TestDatabase) -> Self {
        let url = &db.runtime_url;
        Self {
            url: url.clone(),
            auditor: auditor(&db.superuser_url).await.unwrap(),
            steady: [Process::steady(url), Process::steady(url)],
            wired: [Process::wired(url).await, Process::wired(url).await],
        }
    }

    async fn run(&mut self, script: &Script, tally: &Mutex<Tally>) -> Result<(), String> {
        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        let processes = match script.trouble {
            Trouble::None | Trouble::Abandon => self.steady[..script.processes].to_vec(),
            Trouble::Cut => self.wired[..script.processes].to_vec(),
            Trouble::Kill => (0..script.processes).map(|_| Process::mortal(&self.url)).collect(),
        };
        let world = World::create(script, number, processes.clone()).await;
        let world = world.map_err(|error| format!("no company: {error:?}"))?;
        let ended = tokio::time::timeout(PATIENCE, self.sequence(&world)).await;
        let ended = ended.unwrap_or_else(|_| Err(format!("not over after {PATIENCE:?}")));
        for process in &processes {
            // Those of a killed sequence go with it.
            if let Process::Mortal(_) = process {
                process.store().await.close().await;
            }
        }
        let mut tally = tally.lock().unwrap();
        tally.sequences += 1;
        tally.duplicates += script.duplicates;
        tally.conflicts += script.conflicts;
        tally.counts.add(&world.counts.lock().unwrap());
        tally.events += ended.as_ref().copied().unwrap_or_default();
        for process in &processes {
            if let Process::Wired(_, wire) = process {
                for (sum, hits) in tally.cuts.iter_mut().zip(&wire.hits) {
                    *sum += hits.swap(0, Ordering::SeqCst);
                }
            }
        }
        ended.map(drop)
    }

    async fn sequence(&mut self, world: &World) -> Result<u64, String> {
        for (user, amount) in world.script.opening.iter().enumerate() {
            let mut caller = calm(world);
            if *amount > 0 {
                world.move_points(&mut caller, user, (true, *amount), "opening", "opening").await?;
            }
        }
        let callers = world.script.callers.iter().enumerate().map(|(index, steps)| async move {
            let mut dice = Dice::new(world.script.seed ^ (u64::try_from(index).unwrap() << 48));
            for step in steps {
                let process = &world.processes[step.process];
                let killing = world.script.trouble == Trouble::Kill && dice.one_in(8);
                let delay = Duration::from_micros(dice.below(4_000));
                let dice = Dice::new(dice.roll());
                let mut caller = Caller { process, trouble: world.script.trouble, dice };
                let kill = async {
                    if killing {
                        tokio::time::sleep(delay).await;
                        let is_hit = process.kill().await;
                        world.counts.lock().unwrap().killed += u64::from(is_hit);
                    }
                };
                tokio::join!(world.step(&mut caller, step), kill).0?;
            }
            Ok::<(), String>(())
        });
        futures::future::try_join_all(callers).await?;
        let mut caller = calm(world);
        while world.apply(&mut caller).await? > 0 {}
        check(world, &mut self.auditor).await?;
        let happened = world
            .calls
            .lock()
            .unwrap()
            .iter()
            .filter(|call| call.told.claim() == Claim::Happened)
            .count();
        Ok(u64::try_from(happened).unwrap())
    }
}

/// Somebody whom nothing happens to.
fn calm(world: &World) -> Caller<'_> {
    if let Process::Wired(_, wire) = &world.processes[0] {
        wire.mend();
    }
    Caller {
        process: &world.processes[0],
        trouble: Trouble::None,
        dice: Dice::new(world.script.seed),
    }
}

/// Runs so many sequences, whose seeds follow from one, on so many workers; the first that fails ends the run.
pub(super) async fn soak(
    db: &TestDatabase,
    seed: u64,
    sequences: u64,
    workers: u64,
) -> Result<Tally, Box<Found>> {
    let (tally, next, failed) = (Mutex::default(), AtomicU64::new(0), Mutex::new(None));
    let all = (0..workers).map(|_| async {
        let mut worker = Worker::begin(db).await;
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            if index >= sequences || failed.lock().unwrap().is_some() {
                break;
            }
            let script = Script::of(seed.wrapping_add(index));
            if let Err(why) = worker.run(&script, &tally).await {
                failed.lock().unwrap().get_or_insert(Found { script, why });
            }
        }
        worker.end().await;
    });
    futures::future::join_all(all).await;
    let found = failed.into_inner().unwrap();
    found.map_or_else(|| Ok(tally.into_inner().unwrap()), |found| Err(Box::new(found)))
}

/// Leaves out what the failure does not need. A sequence that does not fail each time stays about as long as it is.
pub(super) async fn shrink(db: &TestDatabase, mut found: Found) -> Found {
    let mut worker = Worker::begin(db).await;
    let mut index = found.script.steps();
    while let Some(step) = index.checked_sub(1) {
        index = step;
        let Some(shorter) = found.script.without(step) else { continue };
        if let Err(why) = worker.run(&shorter, &Mutex::default()).await {
            found = Found { script: shorter, why };
        }
    }
    worker.end().await;
    found
}

impl Worker {
    async fn end(self) {
        for process in self.steady.iter().chain(&self.wired) {
            process.store().await.close().await;
        }
    }
}
