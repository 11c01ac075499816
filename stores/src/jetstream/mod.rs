//! Logs over NATS JetStream: one stream per site, a subject per log, one message per record.
//!
//! Invariant: the last message of a log's subject says where the log ends, and a message is published there only when the one
//! before it is the one that its writer saw (`Nats-Expected-Last-Subject-Sequence`). So whoever writes, on whichever node,
//! extends the same chain; the deduplication id is a second net under it, and is never believed: an answer that says
//! "duplicate", or none, is followed by reading back what is there.
//!
//! Erasing: bodies lie in the records, and a stream cannot be written over. So the record is written anew without the body to
//! a subject of its own (`names`), and then the old message is deleted, which the server does by overwriting it. A message that
//! is the last of its log is first followed by one that only says where the log ends, so that the end is never forgotten. A
//! reader that misses a record looks for what it became. Each step is durable before the next begins, and doing them again
//! changes nothing. See `erase`.
//!
//! What this does not do: see whether servers sync, unless it is let into their system account ([`Syncing`]); erase from the consensus logs of several servers, which forget
//! by themselves when they are compacted, or from backups; sign in by NKey or JWT, which would bring a second generation of
//! cryptography into the tree.

mod api;
mod append;
mod batch;
mod erase;
mod index;
mod names;
mod opening;
mod options;
mod read;
mod stamp;
mod syncing;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Client;
use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Head, RecordBytes};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use index::Index;
use names::Names;
pub use opening::OpenError;
pub use options::{Credentials, Options, Storage, Syncing};

use crate::{Appended, LogStore, Moved, Pending, StoreError};

/// The logs of one site in JetStream. Clones share them; the connection is closed some time after the last is gone. Must be
/// used within a tokio runtime.
#[derive(Clone)]
pub struct JetStream {
    shared: Arc<Shared>,
    /// Tells watchers; ends with the last clone.
    _telling: Arc<Telling>,
}

struct Shared {
    client: Client,
    options: Options,
    names: Names,
    /// What requests to JetStream begin with.
    prefix: String,
    /// How often the connection was lost.
    lost: tokio::sync::watch::Receiver<u64>,
    /// The server that we came to after a loss is one that is refused at start.
    unfit: AtomicBool,
    turns: Semaphore,
    index: Mutex<Index>,
    moved: broadcast::Sender<Moved>,
}

/// The task that tells watchers.
struct Telling(JoinHandle<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl JetStream {
    /// Connects, and makes the site's stream where it is not there; one that is there must be as it would be made.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        opening::open(options).await
    }

    /// The connection, for what else a node says over NATS.
    pub fn client(&self) -> Client {
        self.shared.client.clone()
    }
}

impl Shared {
    /// Which connection to the servers this is, counted from one.
    fn connection(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// What is known of where records lie, as far as it was learned through this connection.
    fn index(&self) -> MutexGuard<'_, Index> {
        // Nothing between lock and unlock leaves it half changed, so a panic elsewhere does not spoil it.
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.at(self.connection());
        index
    }

    /// When an operation that begins now must be over.
    fn deadline(&self) -> Instant {
        Instant::now() + self.options.operation
    }
}

impl LogStore for JetStream {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        Box::pin(self.shared.append(log, expected, record, after))
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        Box::pin(self.shared.read(log, after, max_bytes))
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        Box::pin(self.shared.head(log))
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        Box::pin(self.shared.erase(log, revision))
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.shared.moved.subscribe()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        Box::pin(self.shared.list(after, limit))
    }
}

/// A request that came to nothing, for callers to whom it makes no difference why.
impl From<api::Failed> for StoreError {
    fn from(failed: api::Failed) -> Self {
        Self::Unavailable(failed.to_string())
    }
}
