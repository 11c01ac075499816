//! What other nodes append: rooms that somebody uses here, accounts that are connected here, and the directory are read up to it.
//!
//! That a log has grown is a hint, which may be lost; the store says when it may have lost some, and then everything that is
//! held here is looked at again (RACES.md, N-15). Reading is from the log, so that a hint that comes twice, late or in the wrong
//! order does no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::directory::DirectoryChange;
use chamberlain_core::id::{LogId, Revision, RoomId};
use chamberlain_core::log::{Head, Record};
use chamberlain_core::retry::{Backoff, Failure};
use chamberlain_core::time::Instant;
use chamberlain_stores::Moved;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::sleep;

use super::load;
use super::turns::Turns;
use super::{Inner, room};
use crate::lock::Lock;

/// Logs that are read at the same time.
const LOGS_AT_ONCE: usize = 32;
/// Rooms of which is remembered up to where others have seen them.
const LOSSES_MOST: usize = 10_000;
/// So long, a room whose log ends where it did is not looked into again: that takes as long as a log is doubted.
const STOPPED: Duration = Duration::from_secs(60);
/// How much of the directory's log is read at once.
const DIRECTORY_BYTES: usize = 256 * 1024;
/// First and longest wait after a failure.
const WAIT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// After so long, whoever appended should have done what follows from it; then the owner of the room sees to it.
const LATE: Duration = Duration::from_secs(10);
/// How often those are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// What is to be read.
pub(super) struct Following {
    logs: Turns<LogId>,
    /// Rooms of which is to be found out whether their logs lost something.
    suspected: Lock<BTreeSet<RoomId>>,
    /// Up to where the logs of rooms once were that are not in memory here.
    once: Lock<BTreeMap<RoomId, Revision>>,
    /// Those that cannot be loaded: where their logs end, and when that was found out.
    stopped: Lock<BTreeMap<RoomId, (Head, Instant)>>,
    /// How far the directory's log was looked at; none before the first time.
    directory: Lock<Option<Revision>>,
    /// Where rooms were last said to end.
    heads: Lock<BTreeMap<RoomId, Head>>,
    /// Rooms of this node to which another one appended, and when that was first heard.
    others: Lock<BTreeMap<RoomId, Instant>>,
}

impl Following {
    pub(super) fn new() -> Self {
        Self {
            logs: Turns::new(LOGS_AT_ONCE),
            suspected: Lock::default(),
            once: Lock::default(),
            stopped: Lock::default(),
            directory: Lock::default(),
            heads: Lock::default(),
            others: Lock::default(),
        }
    }

    /// The log of a room was once up to here, and is no more.
    pub(super) fn hear_of_loss(&self, room: RoomId, revision: Revision) {
        let mut once = self.once.lock();
        if once.len() >= LOSSES_MOST {
            once.pop_first();
        }
        let known = once.entry(room).or_default();
        *known = revision.max(*known);
    }

    /// The room cannot be loaded, for its log ends here, and lost something; whether that is news.
    pub(super) fn stop(&self, room: RoomId, ends: Head, now: Instant) -> bool {
        let mut stopped = self.stopped.lock();
        if stopped.len() >= LOSSES_MOST {
            stopped.pop_first();
        }
        stopped.insert(room, (ends, now)).is_none()
    }

    /// Where the log of a room ended when it was found out, not long ago, that the room cannot be loaded.
    pub(super) fn stopped_at(&self, room: RoomId, now: Instant) -> Option<Head> {
        let (ends, found) = *self.stopped.lock().get(&room)?;
        (now.since(found) < STOPPED).then_some(ends)
    }

    /// The room can be loaded.
    pub(super) fn goes_on(&self, room: RoomId) {
        self.stopped.lock().remove(&room);
    }

    /// Up to where the log of a room once was.
    pub(super) fn once_at(&self, room: RoomId) -> Revision {
        self.once.lock().get(&room).copied().unwrap_or_default()
    }

    /// The log is to be read to its head.
    pub(super) fn push(&self, log: LogId) {
        self.logs.push(log);
    }
}

/// Reads what was pushed, for as long as the node lives.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        let log = inner.following.logs.next().await;
        let inner = inner.clone();
        tokio::spawn(async move {
            let mut backoff = Backoff::new(WAIT.0, WAIT.1);
            let mut rng = crate::entropy::rng();
            while let Err(failure) = inner.follow(&log).await {
                if matches!(failure, Failure::Permanent | Failure::Newer) {
                    tracing::error!(%log, "a log cannot be followed; it waits for an operator");
                    break;
                }
                sleep(backoff.wait(&mut rng)).await;
            }
            inner.following.logs.done(&log);
        });
    }
}

/// Takes what the store tells of logs that grew, for as long as it tells.
pub(super) async fn watch(inner: Arc<Inner>, mut moved: Receiver<Moved>) {
    loop {
        match moved.recv().await {
            Ok(moved) => inner.heard_of(moved),
            Err(RecvError::Lagged(_)) => inner.look_at_everything(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Sees to what follows from records of other nodes, where these should have done so and may be gone.
pub(super) async fn see_to_others(inner: Arc<Inner>) {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        let now = inner.clock.now();
        let mut others = inner.following.others.lock();
        let late: Vec<RoomId> =
            others.iter().filter(|(_, heard)| now.since(**heard) >= LATE).map(|(room, _)| *room).collect();
        for room in late {
            others.remove(&room);
            inner.effects.push(room);
        }
    }
}

impl Inner {
    fn heard_of(self: &Arc<Self>, moved: Moved) {
        match &moved.log {
            LogId::Room(id) => {
                let cell = self.rooms.lock().get(id).cloned();
                let room = cell.as_ref().and_then(|cell| cell.get());
                if let Some(room) = room {
                    self.is_the_same(room, moved.head);
                    room.look.notify_one();
                    if room.is_at(moved.head.revision) {
                        return;
                    }
                }
                if self.owns(*id) {
                    self.following.others.lock().entry(*id).or_insert(self.clock.now());
                }
                // One that is being loaded may have been read before this record was there.
                if cell.is_some() {
                    self.following.heads.lock().insert(*id, moved.head);
                    self.following.push(moved.log);
                }
            }
            LogId::Account(account) => {
                if self.account_grew(account, Some(moved.head.revision)) {
                    self.following.push(moved.log);
                }
            }
            LogId::Directory => self.following.push(moved.log),
        }
    }

    /// Hints may have been lost: everything that is held here is read again.
    pub(super) fn look_at_everything(self: &Arc<Self>) {
        self.metrics.bus_gap();
        let rooms: Vec<RoomId> = self.rooms.lock().keys().copied().collect();
        self.following.suspected.lock().extend(&rooms);
        for room in rooms {
            self.following.push(LogId::Room(room));
        }
        for account in self.known_accounts() {
            if self.account_grew(&account, None) {
                self.following.push(LogId::Account(account));
            }
        }
        self.accounts_changed(Vec::new());
    }

    /// Reads which accounts were changed in the directory's log since it was read last, and sees to them; to all, where nobody
    /// knows since when.
    async fn follow_directory(self: &Arc<Self>) -> Result<(), Failure> {
        let (log, seen) = (LogId::Directory, *self.following.directory.lock());
        let Some(mut seen) = seen else {
            let head = self.stores.logs.head(&log).await.map_err(|error| load::classify(&error))?;
            *self.following.directory.lock() = Some(head.revision);
            self.accounts_changed(Vec::new());
            return Ok(());
        };
        loop {
            let records = self.stores.logs.read(&log, seen, DIRECTORY_BYTES).await;
            let records = records.map_err(|error| load::classify(&error))?;
            let Some(last) = records.last().map(|record| record.last) else { return Ok(()) };
            let decoded = records.iter().map(|record| Record::<DirectoryChange>::decode(&record.bytes));
            let accounts = decoded.collect::<Result<Vec<_>, _>>().map_or_else(
                // Written by a newer version: it may be about anybody.
                |_| Vec::new(),
                |records| {
                    records.iter().flat_map(Record::items).filter_map(|item| item.event.account().cloned()).collect()
                },
            );
            self.accounts_changed(accounts);
            seen = last;
            *self.following.directory.lock() = Some(seen);
        }
    }

    /// Reads on what a log has grown by. A room that is suspected is compared with it: a server that came back may have forgotten
    /// what it acknowledged (RACES.md, N-14).
    async fn follow(self: &Arc<Self>, log: &LogId) -> Result<(), Failure> {
        match log {
            LogId::Account(account) => self.follow_account(account).await,
            LogId::Directory => self.follow_directory().await,
            LogId::Room(id) => {
                if !self.rooms.lock().contains_key(id) {
                    return Ok(());
                }
                let Ok(room) = self.room(*id).await else { return Err(Failure::Transient) };
                room::catch_up(self, &room).await?;
                if let Some(head) = self.following.heads.lock().remove(id) {
                    self.is_the_same(&room, head);
                }
                if self.following.suspected.lock().contains(id) {
                    self.compare(&room).await?;
                    self.following.suspected.lock().remove(id);
                }
                Ok(())
            }
        }
    }
}
