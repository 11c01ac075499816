//! The latest snapshot of each log in the embedded store.

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision};
use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::committer::{Operation, Verdict};
use super::tables::{SNAPSHOTS, Tables};
use crate::{Pending, Snapshot, SnapshotStore};

impl SnapshotStore for Embedded {
    fn put<'a>(&'a self, log: &'a LogId, snapshot: Snapshot) -> Pending<'a, ()> {
        Box::pin(self.commit(Put { name: log.to_string(), snapshot }))
    }

    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>> {
        let name = log.to_string();
        Box::pin(self.read(move |txn| {
            let stored = txn.open_table(SNAPSHOTS)?.get(name.as_str())?;
            Ok(stored.map(|stored| {
                let (revision, bytes) = stored.value();
                Snapshot { revision: Revision(revision), bytes: Bytes::copy_from_slice(bytes) }
            }))
        }))
    }
}

struct Put {
    name: String,
    snapshot: Snapshot,
}

impl Operation for Put {
    type Answer = ();

    fn weight(&self) -> usize {
        self.snapshot.bytes.len() + 256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<()>, StorageError> {
        let stored = tables.snapshots.get(self.name.as_str())?.map(|stored| stored.value().0);
        if stored.is_some_and(|stored| stored > self.snapshot.revision.0) {
            return Ok(Verdict::Same(()));
        }
        tables.snapshots.insert(self.name.as_str(), (self.snapshot.revision.0, &self.snapshot.bytes[..]))?;
        Ok(Verdict::Changed(()))
    }
}
