//! A busy room keeps no other room of a connection waiting.
//!
//! Looked at where there is one node alone: which of several knows of a record, and when, nobody outside can tell.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::RoomId;

use super::links::{Link, range};
use super::{Findings, Reading};
use crate::story::Seen;

/// So long may anything else stand in the way of a revision, in microseconds: a store that is away, a key that is fetched, what
/// the network took before.
const DUE: u64 = 16_000_000;
/// Frames of one other room that may come before it then: two writes full.
const TURNS: usize = 128;

pub(super) fn fair(reading: &Reading<'_>, out: &mut Findings) {
    let nodes = reading.story.seen.iter().filter_map(|(_, seen)| match seen {
        Seen::Started { node } => Some(*node),
        _ => None,
    });
    if nodes.collect::<BTreeSet<_>>().len() <= 1 {
        reading.links.values().for_each(|link| in_turn(reading, link, out));
    }
}

fn in_turn(reading: &Reading<'_>, link: &Link<'_>, out: &mut Findings) {
    // By the room that waits, and by the one that passes it.
    let mut passed: BTreeMap<RoomId, BTreeMap<RoomId, usize>> = BTreeMap::new();
    for at in &link.seen {
        let Some(busy) = link.openings.iter().find(|opening| opening.frames.binary_search(at).is_ok()) else {
            continue;
        };
        if range(reading.seen(*at)).is_none() {
            continue;
        }
        passed.remove(&busy.room);
        for other in link.openings.iter().filter(|other| other.room != busy.room && other.is_open(*at)) {
            let covered = other.covered(reading.story, *at);
            let due = reading.time(*at).saturating_sub(DUE);
            let waits = reading.time(other.opened) < due
                && reading
                    .rooms
                    .get(&other.room)
                    .and_then(|log| log.fact(covered.next())?.landed)
                    .is_some_and(|landed| reading.time(landed) < due);
            if !waits {
                passed.remove(&other.room);
                continue;
            }
            let count = passed.entry(other.room).or_default().entry(busy.room).or_default();
            *count += 1;
            if *count == TURNS {
                let (room, busy) = (other.room, busy.room);
                out.push((format!("{TURNS} frames of {busy} came over {:?} while {room} waited", link.id), Some(*at)));
            }
        }
    }
}
