//! S1: what each opening covers.

use chamberlain_core::id::Revision;
use chamberlain_core::wire::{Open, ServerFrame};

use super::links::{Came, Link, Opening};
use super::{Findings, Reading};
use crate::story::Seen;

/// Each opening begins where it was asked to, and covers consecutive revisions from there on; a batch holds all of them that
/// were asked for.
pub(super) fn consecutive(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        for asked in &link.opens {
            if let Some((at, Came::Opened(opening))) = asked.came {
                begins(asked.open, &link.openings[opening], link, at, out);
            }
        }
        for opening in &link.openings {
            if opening.ask.is_none() {
                out.push((
                    format!("{} was opened on {:?}, and nobody asked for it", opening.room, link.id),
                    Some(opening.opened),
                ));
            }
            follows(reading, link, opening, out);
        }
        for stray in &link.strays {
            let Seen::Came { frame: ServerFrame::Batch { room, from, to, .. }, .. } = reading.seen(*stray) else {
                continue;
            };
            out.push((format!("{from}..={to} of {room} came over {:?}, where it is not open", link.id), Some(*stray)));
        }
    }
}

/// The opening begins where its `open` says. Where a position says it, S3 looks at it.
fn begins(open: &Open, opening: &Opening, link: &Link<'_>, at: usize, out: &mut Findings) {
    if open.position.as_ref().is_some_and(|position| !position.is_empty()) {
        return;
    }
    let head = opening.head;
    let after = match (open.from, open.limit) {
        (Some(from), _) => from.previous().min(head),
        (None, Some(limit)) => Revision(head.0.saturating_sub(limit.into())),
        (None, None) => head,
    };
    if opening.after != after {
        let room = opening.room;
        let what = format!("{room} on {:?} begins after {}, it was asked to after {after}", link.id, opening.after);
        out.push((what, Some(at)));
    }
}

fn follows(reading: &Reading<'_>, link: &Link<'_>, opening: &Opening, out: &mut Findings) {
    let room = opening.room;
    let ask = opening.ask.map(|ask| link.opens[ask].open);
    let kinds = ask.and_then(|open| open.kinds.as_deref());
    let mut last = opening.after;
    for at in &opening.frames {
        let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
        let (from, to, items) = match frame {
            ServerFrame::Batch { from, to, items, .. } => (*from, *to, Some(items)),
            ServerFrame::Void { from, to, .. } => (*from, *to, None),
            _ => continue,
        };
        if from != last.next() || to < from {
            out.push((format!("{from}..={to} of {room} came over {:?} after {last}", link.id), Some(*at)));
        }
        last = to;
        let Some(items) = items else { continue };
        if !link.batch && items.len() > 1 {
            out.push((
                format!("{} revisions of {room} in one frame over {:?}, which declined that", items.len(), link.id),
                Some(*at),
            ));
        }
        let Some(log) = reading.rooms.get(&room) else { continue };
        if !reading.is_kept(room, to) {
            continue;
        }
        let facts = log.facts(from, to).iter().filter(|fact| is_wanted(kinds, fact.event.kind()));
        if !facts.clone().map(|fact| fact.revision).eq(items.iter().map(|item| item.revision)) {
            let is: Vec<u64> = items.iter().map(|item| item.revision.0).collect();
            let should: Vec<u64> = facts.map(|fact| fact.revision.0).collect();
            out.push((format!("{from}..={to} of {room} over {:?} holds {is:?}, not {should:?}", link.id), Some(*at)));
        }
    }
}

/// Whether a kind of event is among those asked for.
pub(super) fn is_wanted(kinds: Option<&[String]>, kind: &str) -> bool {
    kinds.is_none_or(|kinds| kinds.iter().any(|wanted| wanted == "*" || wanted == kind))
}
