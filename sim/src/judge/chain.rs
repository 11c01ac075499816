//! The logs themselves: records follow one another, times never fall, snapshots are folds.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{LogId, Revision, RoomId};
use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::{Event, Fold};

use super::{Findings, Reading};
use crate::story::Seen;

/// Records can be read and follow one another, and none contradicts what came before it.
pub(super) fn follows(reading: &Reading<'_>, out: &mut Findings) {
    match reading.story.stores_whole {
        true => out.extend(reading.broken.iter().cloned()),
        false => gone_on(reading, out),
    }
    for room in reading.rooms.values() {
        out.extend(room.contradictions.iter().cloned());
    }
}

/// Who knows what a log held does not go on where it lost it. One node alone, which lived through it and had the room open all
/// the time, knows for sure.
fn gone_on(reading: &Reading<'_>, out: &mut Findings) {
    let mut nodes = BTreeSet::new();
    let mut began = 0;
    let mut tops: BTreeMap<RoomId, (Revision, usize)> = BTreeMap::new();
    for (at, (_, seen)) in reading.story.seen.iter().enumerate() {
        match seen {
            Seen::Started { node } => {
                nodes.insert(*node);
                began = at;
            }
            Seen::Landed { log: LogId::Room(room), record } => {
                let (head, since) = tops.get(room).copied().unwrap_or_default();
                let mut openings = reading.links.values().flat_map(|link| &link.openings);
                let knew = nodes.len() <= 1
                    && began <= since
                    && openings.any(|one| one.room == *room && one.opened < since && one.is_open(at));
                if record.first <= head && knew {
                    out.push((
                        format!("{} of {room} landed again, where it had landed before", record.first),
                        Some(at),
                    ));
                }
                tops.insert(*room, (record.last.max(head), at));
            }
            _ => {}
        }
    }
}

/// Times never fall.
pub(super) fn times(reading: &Reading<'_>, out: &mut Findings) {
    for room in reading.rooms.values() {
        for pair in room.facts.windows(2).filter(|pair| pair[1].time < pair[0].time) {
            let (before, after) = (&pair[0], &pair[1]);
            let what = format!(
                "{} of {} is of {}, {} of {}",
                after.revision, room.id, after.time, before.revision, before.time
            );
            out.push((what, after.landed));
        }
    }
    for (account, told) in &reading.accounts {
        for (nth, pair) in told.windows(2).enumerate().filter(|(_, pair)| pair[1].time < pair[0].time) {
            let what = format!("{} of {account} is of {}, the one before of {}", nth + 2, pair[1].time, pair[0].time);
            out.push((what, pair[1].landed));
        }
    }
}

/// A snapshot is the fold of the log up to the revision that it says.
pub(super) fn snapshots(reading: &Reading<'_>, out: &mut Findings) {
    let kept = reading.story.seen.iter().enumerate().filter_map(|(at, (_, seen))| match seen {
        Seen::Kept { log: LogId::Room(room), revision, bytes } => Some((at, *room, *revision, bytes)),
        _ => None,
    });
    let mut kept: Vec<_> = kept.filter(|(_, room, revision, _)| reading.is_kept(*room, *revision)).collect();
    kept.sort_by_key(|(at, room, revision, _)| (*room, *revision, *at));
    for of_room in kept.chunk_by(|one, other| one.1 == other.1) {
        let room = of_room[0].1;
        let mut fold = Fold::new(room, reading.story.limits.remembered_requests);
        let records = reading.story.seen.iter().filter_map(|(_, seen)| match seen {
            Seen::Landed { log: LogId::Room(id), record } if *id == room => Some(record),
            _ => None,
        });
        let mut records = records.peekable();
        for (at, _, revision, bytes) in of_room {
            while let Some(next) = records.next_if(|record| record.last <= *revision) {
                let Ok(record) = Record::<Event>::decode(&next.bytes) else { return };
                let after: Option<Head> = record.extend(fold.state.head());
                if after.is_none_or(|after| fold.apply(&record, after).is_err()) {
                    return;
                }
            }
            match Fold::from_snapshot(bytes) {
                Ok(kept) if kept == fold && kept.state.head().revision == *revision => {}
                Ok(_) => out.push((format!("the snapshot of {room} at {revision} is another"), Some(*at))),
                Err(error) => out.push((format!("the snapshot of {room} at {revision} is none: {error}"), Some(*at))),
            }
        }
    }
}
