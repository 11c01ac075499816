//! What is kept in the file, and under which keys. A change here is a change of format: see `engine::FORMAT`.

use redb::{StorageError, Table, TableDefinition, TableError, WriteTransaction};

use crate::StoreError;

/// (Log, last revision) -> (first revision, stored bytes): what follows a revision is a scan.
pub(super) const RECORDS: TableDefinition<'_, (&str, u64), (u64, &[u8])> = TableDefinition::new("records");
/// Log -> (revision, digest).
pub(super) const HEADS: TableDefinition<'_, &str, (u64, [u8; 32])> = TableDefinition::new("heads");
/// (Room, version) -> sealed secret or tombstone: see `crate::sealed`.
pub(super) const VAULT: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("vault");
/// Log -> (revision, bytes): the latest only.
pub(super) const SNAPSHOTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("snapshots");
/// Name -> value.
pub(super) const MARKS: TableDefinition<'_, &str, u64> = TableDefinition::new("marks");
/// Account -> JSON: fields are added over time, and JSON has names for them.
pub(super) const DIRECTORY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("directory");
/// What the store is: see `engine::Identity`.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The tables of a transaction that changes them.
pub(super) struct Tables<'txn> {
    pub(super) records: Table<'txn, (&'static str, u64), (u64, &'static [u8])>,
    pub(super) heads: Table<'txn, &'static str, (u64, [u8; 32])>,
    pub(super) vault: Table<'txn, (&'static str, u32), &'static [u8]>,
    pub(super) snapshots: Table<'txn, &'static str, (u64, &'static [u8])>,
    pub(super) marks: Table<'txn, &'static str, u64>,
    pub(super) directory: Table<'txn, &'static str, &'static [u8]>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            records: txn.open_table(RECORDS)?,
            heads: txn.open_table(HEADS)?,
            vault: txn.open_table(VAULT)?,
            snapshots: txn.open_table(SNAPSHOTS)?,
            marks: txn.open_table(MARKS)?,
            directory: txn.open_table(DIRECTORY)?,
        })
    }
}

/// Why a read did not come to its end.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The database says so.
    Broken(redb::Error),
    /// The answer itself is an error.
    Answer(StoreError),
}

impl From<StoreError> for ReadError {
    fn from(why: StoreError) -> Self {
        Self::Answer(why)
    }
}

impl From<StorageError> for ReadError {
    fn from(why: StorageError) -> Self {
        Self::Broken(why.into())
    }
}

impl From<TableError> for ReadError {
    fn from(why: TableError) -> Self {
        Self::Broken(why.into())
    }
}
