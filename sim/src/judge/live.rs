//! S4, V1, B1: bounds in memory and in time, and that nothing breaks.

use chamberlain_core::id::Revision;
use chamberlain_core::room::{Code, Reason};
use chamberlain_core::wire::{ResetWhy, ServerFrame};

use super::links::Link;
use super::{Findings, Reading};
use crate::story::Seen;

/// Answers and events of a connection that wait beside those that the limits count: watched events, one write.
const WAITING: u64 = 400;
/// Bytes that wait, counted in the largest frames.
const WAITING_FRAMES: u64 = 16;
/// WebSocket's code for a server that broke.
const INTERNAL: u16 = 1011;

/// What a node holds for a connection stays within what the limits allow, however slow the connection is.
pub(super) fn bounded(reading: &Reading<'_>, out: &mut Findings) {
    let limits = &reading.story.limits;
    let most_items = u64::from(limits.replies_waiting) * 4 + u64::from(limits.open_rooms) * 2 + WAITING;
    let most_bytes = u64::from(limits.frame_out_bytes) * WAITING_FRAMES;
    for (at, (_, seen)) in reading.story.seen.iter().enumerate() {
        if let Seen::Holds { link, items, bytes } = seen
            && (*items > most_items || *bytes > most_bytes)
        {
            out.push((format!("{items} frames of {bytes} bytes wait for {link:?}"), Some(at)));
        }
    }
}

/// Once faults stop, every request is answered within the bound, or its connection ends; and in the end every connection is
/// at the head of what it has open.
pub(super) fn caught_up(reading: &Reading<'_>, out: &mut Findings) {
    let Some((_, healed)) = reading.healed else { return };
    let patience = reading.story.patience;
    let due = |sent: usize| reading.time(sent).max(healed) + patience;
    for link in reading.links.values() {
        let ended = link.ended.map(|(at, _)| reading.time(at));
        let overdue = |due: u64, came: Option<usize>| match came {
            Some(came) => reading.time(came) > due,
            None if ended.is_some() => ended.is_some_and(|ended| ended > due),
            None => reading.quiet || reading.end > due,
        };
        if overdue(due(link.seen[0]), link.welcome.map(|(at, ..)| at)) {
            out.push((format!("{} is not welcomed on {:?}", link.account, link.id), Some(link.seen[0])));
        }
        for asked in &link.opens {
            if overdue(due(asked.sent), asked.came.map(|(at, _)| at)) {
                let room = asked.open.room;
                out.push((
                    format!("{} asked to open {room} on {:?}, and is not answered", link.account, link.id),
                    Some(asked.sent),
                ));
            }
        }
        for (id, request) in &link.requests {
            for (nth, (sent, _)) in request.sent.iter().enumerate() {
                if overdue(due(*sent), request.came.get(nth).map(|(at, _)| *at)) {
                    let what = format!("{id} of {} on {:?} is not answered in time", link.account, link.id);
                    out.push((what, Some(*sent)));
                }
            }
        }
        if reading.quiet && ended.is_none() {
            at_head(reading, link, out);
        }
    }
}

/// A connection that is there in the end has everything of the rooms that it has open, and every event of its account.
fn at_head(reading: &Reading<'_>, link: &Link<'_>, out: &mut Findings) {
    let end = reading.story.seen.len();
    for opening in link.openings.iter().filter(|opening| opening.is_open(end)) {
        let Some(log) = reading.rooms.get(&opening.room).filter(|_| !reading.lost.contains_key(&opening.room)) else {
            continue;
        };
        let (covered, head) = (opening.covered(reading.story, end), log.head().revision);
        let (who, room, on) = (link.account, opening.room, link.id);
        let last = opening.frames.last().copied().unwrap_or(opening.opened);
        if !log.is_member(who, head) {
            out.push((format!("{who} was removed from {room}, and on {on:?} it is open"), Some(last)));
        } else if covered != head {
            out.push((format!("{who} is at {covered} of {room} on {on:?}, which is at {head}"), Some(last)));
        }
    }
    let told = reading.accounts.get(link.account).map_or(0, Vec::len) as u64;
    let mut heard = Revision::ZERO;
    for at in &link.seen {
        match reading.seen(*at) {
            Seen::Came { frame: ServerFrame::Welcome(welcome), .. } => heard = welcome.account_revision,
            Seen::Came { frame: ServerFrame::Account { revision, .. }, .. } => heard = *revision,
            _ => {}
        }
    }
    if heard.0 < told && link.welcome.is_some() {
        let what = format!("{} heard {heard} of its log on {:?}, which is at {told}", link.account, link.id);
        out.push((what, link.seen.last().copied()));
    }
}

/// Nothing is quarantined, nothing says that it broke, no node is left that cannot serve.
pub(super) fn whole(reading: &Reading<'_>, out: &mut Findings) {
    if !reading.story.stores_whole {
        return;
    }
    for (at, (_, seen)) in reading.story.seen.iter().enumerate() {
        let what = match seen {
            Seen::Quarantined { room, what } => format!("{room} is quarantined: {what}"),
            Seen::Came { link, frame: ServerFrame::Error { code, reason, message, .. } }
                if *code == Code::Internal || *reason == Reason::Quarantined =>
            {
                format!("{link:?} was refused as {reason:?}: {message}")
            }
            Seen::Came { link, frame: ServerFrame::Reset { room, why: ResetWhy::Quarantined } } => {
                format!("{room} was reset as quarantined on {link:?}")
            }
            Seen::Ended { link, code: Some(INTERNAL) } => format!("{link:?} ended as an internal error"),
            _ => continue,
        };
        out.push((what, Some(at)));
    }
    out.extend(reading.story.ending.unwell.iter().map(|what| (format!("in the end, {what}"), None)));
}
