//! S3: positions, and what is resumed from them.

use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::log::Position;
use chamberlain_core::wire::{ResetWhy, ServerFrame};

use super::links::{Asked, Came, Link, Opening};
use super::{Findings, Reading};
use crate::story::Seen;

pub(super) fn resumed(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        for asked in &link.opens {
            let position = asked.open.position.as_ref().filter(|position| !position.is_empty());
            if let (Some(position), Some((at, came))) = (position, asked.came) {
                answered(reading, link, asked, position, at, came, out);
            }
        }
        for opening in &link.openings {
            // Where the log lost something, it is noticed where what is served meets what the node holds, at the head at the latest.
            let unnoticed = |to: Revision| to < opening.head && !is_opened_with_ours(reading, link, opening);
            let begun_with_position =
                opening.ask.is_some_and(|ask| link.opens[ask].open.position.as_ref().is_some_and(|p| !p.is_empty()));
            for at in &opening.frames {
                let Seen::Came {
                    frame: ServerFrame::Batch { to, position, .. } | ServerFrame::Void { to, position, .. },
                    ..
                } = reading.seen(*at)
                else {
                    continue;
                };
                let room = opening.room;
                if position.is_empty() {
                    if begun_with_position {
                        out.push((format!("{to} of {room} came over {:?} without a position", link.id), Some(*at)));
                    }
                    continue;
                }
                if !reading.is_kept(room, *to) || unnoticed(*to) {
                    continue;
                }
                let head = Position::from_blob(position, room, &reading.story.keys).map(|position| position.head);
                let should = reading.rooms.get(&room).and_then(|log| log.fact(*to)).map(|fact| fact.head);
                if head.is_none() || head != should {
                    let what =
                        format!("the position after {to} of {room} over {:?} is {head:?}, not {should:?}", link.id);
                    out.push((what, Some(*at)));
                }
            }
            if let Some((at, ResetWhy::UnknownPosition)) = opening.reset
                && reading.lost.is_empty()
                && is_opened_with_ours(reading, link, opening)
            {
                out.push((
                    format!("{} on {:?} was reset, but its position is one of the log", opening.room, link.id),
                    Some(at),
                ));
            }
        }
    }
}

/// Whether a room was opened without a position, or with one of its log.
fn is_opened_with_ours(reading: &Reading<'_>, link: &Link<'_>, opening: &Opening) -> bool {
    opening.ask.is_some_and(|ask| is_of_log(reading, opening.room, link.opens[ask].open.position.as_ref()))
}

/// Whether there is no position, or one of this log.
fn is_of_log(reading: &Reading<'_>, room: RoomId, position: Option<&Blob>) -> bool {
    let Some(position) = position.filter(|position| !position.is_empty()) else { return true };
    let head = Position::from_blob(position, room, &reading.story.keys).map(|position| position.head);
    let fact = |revision| reading.rooms.get(&room)?.fact(revision).map(|fact| fact.head);
    head.is_some_and(|head| head.revision.0 == 0 || fact(head.revision) == Some(head))
}

fn answered(
    reading: &Reading<'_>,
    link: &Link<'_>,
    asked: &Asked<'_>,
    position: &Blob,
    at: usize,
    came: Came,
    out: &mut Findings,
) {
    let room = asked.open.room;
    let shown = Position::from_blob(position, room, &reading.story.keys).map(|position| position.head);
    let ours = is_of_log(reading, room, Some(position));
    match (came, shown) {
        (Came::Opened(_), None) => {
            out.push((format!("{room} on {:?} was opened with a position that is none", link.id), Some(at)));
        }
        (Came::Opened(index), Some(head)) => {
            let opening = &link.openings[index];
            if opening.after != head.revision {
                let what = format!(
                    "{room} on {:?} goes on after {}, its client is at {}",
                    link.id, opening.after, head.revision
                );
                out.push((what, Some(at)));
            }
            // Told of another log, and yet served from this one to its head.
            let served = opening.frames.iter().find(|frame| {
                let range = super::links::range(reading.seen(**frame));
                range.is_some_and(|(_, to)| !reading.is_kept(room, to) || (!ours && to >= opening.head))
            });
            if let (false, Some(frame)) = (ours, served) {
                let what = format!("{room} on {:?} goes on from {} of another log", link.id, head.revision);
                out.push((what, Some(*frame)));
            }
        }
        (Came::Reset(ResetWhy::UnknownPosition), Some(head)) if ours && reading.is_kept(room, head.revision) => {
            out.push((format!("{room} on {:?} was reset, but {} is one of the log", link.id, head.revision), Some(at)));
        }
        _ => {}
    }
}
