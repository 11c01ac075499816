//! A task that publishes for its share of the rooms, one thing after the other.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, KeyVersion, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope, Sealer};
use chamberlain_core::room::RoomKind;
use tokio::sync::{Semaphore, mpsc};

use super::heard::Heard;
use super::written::{HEADER_MESSAGE, HEADER_SENDER, RoomEvent, Subscription};
use super::{Changed, Moment, Said, Settled, Shown, Told};
use crate::node::{Inner, Node, Room};
use crate::subjects::answer::{KeyView, written};
use crate::subjects::figures::Kind;
use crate::subjects::{Figures, names, publish};

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

/// A task that publishes for its share of the rooms.
pub(super) struct Writer {
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
    pub(super) fn new(inner: Arc<Inner>, client: Client, own: mpsc::WeakSender<Told>) -> Self {
        Self {
            inner,
            client,
            heard: Heard::default(),
            held: BTreeMap::new(),
            held_count: 0,
            sealers: BTreeMap::new(),
            key: None,
            settling: Arc::new(Semaphore::new(SETTLING_AT_ONCE)),
            own,
        }
    }

    pub(super) async fn run(mut self, mut told: mpsc::Receiver<Told>) {
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
        // The room's record may be another node's, and its effects ours. Where it cannot be read, what is shown decides.
        let _unread = self.inner.show_to(&room, at).await;
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
