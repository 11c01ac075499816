//! One active room: its sequencer's driver, and the hub that its sockets are served from.
//!
//! The driver carries out what the sequencer wants and brings back what came of it; it decides nothing. A record is shown to
//! the hub before its commands are answered. Dropped when nobody holds it; made again from the log when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chamberlain_core::fanout::Hub;
use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, Offer, Record, RecordBytes, Suffix};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Contradiction, Event, Fold, Reason, Refused, Request, Target};
use chamberlain_core::sequencer::{Append, Effect, Input, Sequencer, Ticket};
use chamberlain_core::wire::ResetWhy;
use chamberlain_stores::{Appended, PutSecret, Snapshot};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OnceCell, mpsc};

use super::load::{self, Unread, classify};
use super::{Inner, Reply, mend};
use crate::lock::Lock;

/// How often rooms that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// Secrets of old versions kept in memory per room.
const SECRETS_KEPT: usize = 64;

/// A room that somebody uses.
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) hub: Lock<Hub>,
    commands: mpsc::Sender<(Box<Request>, Reply)>,
    backlog: Arc<AtomicUsize>,
    secrets: Lock<BTreeMap<KeyVersion, RoomSecret>>,
    /// The revision that an append under way here leads to; zero when there is none.
    appending: AtomicU64,
    /// What the hub was shown, as it is stored: a log that lost it is given it back.
    pub(super) suffix: Lock<Suffix>,
    /// The log lost something: it takes no more commands here.
    pub(super) quarantined: AtomicBool,
    /// Up to where another node says that the log once was.
    pub(super) once_at: AtomicU64,
    /// Something may have become of a log that lost something.
    pub(super) look: Notify,
    /// The log is whole again: the sequencer begins anew, if it has stopped.
    pub(super) healed: Arc<Notify>,
    /// A newer version wrote to the log: other nodes can read it, and this one takes no commands.
    pub(super) newer: AtomicBool,
}

impl Inner {
    /// The room, loaded. A room that does not exist is an empty one: nobody is a member of it.
    pub(crate) async fn room(self: &Arc<Self>, id: RoomId) -> Result<Arc<Room>, Refused> {
        let cell = self.rooms.lock().entry(id).or_default().clone();
        let room = cell.get_or_try_init(|| self.load_room(id)).await;
        room.cloned().map_err(|failure| match failure {
            Failure::Permanent => Reason::Quarantined.into(),
            Failure::Newer => Reason::NewerLog.into(),
            Failure::Transient | Failure::Unknown => Reason::StoreUnavailable.into(),
        })
    }

    /// The room, for what this account asks about it: where it is no member, the room is read to the head of its log first, for
    /// another node may have added it just now.
    pub(crate) async fn room_for(self: &Arc<Self>, account: &AccountId, id: RoomId) -> Result<Arc<Room>, Refused> {
        let room = self.room(id).await?;
        let stranger = !room.hub.lock().state().is_member(account);
        if stranger && self.colleagues.is_some() {
            catch_up(self, &room).await.map_err(|_| Reason::StoreUnavailable)?;
        }
        Ok(room)
    }

    /// Reads the room on to its head, where less of it is shown here than this revision.
    pub(crate) async fn show_to(&self, room: &Arc<Room>, revision: Revision) -> Result<(), Failure> {
        let shown = room.hub.lock().state().head().revision;
        if shown < revision { catch_up(self, room).await } else { Ok(()) }
    }

    /// The same for a revision that a client names: only another node can have told it of a later one.
    pub(crate) async fn reaches(&self, room: &Arc<Room>, revision: Revision) -> Result<(), Refused> {
        match self.colleagues {
            Some(_) => self.show_to(room, revision).await.map_err(|_| Reason::StoreUnavailable.into()),
            None => Ok(()),
        }
    }

    async fn load_room(self: &Arc<Self>, id: RoomId) -> Result<Arc<Room>, Failure> {
        let _turn = self.loads.acquire().await.map_err(|_| Failure::Transient)?;
        let settings = &self.settings;
        if let Some(ends) = self.following.stopped_at(id, self.clock.now())
            && self.stores.logs.head(&LogId::Room(id)).await.is_ok_and(|head| head == ends)
        {
            return Err(Failure::Permanent);
        }
        let suspect = |revision| self.tell_of_loss(id, revision);
        let fold = load::fold(&self.stores, id, settings.limits.remembered_requests, suspect).await;
        let (fold, newer) = match fold {
            Ok(fold) => (fold, false),
            // What can be read is shown.
            Err(Unread::Newer(fold)) => (fold, true),
            Err(unread) => {
                if let Unread::Lost(revision) = unread {
                    self.following.hear_of_loss(id, revision);
                    if let Ok(ends) = self.stores.logs.head(&LogId::Room(id)).await
                        && self.following.stop(id, ends, self.clock.now())
                    {
                        self.metrics.quarantined();
                    }
                }
                return Err(unread.failure());
            }
        };
        let head = fold.state.head();
        let hub = Hub::new(fold.state.clone(), settings.keys.clone(), &settings.limits, settings.framing);
        let (commands, queue) = mpsc::channel(settings.limits.room_queue as usize);
        let room = Arc::new(Room {
            id,
            hub: Lock::new(hub),
            commands,
            backlog: Arc::new(AtomicUsize::new(0)),
            secrets: Lock::new(BTreeMap::new()),
            appending: AtomicU64::new(0),
            suffix: Lock::new(mend::suffix(head, &settings.limits, self.colleagues.is_none())),
            quarantined: AtomicBool::new(false),
            once_at: AtomicU64::new(0),
            look: Notify::new(),
            healed: Arc::default(),
            newer: AtomicBool::new(false),
        });
        if newer {
            self.step_back(&room);
        }
        tokio::spawn(Driver::new(self.clone(), &room, fold).run(queue));
        self.metrics.room_loaded();
        self.following.goes_on(id);
        Ok(room)
    }
}

impl Room {
    /// Whether the room is shown up to this revision here, or is about to be: what is being appended is shown when it is
    /// durable, and what stood in its way is read.
    pub(super) fn is_at(&self, revision: Revision) -> bool {
        self.appending.load(Ordering::Acquire) >= revision.0 || self.hub.lock().state().head().revision >= revision
    }

    /// Puts a command into the queue; refuses it at once when the queue is full.
    pub(super) fn submit(&self, request: Box<Request>, reply: Reply) {
        if let Some(problem) = self.problem() {
            return reply(Err(problem.into()));
        }
        self.backlog.fetch_add(1, Ordering::AcqRel);
        if let Err(full) = self.commands.try_send((request, reply)) {
            self.backlog.fetch_sub(1, Ordering::AcqRel);
            let (_, reply) = full.into_inner();
            reply(Err(Reason::Busy.into()));
        }
    }

    /// Whether it may leave memory. What remembers more than a log that lost something may not.
    fn is_dispensable(&self) -> bool {
        self.backlog() == 0 && !self.quarantined.load(Ordering::Acquire)
    }

    /// Commands that wait or are under way.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Acquire)
    }

    /// The secret of a version, checked against the public half in the log. Entitlement is the caller's business.
    pub(crate) async fn secret(&self, inner: &Inner, version: KeyVersion) -> Result<RoomSecret, Refused> {
        if let Some(secret) = self.secrets.lock().get(&version) {
            return Ok(secret.clone());
        }
        let public = self.hub.lock().state().public(version).ok_or(Reason::NoSuchKey)?;
        let secret = inner.stores.vault.get(self.id, version).await.map_err(super::refuse_store)?;
        let secret = secret.ok_or(Reason::NoSuchKey)?;
        if secret.public() != public {
            tracing::error!(room = %self.id, %version, "the vault holds another key than the log names");
            return Err(Reason::Quarantined.into());
        }
        let mut secrets = self.secrets.lock();
        if secrets.len() >= SECRETS_KEPT {
            secrets.pop_first();
        }
        secrets.insert(version, secret.clone());
        Ok(secret)
    }
}

/// Carries out what the sequencer wants.
struct Driver {
    inner: Arc<Inner>,
    id: RoomId,
    room: Weak<Room>,
    backlog: Arc<AtomicUsize>,
    sequencer: Sequencer,
    waiting: BTreeMap<Ticket, Reply>,
    next_ticket: u64,
    under_way: FuturesUnordered<BoxFuture<'static, Input>>,
    effects: Vec<Effect>,
    /// The record that was last begun to be appended.
    appending: Option<RecordBytes>,
    healed: Arc<Notify>,
}

impl Driver {
    fn new(inner: Arc<Inner>, room: &Arc<Room>, fold: Box<Fold>) -> Self {
        let mut effects = Vec::new();
        let sequencer = sequencer(&inner, room.id, &mut effects);
        // The room was just folded for the hub: that answers the load which the sequencer begins with.
        debug_assert!(matches!(effects[..], [Effect::Load]));
        effects.clear();
        let under_way = FuturesUnordered::new();
        under_way.push(std::future::ready(Input::Loaded(Ok(fold))).boxed());
        Self {
            id: room.id,
            room: Arc::downgrade(room),
            backlog: room.backlog.clone(),
            sequencer,
            waiting: BTreeMap::new(),
            next_ticket: 0,
            under_way,
            effects,
            appending: None,
            healed: room.healed.clone(),
            inner,
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<(Box<Request>, Reply)>) {
        let mut open = true;
        loop {
            if !open && self.under_way.is_empty() && self.sequencer.is_idle() {
                return;
            }
            let deadline = self.sequencer.next_deadline().map(|at| self.inner.clock.to_tokio(at));
            let input = tokio::select! {
                biased;
                Some(input) = self.under_way.next() => input,
                command = queue.recv(), if open => match command {
                    Some((request, reply)) => self.ticket(request, reply),
                    None => {
                        open = false;
                        Input::Drain
                    }
                },
                () = sleep_until(deadline) => Input::Tick,
                () = self.healed.notified() => {
                    self.begin_anew();
                    Input::Tick
                }
            };
            self.step(input);
            // What waits already is decided together with it.
            while let Ok((request, reply)) = queue.try_recv() {
                let input = self.ticket(request, reply);
                self.step(input);
            }
        }
    }

    /// The log is whole again: what stopped is made anew. All that waited was answered when it stopped.
    fn begin_anew(&mut self) {
        if self.sequencer.is_quarantined() {
            self.under_way.clear();
            let mut effects = std::mem::take(&mut self.effects);
            self.sequencer = sequencer(&self.inner, self.id, &mut effects);
            effects.drain(..).for_each(|effect| self.carry_out(effect));
            self.effects = effects;
        }
    }

    fn ticket(&mut self, request: Box<Request>, reply: Reply) -> Input {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, reply);
        Input::Request { ticket, request }
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.sequencer.step(self.inner.clock.now(), self.inner.clock.wall(), input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect) {
        let inner = self.inner.clone();
        let (id, log) = (self.id, LogId::Room(self.id));
        let begun: BoxFuture<'static, Input> = match effect {
            Effect::Committed { record, after } => return self.show(&record, after),
            Effect::Answer { ticket, result } => {
                if let Some(reply) = self.waiting.remove(&ticket) {
                    self.backlog.fetch_sub(1, Ordering::AcqRel);
                    let newer = || self.room.upgrade().is_some_and(|room| room.is_newer());
                    reply(match result {
                        Err(refused) if refused.reason == Reason::Quarantined && newer() => {
                            Err(Reason::NewerLog.into())
                        }
                        result => result,
                    });
                }
                return;
            }
            // What a newer version wrote is not wrong.
            Effect::Quarantined { .. } if self.room.upgrade().is_some_and(|room| room.is_newer()) => return,
            Effect::Quarantined { what } => {
                tracing::error!(room = %id, what, "the room is quarantined: reads go on, appends have stopped");
                inner.metrics.quarantined();
                return;
            }
            Effect::Snapshot { revision, bytes } => {
                tokio::spawn(async move {
                    let put = inner.stores.snapshots.put(&log, Snapshot { revision, bytes }).await;
                    if let Err(error) = put {
                        tracing::warn!(%log, %error, "a snapshot was not kept; the next load takes longer");
                    }
                });
                return;
            }
            Effect::Load => {
                let room = self.room.clone();
                async move {
                    let remembered = inner.settings.limits.remembered_requests;
                    let shown = room.upgrade().map(|room| room.hub.lock().state().head());
                    let suspect = |revision| inner.tell_of_loss(id, revision);
                    let fold = load::fold(&inner.stores, id, remembered, suspect).await;
                    let Some(room) = room.upgrade() else { return Input::Loaded(fold.map_err(Unread::failure)) };
                    match &fold {
                        Err(Unread::Lost(revision)) => inner.lost(&room, *revision),
                        Err(Unread::Newer(_)) => inner.step_back(&room),
                        _ => {}
                    }
                    let fold = fold.map_err(Unread::failure);
                    if let (Ok(fold), Some(shown)) = (&fold, shown) {
                        let head = fold.state.head();
                        let other = head.revision == shown.revision && head != shown;
                        if head.revision < shown.revision || other {
                            inner.lost(&room, shown.revision);
                            return Input::Loaded(Err(Failure::Permanent));
                        }
                        if catch_up(&inner, &room).await.is_err() {
                            inner.following.push(log);
                        }
                    }
                    Input::Loaded(fold)
                }
                .boxed()
            }
            Effect::Append { expected, record, after } => {
                let room = self.room.clone();
                let appending = move |revision| {
                    if let Some(room) = room.upgrade() {
                        room.appending.store(revision, Ordering::Release);
                    }
                };
                // What others appended, and is shown here, is in the log: it is not appended below that, not even where the log
                // forgot it and would let it happen.
                let overtaken =
                    self.room.upgrade().is_some_and(|room| room.hub.lock().state().head().revision > expected.revision);
                if overtaken {
                    self.under_way.push(std::future::ready(Input::Appended(Ok(Append::Conflict))).boxed());
                    return;
                }
                appending(after.revision.0);
                self.appending = Some(record.clone());
                async move {
                    let appended = inner.stores.logs.append(&log, expected, record, after).await;
                    Input::Appended(match appended {
                        // It is shown in the same step in which this is taken.
                        Ok(Appended::Done(_)) => Ok(Append::Done),
                        Ok(Appended::Conflict(_)) => {
                            appending(0);
                            Ok(Append::Conflict)
                        }
                        Err(error) => {
                            appending(0);
                            tracing::warn!(%log, %error, "an append did not succeed");
                            Err(classify(&error))
                        }
                    })
                }
                .boxed()
            }
            Effect::ReadBack { after } => async move {
                let found = inner.stores.logs.read(&log, after, 1).await;
                Input::ReadBack(found.map(|records| records.into_iter().next()).map_err(|error| classify(&error)))
            }
            .boxed(),
            Effect::PutSecret { version, secret } => async move {
                let secret = match inner.stores.vault.put_if_absent(id, version, &secret).await {
                    Ok(PutSecret::Winner(secret)) => Ok(secret),
                    Ok(PutSecret::Destroyed) => Err(Failure::Permanent),
                    Err(error) => Err(classify(&error)),
                };
                Input::SecretPut { version, secret }
            }
            .boxed(),
            Effect::GetSecret { version } => async move {
                let secret = match inner.stores.vault.get(id, version).await {
                    Ok(Some(secret)) => Ok(secret),
                    Ok(None) => Err(Failure::Permanent),
                    Err(error) => Err(classify(&error)),
                };
                Input::SecretGot { version, secret }
            }
            .boxed(),
            Effect::FindMessage { revision } => {
                async move { Input::MessageFound { revision, target: find_message(&inner, &log, revision).await } }
                    .boxed()
            }
        };
        self.under_way.push(begun);
    }

    fn show(&mut self, record: &Record<Event>, after: Head) {
        self.inner.effects.push(self.id);
        self.inner.metrics.committed(record.count());
        let bytes = self.appending.take().filter(|bytes| bytes.first == record.first);
        let Some(room) = self.room.upgrade() else { return };
        let offer = room.commit(record, bytes.unwrap_or_else(|| record.encode()), after);
        match offer {
            Ok(Offer::Next) => {
                self.inner.tell(&room, record);
                self.inner.observed_record(&room, record, true);
            }
            Ok(Offer::Duplicate) => self.inner.observed_record(&room, record, true),
            Err(contradiction) => self.inner.contradicted(self.id, &contradiction),
            Ok(Offer::Gap { .. }) => {
                let (inner, record) = (self.inner.clone(), record.clone());
                tokio::spawn(async move {
                    if catch_up(&inner, &room).await.is_err() {
                        inner.following.push(LogId::Room(room.id));
                    }
                    inner.observed_record(&room, &record, true);
                });
            }
        }
    }
}

impl Inner {
    /// The log contradicts itself: who has the room open is told, and gets nothing more from it.
    fn contradicted(&self, room: RoomId, contradiction: &Contradiction) {
        tracing::error!(%room, %contradiction, "the log contradicts itself");
        self.metrics.quarantined();
        self.sockets.reset(room, ResetWhy::Quarantined);
    }

    /// Wakes who has the room open, and tells who watches.
    fn tell(&self, room: &Room, record: &Record<Event>) {
        self.sockets.moved(room.id);
        self.sockets.watched(room, record, self.settings.framing);
    }
}

/// Shows the hub what was appended by others.
pub(super) async fn catch_up(inner: &Inner, room: &Arc<Room>) -> Result<(), Failure> {
    let log = LogId::Room(room.id);
    loop {
        // What stands in a log that lost something need not follow what is shown.
        if room.quarantined.load(Ordering::Acquire) {
            return Ok(());
        }
        let head = room.hub.lock().state().head();
        let records = load::read(&inner.stores, &log, head.revision).await;
        let records = records.inspect_err(|failure| {
            if *failure == Failure::Newer {
                inner.step_back(room);
            }
        })?;
        if records.is_empty() {
            return Ok(());
        }
        inner.metrics.followed();
        for (record, bytes) in records {
            let head = room.hub.lock().state().head();
            let Some(after) = record.extend(head) else { continue };
            let offer = room.commit(&record, bytes, after);
            match offer {
                Ok(Offer::Next) => {
                    inner.tell(room, &record);
                    inner.observed_record(room, &record, false);
                    // It may have stopped for want of a key.
                    if record.items().any(|item| matches!(item.event, Event::Continued { .. })) {
                        room.healed.notify_one();
                    }
                }
                Ok(Offer::Duplicate | Offer::Gap { .. }) => {}
                Err(contradiction) => {
                    inner.contradicted(room.id, &contradiction);
                    return Ok(());
                }
            }
        }
    }
}

fn sequencer(inner: &Inner, id: RoomId, effects: &mut Vec<Effect>) -> Sequencer {
    let settings = &inner.settings;
    Sequencer::new(id, settings.keys.clone(), settings.limits.clone(), crate::entropy::fresh(), effects)
}

/// The sender and name of the message at a revision.
async fn find_message(inner: &Inner, log: &LogId, revision: Revision) -> Result<Target, Failure> {
    let records = inner.stores.logs.read(log, revision.previous(), 1).await.map_err(|error| classify(&error))?;
    let mut message = None;
    if let Some(bytes) = records.first() {
        let record = load::decode(log, &bytes.bytes)?;
        message = record.items().find(|item| item.revision == revision).and_then(|item| match item.event {
            Event::Message { message, kind: chamberlain_core::keys::BodyKind::Message, .. } => {
                Some((item.account.clone(), *message))
            }
            _ => None,
        });
    }
    Ok(Target { revision, message })
}

pub(super) async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Drops rooms that nobody uses, beyond those that may stay.
pub(super) async fn sweep(inner: Arc<Inner>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        if inner.draining.load(Ordering::Acquire) {
            return;
        }
        let kept = inner.settings.limits.idle_rooms as usize;
        let mut rooms = inner.rooms.lock();
        let idle = |cell: &Arc<OnceCell<Arc<Room>>>| {
            Arc::strong_count(cell) == 1
                && cell.get().is_none_or(|room| Arc::strong_count(room) == 1 && room.is_dispensable())
        };
        let surplus = rooms.len().saturating_sub(kept);
        let gone: Vec<RoomId> = rooms.iter().filter(|(_, cell)| idle(cell)).map(|(id, _)| *id).take(surplus).collect();
        for id in &gone {
            rooms.remove(id);
        }
        inner.metrics.rooms(rooms.len());
        drop(rooms);
        inner.sweep_accounts();
    }
}
