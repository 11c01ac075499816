//! The stores as the node is given them: the real ones, watched, and at times slow or failing.
//!
//! What an inner store took is written down before the node hears of it. Simulated here: errors before anything happened,
//! errors after it happened (an unknown outcome), slowness. The disk beneath loses and tears by itself (`stores::faulty`);
//! when its power fails in the middle of a call, no call of that life is ever answered again. Of several nodes each has its own watch
//! on what they share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, Record, RecordBytes};
use chamberlain_core::room::Event;
use chamberlain_sim::story::Seen;
use chamberlain_sim::tape::Actor;
use chamberlain_stores::faulty::Disk;
use chamberlain_stores::{
    Account, Appended, Directory, DirectoryPage, KeyVault, LogStore, Marks, Moved, Pending, PutSecret, Snapshot,
    SnapshotStore, StoreError, Stores,
};
use tokio::sync::broadcast;

use crate::witness::Witness;

const STORE: Actor = Actor::only("store");

/// How badly stores behave, in percent of calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    /// Fail before anything happened.
    pub before: u32,
    /// Fail after it happened.
    pub after: u32,
    /// Take up to [`Trouble::slowness`] longer.
    pub slow: u32,
    /// Milliseconds.
    pub slowness: u64,
}

struct Watched {
    inner: Stores,
    /// The disk beneath, where it is this machine's.
    disk: Option<Disk>,
    trouble: Trouble,
    witness: Witness,
}

/// Watches stores, and has them behave badly.
pub(crate) fn watched(inner: Stores, disk: Option<Disk>, trouble: Trouble, witness: Witness) -> Stores {
    let watched = Arc::new(Watched { inner, disk, trouble, witness });
    Stores {
        logs: watched.clone(),
        vault: watched.clone(),
        snapshots: watched.clone(),
        marks: watched.clone(),
        directory: watched,
    }
}

impl Watched {
    /// Carries out a call. Changes may fail after they happened; `changes` says whether it is one.
    async fn call<T>(&self, changes: bool, inner: Pending<'_, T>, took: impl FnOnce(&T)) -> Result<T, StoreError> {
        let armed = !self.witness.is_calm();
        let trouble = if armed { self.trouble } else { Trouble::default() };
        // Slow to begin, or to answer: what lands in between was not seen by a read that is under way.
        let mut slow_to_answer = None;
        if self.witness.chance(STORE, "slow", trouble.slow) {
            let slow = Duration::from_millis(self.witness.draw(STORE, "slowness", trouble.slowness.max(1)));
            match self.witness.draw(STORE, "slow-to-answer", 2) {
                0 => tokio::time::sleep(slow).await,
                _ => slow_to_answer = Some(slow),
            }
        }
        if self.witness.chance(STORE, "before", trouble.before) {
            self.witness.probe("store failed before the effect");
            return Err(StoreError::Unavailable("simulated".into()));
        }
        let result = inner.await;
        if self.disk.as_ref().is_some_and(Disk::has_crashed) {
            // The machine is without power: nobody hears the answer.
            return std::future::pending().await;
        }
        let value = result.inspect_err(|why| {
            if matches!(why, StoreError::Unknown(_)) {
                self.witness.probe("append outcome unknown");
            }
        })?;
        took(&value);
        if let Some(slow) = slow_to_answer {
            tokio::time::sleep(slow).await;
        }
        if changes && self.witness.chance(STORE, "after", trouble.after) {
            self.witness.probe("store failed after the effect");
            return Err(StoreError::Unknown("simulated".into()));
        }
        Ok(value)
    }

    /// Writes down records that nobody was told of when they were appended.
    fn found(&self, log: &LogId, records: &[RecordBytes]) {
        note_found(&self.witness, log, records);
    }
}

/// Writes down those of these records that are not written down yet: appended with an unknown outcome, or in a life that ended
/// before the answer.
pub(crate) fn note_found(witness: &Witness, log: &LogId, records: &[RecordBytes]) {
    for record in records {
        let head = witness.head(log);
        if let Some(after) = extended(log, record, head) {
            witness.note(Seen::Landed { log: log.clone(), record: record.clone() });
            witness.set_head(log, after);
            witness.probe("record found later");
        }
    }
}

/// The head after a record, if it is the next one.
fn extended(log: &LogId, record: &RecordBytes, head: Head) -> Option<Head> {
    match log {
        LogId::Room(_) => Record::<Event>::decode(&record.bytes).ok()?.extend(head),
        LogId::Account(_) => {
            Record::<chamberlain_core::account::AccountChange>::decode(&record.bytes).ok()?.extend(head)
        }
        LogId::Directory => {
            Record::<chamberlain_core::directory::DirectoryChange>::decode(&record.bytes).ok()?.extend(head)
        }
    }
}

impl LogStore for Watched {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        let kept = record.clone();
        Box::pin(async move {
            let inner = self.inner.logs.append(log, expected, record, after);
            self.call(true, inner, |appended| {
                // Somebody may have read it already.
                if matches!(appended, Appended::Done(_)) && !self.witness.has_landed(log, after) {
                    self.witness.note(Seen::Landed { log: log.clone(), record: kept });
                    self.witness.set_head(log, after);
                }
            })
            .await
        })
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        Box::pin(async move {
            let inner = self.inner.logs.read(log, after, max_bytes);
            self.call(false, inner, |records| self.found(log, records)).await
        })
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        Box::pin(self.call(false, self.inner.logs.head(log), |_| {}))
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        Box::pin(async move {
            let erased = |(): &()| self.witness.note(Seen::Erased { log: log.clone(), revision });
            self.call(true, self.inner.logs.erase(log, revision), erased).await
        })
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.inner.logs.watch()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        Box::pin(self.call(false, self.inner.logs.list(after, limit), |_| {}))
    }
}

impl KeyVault for Watched {
    fn put_if_absent<'a>(
        &'a self,
        room: RoomId,
        version: KeyVersion,
        secret: &'a RoomSecret,
    ) -> Pending<'a, PutSecret> {
        Box::pin(async move {
            let inner = self.inner.vault.put_if_absent(room, version, secret);
            self.call(true, inner, |put| {
                if let PutSecret::Winner(secret) = put {
                    self.witness.note_secret(room, version, secret);
                }
            })
            .await
        })
    }

    fn get(&self, room: RoomId, version: KeyVersion) -> Pending<'_, Option<RoomSecret>> {
        Box::pin(
            self.call(false, self.inner.vault.get(room, version), |_| self.witness.probe("key fetched from the vault")),
        )
    }

    fn get_many<'a>(&'a self, room: RoomId, versions: &'a [KeyVersion]) -> Pending<'a, Vec<Option<RoomSecret>>> {
        Box::pin(self.call(false, self.inner.vault.get_many(room, versions), |_| {}))
    }

    fn destroy(&self, room: RoomId, version: KeyVersion) -> Pending<'_, ()> {
        Box::pin(self.call(true, self.inner.vault.destroy(room, version), |()| {}))
    }
}

impl SnapshotStore for Watched {
    fn put<'a>(&'a self, log: &'a LogId, snapshot: Snapshot) -> Pending<'a, ()> {
        Box::pin(async move {
            let (revision, bytes) = (snapshot.revision, snapshot.bytes.clone());
            let kept = |(): &()| self.witness.note(Seen::Kept { log: log.clone(), revision, bytes });
            self.call(true, self.inner.snapshots.put(log, snapshot), kept).await
        })
    }

    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>> {
        Box::pin(self.call(false, self.inner.snapshots.latest(log), |found| {
            if found.is_some() {
                self.witness.probe("room loaded from a snapshot");
            }
        }))
    }
}

impl Marks for Watched {
    fn raise<'a>(&'a self, marks: &'a [(String, u64)]) -> Pending<'a, ()> {
        Box::pin(async move {
            let raised = |(): &()| {
                self.witness.with_story(|story| {
                    // What they hold is read at the end; here only their names are kept.
                    for (name, _) in marks {
                        story.ending.marks.entry(name.clone()).or_insert(0);
                    }
                });
            };
            self.call(true, self.inner.marks.raise(marks), raised).await
        })
    }

    fn get<'a>(&'a self, names: &'a [String]) -> Pending<'a, Vec<u64>> {
        Box::pin(self.call(false, self.inner.marks.get(names), |_| {}))
    }
}

impl Directory for Watched {
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>> {
        Box::pin(self.call(false, self.inner.directory.get(accounts), |_| {}))
    }

    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()> {
        Box::pin(self.call(true, self.inner.directory.put(accounts), |()| {}))
    }

    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage> {
        Box::pin(self.call(false, self.inner.directory.list(after, limit), |_| {}))
    }
}
