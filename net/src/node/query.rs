//! Answers to questions: what an account may see of its rooms, members, history and keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::{Blob, Envelope};
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, Reason, Refused, RoomKind};
use chamberlain_core::wire::{Answer, HistoryRange, Item, MemberView, Query, RoomView};
use futures_util::stream::{self, StreamExt};

use super::mark::{count_mark, read_mark};
use super::{Inner, Retain, refuse_store};
use crate::auth::Identity;

/// How much of a log is read at once.
const READ_BYTES: usize = 1024 * 1024;
/// Rooms looked at at the same time for one list.
const ROOMS_AT_ONCE: usize = 32;

impl Inner {
    pub(super) async fn query(self: &Arc<Self>, who: &Identity, query: Query) -> Result<Answer, Refused> {
        match query {
            Query::History { room, range, limit } => self.history(who, room, range, limit).await,
            Query::Members { room, after, limit } => self.members(who, room, after.as_ref(), limit).await,
            Query::Rooms => self.rooms_view(who).await,
            Query::Key { room, version } => self.key(who, room, version).await,
        }
    }

    /// Records that hold revisions in `(after, to]`.
    pub(super) async fn records(
        &self,
        room: RoomId,
        mut after: Revision,
        to: Revision,
    ) -> Result<Vec<Record<Event>>, Refused> {
        let log = LogId::Room(room);
        let mut records = Vec::new();
        while after < to {
            let read = self.stores.logs.read(&log, after, READ_BYTES).await.map_err(refuse_store)?;
            let Some(last) = read.last() else { break };
            after = last.last;
            for bytes in read.iter().filter(|bytes| bytes.first <= to) {
                records.push(super::load::decode(&log, &bytes.bytes).map_err(|_| Reason::Quarantined)?);
            }
        }
        Ok(records)
    }

    async fn history(
        self: &Arc<Self>,
        who: &Identity,
        id: RoomId,
        range: HistoryRange,
        limit: Option<u32>,
    ) -> Result<Answer, Refused> {
        let most = self.settings.limits.history_items;
        let limit = limit.unwrap_or(most.min(50));
        if limit == 0 || limit > most {
            return Err(Refused::new(Reason::TooMany, format!("limit: must be 1 to {most}")));
        }
        let limit = u64::from(limit);
        let room = self.room_for(&who.account, id).await?;
        let head = self.member_head(who, &room)?;
        let (after, to) = match range {
            HistoryRange::Latest => (head.0.saturating_sub(limit), head.0),
            HistoryRange::Before(revision) => {
                let to = revision.previous().0.min(head.0);
                (to.saturating_sub(limit), to)
            }
            HistoryRange::After(revision) => (revision.0.min(head.0), revision.0.saturating_add(limit).min(head.0)),
            HistoryRange::Around(revision) => {
                let after = revision.0.saturating_sub(1 + limit / 2).min(head.0);
                (after, (after + limit).min(head.0))
            }
        };
        let (after, to) = (Revision(after), Revision(to));
        let records = self.records(id, after, to).await?;
        let hub = room.hub.lock();
        let state = hub.state();
        let mut items = Vec::new();
        for item in records.iter().flat_map(Record::items) {
            let wanted = item.revision > after && item.revision <= to;
            if !wanted || !state.entitlement(&who.account, item.revision, item.revision).0 {
                continue;
            }
            let expired = item.event.sealed_under().is_some_and(|version| self.is_expired(state, version));
            let body = match item.body {
                Body::Present(bytes) if !state.is_erased(item.revision) && !expired => Envelope::from_bytes(bytes).ok(),
                _ => None,
            };
            items.push(Item {
                revision: item.revision,
                time: item.time,
                account: item.account.clone(),
                event: item.event.clone(),
                body,
            });
        }
        let more = match range {
            HistoryRange::After(_) => to < head,
            _ => after > Revision::ZERO,
        };
        Ok(Answer::History { room: id, items, from: after.next(), to, more })
    }

    pub(crate) fn is_expired(&self, state: &chamberlain_core::room::RoomState, version: KeyVersion) -> bool {
        match self.settings.retain {
            Retain::All => false,
            Retain::Grace { ms } => state.is_expired(version, self.clock.wall(), ms),
        }
    }

    /// The head of a room that the account is in.
    fn member_head(&self, who: &Identity, room: &super::Room) -> Result<Revision, Refused> {
        let hub = room.hub.lock();
        if hub.state().is_member(&who.account) {
            Ok(hub.state().head().revision)
        } else {
            Err(Reason::NotAMember.into())
        }
    }

    async fn members(
        self: &Arc<Self>,
        who: &Identity,
        id: RoomId,
        after: Option<&AccountId>,
        limit: Option<u32>,
    ) -> Result<Answer, Refused> {
        let most = self.settings.limits.member_items;
        let limit = limit.unwrap_or(most) as usize;
        if limit == 0 || limit > most as usize {
            return Err(Refused::new(Reason::TooMany, format!("limit: must be 1 to {most}")));
        }
        let room = self.room_for(&who.account, id).await?;
        let (page, all) = {
            let hub = room.hub.lock();
            let state = hub.state();
            if !state.is_member(&who.account) && !who.admin {
                return Err(Reason::NotAMember.into());
            }
            let page: Vec<_> =
                state.members_after(after).take(limit + 1).map(|(account, member)| (account.clone(), member)).collect();
            let all: Vec<String> = state.members_after(None).map(|(account, _)| read_mark(id, account)).collect();
            (page, all)
        };
        let more = page.len() > limit;
        let page = &page[..page.len().min(limit)];
        let names: Vec<AccountId> = page.iter().map(|(account, _)| account.clone()).collect();
        let entries = self.directory(&names).await?;
        let marks = self.stores.marks.get(&all).await.map_err(refuse_store)?;
        let marks: BTreeMap<&String, u64> = all.iter().zip(marks).collect();
        let members = page
            .iter()
            .map(|(account, member)| MemberView {
                account: account.clone(),
                name: Self::name_of(&entries, account),
                role: member.role,
                bot: entries.get(account).is_some_and(|entry| entry.bot),
                since: member.since,
                read: Revision(marks.get(&read_mark(id, account)).copied().unwrap_or(0)),
            })
            .collect();
        let read_floor = Revision(marks.values().copied().min().unwrap_or(0));
        Ok(Answer::Members { room: id, members, total: all.len() as u32, read_floor, more })
    }

    async fn rooms_view(self: &Arc<Self>, who: &Identity) -> Result<Answer, Refused> {
        let (ids, account_revision) = self.rooms_of(&who.account).await?;
        let mut loaded = stream::iter(ids).map(|id| self.room_for(&who.account, id)).buffer_unordered(ROOMS_AT_ONCE);
        let mut rooms: Vec<RoomView> = Vec::new();
        while let Some(room) = loaded.next().await {
            match room {
                Ok(room) => rooms.extend(self.bare_view(who, &room)),
                // One broken room does not hide the others. One that cannot be reached now would look as if it had been left.
                Err(refused) if refused.reason == Reason::Quarantined => {}
                Err(refused) => return Err(refused),
            }
        }
        drop(loaded);
        self.complete_views(who, &mut rooms).await?;
        rooms.sort_by_key(|room| std::cmp::Reverse((room.time, room.room)));
        Ok(Answer::Rooms { rooms, account_revision })
    }

    /// A room as this member sees it.
    pub(crate) async fn room_view(self: &Arc<Self>, who: &Identity, room: &super::Room) -> Result<RoomView, Refused> {
        let mut views = vec![self.bare_view(who, room).ok_or(Reason::NotAMember)?];
        self.complete_views(who, &mut views).await?;
        views.pop().ok_or_else(|| Reason::NotAMember.into())
    }

    /// What the fold alone tells; none when the account is no member.
    fn bare_view(&self, who: &Identity, room: &super::Room) -> Option<RoomView> {
        let hub = room.hub.lock();
        let state = hub.state();
        let member = state.member(&who.account)?;
        Some(RoomView {
            room: room.id,
            kind: state.kind()?,
            name: state.name().map_or_else(String::new, |name| name.as_str().to_owned()),
            counterpart: state.counterpart(&who.account).cloned(),
            role: member.role,
            archived: state.is_archived(),
            members: state.member_count(),
            head: state.head().revision,
            time: state.time(),
            messages: state.messages(),
            unread: 0,
            read: Revision::ZERO,
            key: state.current_key()?,
        })
    }

    /// Names of counterparts and marks of all rooms, in one call each.
    async fn complete_views(&self, who: &Identity, rooms: &mut [RoomView]) -> Result<(), Refused> {
        let counterparts: Vec<AccountId> = rooms.iter().filter_map(|room| room.counterpart.clone()).collect();
        let entries = self.directory(&counterparts).await?;
        let names: Vec<String> = rooms
            .iter()
            .flat_map(|room| [read_mark(room.room, &who.account), count_mark(room.room, &who.account)])
            .collect();
        let marks = self.stores.marks.get(&names).await.map_err(refuse_store)?;
        for (room, marks) in rooms.iter_mut().zip(marks.chunks_exact(2)) {
            if let (true, Some(other)) = (room.kind != RoomKind::Channel, &room.counterpart) {
                room.name = Self::name_of(&entries, other);
            }
            room.read = Revision(marks[0]);
            room.unread = room.messages.saturating_sub(marks[1]);
        }
        Ok(())
    }

    async fn key(self: &Arc<Self>, who: &Identity, id: RoomId, version: Option<KeyVersion>) -> Result<Answer, Refused> {
        let room = self.room_for(&who.account, id).await?;
        let (version, public) = {
            let hub = room.hub.lock();
            let state = hub.state();
            let current = state.current_key().ok_or(Reason::NotAMember)?;
            let version = version.unwrap_or(current.version);
            // Who was removed may still ask for what it could read then; who never was here learns nothing.
            if !state.may_hold(&who.account, version) {
                let stranger = !state.is_member(&who.account);
                return Err(if stranger { Reason::NotAMember.into() } else { Reason::NoSuchKey.into() });
            }
            if self.is_expired(state, version) {
                return Err(Reason::NoSuchKey.into());
            }
            (version, state.public(version).ok_or(Reason::NoSuchKey)?)
        };
        let secret = room.secret(self, version).await?;
        let secret = Blob(bytes::Bytes::copy_from_slice(&secret.to_bytes()[..]));
        Ok(Answer::Key { room: id, version, public, secret })
    }
}
