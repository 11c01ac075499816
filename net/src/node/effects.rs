//! What follows from a room's records outside of it: its members' account logs, and the erasure of bodies taken back.
//!
//! Derived from the records by a durable cursor per room, so that a crash anywhere resumes and nothing is skipped. Each
//! effect is done at least once and has its result once: account logs know what they acted on, erasing twice is erasing once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::log::{Item, Record};
use chamberlain_core::retry::{Backoff, Failure};
use chamberlain_core::room::{Event, Refused, RoomKind, RoomName, RoomState};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Inner;
use super::load::{self, classify};
use super::room::Room;
use super::turns::Turns;
use crate::lock::Lock;

/// Rooms whose effects are carried out at the same time.
const ROOMS_AT_ONCE: usize = 16;
/// Changes to account logs under way at the same time, per room: they share the store's group commits.
const CHANGES_AT_ONCE: usize = 256;
/// Logs that are listed together.
const LOGS_AT_ONCE: usize = 1_000;
/// A cursor that passed only records without effects is written down this often, in revisions.
const CURSOR_EVERY: u64 = 4_096;
/// First and longest wait after a failure.
const WAIT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Rooms that have records whose effects are not done yet.
pub(super) struct Queue {
    rooms: Turns<RoomId>,
    /// How far each room's effects are done, of rooms that were seen since the node began: may be ahead of the mark.
    cursors: Lock<BTreeMap<RoomId, Revision>>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { rooms: Turns::new(ROOMS_AT_ONCE), cursors: Lock::default() }
    }

    pub(super) fn push(&self, room: RoomId) {
        self.rooms.push(room);
    }

    /// Forgets how far a room's effects are done: the mark says so.
    pub(super) fn forget(&self, room: RoomId) {
        self.cursors.lock().remove(&room);
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.rooms.is_idle()
    }
}

/// The name of the mark that holds a room's cursor.
pub(super) fn cursor_mark(room: RoomId) -> String {
    format!("effects/{room}")
}

/// Carries out effects for as long as the node lives.
pub(super) async fn run(inner: Arc<Inner>) {
    loop {
        let room = inner.effects.rooms.next().await;
        let inner = inner.clone();
        tokio::spawn(async move {
            let mut backoff = Backoff::new(WAIT.0, WAIT.1);
            let mut rng = crate::entropy::rng();
            while let Err(failure) = inner.carry_out(room).await {
                inner.metrics.effect_failed();
                if matches!(failure, Failure::Permanent | Failure::Newer) {
                    tracing::error!(%room, "effects of a room cannot be carried out; they wait for an operator");
                    break;
                }
                tokio::time::sleep(backoff.wait(&mut rng)).await;
            }
            inner.effects.rooms.done(&room);
        });
    }
}

impl Inner {
    /// Carries out the effects of a room's records from its cursor to its head.
    async fn carry_out(self: &Arc<Self>, id: RoomId) -> Result<(), Failure> {
        let log = LogId::Room(id);
        let mark = cursor_mark(id);
        let known = self.effects.cursors.lock().get(&id).copied();
        let mut cursor = match known {
            // Another node may have done them since.
            Some(cursor) if self.colleagues.is_none() => cursor,
            _ => {
                let marks = self.stores.marks.get(std::slice::from_ref(&mark)).await;
                Revision(marks.map_err(|error| classify(&error))?.first().copied().unwrap_or(0))
            }
        };
        let mut written = cursor;
        loop {
            let records = load::read(&self.stores, &log, cursor).await?;
            if records.is_empty() {
                return Ok(());
            }
            for (record, _) in &records {
                let mut had_effects = false;
                for item in record.items().filter(|item| item.revision > cursor && has_effects(item.event)) {
                    self.effects_of(id, &item).await?;
                    had_effects = true;
                }
                cursor = record.last();
                if had_effects || cursor.since(written) >= CURSOR_EVERY {
                    let raised = self.stores.marks.raise(&[(mark.clone(), cursor.0)]).await;
                    raised.map_err(|error| classify(&error))?;
                    written = cursor;
                }
                self.effects.cursors.lock().insert(id, cursor);
            }
        }
    }

    /// Carries out the effects of a record that a log was given back: what they came to may be lost as well.
    pub(super) async fn carry_out_again(self: &Arc<Self>, id: RoomId, record: &Record<Event>) -> Result<(), Failure> {
        for item in record.items().filter(|item| has_effects(item.event)) {
            if let Event::MembersAdded { accounts, .. } | Event::MembersRemoved { accounts } = item.event {
                for account in accounts {
                    self.read_again(account).await?;
                }
            }
            self.effects_of(id, &item).await?;
        }
        Ok(())
    }

    /// Writes down how far every room's effects are done, so that the next start need not look.
    pub(super) async fn write_cursors(&self) {
        let cursors: Vec<(String, u64)> =
            self.effects.cursors.lock().iter().map(|(room, cursor)| (cursor_mark(*room), cursor.0)).collect();
        for some in cursors.chunks(1_000) {
            if let Err(error) = self.stores.marks.raise(some).await {
                tracing::warn!(%error, "cursors of effects are not written down; the next start looks through the logs");
                return;
            }
        }
    }

    /// How far the effects of a room are done, as far as this run of the node saw.
    #[cfg(feature = "nats")]
    pub(crate) fn effects_done(&self, room: RoomId) -> Option<Revision> {
        self.effects.cursors.lock().get(&room).copied()
    }

    async fn effects_of(self: &Arc<Self>, id: RoomId, item: &Item<'_, Event>) -> Result<(), Failure> {
        match item.event {
            Event::MembersAdded { accounts, .. } => {
                let room = self.room(id).await.map_err(|_| Failure::Transient)?;
                // Another node may have appended it, and what the room is may be in it.
                self.show_to(&room, item.revision).await?;
                let origin = Origin::of(room.hub.lock().state());
                let joined = |account: &AccountId| (account.clone(), origin.joined(account, item.revision));
                self.record_changes(accounts.iter().map(joined).collect()).await?;
                self.expel_disabled(accounts).await?;
            }
            Event::MembersRemoved { accounts } => {
                let left = AccountChange::Left { room: id, at: item.revision };
                self.record_changes(accounts.iter().map(|account| (account.clone(), left.clone())).collect()).await?;
            }
            Event::Deleted { revision } => self.erase(&LogId::Room(id), *revision, item.revision).await?,
            Event::Continued { .. } => self.set_accounts_right(id, item.revision).await?,
            _ => {}
        }
        Ok(())
    }

    /// The first revision of the room for which the account was not told that it is in. Where its log does not say that it is in,
    /// and it is, that is recorded here: its effects may be about to do so, or were done and the log has lost it since.
    pub(crate) async fn have_told(&self, account: &AccountId, room: &Room) -> Result<Revision, Refused> {
        let told_until = self.told_until(account, room.id).await?;
        match how_it_joined(room, account).filter(|joined| joined.source().1 >= told_until) {
            Some(joined) if self.record_change(account, &joined).await.is_ok() => {
                self.told_until(account, room.id).await
            }
            // It is told when its effects are done.
            _ => Ok(told_until),
        }
    }

    /// After a loss, the logs of accounts may tell of the room what is not so: every account that there is is looked at.
    async fn set_accounts_right(self: &Arc<Self>, id: RoomId, at: Revision) -> Result<(), Failure> {
        let room = self.room(id).await.map_err(|_| Failure::Transient)?;
        self.show_to(&room, at).await?;
        let members = room.hub.lock().state().members_after(None).map(|(account, _)| account.clone()).collect();
        self.set_right(&room, members, at).await?;
        let mut after: Option<LogId> = None;
        loop {
            let page = self.stores.logs.list(after.as_ref(), LOGS_AT_ONCE).await.map_err(|error| classify(&error))?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let accounts = page.into_iter().filter_map(|log| match log {
                LogId::Account(account) => Some(account),
                LogId::Room(_) | LogId::Directory => None,
            });
            self.set_right(&room, accounts.collect(), at).await?;
        }
    }

    /// Tells the logs of these accounts whether they were in the room at a revision, where they say otherwise.
    async fn set_right(
        self: &Arc<Self>,
        room: &Arc<Room>,
        accounts: Vec<AccountId>,
        at: Revision,
    ) -> Result<(), Failure> {
        let origin = Origin::of(room.hub.lock().state());
        let changes = accounts.into_iter().map(|account| {
            let (inner, origin, room) = (self.clone(), &origin, room.clone());
            async move {
                inner.read_again(&account).await?;
                let told_until = inner.told_until(&account, room.id).await.map_err(|_| Failure::Transient)?;
                let (told, member) = (told_until.0 == u64::MAX, room.hub.lock().state().member(&account));
                let change = match member {
                    Some(member) if !told && member.since <= at => origin.joined(&account, at),
                    None if told => AccountChange::Left { room: room.id, at },
                    _ => return Ok(()),
                };
                inner.record_change(&account, &change).await
            }
        });
        stream::iter(changes).buffer_unordered(CHANGES_AT_ONCE).try_collect().await
    }

    /// Tells the log of an account again that it is in a room since a revision, if it is.
    pub(super) async fn joined_again(
        self: &Arc<Self>,
        account: &AccountId,
        id: RoomId,
        at: Revision,
    ) -> Result<(), Failure> {
        let room = self.room(id).await.map_err(|_| Failure::Transient)?;
        match how_it_joined(&room, account).filter(|joined| joined.source().1 == at) {
            Some(joined) => self.record_change(account, &joined).await,
            None => Ok(()),
        }
    }

    async fn record_changes(self: &Arc<Self>, changes: Vec<(AccountId, AccountChange)>) -> Result<(), Failure> {
        let recorded = changes.into_iter().map(|(account, change)| {
            let inner = self.clone();
            async move { inner.record_change(&account, &change).await }
        });
        stream::iter(recorded).buffer_unordered(CHANGES_AT_ONCE).try_collect().await
    }

    /// Somebody may have been shut out between being named in a command and being in the room.
    async fn expel_disabled(self: &Arc<Self>, accounts: &[AccountId]) -> Result<(), Failure> {
        // As the directory has it now: what is in memory may be from before another node shut somebody out.
        let entries = self.stores.directory.get(accounts).await.map_err(|error| classify(&error))?;
        for account in entries.values().filter(|entry| entry.disabled).map(|entry| entry.account.clone()) {
            super::startup::expel_later(self.clone(), account);
        }
        Ok(())
    }

    /// Erases a message and those of its edits that came before the deletion.
    async fn erase(&self, log: &LogId, message: Revision, deletion: Revision) -> Result<(), Failure> {
        let mut bodies = vec![message];
        let mut after = message;
        while after < deletion.previous() {
            let records = load::read(&self.stores, log, after).await?;
            for (record, _) in &records {
                bodies.extend(record.items().filter(|item| item.revision < deletion).filter_map(
                    |item| match item.event {
                        Event::Edited { revision, .. } if *revision == message => Some(item.revision),
                        _ => None,
                    },
                ));
                after = record.last();
            }
            if records.is_empty() {
                break;
            }
        }
        bodies.sort_unstable();
        bodies.dedup();
        for body in bodies {
            self.stores.logs.erase(log, body).await.map_err(|error| classify(&error))?;
        }
        Ok(())
    }
}

/// What an account's log says of a room that the account is in.
fn how_it_joined(room: &Room, account: &AccountId) -> Option<AccountChange> {
    let hub = room.hub.lock();
    let member = hub.state().member(account)?;
    Some(Origin::of(hub.state()).joined(account, member.since))
}

fn has_effects(event: &Event) -> bool {
    matches!(
        event,
        Event::MembersAdded { .. } | Event::MembersRemoved { .. } | Event::Deleted { .. } | Event::Continued { .. }
    )
}

/// What the effects of a room need to know of it.
pub(super) struct Origin {
    room: RoomId,
    kind: RoomKind,
    name: Option<RoomName>,
    pair: Vec<AccountId>,
}

impl Origin {
    fn of(state: &RoomState) -> Self {
        let kind = state.kind().unwrap_or(RoomKind::Channel);
        let pair = match kind {
            RoomKind::Channel => Vec::new(),
            RoomKind::Dm | RoomKind::BotDm => {
                state.members_after(None).map(|(account, _)| account.clone()).take(2).collect()
            }
        };
        Self { room: state.room(), kind, name: state.name().cloned(), pair }
    }

    fn joined(&self, account: &AccountId, at: Revision) -> AccountChange {
        let counterpart = self.pair.iter().find(|other| *other != account).or(self.pair.first()).cloned();
        AccountChange::Joined { room: self.room, at, kind: self.kind, name: self.name.clone(), counterpart }
    }
}
