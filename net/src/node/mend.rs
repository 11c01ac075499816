//! A log that lost what it had acknowledged is given it back by a node that has it in memory (RACES.md, N-14).
//!
//! Nothing is appended to such a log but the very bytes that it held, each under the condition that the log ends where they
//! followed: nodes that do so at the same time help each other. A log that is beside what is known of it, and one whose missing
//! records nobody holds, stays quarantined. What followed from those records outside the room is seen to once more, for the
//! logs of accounts and the erasures lie on the same disks and were lost with them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chamberlain_core::id::{LogId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Head, Offer, Record, RecordBytes, Stored, Suffix};
use chamberlain_core::retry::{Backoff, Failure};
use chamberlain_core::room::{Contradiction, Event, Reason};
use chamberlain_core::wire::ResetWhy;
use chamberlain_stores::Appended;

use super::Inner;
use super::load::{self, DOUBT, classify};
use super::room::{self, Room};

/// Stored records weigh about a quarter of what the hub makes of them: so many parts of what a room's tail may take in memory.
const SUFFIX_PART: usize = 4;
/// First and longest wait between two looks at a log that lost something.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// Who has the room open is told after this: nodes that hold what is missing have given it back by then.
const PATIENCE: Duration = Duration::from_secs(3);

/// Memory of stored records for a room that is at this head. A node that is alone keeps its logs itself, and nothing tells it that
/// they were exchanged while it runs: it remembers next to nothing.
pub(super) fn suffix(head: Head, limits: &Limits, alone: bool) -> Suffix {
    let most = if alone { 1 } else { limits.tail_records as usize };
    Suffix::new(head, most, limits.tail_bytes as usize / SUFFIX_PART)
}

/// How a log that lost something stands to what is known of it here.
enum Found {
    /// It is whole.
    Whole,
    /// It ends early, and this is what it had.
    Short(Vec<Stored>),
    /// It is another one, or what it had is not known here.
    Lost,
    /// An operator had it go on from where it ended, and gave up what is remembered here.
    GivenUp,
}

impl Room {
    /// Shows the hub a record that is durable, and remembers its bytes.
    pub(super) fn commit(
        &self,
        record: &Record<Event>,
        bytes: RecordBytes,
        after: Head,
    ) -> Result<Offer, Contradiction> {
        let mut hub = self.hub.lock();
        let erased: Vec<Revision> = record.items().flat_map(|item| hub.state().erased_by(item.event)).collect();
        let offer = hub.commit(record, after)?;
        if offer == Offer::Next {
            let mut suffix = self.suffix.lock();
            suffix.take(bytes, after);
            erased.into_iter().for_each(|revision| suffix.bury(revision));
        }
        Ok(offer)
    }

    /// Why it takes no commands here, if it takes none.
    pub(super) fn problem(&self) -> Option<Reason> {
        if self.is_newer() {
            return Some(Reason::NewerLog);
        }
        self.is_quarantined().then_some(Reason::Quarantined)
    }

    /// Whether the log lost something, and is not whole again.
    pub(crate) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Acquire)
    }

    /// Whether a newer version wrote what this node cannot read.
    pub(super) fn is_newer(&self) -> bool {
        self.newer.load(Ordering::Acquire)
    }
}

impl Inner {
    /// A newer version wrote to the log: what could be read is shown on, commands go to nodes that can read it (RACES.md, N-20).
    pub(super) fn step_back(&self, room: &Room) {
        if !room.newer.swap(true, Ordering::AcqRel) {
            let head = room.hub.lock().state().head().revision;
            tracing::error!(room = %room.id, %head, "a newer version wrote to the log: this node takes no commands for the room");
            self.metrics.stepped_back();
        }
    }

    /// The room, if it is in memory.
    pub(super) fn loaded(&self, id: RoomId) -> Option<Arc<Room>> {
        self.rooms.lock().get(&id).and_then(|cell| cell.get().cloned())
    }

    /// Tells the other nodes that the log of a room seems to have lost what was seen of it: those who have it give it back.
    pub(super) fn tell_of_loss(&self, room: RoomId, known: Revision) {
        if let Some(colleagues) = &self.colleagues {
            colleagues.tell_of_loss(room, known);
        }
    }

    /// Another node has seen the log of a room up to this revision, and it is there no more.
    pub(super) fn suspect(self: &Arc<Self>, room: Arc<Room>, known: Revision) {
        room.once_at.fetch_max(known.0, Ordering::AcqRel);
        let ours = room.hub.lock().state().head().revision;
        let inner = self.clone();
        tokio::spawn(async move {
            match inner.look_at(&room).await {
                Ok(Found::Whole) | Err(_) => {}
                Ok(Found::GivenUp) => inner.begin_again(&room).await,
                Ok(Found::Short(_) | Found::Lost) => {
                    inner.lost(&room, known);
                    // Whoever asks hears how far it was seen here.
                    if ours > known {
                        inner.tell_of_loss(room.id, ours);
                    }
                }
            }
        });
    }

    /// The log ends before what it had acknowledged, or beside it: nothing more is appended here until it is whole. What is in
    /// memory can be read on.
    pub(super) fn lost(self: &Arc<Self>, room: &Arc<Room>, known: Revision) {
        room.once_at.fetch_max(known.0, Ordering::AcqRel);
        if room.quarantined.swap(true, Ordering::AcqRel) {
            return room.look.notify_one();
        }
        self.tell_of_loss(room.id, known);
        tracing::error!(room = %room.id, revision = %known, "the log lost what it had acknowledged: the room is quarantined");
        self.metrics.quarantined();
        tokio::spawn(mend(self.clone(), Arc::downgrade(room)));
    }

    /// Compares what is shown here with the log: a server that came back may have forgotten what it acknowledged.
    pub(super) async fn compare(self: &Arc<Self>, room: &Arc<Room>) -> Result<(), Failure> {
        let known = room.hub.lock().state().head();
        match self.look_at(room).await? {
            Found::Whole => {}
            Found::GivenUp => self.begin_again(room).await,
            // Giving back what is missing does no harm, whoever was right.
            Found::Short(_) => self.lost(room, known.revision),
            Found::Lost => {
                self.tell_of_loss(room.id, known.revision);
                let (inner, room) = (self.clone(), room.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(DOUBT).await;
                    if matches!(inner.look_at(&room).await, Ok(Found::Short(_) | Found::Lost)) {
                        inner.lost(&room, known.revision);
                    }
                });
            }
        }
        Ok(())
    }

    /// What is stored at a revision is what is shown there, or the log is another one.
    pub(super) fn is_the_same(self: &Arc<Self>, room: &Arc<Room>, stored: Head) {
        let shown = room.hub.lock().state().head();
        if shown.revision == stored.revision && shown != stored {
            self.lost(room, shown.revision);
        }
    }

    async fn look_at(&self, room: &Room) -> Result<Found, Failure> {
        let log = LogId::Room(room.id);
        let known = room.hub.lock().state().head();
        let stored = self.stores.logs.head(&log).await.map_err(|error| classify(&error))?;
        if stored.revision < known.revision {
            return Ok(room.suffix.lock().after(stored).map_or(Found::Lost, Found::Short));
        }
        let whole =
            stored.revision.0 >= room.once_at.load(Ordering::Acquire) && self.leads(&log, known, stored).await?;
        if whole {
            return Ok(Found::Whole);
        }
        let fold = load::as_it_is(&self.stores, room.id, self.settings.limits.remembered_requests).await?;
        let given_up = fold.state.continued().is_some_and(|continued| continued.known >= known.revision);
        Ok(if given_up { Found::GivenUp } else { Found::Lost })
    }

    /// What is in memory of the room goes. Who has it open comes back to what the log is now.
    pub(super) async fn begin_again(&self, room: &Arc<Room>) {
        // A log that is as it was, and goes on under another key.
        if matches!(self.look_at(room).await, Ok(Found::Whole)) {
            if room::catch_up(self, room).await.is_err() {
                self.following.push(LogId::Room(room.id));
            }
            return;
        }
        {
            let mut rooms = self.rooms.lock();
            if rooms.get(&room.id).and_then(|cell| cell.get()).is_some_and(|held| Arc::ptr_eq(held, room)) {
                rooms.remove(&room.id);
            }
        }
        room.quarantined.store(true, Ordering::Release);
        self.effects.forget(room.id);
        self.sockets.reset(room.id, ResetWhy::UnknownPosition);
        tracing::warn!(room = %room.id, "an operator had the room go on: what was remembered of it is given up");
    }

    /// Whether the log goes from one head to the other.
    async fn leads(&self, log: &LogId, from: Head, to: Head) -> Result<bool, Failure> {
        let mut head = from;
        while head.revision < to.revision {
            let records = load::read(&self.stores, log, head.revision).await?;
            if records.is_empty() {
                return Ok(false);
            }
            for (record, _) in records.iter().take_while(|(record, _)| record.first <= to.revision) {
                let Some(after) = record.extend(head) else { return Ok(false) };
                head = after;
            }
        }
        Ok(head == to)
    }

    /// Gives the log back what it had. What was given is put into `given`; a log that is not as expected is looked at again.
    async fn give_back(&self, room: &Room, missing: Vec<Stored>, given: &mut Vec<RecordBytes>) -> Result<(), Failure> {
        let log = LogId::Room(room.id);
        for Stored { before, bytes, after } in missing {
            let appended = self.stores.logs.append(&log, before, bytes.clone(), after).await;
            match appended.map_err(|error| classify(&error))? {
                Appended::Done(_) => {
                    tracing::warn!(%log, first = %bytes.first, last = %bytes.last, "given back to a log that had lost it");
                    given.push(bytes);
                }
                Appended::Conflict(_) => break,
            }
        }
        Ok(())
    }
}

/// Looks at a log that lost something until it is whole again, or nobody here knows it any more.
async fn mend(inner: Arc<Inner>, room: Weak<Room>) {
    let begun = inner.clock.now();
    let (mut backoff, mut rng) = (Backoff::new(WAIT.0, WAIT.1), crate::entropy::rng());
    let mut given: Vec<RecordBytes> = Vec::new();
    let mut told = false;
    loop {
        let Some(room) = room.upgrade() else { return };
        let found = inner.look_at(&room).await;
        if let Ok(Found::Short(missing)) = found {
            let so_far = given.len();
            let gave = inner.give_back(&room, missing, &mut given).await;
            // Another node may have been quicker with one of them: there may be more to do at once.
            if gave.is_ok() && given.len() > so_far {
                backoff.reset();
                continue;
            }
        } else if let Ok(Found::GivenUp) = found {
            return inner.begin_again(&room).await;
        } else if let Ok(Found::Whole) = found
            && inner.see_to(&room, &mut given).await.is_ok()
        {
            tracing::warn!(room = %room.id, "the log is whole again: the room goes on");
            inner.metrics.mended();
            room.quarantined.store(false, Ordering::Release);
            room.healed.notify_one();
            inner.sockets.moved(room.id);
            inner.following.push(LogId::Room(room.id));
            return;
        }
        if !told && inner.clock.now().since(begun) >= PATIENCE {
            told = true;
            inner.sockets.reset(room.id, ResetWhy::Quarantined);
        }
        let look = async {
            room.look.notified().await;
            // Who notices tells of it more than once.
            tokio::time::sleep(WAIT.0).await;
        };
        tokio::select! {
            biased;
            () = look => {}
            () = tokio::time::sleep(backoff.wait(&mut rng)) => {
                // Nodes that have it may have come, or not have heard.
                let once_at = room.once_at.load(Ordering::Acquire);
                inner.tell_of_loss(room.id, Revision(once_at));
            }
        }
    }
}

impl Inner {
    /// What follows outside the room from what was given back.
    async fn see_to(self: &Arc<Self>, room: &Arc<Room>, given: &mut Vec<RecordBytes>) -> Result<(), Failure> {
        while let Some(bytes) = given.first() {
            let record = load::decode(&LogId::Room(room.id), &bytes.bytes)?;
            self.carry_out_again(room.id, &record).await?;
            given.remove(0);
        }
        Ok(())
    }
}
