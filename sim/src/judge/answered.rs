//! S2 and L1: when an answer comes, and that what it says is durable.

use chamberlain_core::id::{AccountId, Revision, RoomId};
use chamberlain_core::room::{Command, Outcome, Reason};
use chamberlain_core::wire::{Answer, ClientFrame, OwnRevision, ServerFrame};

use super::links::{Link, Request};
use super::reading::Asked;
use super::rooms::Room;
use super::{Findings, Reading};
use crate::story::Seen;

/// The answer to a command comes after the revision it tells of, where that room is open; and a revision is marked as asked
/// for on the connection that asked, and on no other.
pub(super) fn in_order(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        for at in &link.seen {
            match reading.seen(*at) {
                Seen::Came { frame: ServerFrame::Ok { id, answer: Answer::Outcome(outcome) }, .. } => {
                    let (Outcome::Sent { revision, .. } | Outcome::Done { revision }) = outcome else { continue };
                    let Some(room) = link.requests.get(id).and_then(room_asked) else { continue };
                    let opening = link.opening(room, *at).filter(|opening| opening.is_open(*at));
                    let covered = opening.map(|opening| opening.covered(reading.story, *at));
                    if let Some(covered) = covered.filter(|covered| covered < revision) {
                        let what =
                            format!("{} was answered {outcome:?}, and {room} is at {covered} there", link.account);
                        out.push((what, Some(*at)));
                    }
                }
                Seen::Came { frame: ServerFrame::Batch { room, items, own, .. }, .. } => {
                    if let Some(log) = reading.rooms.get(room) {
                        let items: Vec<Revision> = items.iter().map(|item| item.revision).collect();
                        marks(reading, link, log, &items, own, *at, out);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The room that a request names, where it named no other under the same id.
fn room_asked(request: &Request<'_>) -> Option<RoomId> {
    let room = |frame: &ClientFrame| match frame {
        ClientFrame::Command { command, .. } => command.room(),
        _ => None,
    };
    let first = room(request.sent.first()?.1);
    first.filter(|_| request.sent.iter().all(|(_, frame)| room(frame) == first))
}

fn marks(
    reading: &Reading<'_>,
    link: &Link<'_>,
    log: &Room,
    items: &[Revision],
    own: &[OwnRevision],
    at: usize,
    out: &mut Findings,
) {
    for mark in own {
        let asked =
            link.requests.get(&mark.request).is_some_and(|request| request.sent.iter().any(|(sent, _)| *sent < at));
        let fact = log.fact(mark.revision);
        let right = fact.is_some_and(|fact| fact.request == Some(mark.request) && fact.account == *link.account);
        if !asked || !right || !items.contains(&mark.revision) {
            let what = format!("{} of {} is marked as asked for on {:?}", mark.revision, log.id, link.id);
            out.push((what, Some(at)));
        }
    }
    for revision in items.iter().filter(|revision| own.iter().all(|mark| mark.revision != **revision)) {
        let Some(fact) = log.fact(*revision).filter(|fact| fact.account == *link.account) else { continue };
        let (Some(request), Some(landed)) = (fact.request, fact.landed) else { continue };
        let Some(asked) = reading.commands.get(&(link.account.clone(), request)) else { continue };
        let [asked] = &asked[..] else { continue };
        // Sent here alone before it landed, and not answered yet: whoever serves this connection knew that it asked.
        let mut before = asked.sent.iter().filter(|(sent, _)| *sent < landed).peekable();
        let here = before.peek().is_some() && before.all(|(_, on)| *on == link.id);
        let answered = asked.came.iter().any(|answered| answered.link == link.id && answered.at < at);
        if here && !answered && reading.is_kept(log.id, *revision) {
            let what = format!("{revision} of {} is not marked on {:?}, which asked for it", log.id, link.id);
            out.push((what, Some(at)));
        }
    }
}

/// What is shown or acknowledged is durable before, stays, and is acknowledged in the same words again.
pub(super) fn durable(reading: &Reading<'_>, out: &mut Findings) {
    if reading.story.stores_whole {
        out.extend(reading.gone.iter().cloned());
    }
    for (who, id, asked) in reading.asked() {
        for answered in &asked.came {
            let told = answered.result.map(|outcome| acknowledged(reading, who, asked, (id, outcome), answered.at));
            if let Ok(Some(what)) = told {
                out.push((what, Some(answered.at)));
            }
        }
        again(reading, who, asked, id, out);
    }
    for link in reading.links.values() {
        for at in &link.seen {
            let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
            let (room, shown) = match frame {
                ServerFrame::Opened { room, head, .. } => (room.room, *head),
                ServerFrame::Batch { room, to, .. } | ServerFrame::Void { room, to, .. } => (*room, *to),
                ServerFrame::Watched { room, item } => (*room, item.revision),
                ServerFrame::Ok { answer: Answer::History { room, to, .. }, .. } => (*room, *to),
                _ => continue,
            };
            let durable = reading.rooms.get(&room).map_or(Revision::ZERO, |log| log.durable(*at));
            if shown > durable && reading.is_kept(room, shown) {
                let what = format!("{} was shown {shown} of {room}, which goes to {durable}", link.account);
                out.push((what, Some(*at)));
            }
        }
    }
}

/// What is wrong with a success.
fn acknowledged(
    reading: &Reading<'_>,
    who: &AccountId,
    asked: &Asked<'_>,
    (id, outcome): (chamberlain_core::id::RequestId, Outcome),
    at: usize,
) -> Option<String> {
    if matches!(asked.command, Command::MarkRead { .. } | Command::DisableAccount { .. }) {
        return None;
    }
    let name = asked.command.name();
    let Some(room) = asked.room.and_then(|room| reading.rooms.get(&room)) else {
        return Some(format!("{who} was told {outcome:?} of {name}, and there is no such room"));
    };
    let durable = room.durable(at);
    let entries: Vec<_> = room.of_request(who, id).filter(|entry| entry.fingerprint == asked.fingerprint).collect();
    if let Some(entry) = entries.iter().find(|entry| entry.outcome == outcome) {
        let early = entry.last > durable && reading.is_kept(room.id, entry.last);
        return early.then(|| format!("{who} was told {outcome:?} of {name} before it was durable"));
    }
    if let Some(entry) = entries.first() {
        return Some(format!("{who} was told {outcome:?} of {name}, the log has {:?}", entry.outcome));
    }
    let there = match outcome {
        Outcome::Created { room: told, kind, exists: true } => {
            told == room.id && room.kind == Some(kind) && durable > Revision::ZERO
        }
        // Said before under another request.
        Outcome::Sent { .. } => room.entries.iter().any(|e| e.who == *who && e.outcome == outcome && e.last <= durable),
        _ => false,
    };
    (!there && reading.story.stores_whole)
        .then(|| format!("{who} was told {outcome:?} of {name}, which is nowhere in the log"))
}

/// A retry of what was acknowledged is acknowledged the same.
fn again(
    reading: &Reading<'_>,
    who: &AccountId,
    asked: &Asked<'_>,
    id: chamberlain_core::id::RequestId,
    out: &mut Findings,
) {
    let unremembered = matches!(asked.command, Command::MarkRead { .. } | Command::DisableAccount { .. });
    if unremembered || !reading.story.stores_whole {
        return;
    }
    let room = asked.room.and_then(|room| reading.rooms.get(&room));
    let Some((room, entry)) = room
        .and_then(|room| Some((room, room.of_request(who, id).find(|entry| entry.fingerprint == asked.fingerprint)?)))
    else {
        return;
    };
    let landed = room.fact(entry.last).and_then(|fact| fact.landed).unwrap_or(0);
    for answered in asked.came.iter().filter(|answered| answered.sent > landed) {
        // Forgotten, where so many others were recorded since.
        let since = room.entries.iter().filter(|later| later.first > entry.last && later.request.is_some());
        if since.count() >= reading.story.limits.remembered_requests as usize {
            continue;
        }
        let right = match answered.result {
            Ok(outcome) => outcome == entry.outcome,
            Err(reason) => says_nothing(reason),
        };
        if !right {
            let told = answered.result;
            let what = format!(
                "{who} asked {} again and was told {told:?}, the log has {:?}",
                asked.command.name(),
                entry.outcome
            );
            out.push((what, Some(answered.at)));
        }
    }
}

/// Whether a refusal says nothing of the room: it may be carried out all the same, or succeed when it is tried again.
pub(super) fn says_nothing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Deadline
            | Reason::Busy
            | Reason::Draining
            | Reason::Quarantined
            | Reason::StoreUnavailable
            | Reason::RateLimited
            | Reason::InvalidToken
            | Reason::TokenExpired
    )
}
