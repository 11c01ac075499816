//! K4, M1, M4: what an account is told of its rooms.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, Revision, RoomId};
use chamberlain_core::wire::{Answer, RoomView, ServerFrame};

use super::links::Link;
use super::reading::Told;
use super::{Findings, Reading};
use crate::story::Seen;

/// What an account's log up to a revision says of its rooms: which it is in, and since which revision of the room.
fn rooms_at(told: &[Told], revision: Revision) -> BTreeMap<RoomId, Revision> {
    let mut rooms: BTreeMap<RoomId, (Revision, bool)> = BTreeMap::new();
    for told in told.iter().take(revision.0 as usize) {
        let (room, at) = told.change.source();
        let known = rooms.entry(room).or_default();
        if at > known.0 {
            *known = (at, matches!(told.change, AccountChange::Joined { .. }));
        }
    }
    rooms.into_iter().filter(|(_, (_, joined))| *joined).map(|(room, (at, _))| (room, at)).collect()
}

fn log_of<'r>(reading: &'r Reading<'_>, account: &AccountId) -> &'r [Told] {
    reading.accounts.get(account).map_or(&[], Vec::as_slice)
}

/// The key of a room comes over a connection only after the account heard of the room there: in what its log said when it was
/// welcomed, in an event, or in a list of its rooms. A list says as of when it is: one that was overtaken by events takes nothing
/// back. Who heard that it left may still be given what it could read before.
pub(super) fn before_key(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        let told = log_of(reading, link.account);
        let mut known: BTreeMap<RoomId, Revision> = BTreeMap::new();
        let mut heard = 0;
        let mut hear_until = |until: Revision, known: &mut BTreeMap<RoomId, Revision>| {
            told.iter().take(until.0 as usize).skip(heard).for_each(|told| hear(known, &told.change));
            heard = heard.max(until.0 as usize);
        };
        for at in &link.seen {
            let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
            match frame {
                ServerFrame::Welcome(welcome) => hear_until(welcome.account_revision, &mut known),
                ServerFrame::Account { revision, .. } => hear_until(*revision, &mut known),
                ServerFrame::Ok { answer: Answer::Rooms { account_revision, .. }, .. } => {
                    hear_until(*account_revision, &mut known);
                }
                ServerFrame::Key { room, version, .. } => {
                    let since = reading.rooms.get(room).and_then(|log| log.versions.get(version.0 as usize));
                    let since = since.map_or(Revision::ZERO, |version| version.since);
                    if known.get(room).is_none_or(|until| since >= *until) {
                        let (who, on) = (link.account, link.id);
                        let what =
                            format!("{who} was given key {version} of {room} over {on:?}, and was not told of it");
                        out.push((what, Some(*at)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Up to which revision of each room the account was in it, for all that it heard.
fn hear(known: &mut BTreeMap<RoomId, Revision>, change: &AccountChange) {
    match change {
        AccountChange::Joined { room, .. } => known.insert(*room, Revision(u64::MAX)),
        AccountChange::Left { room, at } => known.insert(*room, *at),
    };
}

/// Account events are those of the account's log from the welcome on, each once and in order, and durable before they are told.
pub(super) fn account_events(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        let told = log_of(reading, link.account);
        let durable = |at: usize| told.partition_point(|told| told.landed.is_none_or(|landed| landed < at)) as u64;
        let mut last = Revision::ZERO;
        for at in &link.seen {
            match reading.seen(*at) {
                Seen::Came { frame: ServerFrame::Welcome(welcome), .. } => {
                    last = welcome.account_revision;
                    if last.0 > durable(*at) || welcome.account != *link.account {
                        let what = format!("{} was welcomed as {} at {last}", link.account, welcome.account);
                        out.push((what, Some(*at)));
                    }
                }
                Seen::Came { frame: ServerFrame::Account { revision, event }, .. } => {
                    if *revision != last.next() {
                        let what = format!(
                            "{} was told of {revision} of its log after {last}, over {:?}",
                            link.account, link.id
                        );
                        out.push((what, Some(*at)));
                    }
                    last = *revision;
                    let right =
                        told.get((revision.0 as usize).wrapping_sub(1)).is_some_and(|told| told.change == *event);
                    if !right || revision.0 > durable(*at) {
                        let what =
                            format!("{revision} is not in the log of {} as it was told, or not yet", link.account);
                        out.push((what, Some(*at)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Lists of rooms, and what a room says of itself, are those of the logs; in the end every account's log names the rooms that
/// it is in.
pub(super) fn agree(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        for at in &link.seen {
            match reading.seen(*at) {
                Seen::Came { frame: ServerFrame::Opened { room, head, .. }, .. } => {
                    if room.head > *head {
                        out.push((format!("{} was opened at {head}, and is at {}", room.room, room.head), Some(*at)));
                    }
                    view(reading, link, room, *at, out);
                }
                Seen::Came {
                    frame: ServerFrame::Ok { answer: Answer::Rooms { rooms, account_revision }, .. }, ..
                } => {
                    rooms.iter().for_each(|room| view(reading, link, room, *at, out));
                    list(reading, link, rooms, *account_revision, *at, out);
                }
                _ => {}
            }
        }
    }
    if !reading.quiet || !reading.story.stores_whole {
        return;
    }
    let everybody: BTreeSet<&AccountId> = reading.rooms.values().flat_map(|room| room.everybody()).collect();
    for account in everybody.into_iter().chain(reading.accounts.keys()) {
        let told = rooms_at(log_of(reading, account), Revision(u64::MAX));
        for room in reading.rooms.values() {
            let member = room.is_member(account, room.head().revision);
            if member != told.contains_key(&room.id) {
                let what = format!("{account}: in {} is {member}, its log says {}", room.id, !member);
                out.push((what, None));
            }
        }
    }
}

/// A list names the rooms that the account's log named then, and that the account is in.
fn list(reading: &Reading<'_>, link: &Link<'_>, rooms: &[RoomView], revision: Revision, at: usize, out: &mut Findings) {
    let named = rooms_at(log_of(reading, link.account), revision);
    if let Some(room) = rooms.iter().find(|room| !named.contains_key(&room.room)) {
        let what = format!("{} is listed for {}, whose log at {revision} does not name it", room.room, link.account);
        out.push((what, Some(at)));
    }
    for (room, joined) in named.iter().filter(|(room, _)| rooms.iter().all(|listed| listed.room != **room)) {
        let Some(log) = reading.rooms.get(room).filter(|log| reading.is_kept(*room, log.head().revision)) else {
            continue;
        };
        let from = link.shown(reading.story, *room, at).max(*joined);
        if log.is_always_member(link.account, from, log.durable(at)) {
            out.push((format!("{room} is missing from the list of {}", link.account), Some(at)));
        }
    }
}

/// What is said of a room is so at the head that it says.
fn view(reading: &Reading<'_>, link: &Link<'_>, view: &RoomView, at: usize, out: &mut Findings) {
    let Some(log) = reading.rooms.get(&view.room) else { return };
    if !reading.is_kept(view.room, view.head) {
        return;
    }
    let Some(fact) = log.fact(view.head).filter(|_| view.head <= log.durable(at)) else {
        out.push((format!("{} is said to be at {}, where it is not yet", view.room, view.head), Some(at)));
        return;
    };
    let roster = log.roster(view.head);
    let member = roster.members.get(link.account);
    let counterpart = view.counterpart.as_ref().is_none_or(|other| log.steps.contains_key(other));
    let right = member.is_some_and(|(role, _)| *role == view.role)
        && log.kind == Some(view.kind)
        && roster.archived == view.archived
        && (roster.name.is_none() || roster.name.as_deref() == Some(&*view.name))
        && (fact.time, fact.version) == (view.time, Some(view.key.version))
        && counterpart;
    if !right {
        let what = format!("{} at {} is not what {} was told: {view:?}", view.room, view.head, link.account);
        out.push((what, Some(at)));
    }
}
