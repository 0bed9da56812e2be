//! Growth: partitions ahead, closed reservations to the archive, old months to files and away. As the maintenance
//! role.
//!
//! A pass does a little of each, so that a worker which is told to stop stops soon, and one that died is followed by
//! another which goes on where it was. Nothing here holds a lock that a command waits for.
//!
//! A month's file is written under another name first and named when it is whole; its digest is noted in the
//! database; before the month's table is dropped, the file is read back and held against that digest. A file that is
//! missing or not equal by then is written anew, as long as the table is there.

use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use store::archive::{
    Departure, Detached, Exported, Leaving, Maintenance, Walked, needs_checkpoints,
};
use store::partitions::{LOW_MONTHS_AHEAD, Partition, Partitioned};
use store::verify::{Checkpointed, Disagreement};
use store::{Store, StoreError};

/// How long the moving of closed reservations goes on in one pass: it shares the database with requests.
const MOVE_FOR: Duration = Duration::from_secs(2);
/// The pause between two chunks of it.
const MOVE_PAUSE: Duration = Duration::from_millis(20);
/// How often closed reservations are looked for.
const ROUND_INTERVAL: Duration = Duration::from_secs(3_600);

/// When months leave the database, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSettings {
    /// How long after its end a month leaves.
    pub after: Duration,
    /// The folder of the files.
    pub folder: PathBuf,
}

/// A pass that came to no end.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of the archive.
    #[error("the archive's file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A month with lines that are not what they must be.
    #[error("{partition} stays, because {} account(s) disagree with their lines, the first: {}", found.len(), first(found))]
    Disagrees {
        /// The month.
        partition: String,
        /// What is wrong.
        found: Vec<Disagreement>,
    },
}

fn first(found: &[Disagreement]) -> String {
    found.first().map(ToString::to_string).unwrap_or_default()
}

/// What a step on a month's way out did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its accounts have checkpoints, or its sums are kept.
    Prepared,
    /// It stands in a file.
    Exported(Exported),
    /// It has left its table.
    Detached,
    /// A transaction may still see it: it leaves another time.
    Waits,
    /// Its file was read back, and it is gone.
    Dropped,
}

/// One worker's maintenance.
#[derive(Debug)]
pub struct Maintainer {
    store: Store,
    database: Maintenance,
    archive: Option<ArchiveSettings>,
    walked: Option<Walked>,
    last_round: Option<Instant>,
}

impl Maintainer {
    /// `database` as the maintenance role, `store` as the runtime role; without `archive` everything stays online.
    #[must_use]
    pub const fn new(
        store: Store,
        database: Maintenance,
        archive: Option<ArchiveSettings>,
    ) -> Self {
        Self { store, database, archive, walked: None, last_round: None }
    }

    /// Does what is due, for some seconds; whether there is more to do at once.
    ///
    /// # Errors
    /// When the database or the folder does not answer, or a month is not what it must be; the rest waits.
    pub async fn pass(&mut self) -> Result<bool, MaintainError> {
        if !self.database.take_turn().await? {
            return Ok(false);
        }
        let made = self.database.make_partitions().await?;
        if made > 0 {
            tracing::info!(made, "partitions made ahead");
        }
        let is_moving = self.move_closed().await?;
        let is_leaving = self.archive_step().await?;
        Ok(is_moving || is_leaving)
    }

    /// Gives the turn back and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.database.end_turn().await {
            tracing::debug!(%error, "the turn to maintain was not given back");
        }
        self.database.close().await;
    }

    /// Moves closed reservations for a while; whether the round goes on.
    async fn move_closed(&mut self) -> Result<bool, MaintainError> {
        let is_time = self.last_round.is_none_or(|last| last.elapsed() >= ROUND_INTERVAL);
        if self.walked.is_none() && !is_time {
            return Ok(false);
        }
        let (start, mut moved) = (Instant::now(), 0_u64);
        let mut walked = self.walked.unwrap_or_default();
        while start.elapsed() < MOVE_FOR {
            let chunk = self.database.move_closed(walked).await?;
            moved = moved.saturating_add(chunk.reservations);
            self.walked = chunk.next;
            let Some(next) = chunk.next else {
                self.last_round = Some(Instant::now());
                break;
            };
            walked = next;
            tokio::time::sleep(MOVE_PAUSE).await;
        }
        if moved > 0 {
            tracing::info!(reservations = moved, "closed reservations moved to the archive");
        }
        Ok(self.walked.is_some())
    }

    /// Takes the next step of the oldest month that is to leave; whether there may be more at once.
    async fn archive_step(&self) -> Result<bool, MaintainError> {
        let Some(archive) = &self.archive else { return Ok(false) };
        let due = self.database.due(archive.after).await?;
        let Some(leaving) = due.first() else { return Ok(false) };
        let step = self.advance(leaving, &archive.folder).await?;
        let partition = leaving.partition.name();
        match &step {
            Step::Exported(exported) => tracing::info!(
                %partition,
                file = %exported.file_name,
                rows = exported.rows,
                "month exported"
            ),
            Step::Waits => {
                tracing::debug!(%partition, "an open transaction may still see the month")
            }
            Step::Prepared | Step::Detached | Step::Dropped => {
                tracing::info!(%partition, ?step, "month on its way out");
            }
        }
        Ok(step != Step::Waits)
    }

    /// The months that are to leave by now, oldest first.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn due(&self) -> Result<Vec<Leaving>, MaintainError> {
        match &self.archive {
            Some(archive) => Ok(self.database.due(archive.after).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Takes a month one step further on its way out.
    ///
    /// # Errors
    /// When the database or the folder does not answer, or the month is not what it must be: it stays as it was.
    pub async fn advance(&self, leaving: &Leaving, folder: &Path) -> Result<Step, MaintainError> {
        let partition = &leaving.partition;
        match &leaving.departure {
            Departure::Here => {
                self.prepare(partition).await?;
                Ok(Step::Prepared)
            }
            Departure::Prepared => Ok(Step::Exported(self.export(partition, folder).await?)),
            Departure::Exported(exported) => {
                let path = folder.join(&exported.file_name);
                let digest = read_back(&path).await?;
                if digest != Some(exported.sha256) {
                    tracing::warn!(file = %path.display(), "an exported month's file is missing or changed: written anew");
                    return Ok(Step::Exported(self.export(partition, folder).await?));
                }
                match self.database.detach(partition).await? {
                    Detached::NotYet => Ok(Step::Waits),
                    Detached::Done if is_attached(leaving) => Ok(Step::Detached),
                    Detached::Done => self.drop_partition(partition, &exported.sha256).await,
                }
            }
            Departure::Dropped(_) => Ok(Step::Dropped),
        }
    }

    async fn drop_partition(
        &self,
        partition: &Partition,
        read_back: &[u8; 32],
    ) -> Result<Step, MaintainError> {
        let gone = self.database.drop_partition(partition, read_back).await?;
        Ok(if gone { Step::Dropped } else { Step::Waits })
    }

    /// Writes the checkpoints of a month of entries, or the sums of a month of reservations.
    async fn prepare(&self, partition: &Partition) -> Result<(), MaintainError> {
        if needs_checkpoints(partition.table) {
            let mut after = None;
            loop {
                match self.store.checkpoint_month(partition.month, after).await? {
                    Checkpointed::Until(key) => after = Some(key),
                    Checkpointed::All => break,
                    Checkpointed::Refused(found) => {
                        let partition = partition.name();
                        return Err(MaintainError::Disagrees { partition, found });
                    }
                }
                self.database.take_turn().await?;
            }
        }
        if partition.table == Partitioned::Reservations {
            let mut after = None;
            while let Some(key) = self.database.keep_sums(partition, after).await? {
                after = Some(key);
            }
        }
        Ok(self.database.note_prepared(partition).await?)
    }

    async fn export(
        &self,
        partition: &Partition,
        folder: &Path,
    ) -> Result<Exported, MaintainError> {
        let file_name = format!("{}.csv.gz", partition.name());
        let path = folder.join(&file_name);
        let unfinished = folder.join(format!("{file_name}.{}.part", std::process::id()));
        let failed = |cause| MaintainError::File { path: unfinished.clone(), cause };
        fs::create_dir_all(folder).map_err(failed)?;
        let file = File::create(&unfinished).map_err(failed)?;
        let mut file = GzEncoder::new(file, Compression::default());
        let (mut after, mut rows) = (None, 0_u64);
        loop {
            let page = self.database.export_page(partition, after.as_deref()).await?;
            file = apart(move || {
                file.write_all(&page.csv)?;
                Ok(file)
            })
            .await
            .map_err(failed)?;
            rows = rows.saturating_add(page.rows);
            after = page.next;
            if after.is_none() {
                break;
            }
            self.database.take_turn().await?;
        }
        let (from, to, named_in) = (unfinished.clone(), path.clone(), folder.to_owned());
        let finish = apart(move || {
            file.finish()?.sync_all()?;
            fs::rename(from, to)?;
            // The name as well as the content outlives a crash.
            File::open(named_in)?.sync_all()
        });
        finish.await.map_err(failed)?;
        let sha256 =
            read_back(&path).await?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let exported = Exported { file_name, sha256, rows };
        self.database.note_exported(partition, &exported).await?;
        Ok(exported)
    }
}

fn is_attached(leaving: &Leaving) -> bool {
    leaving.view.is_some_and(|view| view.attachment != store::partitions::Attachment::Apart)
}

/// Where files are read and written, so that nobody waits for a disk but who must.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The digest of a file as it is now; `None` where there is none.
async fn read_back(path: &Path) -> Result<Option<[u8; 32]>, MaintainError> {
    let (opened, path) = (path.to_owned(), path.to_owned());
    let digest = apart(move || {
        let mut file = match File::open(opened) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut digest = Sha256::new();
        io::copy(&mut file, &mut digest)?;
        Ok(Some(digest.finalize().into()))
    });
    digest.await.map_err(|cause| MaintainError::File { path, cause })
}

/// Says aloud when there are few partitions ahead: long before a command would find none.
///
/// # Errors
/// When the database does not answer.
pub async fn watch_months(store: &Store) -> Result<u32, StoreError> {
    let months = store.months_ahead().await?;
    if months < LOW_MONTHS_AHEAD {
        tracing::error!(
            months,
            "few partitions are ahead: run `stipend migrate`, or give a worker database.maintenance_url"
        );
    }
    Ok(months)
}
