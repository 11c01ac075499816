//! Of what was answered.

use chamberlain_core::room::{Outcome, Reason};

use super::log::models;
use super::{Finding, Reading};
use crate::room_history::Seen;
use crate::room_model::Verdict;

/// What says nothing about the room.
fn says_nothing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Deadline | Reason::Busy | Reason::Draining | Reason::Quarantined | Reason::StoreUnavailable
    )
}

pub(super) fn acknowledged(reading: &Reading<'_>) -> Finding {
    for (ticket, asked) in &reading.asked {
        for (seen, _, result) in &asked.answers {
            let Ok(outcome) = result else { continue };
            let entries = reading.of_request(&asked.who, asked.request);
            match entries[..] {
                [entry] if entry.outcome != *outcome => {
                    return Err(format!("{ticket:?} was told {outcome:?}, the log has {:?}", entry.outcome));
                }
                [entry] if reading.landed[entry.record] > *seen => {
                    return Err(format!("{ticket:?} was told {outcome:?} before it was so"));
                }
                [_] => {}
                // Said under another request, or there before: stands in the log all the same.
                [] if is_there(reading, outcome) => {}
                [] => return Err(format!("{ticket:?} was told {outcome:?}, which is nowhere")),
                _ => return Err(format!("{ticket:?} was told {outcome:?}, which is there more than once")),
            }
        }
    }
    Ok(())
}

fn is_there(reading: &Reading<'_>, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Created { exists: true, .. } => !reading.records.is_empty(),
        Outcome::Sent { .. } => reading.entries.iter().any(|entry| entry.outcome == *outcome),
        _ => false,
    }
}

pub(super) fn once(reading: &Reading<'_>) -> Finding {
    for entry in &reading.entries {
        let Some(request) = entry.request else { continue };
        let count = reading.of_request(&entry.who, request).len();
        if count != 1 {
            return Err(format!("{} of {} is there {count} times", request, entry.who));
        }
    }
    Ok(())
}

pub(super) fn retries(reading: &Reading<'_>) -> Finding {
    for (ticket, asked) in &reading.asked {
        for (seen, _, result) in &asked.answers {
            for (other, again) in &reading.asked {
                let same = again.who == asked.who && again.request == asked.request && again.command == asked.command;
                if !same || again.seen < *seen {
                    continue;
                }
                for (_, _, second) in &again.answers {
                    let recorded = !reading.of_request(&asked.who, asked.request).is_empty();
                    let contradicts = match (result, second) {
                        (Ok(first), Ok(second)) => first != second,
                        (Ok(_), Err(refused)) => recorded && !says_nothing(refused.reason),
                        (Err(_), _) => false,
                    };
                    if contradicts {
                        return Err(format!("{ticket:?} was told {result:?}, {other:?} later {second:?}"));
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn linear(reading: &Reading<'_>) -> Finding {
    let models = models(reading)?;
    for (ticket, asked) in &reading.asked {
        for (seen, _, result) in &asked.answers {
            let (from, to) = (reading.entries_before(asked.seen), reading.entries_before(*seen));
            let verdicts =
                || models[from..=to].iter().map(|model| model.judge(&asked.who, asked.request, &asked.command));
            let was_so = match result {
                Err(refused) if says_nothing(refused.reason) => true,
                Err(refused) => verdicts().any(|verdict| verdict == Verdict::Refused(refused.reason)),
                // What is in the log stays there: it may have become so long before the question.
                Ok(outcome) => models[..=to]
                    .iter()
                    .any(|model| model.judge(&asked.who, asked.request, &asked.command) == Verdict::Answered(*outcome)),
            };
            if !was_so {
                let last = verdicts().next_back();
                return Err(format!("{ticket:?} {:?} was told {result:?}, but {last:?}", asked.command));
            }
        }
    }
    Ok(())
}

pub(super) fn in_time(reading: &Reading<'_>) -> Finding {
    for (ticket, asked) in &reading.asked {
        let died = reading.history.seen[asked.seen..].iter().find_map(|(at, seen)| match seen {
            Seen::Crashed { node } if *node == asked.node => Some(*at),
            _ => None,
        });
        let due = asked.at + reading.history.deadline;
        match &asked.answers[..] {
            [] if died.is_some_and(|at| at <= due) => {}
            [] => return Err(format!("{ticket:?} was never answered")),
            [(_, at, _)] if *at > due => return Err(format!("{ticket:?} was answered {} us late", at - due)),
            [_] => {}
            more => return Err(format!("{ticket:?} was answered {} times", more.len())),
        }
    }
    Ok(())
}

pub(super) fn after_committed(reading: &Reading<'_>) -> Finding {
    for (ticket, asked) in &reading.asked {
        for (seen, _, result) in &asked.answers {
            let entries = reading.of_request(&asked.who, asked.request);
            let (Ok(_), [entry]) = (result, &entries[..]) else { continue };
            let knows = reading.history.seen[..*seen].iter().any(|(_, before)| match before {
                Seen::Committed { node, after: head } | Seen::Loaded { node, head } => {
                    *node == asked.node && head.revision >= entry.last
                }
                _ => false,
            });
            if !knows {
                return Err(format!("{ticket:?} was answered before its node showed {}", entry.last));
            }
        }
    }
    Ok(())
}
