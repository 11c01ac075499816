//! Of the log and its fold.

use std::collections::BTreeSet;

use chamberlain_core::room::Fold;

use super::{Finding, Reading};
use crate::plan;
use crate::room_history::Seen;
use crate::room_model::{Model, Verdict, agree};

pub(super) fn chain(reading: &Reading<'_>) -> Finding {
    let heads = reading.heads()?;
    for (_, seen) in &reading.history.seen {
        let (Seen::Committed { after: head, .. } | Seen::Loaded { head, .. }) = seen else { continue };
        if head.revision.0 > 0 && !heads.contains(head) {
            return Err(format!("{head:?} is no head of the log"));
        }
    }
    let erased = reading.history.erased.iter().map(|stored| {
        chamberlain_core::log::Record::<chamberlain_core::room::Event>::decode(&stored.bytes)
            .map_err(|error| format!("after erasure: {error}"))
    });
    let mut head = chamberlain_core::log::Head::EMPTY;
    for (record, expected) in erased.zip(&heads) {
        head = record?.extend(head).ok_or("after erasure, a gap")?;
        if head != *expected {
            return Err(format!("erasure changed the digest at {}", head.revision));
        }
    }
    Ok(())
}

pub(super) fn times(reading: &Reading<'_>) -> Finding {
    match reading.records.windows(2).find(|pair| pair[1].time < pair[0].time) {
        Some(pair) => {
            Err(format!("{} is at {}, {} before it at {}", pair[1].first, pair[1].time, pair[0].first, pair[0].time))
        }
        None => Ok(()),
    }
}

/// Every command in the log is one that the model carries out there, and the fold is what the model becomes.
pub(super) fn membership(reading: &Reading<'_>) -> Finding {
    let models = models(reading)?;
    let mut fold = Fold::new(reading.history.room, plan::limits().remembered_requests);
    for (at, (record, head)) in reading.records.iter().zip(reading.heads()?).enumerate() {
        fold.apply(record, head).map_err(|contradiction| contradiction.to_string())?;
        let entries = reading.entries.partition_point(|entry| entry.record <= at);
        agree(&fold.state, &models[entries]).map_err(|what| format!("at {}: {what}", head.revision))?;
    }
    Ok(())
}

/// The room before the first entry of the log, after it, after the second, ...
pub(super) fn models(reading: &Reading<'_>) -> Result<Vec<Model>, String> {
    let mut models = vec![plan::model(reading.history.room)];
    for entry in &reading.entries {
        let asked = reading.asked.values().find(|a| a.who == entry.who && Some(a.request) == entry.request);
        let asked = asked.ok_or_else(|| format!("nobody asked for {}", entry.first))?;
        let model = &models[models.len() - 1];
        match model.judge(&asked.who, asked.request, &asked.command) {
            Verdict::Recorded(mut next) => {
                next.settle(entry.outcome);
                models.push(*next);
            }
            verdict => return Err(format!("{} is recorded, but {verdict:?}: {:?}", entry.first, asked.command)),
        }
    }
    Ok(models)
}

pub(super) fn snapshots(reading: &Reading<'_>) -> Finding {
    let mut folds = vec![Fold::new(reading.history.room, plan::limits().remembered_requests)];
    for (record, head) in reading.records.iter().zip(reading.heads()?) {
        let mut fold = folds[folds.len() - 1].clone();
        fold.apply(record, head).map_err(|contradiction| contradiction.to_string())?;
        folds.push(fold);
    }
    for (_, seen) in &reading.history.seen {
        let Seen::Kept { revision, bytes } = seen else { continue };
        let kept = Fold::from_snapshot(bytes).map_err(|error| error.to_string())?;
        match folds.iter().find(|fold| fold.state.head().revision == *revision) {
            Some(fold) if *fold == kept => {}
            _ => return Err(format!("the one of {revision} is another")),
        }
    }
    Ok(())
}

pub(super) fn whole(reading: &Reading<'_>) -> Finding {
    let reasons: BTreeSet<&str> = reading
        .history
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Quarantined { what } => Some(*what),
            _ => None,
        })
        .collect();
    if reasons.is_empty() { Ok(()) } else { Err(format!("{reasons:?}")) }
}
