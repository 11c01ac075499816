//! The logs themselves: records follow one another, times never fall, snapshots are folds.

use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::{Event, Fold};

use super::{Findings, Reading};
use crate::story::Seen;
use chamberlain_core::id::LogId;

/// Records can be read and follow one another, and none contradicts what came before it.
pub(super) fn follows(reading: &Reading<'_>, out: &mut Findings) {
    if reading.story.stores_whole {
        out.extend(reading.broken.iter().cloned());
    }
    for room in reading.rooms.values() {
        out.extend(room.contradictions.iter().cloned());
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
