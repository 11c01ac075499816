//! All five stores in this process's memory: for tests, simulations and trials. Nothing survives it.
//!
//! Deterministic: ordered maps, no clock, no randomness, no task of its own. Every operation is done when its future is first
//! polled, under one lock that is never held across a wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};
use tokio::sync::broadcast;

use crate::rules;
use crate::{
    Account, Appended, Conflict, Directory, DirectoryPage, KeyVault, LogStore, Marks, Moved, Pending, PutSecret,
    Snapshot, SnapshotStore, StoreError, Stores,
};

/// The stores of one site, in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryStores {
    kept: Arc<Mutex<Kept>>,
    moved: broadcast::Sender<Moved>,
}

#[derive(Default)]
struct Kept {
    /// By name, in the order in which `list` gives them.
    logs: BTreeMap<String, Log>,
    /// `None` is a tombstone.
    secrets: BTreeMap<(RoomId, KeyVersion), Option<RoomSecret>>,
    snapshots: BTreeMap<LogId, Snapshot>,
    marks: BTreeMap<String, u64>,
    accounts: BTreeMap<AccountId, Account>,
}

/// What the logs held at some time.
#[derive(Clone)]
pub struct OlderLogs(BTreeMap<String, Log>);

#[derive(Default, Clone)]
struct Log {
    head: Head,
    /// By last revision.
    records: BTreeMap<Revision, RecordBytes>,
}

impl MemoryStores {
    /// Empty stores.
    pub fn new() -> Self {
        Self { kept: Arc::default(), moved: broadcast::Sender::new(rules::WATCH_BACKLOG) }
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

    /// A copy of all logs, as they are.
    pub fn copy_of_logs(&self) -> OlderLogs {
        OlderLogs(self.kept().logs.clone())
    }

    /// Puts an older copy in the place of all logs, as somebody may do with a disk. Nobody is told.
    pub fn put_back(&self, older: OlderLogs) {
        self.kept().logs = older.0;
    }

    /// Puts an older copy in the place of one log.
    pub fn put_back_one(&self, log: &LogId, older: &OlderLogs) {
        let name = log.to_string();
        let older = older.0.get(&name).cloned().unwrap_or_default();
        self.kept().logs.insert(name, older);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing between lock and unlock leaves the maps half changed, so a panic elsewhere does not spoil them.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending<'a, T>(&'a self, act: impl FnOnce(&mut Kept) -> Result<T, StoreError> + Send + 'a) -> Pending<'a, T> {
        Box::pin(async move { act(&mut self.kept()) })
    }
}

impl Default for MemoryStores {
    fn default() -> Self {
        Self::new()
    }
}

impl LogStore for MemoryStores {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        self.pending(move |kept| {
            rules::check_append(expected, &record, after)?;
            let stored = kept.logs.get(&log.to_string()).map_or(Head::EMPTY, |stored| stored.head);
            if stored != expected {
                return Ok(Appended::Conflict(Conflict { head: stored }));
            }
            let stored = kept.logs.entry(log.to_string()).or_default();
            stored.records.insert(record.last, record);
            stored.head = after;
            // Nobody may be watching.
            let _ = self.moved.send(Moved { log: log.clone(), head: after });
            Ok(Appended::Done(after))
        })
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        self.pending(move |kept| {
            let Some(stored) = kept.logs.get(&log.to_string()) else { return Ok(Vec::new()) };
            let mut left = Some(max_bytes);
            let records = stored.records.range(after.next()..).map(|(_, record)| record.clone());
            Ok(records.take_while(|record| rules::fits(&mut left, record.bytes.len())).collect())
        })
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        self.pending(move |kept| Ok(kept.logs.get(&log.to_string()).map_or(Head::EMPTY, |stored| stored.head)))
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        self.pending(move |kept| {
            let stored = kept.logs.get_mut(&log.to_string());
            let record = stored.and_then(|stored| stored.records.range_mut(revision..).next());
            let (_, record) = record.ok_or_else(|| rules::no_body(log, revision))?;
            if let Some(erased) = rules::erased(log, record, revision)? {
                *record = erased;
            }
            Ok(())
        })
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.moved.subscribe()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        self.pending(move |kept| {
            let after = after.map(LogId::to_string).unwrap_or_default();
            let names = kept.logs.keys().filter(|name| **name > after).take(limit.min(rules::PAGE_MAX));
            names.map(|name| name.parse().map_err(|_| StoreError::Corrupt(format!("{name} names no log")))).collect()
        })
    }
}

impl KeyVault for MemoryStores {
    fn put_if_absent<'a>(
        &'a self,
        room: RoomId,
        version: KeyVersion,
        secret: &'a RoomSecret,
    ) -> Pending<'a, PutSecret> {
        self.pending(move |kept| {
            let winner = kept.secrets.entry((room, version)).or_insert_with(|| Some(secret.clone()));
            Ok(winner.clone().map_or(PutSecret::Destroyed, PutSecret::Winner))
        })
    }

    fn get(&self, room: RoomId, version: KeyVersion) -> Pending<'_, Option<RoomSecret>> {
        self.pending(move |kept| Ok(kept.secrets.get(&(room, version)).cloned().flatten()))
    }

    fn get_many<'a>(&'a self, room: RoomId, versions: &'a [KeyVersion]) -> Pending<'a, Vec<Option<RoomSecret>>> {
        self.pending(move |kept| {
            Ok(versions.iter().map(|version| kept.secrets.get(&(room, *version)).cloned().flatten()).collect())
        })
    }

    fn destroy(&self, room: RoomId, version: KeyVersion) -> Pending<'_, ()> {
        self.pending(move |kept| {
            kept.secrets.insert((room, version), None);
            Ok(())
        })
    }
}

impl SnapshotStore for MemoryStores {
    fn put<'a>(&'a self, log: &'a LogId, snapshot: Snapshot) -> Pending<'a, ()> {
        self.pending(move |kept| {
            if kept.snapshots.get(log).is_none_or(|stored| stored.revision <= snapshot.revision) {
                kept.snapshots.insert(log.clone(), snapshot);
            }
            Ok(())
        })
    }

    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>> {
        self.pending(move |kept| Ok(kept.snapshots.get(log).cloned()))
    }
}

impl Marks for MemoryStores {
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()> {
        self.pending(move |kept| {
            rules::check_marks(marks)?;
            for (name, value) in marks {
                let stored = kept.marks.entry(name.clone()).or_default();
                *stored = (*stored).max(*value);
            }
            Ok(())
        })
    }

    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>> {
        self.pending(move |kept| Ok(names.iter().map(|name| kept.marks.get(name).copied().unwrap_or(0)).collect()))
    }
}

impl Directory for MemoryStores {
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>> {
        self.pending(move |kept| {
            let known = accounts.iter().filter_map(|id| kept.accounts.get(id));
            Ok(known.map(|account| (account.account.clone(), account.clone())).collect())
        })
    }

    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()> {
        self.pending(move |kept| {
            let mut after = kept.accounts.clone();
            for account in accounts {
                if let Some(stored) = after.insert(account.account.clone(), account.clone()) {
                    rules::check_home(&stored, account)?;
                }
            }
            kept.accounts = after;
            Ok(())
        })
    }

    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage> {
        self.pending(move |kept| {
            let limit = limit.min(rules::PAGE_MAX);
            let mut rest = kept.accounts.values().filter(|account| after.is_none_or(|after| account.account > *after));
            let accounts = rest.by_ref().take(limit).cloned().collect();
            Ok(DirectoryPage { accounts, more: rest.next().is_some() })
        })
    }
}
