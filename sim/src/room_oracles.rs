//! What must hold of everything that was seen of a room and its sequencers. The oracles of stories ([`crate::judge`]) judge
//! the room; here is what no client sees: heads that nodes announce, secrets that the vault tells them, deadlines to the
//! microsecond.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, RequestId};
use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::{Event, Outcome, Refused};
use chamberlain_core::sequencer::Ticket;

use crate::judge;
use crate::room_history::{History, Seen};

/// The result of an oracle: nothing, or what it objects to.
type Finding = Result<(), String>;

/// An oracle and the invariant it keeps.
type Oracle = (&'static str, fn(&History, &BTreeMap<Ticket, Asked>) -> Finding);

/// Those that are not of stories.
const OWN: &[Oracle] = &[
    ("heads: announced heads are those of the log", heads),
    ("K3: the vault tells one secret of a version", one_secret),
    ("V1: every request is answered once, within its deadline", in_time),
    ("shown: an answer never precedes the record it tells of, on its node", after_shown),
];

/// A question, and where in what was seen it stands.
struct Asked {
    seen: usize,
    /// When, in microseconds.
    at: u64,
    node: usize,
    who: AccountId,
    request: RequestId,
    /// Every answer: where it stands, when, and what.
    answers: Vec<(usize, u64, Result<Outcome, Refused>)>,
}

/// What every oracle objects to, each with its name in front.
pub fn judge(history: &History) -> Vec<String> {
    let asked = match asked(history) {
        Ok(asked) => asked,
        Err(what) => return vec![what],
    };
    let own = OWN.iter().filter_map(|(name, oracle)| Some(format!("{name}: {}", oracle(history, &asked).err()?)));
    let of_story = judge::judge(&history.story());
    own.chain(of_story.into_iter().map(|o| format!("{}: {}: {}", o.oracle, o.invariant, o.what))).collect()
}

fn asked(history: &History) -> Result<BTreeMap<Ticket, Asked>, String> {
    let mut asked: BTreeMap<Ticket, Asked> = BTreeMap::new();
    for (seen, (at, what)) in history.seen.iter().enumerate() {
        match what {
            Seen::Asked { ticket, node, who, request, .. } => {
                let (at, node, who, request, answers) = (*at, *node, who.clone(), *request, Vec::new());
                asked.insert(*ticket, Asked { seen, at, node, who, request, answers });
            }
            Seen::Answered { ticket, result } => {
                let question = asked.get_mut(ticket).ok_or_else(|| format!("an answer to nobody: {ticket:?}"))?;
                question.answers.push((seen, *at, result.clone()));
            }
            _ => {}
        }
    }
    Ok(asked)
}

fn records(history: &History) -> Result<Vec<Record<Event>>, String> {
    let decode = |bytes| Record::<Event>::decode(bytes).map_err(|error| format!("a record is none: {error}"));
    history.log.iter().map(|stored| decode(&stored.bytes)).collect()
}

fn heads(history: &History, _: &BTreeMap<Ticket, Asked>) -> Finding {
    let mut heads = vec![Head::EMPTY];
    for record in records(history)? {
        let after = record.extend(heads[heads.len() - 1]);
        heads.push(after.ok_or_else(|| format!("{} does not follow", record.first))?);
    }
    for (_, seen) in &history.seen {
        let (Seen::Committed { after: head, .. } | Seen::Loaded { head, .. }) = seen else { continue };
        if !heads.contains(head) {
            return Err(format!("{head:?} is no head of the log"));
        }
    }
    Ok(())
}

fn one_secret(history: &History, _: &BTreeMap<Ticket, Asked>) -> Finding {
    for (_, what) in &history.seen {
        let Seen::Told { version, secret } = what else { continue };
        if history.vault.get(version) != Some(secret) {
            return Err(format!("it told two of {version}"));
        }
    }
    Ok(())
}

fn in_time(history: &History, asked: &BTreeMap<Ticket, Asked>) -> Finding {
    for (ticket, asked) in asked {
        let died = history.seen[asked.seen..].iter().find_map(|(at, seen)| match seen {
            Seen::Crashed { node } if *node == asked.node => Some(*at),
            _ => None,
        });
        let due = asked.at + history.deadline;
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

fn after_shown(history: &History, asked: &BTreeMap<Ticket, Asked>) -> Finding {
    let mut last = BTreeMap::new();
    for record in records(history)? {
        for item in record.items() {
            last.extend(item.request.map(|request| ((item.account.clone(), request), item.revision)));
        }
    }
    for (ticket, asked) in asked {
        let Some(revision) = last.get(&(asked.who.clone(), asked.request)) else { continue };
        for (seen, ..) in asked.answers.iter().filter(|(.., result)| result.is_ok()) {
            let knows = history.seen[..*seen].iter().any(|(_, before)| match before {
                Seen::Committed { node, after: head } | Seen::Loaded { node, head } => {
                    *node == asked.node && head.revision >= *revision
                }
                _ => false,
            });
            if !knows {
                return Err(format!("{ticket:?} was answered before its node showed {revision}"));
            }
        }
    }
    Ok(())
}
