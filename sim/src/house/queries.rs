//! Answers to questions: what an account may see of its rooms, members, history and keys.

use chamberlain_core::id::{AccountId, KeyVersion, Revision, RoomId};
use chamberlain_core::keys::{Blob, Envelope};
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event as Happened, Reason, Refused, RoomKind, RoomState};
use chamberlain_core::wire::{Answer as Said, HistoryRange, Item, MemberView, Query, RoomView};

use super::commands::{count_mark, read_mark};
use super::{Answer, House, Op, Then};

/// How much of a log is read at once.
const READ_BYTES: usize = 1024 * 1024;

impl House {
    pub(super) fn query(
        &mut self,
        node: usize,
        who: AccountId,
        query: Query,
        then: impl FnOnce(&mut Self, Result<Said, Refused>) + 'static,
    ) {
        let then: Then<Result<Said, Refused>> = Box::new(then);
        match query {
            Query::Rooms => self.rooms(node, who, then),
            Query::Key { room, version } => {
                self.member_room(node, who.clone(), room, move |house, loaded| match loaded {
                    Ok(()) => house.key(node, &who, room, version, then),
                    Err(refused) => then(house, Err(refused)),
                });
            }
            Query::Members { room, after, limit } => {
                self.member_room(node, who.clone(), room, move |house, loaded| match loaded {
                    Ok(()) => house.members(node, &who, room, after.as_ref(), limit, then),
                    Err(refused) => then(house, Err(refused)),
                });
            }
            Query::History { room, range, limit } => {
                self.member_room(node, who.clone(), room, move |house, loaded| match loaded {
                    Ok(()) => house.history(node, who, room, range, limit, then),
                    Err(refused) => then(house, Err(refused)),
                });
            }
        }
    }

    /// Loads a room; where the node is not alone and the account seems to be no member, it reads the log before it says so.
    fn member_room(
        &mut self,
        node: usize,
        who: AccountId,
        id: RoomId,
        then: impl FnOnce(&mut Self, Result<(), Refused>) + 'static,
    ) {
        self.room(node, id, move |house, loaded| {
            if loaded.is_err() {
                return then(house, loaded);
            }
            let member = house.room_at(node, id).is_some_and(|room| room.hub.state().is_member(&who));
            if member || house.nodes.len() == 1 {
                return then(house, Ok(()));
            }
            house.catch_up(node, id, move |house, read| {
                then(house, if read { Ok(()) } else { Err(Reason::StoreUnavailable.into()) });
            });
        });
    }

    fn key(
        &mut self,
        node: usize,
        who: &AccountId,
        id: RoomId,
        version: Option<KeyVersion>,
        then: Then<Result<Said, Refused>>,
    ) {
        let Some(room) = self.room_at(node, id) else { return then(self, Err(Reason::StoreUnavailable.into())) };
        let held = key_of(room.hub.state(), who, version);
        let (version, public) = match held {
            Ok((version, public)) if self.is_kept(node, id, version) => (version, public),
            held => {
                let reason = held.err().unwrap_or(Reason::NoSuchKey);
                self.probe("key refused");
                return then(self, Err(reason.into()));
            }
        };
        self.secret(node, id, version, move |house, secret| {
            let said = secret.map(|secret| {
                let secret = Blob(bytes::Bytes::copy_from_slice(&secret.to_bytes()[..]));
                Said::Key { room: id, version, public, secret }
            });
            then(house, said);
        });
    }

    fn members(
        &mut self,
        node: usize,
        who: &AccountId,
        id: RoomId,
        after: Option<&AccountId>,
        limit: Option<u32>,
        then: Then<Result<Said, Refused>>,
    ) {
        let most = self.story.limits.member_items;
        let limit = limit.unwrap_or(most) as usize;
        let Some(room) = self.room_at(node, id) else { return then(self, Err(Reason::StoreUnavailable.into())) };
        let state = room.hub.state();
        if limit == 0 || limit > most as usize {
            return then(self, Err(Reason::TooMany.into()));
        }
        if !state.is_member(who) {
            return then(self, Err(Reason::NotAMember.into()));
        }
        let page: Vec<_> =
            state.members_after(after).take(limit + 1).map(|(account, member)| (account.clone(), member)).collect();
        let all: Vec<AccountId> = state.members_after(None).map(|(account, _)| account.clone()).collect();
        let marks: Vec<String> = all.iter().map(|account| read_mark(id, account)).collect();
        self.people(node, page.iter().map(|(account, _)| account.clone()).collect(), move |house, people| {
            let people = match people {
                Ok(people) => people,
                Err(refused) => return then(house, Err(refused)),
            };
            house.call(node, Op::Marks(marks), move |house, told| {
                let Ok(Answer::Numbers(marks)) = told else {
                    return then(house, Err(Reason::StoreUnavailable.into()));
                };
                let read = |account: &AccountId| {
                    let at = all.iter().position(|one| one == account);
                    Revision(at.and_then(|at| marks.get(at)).copied().unwrap_or(0))
                };
                let (more, total) = (page.len() > limit, all.len() as u32);
                let members = page.iter().take(limit).map(|(account, member)| MemberView {
                    account: account.clone(),
                    name: people.get(account).map_or_else(String::new, |profile| profile.name.clone()),
                    role: member.role,
                    bot: people.get(account).is_some_and(|profile| profile.bot),
                    since: member.since,
                    read: read(account),
                });
                let members = members.collect();
                let read_floor = Revision(marks.iter().copied().min().unwrap_or(0));
                then(house, Ok(Said::Members { room: id, members, total, read_floor, more }));
            });
        });
    }

    fn history(
        &mut self,
        node: usize,
        who: AccountId,
        id: RoomId,
        range: HistoryRange,
        limit: Option<u32>,
        then: Then<Result<Said, Refused>>,
    ) {
        let most = self.story.limits.history_items;
        let limit = limit.unwrap_or(most.min(50));
        let Some(room) = self.room_at(node, id) else { return then(self, Err(Reason::StoreUnavailable.into())) };
        let state = room.hub.state();
        if limit == 0 || limit > most {
            return then(self, Err(Reason::TooMany.into()));
        }
        if !state.is_member(&who) {
            return then(self, Err(Reason::NotAMember.into()));
        }
        let (limit, head) = (u64::from(limit), state.head().revision);
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
        let more = match range {
            HistoryRange::After(_) => to < head.0,
            _ => after > 0,
        };
        let (after, to) = (Revision(after), Revision(to));
        self.call(node, Op::Read { log: Self::log_of(id), after, bytes: READ_BYTES }, move |house, told| {
            let Ok(Answer::Records(stored)) = told else { return then(house, Err(Reason::StoreUnavailable.into())) };
            let (wall, grace) = (house.wall(node), house.knobs.grace_ms);
            let Some(room) = house.room_at(node, id) else {
                return then(house, Err(Reason::StoreUnavailable.into()));
            };
            let state = room.hub.state();
            let is_kept = |version| grace.is_none_or(|ms| !state.is_expired(version, wall, ms));
            let records = stored.iter().filter_map(|stored| Record::<Happened>::decode(&stored.bytes).ok());
            let mut items = Vec::new();
            for record in records {
                let wanted = record.items().filter(|item| item.revision > after && item.revision <= to);
                let entitled = wanted.filter(|item| state.entitlement(&who, item.revision, item.revision).0);
                items.extend(entitled.map(|item| Item {
                    revision: item.revision,
                    time: item.time,
                    account: item.account.clone(),
                    event: item.event.clone(),
                    body: match item.body {
                        Body::Present(bytes)
                            if !state.is_erased(item.revision) && item.event.sealed_under().is_none_or(is_kept) =>
                        {
                            Envelope::from_bytes(bytes).ok()
                        }
                        _ => None,
                    },
                }));
            }
            then(house, Ok(Said::History { room: id, items, from: after.next(), to, more }));
        });
    }

    fn rooms(&mut self, node: usize, who: AccountId, then: Then<Result<Said, Refused>>) {
        self.account(node, &who.clone(), move |house, loaded| {
            if let Err(failure) = loaded {
                return then(house, Err(super::node::refusal(failure)));
            }
            let state = house.account_state(node, &who);
            let (account_revision, ids) = (state.head().revision, state.rooms().collect());
            let views: Then<Result<Vec<RoomView>, Refused>> = Box::new(move |house, rooms| {
                let said = rooms.map(|mut rooms| {
                    rooms.sort_by_key(|room| std::cmp::Reverse((room.time, room.room)));
                    Said::Rooms { rooms, account_revision }
                });
                then(house, said);
            });
            house.room_views(node, who, ids, Vec::new(), views);
        });
    }

    fn room_views(
        &mut self,
        node: usize,
        who: AccountId,
        mut ids: Vec<RoomId>,
        mut views: Vec<RoomView>,
        then: Then<Result<Vec<RoomView>, Refused>>,
    ) {
        let Some(id) = ids.pop() else { return then(self, Ok(views)) };
        self.member_room(node, who.clone(), id, move |house, loaded| {
            if let Err(refused) = loaded {
                return then(house, Err(refused));
            }
            house.room_view(node, id, who.clone(), move |house, view| {
                match view {
                    Ok(view) => views.push(view),
                    // Removed meanwhile.
                    Err(refused) if refused.reason == Reason::NotAMember => {}
                    Err(refused) => return then(house, Err(refused)),
                }
                house.room_views(node, who, ids, views, then);
            });
        });
    }

    /// A room as this member sees it.
    pub(super) fn room_view(
        &mut self,
        node: usize,
        id: RoomId,
        who: AccountId,
        then: impl FnOnce(&mut Self, Result<RoomView, Refused>) + 'static,
    ) {
        let bare = self.room_at(node, id).and_then(|room| bare_view(room.hub.state(), &who));
        let Some(mut view) = bare else { return then(self, Err(Reason::NotAMember.into())) };
        self.people(node, view.counterpart.iter().cloned().collect(), move |house, people| {
            let people = match people {
                Ok(people) => people,
                Err(refused) => return then(house, Err(refused)),
            };
            if let Some(profile) = view.counterpart.as_ref().and_then(|other| people.get(other))
                && view.kind != RoomKind::Channel
            {
                view.name.clone_from(&profile.name);
            }
            house.call(node, Op::Marks(vec![read_mark(id, &who), count_mark(id, &who)]), move |house, told| {
                let marks = match told {
                    Ok(Answer::Numbers(marks)) => marks,
                    _ => return then(house, Err(Reason::StoreUnavailable.into())),
                };
                view.read = Revision(marks[0]);
                view.unread = view.messages.saturating_sub(marks[1]);
                then(house, Ok(view));
            });
        });
    }
}

/// What the fold alone tells; none when the account is no member.
fn bare_view(state: &RoomState, who: &AccountId) -> Option<RoomView> {
    let member = state.member(who)?;
    Some(RoomView {
        room: state.room(),
        kind: state.kind()?,
        name: state.name().map_or_else(String::new, |name| name.as_str().to_owned()),
        counterpart: state.counterpart(who).cloned(),
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

/// Who was removed may still ask for what it could read then; who never was here learns nothing.
fn key_of(
    state: &RoomState,
    who: &AccountId,
    version: Option<KeyVersion>,
) -> Result<(KeyVersion, chamberlain_core::keys::RoomPublic), Reason> {
    let current = state.current_key().ok_or(Reason::NotAMember)?;
    let version = version.unwrap_or(current.version);
    if !state.may_hold(who, version) {
        return Err(if state.is_member(who) { Reason::NoSuchKey } else { Reason::NotAMember });
    }
    Ok((version, state.public(version).ok_or(Reason::NoSuchKey)?))
}
