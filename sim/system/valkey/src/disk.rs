//! The disk beneath the append-only file: what was written to it, and how much of that is safe.
//!
//! Written is what the operating system has: it survives the end of the process. Synced is what the disk has: it survives a
//! loss of power. An entry is written whole or not at all, as the real server cuts off a torn one when it starts.

use std::time::Duration;

use tokio::time::Instant;

use crate::data::{Change, Database};

/// Numbered databases, as the real server has by default.
pub(crate) const DATABASES: usize = 16;
/// Bytes of entries from which on they are replaced by what they come to, once all are synced. The real server's least.
const REWRITE_FROM: usize = 64 * 1024 * 1024;

/// The databases of a server.
pub(crate) type Databases = [Database; DATABASES];

/// What one command or script changed.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) database: usize,
    pub(crate) changes: Vec<Change>,
    /// When it was made.
    pub(crate) at: Instant,
}

/// What a disk forgets while its server is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// What was not synced, as when power fails.
    Unsynced,
    /// What was not synced, but for the first so many entries of it: the disk had come that far.
    UnsyncedAfter(usize),
    /// What was written in the last so long, synced or not: a disk that lied, or a failover to a copy that lagged. What a
    /// rewrite of the file has folded together stays.
    Last(Duration),
    /// Everything.
    Everything,
}

/// A disk. A clone is a copy of the files, as an operator makes one.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    base: Databases,
    entries: Vec<Entry>,
    bytes: usize,
    /// Entries that were ever written, and of these how many are on the disk.
    written: u64,
    synced: u64,
}

impl Disk {
    /// Entries that were ever written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// How many of them are safe.
    pub(crate) fn synced(&self) -> u64 {
        self.synced
    }

    /// What the file takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.base.iter().map(Database::bytes).sum::<usize>()
    }

    pub(crate) fn write(&mut self, entry: Entry) {
        self.bytes += entry.changes.iter().map(Change::bytes).sum::<usize>();
        self.entries.push(entry);
        self.written += 1;
    }

    /// Has the first so many entries safe.
    pub(crate) fn sync(&mut self, upto: u64) {
        self.synced = self.synced.max(upto.min(self.written));
        if self.bytes > REWRITE_FROM && self.synced == self.written {
            self.base = self.read();
            self.entries.clear();
            self.bytes = 0;
        }
    }

    /// What a server that starts finds.
    pub(crate) fn read(&self) -> Databases {
        let mut databases = self.base.clone();
        for entry in &self.entries {
            for change in &entry.changes {
                databases[entry.database].apply(change);
            }
        }
        databases
    }

    /// Forgets.
    pub(crate) fn lose(&mut self, loss: Loss) {
        let unsynced = usize::try_from(self.written - self.synced).unwrap_or(usize::MAX);
        let safe = self.entries.len().saturating_sub(unsynced);
        let keep = match loss {
            Loss::Unsynced => safe,
            Loss::UnsyncedAfter(more) => safe.saturating_add(more),
            Loss::Last(span) => {
                let now = Instant::now();
                self.entries.partition_point(|entry| now.saturating_duration_since(entry.at) > span)
            }
            Loss::Everything => {
                *self = Self::default();
                return;
            }
        };
        let gone = self.entries.split_off(keep.min(self.entries.len()));
        self.bytes -= gone.iter().flat_map(|entry| &entry.changes).map(Change::bytes).sum::<usize>();
        self.written -= gone.len() as u64;
        // What a disk kept through a loss of power it has.
        self.synced = self.written;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn disk(written: usize, synced: u64) -> Disk {
        let mut disk = Disk::default();
        for nth in 0..written {
            let change = Change::Set(Bytes::from(nth.to_string()), Bytes::from_static(b"x"));
            disk.write(Entry { database: 0, changes: vec![change], at: Instant::now() });
        }
        disk.sync(synced);
        disk
    }

    fn kept(mut disk: Disk, loss: Option<Loss>) -> usize {
        if let Some(loss) = loss {
            disk.lose(loss);
            assert_eq!(disk.synced(), disk.written());
        }
        disk.read()[0].len()
    }

    #[test]
    fn power_takes_what_was_not_synced_and_the_end_of_a_process_takes_nothing() {
        assert_eq!(kept(disk(5, 3), None), 5);
        assert_eq!(kept(disk(5, 3), Some(Loss::Unsynced)), 3);
        assert_eq!(kept(disk(5, 3), Some(Loss::UnsyncedAfter(1))), 4);
        assert_eq!(kept(disk(5, 3), Some(Loss::UnsyncedAfter(9))), 5);
        assert_eq!(kept(disk(5, 5), Some(Loss::Unsynced)), 5);
        assert_eq!(kept(disk(5, 5), Some(Loss::Last(Duration::from_secs(60)))), 0);
        assert_eq!(kept(disk(5, 3), Some(Loss::Everything)), 0);
    }

    #[test]
    fn a_rewrite_keeps_what_was_there_and_forgets_how_it_came_about() {
        let mut disk = Disk::default();
        let large = Bytes::from(vec![7; REWRITE_FROM / 4 + 1]);
        for _ in 0..4 {
            let changes = vec![Change::Set(Bytes::from_static(b"a"), large.clone())];
            disk.write(Entry { database: 3, changes, at: Instant::now() });
        }
        disk.sync(3);
        assert_eq!(disk.entries.len(), 4);
        disk.sync(4);
        assert_eq!(disk.entries.len(), 0);
        assert_eq!(disk.read()[3].text(b"a"), Ok(Some(large)));
        assert!(disk.bytes() < REWRITE_FROM);
    }
}
