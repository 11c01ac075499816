//! The five traits: logs, keys, snapshots, marks, accounts. DESIGN.md, "Store traits".

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
pub use chamberlain_core::directory::{Account, Group};
use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};
use tokio::sync::broadcast;

/// An operation under way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store did not answer. RULES.md, "Failure classes".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing happened; the same call may go through later.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// It may have happened, or not: read back before trying again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// What is stored cannot be right; trying again does not help.
    #[error("store corrupt: {0}")]
    Corrupt(String),
    /// The call itself makes no sense (a record that does not follow, a body that is not there).
    #[error("invalid: {0}")]
    Invalid(String),
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is durable, and this is the head now.
    Done(Head),
    /// The head was not the expected one: nothing was written.
    Conflict(Conflict),
}

/// The head that stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The log's head.
    pub head: Head,
}

/// A log that has grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub log: LogId,
    /// To where.
    pub head: Head,
}

/// Logs of records, extended by compare-and-append.
pub trait LogStore: Send + Sync {
    /// Appends `record`, which follows `expected` and leads to `after`, if the head is `expected` (revision and digest both).
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended>;

    /// The records that hold revisions after `after`, oldest first, at least one if there is any, until `max_bytes` is reached.
    /// The first one may begin at or before `after`, when it holds several revisions.
    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>>;

    /// The head, read authoritatively.
    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head>;

    /// Overwrites the body at a revision; durable when it returns. Erasing twice is the same as erasing once.
    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()>;

    /// Logs that grow from now on, by whichever writer. May lag or lose (the receiver is told): a hint, never the truth.
    fn watch(&self) -> broadcast::Receiver<Moved>;

    /// Ids of logs after `after` in the order of their names, at most `limit`; for operators and effects.
    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>>;
}

/// What came of putting a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum PutSecret {
    /// This one is under the version now, for ever: the given one, or one that was there before.
    Winner(RoomSecret),
    /// The version was destroyed; it is never used again.
    Destroyed,
}

/// Secrets of room keys, sealed under the site's master key before they are stored.
pub trait KeyVault: Send + Sync {
    /// Puts the secret unless the version has one; durable when it returns.
    fn put_if_absent<'a>(&'a self, room: RoomId, version: KeyVersion, secret: &'a RoomSecret)
    -> Pending<'a, PutSecret>;

    /// The secret of a version.
    fn get(&self, room: RoomId, version: KeyVersion) -> Pending<'_, Option<RoomSecret>>;

    /// The secrets of several versions of a room, in the order asked for.
    fn get_many<'a>(&'a self, room: RoomId, versions: &'a [KeyVersion]) -> Pending<'a, Vec<Option<RoomSecret>>>;

    /// Forgets the secret and leaves a tombstone that blocks the version; durable when it returns.
    fn destroy(&self, room: RoomId, version: KeyVersion) -> Pending<'_, ()>;
}

/// A fold at some revision, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision it was folded to.
    pub revision: Revision,
    /// The fold, in the encoding of whoever wrote it.
    pub bytes: Bytes,
}

/// Snapshots of folds. Losing one costs time, never truth.
pub trait SnapshotStore: Send + Sync {
    /// Keeps this one unless there is a later one.
    fn put<'a>(&'a self, log: &'a LogId, snapshot: Snapshot) -> Pending<'a, ()>;

    /// The latest one.
    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>>;
}

/// Named numbers that only grow: cursors of effects, read marks.
pub trait Marks: Send + Sync {
    /// Raises the marks to at least these values, all or none; durable when it returns.
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()>;

    /// The values of these marks, in the order asked for; zero for one that was never raised.
    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>>;
}

/// A page of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryPage {
    /// Sorted by id.
    pub accounts: Vec<Account>,
    /// Whether there are more.
    pub more: bool,
}

/// Accounts by id, in batches.
pub trait Directory: Send + Sync {
    /// Those of these accounts that exist.
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>>;

    /// Adds or replaces accounts, all or none; durable when it returns. A home site that differs from the stored one is
    /// [`StoreError::Invalid`]. More than a record holds, where there is a log, are checked together and written one record
    /// after the other: who fails on the way has put some, and puts them all again.
    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()>;

    /// A page of accounts after `after`, sorted by id.
    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage>;
}

/// All five, as a node is given them. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    /// Logs.
    pub logs: Arc<dyn LogStore>,
    /// Room keys.
    pub vault: Arc<dyn KeyVault>,
    /// Snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Marks.
    pub marks: Arc<dyn Marks>,
    /// Accounts.
    pub directory: Arc<dyn Directory>,
}
