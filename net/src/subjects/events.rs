//! Events: what accounts and rooms hear on their subjects, published by the node that committed it, at most once.
//!
//! One queue and one task for a share of the rooms, over one connection: what is published of a room keeps its order. An account
//! hears of a room before it gets the room's key, and a key is published before the first event under it: the key of a version
//! goes to members who have heard of the room, and to the others with what tells them. A key event is written once, however
//! many get it. Keys go to accounts that the fold of this very moment has among the members and lets hold them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope, Sealer};
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, RoomKind, RoomName};
use chamberlain_core::time::Timestamp;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::answer::{KeyView, kind_of, written};
use super::figures::Kind;
use super::{Figures, names, publish};
use crate::metrics::Metrics;
use crate::node::{Inner, Node, Observer, Room, catch_up};

/// Tasks that publish.
const SHARES: usize = 8;
/// What waits for one of them; more is dropped, and counted.
const BACKLOG: usize = 2_048;
/// Memberships of which an account heard lately, per task.
const HEARD: usize = 16_384;
/// Events that wait until their account heard of the room, per task.
const HELD: usize = 1_024;
/// Accounts that the directory is asked for at once.
const DIRECTORY: usize = 1_000;
/// How long it is waited until the effects of a room have told its members of it.
const SETTLING: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(50);
/// Rooms of which that is waited for, per task.
const SETTLING_AT_ONCE: usize = 64;
/// Encapsulations kept, per task.
const SEALERS: usize = 256;
/// As whom the sender's part of an event is sealed. No account has a message of this name.
const HEADER_SENDER: &str = "chamberlain-subjects";
const HEADER_MESSAGE: &str = "00000000000000000000";

/// Something that was shown.
enum Told {
    Room(Box<Shown>),
    Account(Box<Changed>),
    /// The effects of a room are done up to where this was asked for: who has not heard of the room here heard of it elsewhere,
    /// from another node or an earlier run.
    Settled(Box<Settled>),
    /// Nothing follows; answered when everything before it was published.
    Close(oneshot::Sender<()>),
}

struct Shown {
    room: Arc<Room>,
    kind: RoomKind,
    /// The record's first revision.
    first: Revision,
    /// Up to where members had been told of the room when this was shown, where this node knows.
    told_until: Option<Revision>,
    moments: Vec<Moment>,
}

struct Settled {
    room: Arc<Room>,
    /// A version's key that these members, who came at these revisions, were not sent.
    owed: Option<(KeyVersion, Vec<(AccountId, Revision)>)>,
    /// Whether it is so; otherwise it took too long, and what waited is dropped.
    sure: bool,
    _place: OwnedSemaphorePermit,
}

struct Changed {
    account: AccountId,
    revision: Revision,
    time: Timestamp,
    change: AccountChange,
}

/// What is published of a record.
enum Moment {
    Key(KeyVersion),
    Said(Box<Said>),
    Deleted { revision: Revision, time: Timestamp, target: Revision },
}

struct Said {
    kind: &'static str,
    revision: Revision,
    time: Timestamp,
    version: KeyVersion,
    /// The message, of an edit.
    target: Option<Revision>,
    header: Header,
    body: Bytes,
}

/// What a reader must know to open an event's envelope, and nobody else may: it is sealed under the room's key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    revision: Revision,
    kind: BodyKind,
    sender: AccountId,
    /// None of an edit: the message's own event told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    edit: u32,
}

/// A room's event, as anybody may see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    room_id: RoomId,
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<KeyVersion>,
    timestamp: u64,
    site_id: &'a str,
    /// The revision of the message that was edited or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_message: Option<Envelope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_header: Option<Envelope>,
}

/// What an account hears of a membership of its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscription<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    room_id: RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_type: Option<RoomKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counterpart: Option<&'a AccountId>,
    /// In the account's own log.
    revision: Revision,
    /// In the room's.
    room_revision: Revision,
    timestamp: u64,
    site_id: &'a str,
}

/// Hears what the node shows, and hands it to the tasks.
pub(super) struct Publisher {
    shares: Vec<mpsc::Sender<Told>>,
    metrics: Metrics,
    inner: std::sync::Weak<Inner>,
}

impl Publisher {
    /// Starts the tasks.
    pub(super) fn start(node: &Node, client: Client) -> Arc<Self> {
        let mut shares = Vec::new();
        for _ in 0..SHARES {
            let (share, told) = mpsc::channel(BACKLOG);
            let writer = Writer {
                inner: node.inner().clone(),
                client: client.clone(),
                heard: Heard::default(),
                held: BTreeMap::new(),
                held_count: 0,
                sealers: BTreeMap::new(),
                key: None,
                settling: Arc::new(Semaphore::new(SETTLING_AT_ONCE)),
                own: share.downgrade(),
            };
            tokio::spawn(writer.run(told));
            shares.push(share);
        }
        Arc::new(Self { shares, metrics: node.metrics().clone(), inner: Arc::downgrade(node.inner()) })
    }

    /// Publishes what was shown so far, and ends.
    pub(super) async fn close(&self) {
        for share in &self.shares {
            let (done, ended) = oneshot::channel();
            if share.send(Told::Close(done)).await.is_ok() {
                let _ended = ended.await;
            }
        }
    }

    fn hand_over(&self, room: RoomId, told: Told) {
        let share = room.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        if let Err(full) = self.shares[share % SHARES].try_send(told) {
            let kinds = match full.into_inner() {
                Told::Room(shown) => shown.moments.iter().map(|moment| moment.kind_in(shown.kind)).collect(),
                Told::Account(_) => vec![Kind::Subscription],
                Told::Settled(_) | Told::Close(_) => Vec::new(),
            };
            kinds.into_iter().for_each(|kind| self.metrics.subjects().dropped(kind, 1));
        }
    }
}

impl Observer for Publisher {
    fn record(&self, room: &Arc<Room>, record: &Record<Event>, here: bool) {
        if !here {
            return;
        }
        let moments = moments(record);
        let (Some(inner), false) = (self.inner.upgrade(), moments.is_empty()) else { return };
        let Some(kind) = room.hub.lock().state().kind() else { return };
        let told_until = inner.effects_done(room.id);
        let shown = Shown { room: room.clone(), kind, first: record.first, told_until, moments };
        self.hand_over(room.id, Told::Room(Box::new(shown)));
    }

    fn account(&self, account: &AccountId, revision: Revision, time: Timestamp, change: &AccountChange, here: bool) {
        if here {
            let changed = Changed { account: account.clone(), revision, time, change: change.clone() };
            self.hand_over(change.source().0, Told::Account(Box::new(changed)));
        }
    }
}

impl Moment {
    fn kind_in(&self, room: RoomKind) -> Kind {
        match (self, room) {
            (Self::Key(_), _) => Kind::Key,
            (_, RoomKind::Channel) => Kind::Channel,
            _ => Kind::Room,
        }
    }
}

fn moments(record: &Record<Event>) -> Vec<Moment> {
    let moment = |item: chamberlain_core::log::Item<'_, Event>| {
        let (version, message_id, edit, kind) = match *item.event {
            Event::KeyRotated { version, .. } => return Some(Moment::Key(version)),
            Event::Deleted { revision: target } => {
                return Some(Moment::Deleted { revision: item.revision, time: item.time, target });
            }
            Event::Message { message, kind, version, .. } => (version, Some(message), 0, kind),
            Event::Edited { edit, version, .. } => (version, None, edit, BodyKind::Message),
            _ => return None,
        };
        let Body::Present(body) = item.body else { return None };
        let header = Header { revision: item.revision, kind, sender: item.account.clone(), message_id, edit };
        let kind = kind_of(item.event);
        let (revision, time) = (item.revision, item.time);
        let target = item.event.text_of(revision).filter(|target| *target != revision);
        Some(Moment::Said(Box::new(Said { kind, revision, time, version, target, header, body: body.0.clone() })))
    };
    record.items().filter_map(moment).collect()
}

/// Memberships that their accounts have heard of, the last ones: of which room, and the room's revision that began them. Who
/// comes again has heard of an earlier one.
#[derive(Default)]
struct Heard {
    known: BTreeMap<(RoomId, AccountId), Revision>,
    order: VecDeque<(RoomId, AccountId)>,
}

impl Heard {
    fn insert(&mut self, room: RoomId, account: &AccountId, at: Revision) {
        if self.known.insert((room, account.clone()), at).is_none() {
            self.order.push_back((room, account.clone()));
        }
        if self.order.len() > HEARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, room: RoomId, account: &AccountId, since: Revision) -> bool {
        self.known.get(&(room, account.clone())).is_some_and(|at| *at >= since)
    }
}

/// A task that publishes for its share of the rooms.
struct Writer {
    inner: Arc<Inner>,
    client: Client,
    heard: Heard,
    /// By room, and by account; there is always one.
    held: BTreeMap<(RoomId, Option<AccountId>), Vec<Bytes>>,
    held_count: usize,
    sealers: BTreeMap<(RoomId, KeyVersion), Sealer>,
    /// The key event written last.
    key: Option<(RoomId, KeyVersion, Bytes)>,
    /// Places for rooms whose effects are waited for.
    settling: Arc<Semaphore>,
    /// This task's own queue.
    own: mpsc::WeakSender<Told>,
}

impl Writer {
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        while let Some(told) = told.recv().await {
            match told {
                Told::Room(shown) => self.shown(*shown).await,
                Told::Account(changed) => self.changed(*changed).await,
                Told::Settled(settled) => self.settled(*settled).await,
                Told::Close(done) => {
                    let _gone = done.send(());
                    return;
                }
            }
        }
    }

    fn figures(&self) -> &Figures {
        self.inner.metrics.subjects()
    }

    async fn send(&self, kind: Kind, subject: String, payload: Bytes) -> bool {
        let sent = publish(&self.client, subject, payload).await;
        if sent {
            self.figures().published(kind, 1)
        } else {
            self.figures().dropped(kind, 1)
        }
        sent
    }

    async fn shown(&mut self, shown: Shown) {
        for moment in &shown.moments {
            match moment {
                Moment::Key(version) => self.fan_out(&shown, *version).await,
                Moment::Said(said) => {
                    let Some(event) = self.said(&shown.room, said) else { continue };
                    self.tell_room(&shown, said.revision, event).await;
                }
                Moment::Deleted { revision, time, target } => {
                    let event = written(&RoomEvent {
                        kind: "deleted",
                        room_id: shown.room.id,
                        revision: *revision,
                        key_version: None,
                        timestamp: time.0,
                        site_id: self.inner.settings.keys.site().as_str(),
                        target: Some(*target),
                        encrypted_message: None,
                        encrypted_header: None,
                    });
                    self.tell_room(&shown, *revision, event).await;
                }
            }
        }
    }

    /// Whether a member who came at `since` had heard of the room before this was published.
    fn has_heard(&self, shown: &Shown, account: &AccountId, since: Revision) -> bool {
        let before = shown.told_until.map_or(since < shown.first, |told| since <= told);
        before || self.heard.contains(shown.room.id, account, since)
    }

    /// A version's key, to every member who has heard of the room. The others get it when they hear of it, or when it is sure
    /// that they heard of it elsewhere.
    async fn fan_out(&mut self, shown: &Shown, version: KeyVersion) {
        let room = &shown.room;
        let Some(payload) = self.key_event(room, version).await else { return self.figures().dropped(Kind::Key, 1) };
        let (mut members, mut owed) = (Vec::new(), Vec::new());
        {
            let hub = room.hub.lock();
            let state = hub.state();
            for (account, member) in state.members_after(None).filter(|(account, _)| state.may_hold(account, version)) {
                if self.has_heard(shown, account, member.since) {
                    members.push(account.clone());
                } else {
                    owed.push((account.clone(), member.since));
                }
            }
        }
        self.send_key(members, &payload).await;
        let count = owed.len() as u64;
        if let Some(last) = owed.iter().map(|(_, since)| *since).max()
            && !self.settle(room, last, Some((version, owed)))
        {
            self.figures().dropped(Kind::Key, count);
        }
    }

    async fn send_key(&self, members: Vec<AccountId>, payload: &Bytes) {
        for some in members.chunks(DIRECTORY) {
            let Some(accounts) = self.let_in(some).await else {
                self.figures().dropped(Kind::Key, some.len() as u64);
                continue;
            };
            for (nth, account) in accounts.iter().enumerate() {
                if !publish(&self.client, names::event(account, "room.key"), payload.clone()).await {
                    self.figures().published(Kind::Key, nth as u64);
                    return self.figures().dropped(Kind::Key, (accounts.len() - nth) as u64);
                }
            }
            self.figures().published(Kind::Key, accounts.len() as u64);
        }
    }

    /// Those of these accounts that are not shut out: such a one may still be in rooms for a moment. `None` where the directory
    /// does not answer.
    async fn let_in(&self, accounts: &[AccountId]) -> Option<Vec<AccountId>> {
        let entries = Node::of(&self.inner).account_entries(accounts).await.ok()?;
        let disabled = |account: &&AccountId| entries.get(*account).is_some_and(|entry| entry.disabled);
        Some(accounts.iter().filter(|account| !disabled(account)).cloned().collect())
    }

    /// Comes back to a room when its effects are done up to `until`: whoever heard of it by them is in the queue before that.
    /// `false` when too many rooms are waited for.
    fn settle(
        &self,
        room: &Arc<Room>,
        until: Revision,
        owed: Option<(KeyVersion, Vec<(AccountId, Revision)>)>,
    ) -> bool {
        let Ok(place) = self.settling.clone().try_acquire_owned() else { return false };
        let (inner, own) = (self.inner.clone(), self.own.clone());
        let mut settled = Settled { room: room.clone(), owed, sure: false, _place: place };
        tokio::spawn(async move {
            let mut looks = SETTLING.as_millis() / LOOK.as_millis();
            while !settled.sure && looks > 0 {
                tokio::time::sleep(LOOK).await;
                settled.sure = inner.effects_done(settled.room.id).is_some_and(|done| done >= until);
                looks -= 1;
            }
            if let Some(own) = own.upgrade() {
                let _closed = own.send(Told::Settled(Box::new(settled))).await;
            }
        });
        true
    }

    async fn settled(&mut self, settled: Settled) {
        let Settled { room, owed, sure, .. } = settled;
        if let Some((version, mut members)) = owed {
            // Who heard of it here got the current version with that, which is this one or a later one.
            members.retain(|(account, since)| !self.heard.contains(room.id, account, *since));
            {
                let hub = room.hub.lock();
                let state = hub.state();
                members.retain(|(account, since)| {
                    state.may_hold(account, version)
                        && state.member(account).is_some_and(|member| member.since == *since)
                });
            }
            if !sure {
                self.figures().dropped(Kind::Key, members.len() as u64);
            } else if let Some(payload) = self.key_event(&room, version).await {
                members.iter().for_each(|(account, since)| self.heard.insert(room.id, account, *since));
                let members: Vec<AccountId> = members.into_iter().map(|(account, _)| account).collect();
                self.send_key(members, &payload).await;
            }
        }
        let from = (room.id, None);
        let waiting = self.held.range((Bound::Included(from), Bound::Unbounded));
        let waiting: Vec<_> = waiting.map(|(key, _)| key.clone()).take_while(|(id, _)| *id == room.id).collect();
        for (id, account) in waiting {
            let Some(account) = account else { continue };
            let member = room.hub.lock().state().member(&account);
            let events = self.release(id, &account);
            let Some(member) = member.filter(|_| sure) else {
                self.figures().dropped(Kind::Room, events.len() as u64);
                continue;
            };
            self.heard.insert(id, &account, member.since);
            self.send_held(&account, events).await;
        }
    }

    /// The key event of a version, written when it is first asked for; none where nobody may have it any more.
    async fn key_event(&mut self, room: &Arc<Room>, version: KeyVersion) -> Option<Bytes> {
        let public = {
            let hub = room.hub.lock();
            let expired = self.inner.is_expired(hub.state(), version);
            hub.state().public(version).filter(|_| !expired)?
        };
        if let Some((_, _, written)) = self.key.as_ref().filter(|(id, last, _)| (*id, *last) == (room.id, version)) {
            return Some(written.clone());
        }
        let secret = room.secret(&self.inner, version).await.ok()?;
        let secret = Blob(Bytes::copy_from_slice(&secret.to_bytes()[..]));
        let event = written(&KeyView {
            room_id: room.id,
            version,
            public_key: public,
            private_key: &secret,
            timestamp: self.inner.clock.wall().0,
        });
        self.key = Some((room.id, version, event.clone()));
        Some(event)
    }

    /// The event of something said, unless it was taken back or its key is out of grace.
    fn said(&mut self, room: &Room, said: &Said) -> Option<Bytes> {
        let site = self.inner.settings.keys.site().clone();
        let public = {
            let hub = room.hub.lock();
            let state = hub.state();
            if state.is_erased(said.revision) || self.inner.is_expired(state, said.version) {
                return None;
            }
            state.public(said.version)?
        };
        let key = (room.id, said.version);
        if !self.sealers.contains_key(&key) {
            if self.sealers.len() >= SEALERS {
                self.sealers.clear();
            }
            let sealer = Sealer::new(&site, room.id, said.version, &public, &mut crate::entropy::rng()).ok()?;
            self.sealers.insert(key, sealer);
        }
        let sender: AccountId = HEADER_SENDER.parse().ok()?;
        let message = HEADER_MESSAGE.parse().ok()?;
        let claim =
            Claim { room: room.id, version: said.version, kind: BodyKind::System, sender: &sender, message, edit: 0 };
        let sealed = self.sealers.get_mut(&key)?.seal(&claim, &written(&said.header));
        let Ok(header) = sealed else {
            // All its nonces are used: the next event makes another.
            self.sealers.remove(&key);
            return None;
        };
        Some(written(&RoomEvent {
            kind: said.kind,
            room_id: room.id,
            revision: said.revision,
            key_version: Some(said.version),
            timestamp: said.time.0,
            site_id: site.as_str(),
            target: said.target,
            encrypted_message: Some(Envelope::from_bytes(&Blob(said.body.clone())).ok()?),
            encrypted_header: Some(header),
        }))
    }

    /// A channel's event goes to whoever listens; any other room's to each who may read it and has heard of the room.
    async fn tell_room(&mut self, shown: &Shown, revision: Revision, event: Bytes) {
        let room = shown.room.id;
        if shown.kind == RoomKind::Channel {
            self.send(Kind::Channel, names::room_event(room), event).await;
            return;
        }
        let members: Vec<_> = {
            let hub = shown.room.hub.lock();
            let state = hub.state();
            let entitled =
                state.members_after(None).filter(|(account, _)| state.entitlement(account, revision, revision).0);
            entitled.map(|(account, member)| (account.clone(), member.since)).collect()
        };
        for (account, since) in members {
            match self.let_in(std::slice::from_ref(&account)).await {
                Some(let_in) if let_in.is_empty() => continue,
                Some(_) => {}
                None => {
                    self.figures().dropped(Kind::Room, 1);
                    continue;
                }
            }
            let waiting = self.held.contains_key(&(room, Some(account.clone())));
            if !waiting && self.has_heard(shown, &account, since) {
                self.send(Kind::Room, names::event(&account, "room"), event.clone()).await;
            } else if self.held_count < HELD && (waiting || self.settle(&shown.room, since, None)) {
                self.held_count += 1;
                self.held.entry((room, Some(account))).or_default().push(event.clone());
            } else {
                self.figures().dropped(Kind::Room, 1);
            }
        }
    }

    /// An account hears of a membership; then it gets the current key; then what waited for that.
    async fn changed(&mut self, changed: Changed) {
        let Changed { account, revision, time, change } = changed;
        let (room, at) = change.source();
        let (kind, room_type, name, counterpart) = match &change {
            AccountChange::Joined { kind, name, counterpart, .. } => {
                ("joined", Some(*kind), name.as_ref(), counterpart.as_ref())
            }
            AccountChange::Left { .. } => ("left", None, None, None),
        };
        let site_id = self.inner.settings.keys.site().as_str();
        let event = written(&Subscription {
            kind,
            room_id: room,
            room_type,
            name,
            counterpart,
            revision,
            room_revision: at,
            timestamp: time.0,
            site_id,
        });
        self.send(Kind::Subscription, names::event(&account, "subscription.update"), event).await;
        let held = self.release(room, &account);
        if matches!(change, AccountChange::Left { .. }) {
            return;
        }
        self.current_key(room, at, &account).await;
        self.heard.insert(room, &account, at);
        self.send_held(&account, held).await;
    }

    fn release(&mut self, room: RoomId, account: &AccountId) -> Vec<Bytes> {
        let held = self.held.remove(&(room, Some(account.clone()))).unwrap_or_default();
        self.held_count -= held.len();
        held
    }

    async fn send_held(&self, account: &AccountId, held: Vec<Bytes>) {
        for event in held {
            self.send(Kind::Room, names::event(account, "room"), event).await;
        }
    }

    /// The key of now, to an account that came at the room's revision `at`.
    async fn current_key(&mut self, id: RoomId, at: Revision, account: &AccountId) {
        let Ok(room) = self.inner.room(id).await else { return self.figures().dropped(Kind::Key, 1) };
        // The room's record may be another node's, and its effects ours.
        if room.hub.lock().state().head().revision < at {
            let _read_later = catch_up(&self.inner, &room).await;
        }
        let version = {
            let hub = room.hub.lock();
            let state = hub.state();
            let current = state.current_key().map(|key| key.version);
            // Somebody may have removed it since.
            current.filter(|version| state.is_member(account) && state.may_hold(account, *version))
        };
        let Some(version) = version else { return };
        match self.key_event(&room, version).await {
            Some(event) => self.send_key(vec![account.clone()], &event).await,
            None => self.figures().dropped(Kind::Key, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_is_bounded_and_the_oldest_goes_first() {
        let mut heard = Heard::default();
        let account = |nth: usize| format!("a{nth}").parse::<AccountId>().expect("an account");
        let room = RoomId::from_digest(&[1; 32]);
        (0..=HEARD).for_each(|nth| heard.insert(room, &account(nth), Revision(5)));
        heard.insert(room, &account(HEARD), Revision(9));
        assert_eq!((heard.known.len(), heard.order.len()), (HEARD, HEARD));
        assert!(!heard.contains(room, &account(0), Revision(5)) && heard.contains(room, &account(1), Revision(5)));
    }

    #[test]
    fn who_comes_again_has_not_heard_of_it_yet() {
        let mut heard = Heard::default();
        let (room, ada) = (RoomId::from_digest(&[1; 32]), "ada".parse().expect("an account"));
        heard.insert(room, &ada, Revision(5));
        assert!(heard.contains(room, &ada, Revision(5)) && !heard.contains(room, &ada, Revision(9)));
        heard.insert(room, &ada, Revision(9));
        assert!(heard.contains(room, &ada, Revision(9)));
    }

    #[test]
    fn the_claim_of_a_header_can_be_made() {
        assert!(HEADER_SENDER.parse::<AccountId>().is_ok() && HEADER_MESSAGE.parse::<MessageId>().is_ok());
    }
}
