//! M2, M3: rooms as the rules make them. Every command that a log holds is carried out on the naive model as well.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, Revision, RoomId};
use chamberlain_core::room::{Command, Event, Role, RoomKind};
use chamberlain_core::wire::{Answer, ClientFrame, MemberView, Query, RoomView, ServerFrame};

use super::rooms::{Entry, Room};
use super::{Findings, Reading};
use crate::room_model::{Bounds, Model, Person, Verdict};
use crate::story::Seen;

/// A room before the first entry of its log, after it, after the second, as far as the rules allow what is there.
pub(super) struct Replay {
    pub(super) models: Vec<Model>,
    /// What the rules do not allow.
    refused: Option<(String, Option<usize>)>,
}

/// Everybody, as far as it is told, administrators by their token included.
pub(super) fn people(reading: &Reading<'_>) -> Vec<Person> {
    let admins = |account: &AccountId| {
        let mut links = reading.links.values().filter(|link| link.account == account);
        links.any(|link| link.welcome.is_some_and(|(_, _, admin)| admin))
    };
    let mut people = reading.story.people.clone();
    people.iter_mut().for_each(|person| person.admin |= admins(&person.account));
    people
}

/// The model of a room that did not begin.
pub(super) fn unborn(reading: &Reading<'_>, room: RoomId, people: &[Person]) -> Model {
    let limits = &reading.story.limits;
    let bounds = Bounds {
        members: limits.room_members as usize,
        large: limits.large_room as usize,
        messages_per_key: limits.messages_per_key,
        edits: limits.edits_per_message,
    };
    Model::new(room, people.to_vec(), bounds)
}

/// Carries out every room's commands; nothing where nobody is told who the people are.
pub(super) fn replay_all(reading: &Reading<'_>) -> BTreeMap<RoomId, Replay> {
    if reading.story.people.is_empty() {
        return BTreeMap::new();
    }
    let people = people(reading);
    let rooms = reading.rooms.values().filter(|room| room.contradictions.is_empty());
    rooms.map(|room| (room.id, replay(reading, room, unborn(reading, room.id, &people)))).collect()
}

fn replay(reading: &Reading<'_>, room: &Room, unborn: Model) -> Replay {
    let mut replay = Replay { models: vec![unborn], refused: None };
    for entry in &room.entries {
        let model = &replay.models[replay.models.len() - 1];
        let landed = room.fact(entry.last).and_then(|fact| fact.landed);
        let next = match step(reading, room, entry, model) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(what) => {
                replay.refused = Some((format!("{} of {}: {what}", entry.first, room.id), landed));
                break;
            }
        };
        if let Err(what) = agrees(room, entry.last, &next) {
            replay.refused = Some((format!("{} of {}: {what}", entry.last, room.id), landed));
            break;
        }
        replay.models.push(next);
    }
    replay
}

/// The room after an entry; `None` where the rules have nothing to say of it.
fn step(reading: &Reading<'_>, room: &Room, entry: &Entry, model: &Model) -> Result<Option<Model>, String> {
    let Some(asked) = reading.asked_for(entry) else {
        // The server itself removes who was shut out meanwhile.
        let shut_out = is_shut_out(reading, &entry.who, room.fact(entry.last).and_then(|fact| fact.landed));
        return if shut_out {
            Ok(Some(model.expelled(&entry.who)))
        } else {
            Err(format!("{} did not ask for it", entry.who))
        };
    };
    if room.entries.len() > reading.story.limits.remembered_requests as usize {
        return Ok(None);
    }
    let command = with_members_of_channels(room, entry, asked.command);
    let request = entry.request.ok_or("without a request")?;
    match model.judge(&entry.who, request, &command) {
        Verdict::Recorded(mut next) => {
            next.settle(entry.outcome);
            Ok(Some(*next))
        }
        verdict => Err(format!("{} by {} is recorded, and should be {verdict:?}", command.name(), entry.who)),
    }
}

/// Whether somebody asked to shut the account out before the `seen`th thing.
pub(super) fn is_shut_out(reading: &Reading<'_>, account: &AccountId, seen: Option<usize>) -> bool {
    reading.asked().any(|(_, _, asked)| {
        let before = asked.sent.first().is_some_and(|(sent, _)| seen.is_none_or(|seen| *sent < seen));
        before && matches!(asked.command, Command::DisableAccount { account: gone } if gone == account)
    })
}

/// A command that names channels names their members of then: those that were added.
fn with_members_of_channels(room: &Room, entry: &Entry, command: &Command) -> Command {
    let added = || {
        let facts = room.facts(entry.first, entry.last).iter();
        let added = facts.filter_map(|fact| match &fact.event {
            Event::MembersAdded { accounts, .. } => Some(accounts),
            _ => None,
        });
        added.flatten().filter(|account| **account != entry.who).cloned().collect::<Vec<_>>()
    };
    match command {
        Command::CreateChannel { name, channels, .. } if !channels.is_empty() => {
            Command::CreateChannel { name: name.clone(), accounts: added(), channels: Vec::new() }
        }
        Command::Add { room, channels, history, .. } if !channels.is_empty() => {
            let mut accounts = added();
            if accounts.is_empty() {
                accounts.push(entry.who.clone());
            }
            Command::Add { room: *room, accounts, channels: Vec::new(), bots: true, history: *history }
        }
        other => other.clone(),
    }
}

fn agrees(room: &Room, at: Revision, model: &Model) -> Result<(), String> {
    let roster = room.roster(at);
    let mut members: Vec<(&AccountId, Role)> = model.members.iter().map(|m| (&m.account, m.role)).collect();
    members.sort_unstable();
    let are: Vec<(&AccountId, Role)> = roster.members.iter().map(|(account, (role, _))| (account, *role)).collect();
    if are != members {
        return Err(format!("its members are {are:?}, the rules have {members:?}"));
    }
    let fact = room.fact(at).ok_or("it is not there")?;
    let is = (roster.name.as_deref(), roster.archived, fact.version.map(|version| version.0), fact.messages);
    let should =
        (model.name.as_deref(), model.archived, model.kind.map(|_| model.version), model.messages.len() as u64);
    if is != should {
        return Err(format!("name, end, version and messages are {is:?}, the rules have {should:?}"));
    }
    Ok(())
}

/// What a log holds is what the rules allow and make of it, within the limits, and every count that is told is right.
pub(super) fn members(reading: &Reading<'_>, out: &mut Findings) {
    out.extend(reading.replays().values().filter_map(|replay| replay.refused.clone()));
    let most = reading.story.limits.room_members as usize;
    for room in reading.rooms.values() {
        if let Some(roster) = room.rosters.iter().find(|roster| roster.members.len() > most) {
            let landed = room.fact(roster.since).and_then(|fact| fact.landed);
            let what = format!("{} has {} members at {}", room.id, roster.members.len(), roster.since);
            out.push((what, landed));
        }
    }
    for link in reading.links.values() {
        for at in &link.seen {
            let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
            match frame {
                ServerFrame::Opened { room, .. } => counts(reading, room, *at, out),
                ServerFrame::Ok { answer: Answer::Rooms { rooms, .. }, .. } => {
                    rooms.iter().for_each(|room| counts(reading, room, *at, out));
                }
                ServerFrame::Ok { id, answer: Answer::Members { room, members, total, more, .. } } => {
                    let sent = link.requests.get(id).and_then(|request| request.sent.first());
                    let Some((asked, ClientFrame::Query { query: Query::Members { after, .. }, .. })) = sent else {
                        continue;
                    };
                    let Some(log) = reading.rooms.get(room) else { continue };
                    let page = (after.as_ref(), &members[..], *total as usize, *more);
                    // So it was at some moment since it was asked: names and marks are looked up after the members.
                    if !is_page(log, page, link.shown(reading.story, *room, *asked), log.durable(*at)) {
                        out.push((
                            format!("{} was told members of {room} that were never so", link.account),
                            Some(*at),
                        ));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Members and messages are as many as are said.
fn counts(reading: &Reading<'_>, view: &RoomView, at: usize, out: &mut Findings) {
    let Some(log) = reading.rooms.get(&view.room).filter(|_| reading.is_kept(view.room, view.head)) else { return };
    let Some(fact) = log.fact(view.head) else { return };
    let should = (log.roster(view.head).members.len(), fact.messages);
    let is = (view.members as usize, view.messages);
    if is != should {
        let what =
            format!("{} is said to have {is:?} members and messages at {}, not {should:?}", view.room, view.head);
        out.push((what, Some(at)));
    }
}

/// Whether it is a page of the members at one of the heads.
fn is_page(
    log: &Room,
    (after, members, total, more): (Option<&AccountId>, &[MemberView], usize, bool),
    from: Revision,
    to: Revision,
) -> bool {
    let first = log.rosters.partition_point(|roster| roster.since <= from) - 1;
    log.rosters[first..].iter().take_while(|roster| roster.since <= to).any(|roster| {
        let rest: Vec<_> =
            roster.members.iter().filter(|(account, _)| after.is_none_or(|after| *account > after)).collect();
        let same = |(view, (account, (role, since))): (&MemberView, &(&AccountId, &(Role, Revision)))| {
            (&view.account, view.role, view.since) == (*account, *role, *since)
        };
        total == roster.members.len()
            && members.len() <= rest.len()
            && more == (members.len() < rest.len())
            && members.iter().zip(&rest).all(same)
    })
}

/// A channel has an owner, while anybody is in it and it has not ended.
pub(super) fn owners(reading: &Reading<'_>, out: &mut Findings) {
    for room in reading.rooms.values().filter(|room| room.kind == Some(RoomKind::Channel)) {
        for (_, last) in &room.records {
            let roster = room.roster(*last);
            if !roster.members.is_empty() && !roster.archived && roster.owners() == 0 {
                let landed = room.fact(*last).and_then(|fact| fact.landed);
                out.push((format!("nobody owns {} at {last}", room.id), landed));
                break;
            }
        }
    }
}
