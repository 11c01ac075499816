//! X1, X2: what follows from records outside of their log, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, LogId, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::Event;

use super::rooms::{Room, Step};
use super::{Findings, Reading};

/// In the end every account's log has told of every coming and going, unless a later one of the same room was told first;
/// and what was taken back is erased.
pub(super) fn complete(reading: &Reading<'_>, out: &mut Findings) {
    for (account, told) in &reading.accounts {
        for told in told {
            let (room, at) = told.change.source();
            let step = reading.rooms.get(&room).and_then(|room| step(room, account, at));
            let right = match &told.change {
                AccountChange::Joined { kind, .. } => {
                    matches!(step, Some(Step::Came(_)))
                        && reading.rooms.get(&room).is_some_and(|room| room.kind == Some(*kind))
                }
                AccountChange::Left { .. } => step == Some(Step::Went),
            };
            if !right && reading.is_kept(room, at) {
                out.push((
                    format!("the log of {account} tells of {at} of {room}, where no such thing is"),
                    told.landed,
                ));
            }
        }
    }
    if !reading.quiet || !reading.story.stores_whole {
        return;
    }
    for room in reading.rooms.values() {
        for (account, steps) in &room.steps {
            let told = reading.accounts.get(account).map_or(&[][..], Vec::as_slice);
            let told: Vec<Revision> = told
                .iter()
                .map(|told| told.change.source())
                .filter(|(id, _)| *id == room.id)
                .map(|(_, at)| at)
                .collect();
            for (at, step) in steps {
                if told.iter().all(|told| told < at) {
                    let landed = room.fact(*at).and_then(|fact| fact.landed);
                    out.push((format!("{account} is not told of {at} of {} ({step:?})", room.id), landed));
                }
            }
        }
        erased(reading, room, out);
    }
}

fn step(room: &Room, account: &AccountId, at: Revision) -> Option<Step> {
    room.steps.get(account)?.iter().find(|(step, _)| *step == at).map(|(_, step)| *step)
}

fn erased(reading: &Reading<'_>, room: &Room, out: &mut Findings) {
    let Some(records) = reading.story.ending.logs.get(&LogId::Room(room.id)) else { return };
    for (revision, by) in &room.taken_back {
        let at = records.partition_point(|record| record.last < *revision);
        let Some(Ok(record)) = records.get(at).map(|record| Record::<Event>::decode(&record.bytes)) else { continue };
        let body = record.items().find(|item| item.revision == *revision).map(|item| item.body.clone());
        if matches!(body, Some(Body::Present(_))) {
            let landed = room.fact(*by).and_then(|fact| fact.landed);
            out.push((format!("the body at {revision} of {} is there, taken back at {by}", room.id), landed));
        }
    }
}

/// No request is in a log twice while it is remembered, no message of a sender, no coming or going in an account's log; and
/// nothing late is told there.
pub(super) fn once(reading: &Reading<'_>, out: &mut Findings) {
    let remembered = reading.story.limits.remembered_requests as usize;
    for room in reading.rooms.values() {
        let mut requests: BTreeMap<(&AccountId, RequestId), usize> = BTreeMap::new();
        let asked = room.entries.iter().filter_map(|entry| Some((entry, entry.request?)));
        for (nth, (entry, request)) in asked.enumerate() {
            let before = requests.insert((&entry.who, request), nth);
            if before.is_some_and(|before| nth - before <= remembered) {
                let landed = room.fact(entry.first).and_then(|fact| fact.landed);
                out.push((format!("{request} of {} is in {} again, at {}", entry.who, room.id, entry.first), landed));
            }
        }
        let mut messages: BTreeSet<(&AccountId, MessageId)> = BTreeSet::new();
        for fact in &room.facts {
            let Event::Message { message, kind, .. } = &fact.event else { continue };
            let forgets = room.entries.len() > remembered && *kind == BodyKind::Message;
            if !messages.insert((&fact.account, *message)) && !forgets {
                let what =
                    format!("message {message} of {} is in {} again, at {}", fact.account, room.id, fact.revision);
                out.push((what, fact.landed));
            }
        }
    }
    for (account, told) in &reading.accounts {
        let mut last: BTreeMap<RoomId, Revision> = BTreeMap::new();
        for told in told {
            let (room, at) = told.change.source();
            if let Some(before) = last.insert(room, at).filter(|before| *before >= at) {
                out.push((format!("the log of {account} tells of {at} of {room} after {before}"), told.landed));
            }
        }
    }
}
