//! The stores of one site in one file, for a server that stands alone. Built on redb.
//!
//! Invariant: what was answered survives `kill -9` and the loss of everything unsynced. Changes of all rooms go through one
//! committer, which gathers what arrives while the disk syncs and commits it as one durable transaction; a caller that goes
//! away changes nothing about what it asked for. After a failure of the disk the store answers nothing until it has synced
//! the file and read it anew: never from memory, where what was not written looks as if it had been.
//!
//! Why redb and not fjall, which commits three times as many small records a second (groups of 64 records of 400 bytes, two
//! cores: 114,000 against 34,000): redb needs no thread of its own, so that a simulated runtime can hold it; its storage
//! backend is a trait, so that the same code runs on a disk that loses and tears writes; it is one file with transactions that
//! read a consistent state while others write, so that a backup is a copy; and it commits more than is asked of one server.
//!
//! What this does not do: an erased body or a destroyed secret (sealed as it is) stays in pages of the file that are free
//! until they are used again, or until [`Embedded::compact`] and the file system let go of them. A backup never holds it.

mod backup;
mod committer;
mod directory;
mod engine;
mod file;
mod logs;
mod marks;
mod medium;
mod snapshots;
mod tables;
mod vault;
mod verify;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::SiteId;
use chamberlain_core::site::MasterKey;
use redb::ReadTransaction;
use tokio::sync::{Semaphore, broadcast};

use committer::{Operation, Queue};
use engine::{Engine, Identity};
use file::FileMedium;
pub use medium::Medium;
pub use verify::{Problem, Progress, Report};

use crate::sealed::VaultCipher;
use crate::{Moved, StoreError, Stores, rules};

/// Name of the database's file in the data folder.
pub const FILE_NAME: &str = "store.redb";

/// How an embedded store uses memory, time and the disk.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of the file kept in memory.
    pub cache_bytes: usize,
    /// Changes that wait to be committed, at most; callers beyond wait for their turn.
    pub queue_changes: usize,
    /// Bytes of changes that wait to be committed, at most.
    pub queue_bytes: u32,
    /// Changes committed together, at most.
    pub group_changes: usize,
    /// Reads under way, at most.
    pub readers: usize,
    /// How long after a failure of the disk the file is opened anew, at the earliest.
    pub reopen_after: Duration,
    /// Whether each commit notes which pages are free: opening after a crash then takes no time, and commits sync twice.
    /// Without it, the whole file is read after a crash.
    pub quick_repair: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 256 * 1024 * 1024,
            queue_changes: 4_096,
            queue_bytes: 64 * 1024 * 1024,
            group_changes: 1_024,
            readers: 64,
            reopen_after: Duration::from_secs(1),
            quick_repair: true,
        }
    }
}

/// Why a store did not open. The words are for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("another server holds {0}")]
    Held(String),
    /// Its secrets are sealed under another master key.
    #[error("{0} belongs to another master key: give the key it was made with")]
    WrongMasterKey(String),
    /// It belongs to another site.
    #[error("{at} belongs to the site {stored}, not to {given}")]
    OtherSite {
        /// Where it lies.
        at: String,
        /// The site it was made for.
        stored: String,
        /// The site it was opened as.
        given: SiteId,
    },
    /// A newer program wrote it.
    #[error("{at} is of format {format}, which is newer than this program")]
    NewerFormat {
        /// Where it lies.
        at: String,
        /// Its format.
        format: u64,
    },
    /// It is no store of ours, or cannot be right.
    #[error("{at} cannot be read: {why}")]
    Corrupt {
        /// Where it lies.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file system or the disk failed.
    #[error("{at}: {why}")]
    Io {
        /// Where it lies.
        at: String,
        /// What went wrong.
        why: String,
    },
}

/// The embedded stores of one site. Clones share them; the file is let go of by [`Embedded::close`], or some time after the
/// last clone is gone. Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    queue: Queue,
    readers: Arc<Semaphore>,
    moved: broadcast::Sender<Moved>,
    cipher: VaultCipher,
}

impl Embedded {
    /// Opens the store in a data folder, and makes both when they are not there.
    pub async fn open(folder: &Path, master: &MasterKey, site: &SiteId, options: Options) -> Result<Self, OpenError> {
        Self::open_file(&folder.join(FILE_NAME), master, site, options).await
    }

    /// Opens the store in a file, for instance a backup, and makes it when it is not there.
    pub async fn open_file(
        path: &Path,
        master: &MasterKey,
        site: &SiteId,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::open_medium(FileMedium::new(path), master, site, options).await
    }

    /// Opens the store on anything that gives storage backends.
    pub async fn open_medium(
        medium: impl Medium,
        master: &MasterKey,
        site: &SiteId,
        options: Options,
    ) -> Result<Self, OpenError> {
        let identity = Identity::new(master, site.clone());
        let cipher = VaultCipher::new(master, site.clone());
        let at = medium.name();
        let engine = {
            let options = options.clone();
            tokio::task::spawn_blocking(move || Engine::open(Box::new(medium), identity, options))
                .await
                .map_err(|why| OpenError::Corrupt { at, why: why.to_string() })??
        };
        let engine = Arc::new(engine);
        Ok(Self {
            shared: Arc::new(Shared {
                queue: Queue::start(engine.clone(), &options),
                engine,
                readers: Arc::new(Semaphore::new(options.readers)),
                moved: broadcast::Sender::new(rules::WATCH_BACKLOG),
                cipher,
            }),
        })
    }

    /// These stores, as a node is given them.
    pub fn stores(&self) -> Stores {
        let shared = Arc::new(self.clone());
        Stores {
            logs: shared.clone(),
            vault: shared.clone(),
            snapshots: shared.clone(),
            marks: shared.clone(),
            directory: shared,
        }
    }

    /// Commits what waits, lets go of the file, and answers `Unavailable` from then on.
    pub async fn close(&self) {
        let engine = self.shared.engine.clone();
        self.shared.queue.alone(move || engine.close()).await;
    }

    /// Makes the file as small as it can be; returns whether anything was gained. Everything else waits meanwhile. Reads that
    /// are under way make it `Unavailable`.
    pub async fn compact(&self) -> Result<bool, StoreError> {
        let engine = self.shared.engine.clone();
        self.shared.queue.alone(move || engine.compact()).await.unwrap_or_else(|| Err(engine::stopped()))
    }

    /// Writes a copy, as of some moment between call and return, to a file that is not there yet; durable when it returns.
    /// The store goes on meanwhile. The copy opens as a store under the same master key, which it does not hold.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to: PathBuf = to.to_owned();
        self.read(move |txn| backup::copy(txn, &to)).await
    }

    /// Walks everything: each record's bytes, bodies and digest, each log's head, each secret, account and snapshot.
    /// `progress` is called now and then, from another thread. The store goes on meanwhile.
    pub async fn verify(&self, progress: impl FnMut(Progress) + Send + 'static) -> Result<Report, StoreError> {
        let shared = self.shared.clone();
        self.read(move |txn| verify::walk(txn, &shared.cipher, progress)).await
    }

    /// Reads, off the runtime's threads: a page that is not cached is waited for, and so is a store that is being opened anew.
    /// The 10 microseconds this costs are nothing to readers, who find the recent past in memory and come here for the rest.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, tables::ReadError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.shared.readers.clone().acquire_owned().await.map_err(|_| engine::stopped())?;
        let engine = self.shared.engine.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            engine.read(read)
        });
        reading.await.unwrap_or_else(|why| Err(StoreError::Unavailable(format!("the read broke off: {why}"))))
    }

    /// Has an operation committed.
    async fn commit<O: Operation>(&self, operation: O) -> Result<O::Answer, StoreError> {
        self.shared.queue.commit(operation).await
    }
}
