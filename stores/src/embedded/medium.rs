//! What a store lies on: something that gives redb a storage backend, and gives it again after a failure.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{BackendError, StorageBackend};

/// Gives the storage backend of a store, at the start and again after each failure.
pub trait Medium: Send + Sync + 'static {
    /// Whether there is no store yet.
    fn is_new(&self) -> io::Result<bool>;

    /// Has a store appear with these contents, at once and durably: redb makes its own files in steps, and one that was
    /// interrupted between them is taken for no database at all. When somebody else was faster, theirs stays.
    fn install(&self, contents: &[u8]) -> io::Result<()>;

    /// A backend whose reads give what is durable: what an earlier one wrote and did not get synced is synced here, or not read.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// What it is, for errors.
    fn name(&self) -> String;
}

/// A boxed backend as redb takes it.
pub(super) struct Boxed(pub(super) Box<dyn StorageBackend>);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

/// A database in memory, to be installed on a medium. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft(Arc<InMemoryBackend>);

impl Draft {
    /// Its bytes, once it is closed.
    pub(super) fn contents(&self) -> io::Result<Vec<u8>> {
        let mut contents = vec![0; usize::try_from(self.0.len()?).map_err(io::Error::other)?];
        self.0.read(0, &mut contents)?;
        Ok(contents)
    }
}

impl StorageBackend for Draft {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
