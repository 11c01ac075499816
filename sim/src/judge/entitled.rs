//! D1: what was delivered, and to whom.

use chamberlain_core::id::{KeyVersion, Revision, RoomId};
use chamberlain_core::keys::Envelope;
use chamberlain_core::wire::{Answer, ClientFrame, Item, ServerFrame, VoidWhy};

use super::covered::is_wanted;
use super::links::{Link, Opening};
use super::rooms::Room;
use super::{Findings, Reading, keys};
use crate::story::Seen;

pub(super) fn delivered(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        for opening in &link.openings {
            of_opening(reading, link, opening, out);
        }
        for at in &link.seen {
            let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
            match frame {
                ServerFrame::Watched { room, item } => watched(reading, link, *room, item, *at, out),
                ServerFrame::Ok { id, answer: Answer::History { room, items, from, to, .. } } => {
                    let asked = link.requests.get(id);
                    let asked = asked.is_some_and(|asked| {
                        asked.sent.iter().any(|(_, sent)| matches!(sent, ClientFrame::Query { .. }))
                    });
                    if asked {
                        page(reading, link, *room, (*from, *to), items, *at, out);
                    }
                }
                _ => {}
            }
        }
    }
    keys::nonces(reading, out);
    keys::readable(reading, out);
}

fn of_opening(reading: &Reading<'_>, link: &Link<'_>, opening: &Opening, out: &mut Findings) {
    let Some(log) = reading.rooms.get(&opening.room) else { return };
    let kinds = opening.ask.and_then(|ask| link.opens[ask].open.kinds.as_deref());
    let mut shown = opening.head;
    for at in &opening.frames {
        let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
        let durable = log.durable(*at);
        match frame {
            ServerFrame::Batch { to, items, .. } if reading.is_kept(log.id, *to) => {
                shown = shown.max(*to);
                for item in items {
                    as_recorded(link, log, item, (shown, durable), *at, out);
                    if !log.readable(link.account, item.revision, durable) {
                        let what =
                            format!("{} of {} came to {}, who may not read it", item.revision, log.id, link.account);
                        out.push((what, Some(*at)));
                    }
                }
            }
            ServerFrame::Void { from, to, why, .. } if reading.is_kept(log.id, *to) => {
                shown = shown.max(*to);
                for fact in log.facts(*from, *to) {
                    let readable = |head| log.readable(link.account, fact.revision, head);
                    let just = match why {
                        VoidWhy::NotEntitled => !readable(shown),
                        VoidWhy::Filtered => readable(durable) && !is_wanted(kinds, fact.event.kind()),
                        VoidWhy::Expired => {
                            readable(durable) && may_be_out_of_grace(reading, log, fact.event.sealed_under(), durable)
                        }
                    };
                    if !just {
                        let what = format!("{} of {} is void as {why:?} for {}", fact.revision, log.id, link.account);
                        out.push((what, Some(*at)));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a version may be out of its grace: it was replaced, and keys are not kept for ever.
fn may_be_out_of_grace(reading: &Reading<'_>, log: &Room, version: Option<KeyVersion>, durable: Revision) -> bool {
    let reign = version.and_then(|version| log.reign(version, durable));
    !reading.story.keeps_keys && reign.is_some_and(|(_, until)| until <= durable)
}

/// An item is what was recorded. Its body is there unless the log of now takes it back; where the log that the node has shown
/// takes it back, it is not.
fn as_recorded(link: &Link<'_>, log: &Room, item: &Item, heads: (Revision, Revision), at: usize, out: &mut Findings) {
    let Some(fact) = log.fact(item.revision) else { return };
    let (revision, room, who) = (item.revision, log.id, link.account);
    if (&fact.event, &fact.account, fact.time) != (&item.event, &item.account, item.time) {
        out.push((format!("{revision} of {room} came to {who} as something that was not recorded"), Some(at)));
    }
    body(log, item, fact.body.as_ref(), heads, &format!("{revision} of {room} to {who}"), at, out);
}

fn body(
    log: &Room,
    item: &Item,
    recorded: Option<&Envelope>,
    (shown, durable): (Revision, Revision),
    place: &str,
    at: usize,
    out: &mut Findings,
) {
    let what = match &item.body {
        Some(_) if log.is_taken_back(item.revision, shown) => "a body that was taken back",
        Some(_) if item.event.sealed_under().is_none() => "a body where there is none",
        Some(body) if recorded.is_some_and(|recorded| recorded != body) => "another body",
        None if recorded.is_some() && !log.is_taken_back(item.revision, durable) => "no body",
        _ => return,
    };
    out.push((format!("{place}: {what}"), Some(at)));
}

fn watched(reading: &Reading<'_>, link: &Link<'_>, room: RoomId, item: &Item, at: usize, out: &mut Findings) {
    let admin = link.welcome.is_some_and(|(_, _, admin)| admin);
    let Some(log) = reading.rooms.get(&room).filter(|_| reading.is_kept(room, item.revision)) else { return };
    let durable = log.durable(at);
    let (revision, who) = (item.revision, link.account);
    if !log.readable(who, revision, durable) && (!admin || item.body.is_some()) {
        out.push((format!("{revision} of {room} was shown to {who}, who may not read it"), Some(at)));
    }
    let Some(fact) = log.fact(revision) else { return };
    if (&fact.event, &fact.account, fact.time) != (&item.event, &item.account, item.time) {
        out.push((format!("{revision} of {room} was shown to {who} as something that was not recorded"), Some(at)));
    }
    if item.body.is_some() {
        let heads = (link.shown(reading.story, room, at), durable);
        body(log, item, fact.body.as_ref(), heads, &format!("{revision} of {room} shown to {who}"), at, out);
    }
}

/// A page of history holds what the account may read of the range, and nothing else.
fn page(
    reading: &Reading<'_>,
    link: &Link<'_>,
    room: RoomId,
    (from, to): (Revision, Revision),
    items: &[Item],
    at: usize,
    out: &mut Findings,
) {
    let Some(log) = reading.rooms.get(&room).filter(|_| reading.is_kept(room, to)) else { return };
    let durable = log.durable(at);
    let shown = link.shown(reading.story, room, at).max(to);
    for item in items {
        if !log.readable(link.account, item.revision, durable) || item.revision < from || item.revision > to {
            let what = format!("{} of {room} came to {} with {from}..={to}", item.revision, link.account);
            out.push((what, Some(at)));
        }
        // Who may read it and may have the key no longer, is told of it without its body.
        let bare = item.body.is_none() && may_be_out_of_grace(reading, log, item.event.sealed_under(), durable);
        if !bare {
            as_recorded(link, log, item, (shown, durable), at, out);
        }
    }
    let missing = log.facts(from, to).iter().find(|fact| {
        log.readable(link.account, fact.revision, shown) && !items.iter().any(|item| item.revision == fact.revision)
    });
    if let Some(missing) = missing {
        let what = format!("{} of {room} is missing from {from}..={to} for {}", missing.revision, link.account);
        out.push((what, Some(at)));
    }
}
