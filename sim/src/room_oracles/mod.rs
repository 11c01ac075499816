//! What must hold of everything that was seen of a room, each rule on its own, written from DESIGN.md's list and not from
//! the code. An oracle reads a [`History`] and objects, or not.

mod answers;
mod keys;
mod log;

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, RequestId, Revision};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::log::{Head, Item, Record};
use chamberlain_core::room::{Command, Event, Outcome, Refused, RoomKind};
use chamberlain_core::sequencer::Ticket;

use crate::room_history::{History, Seen};

/// The result of an oracle: nothing, or what it objects to.
pub type Finding = Result<(), String>;

/// An oracle and the invariant it keeps.
pub type Oracle = (&'static str, fn(&Reading<'_>) -> Finding);

/// All of them.
pub const ALL: &[Oracle] = &[
    ("chain: records follow one another, and announced heads are theirs", log::chain),
    ("N-13: times never regress", log::times),
    ("L1: an answered ok is in the log once, as answered, before it was answered", answers::acknowledged),
    ("L1: every request is in the log at most once", answers::once),
    ("L1: a retry gets the same answer", answers::retries),
    ("X3: what is answered was so at some moment between question and answer", answers::linear),
    ("V1: every request is answered once, within its deadline", answers::in_time),
    ("an answer never precedes the record it tells of, on its node", answers::after_committed),
    ("M2, M3: members, counts and owners are as the rules have them", log::membership),
    ("a snapshot is the fold of what was there", log::snapshots),
    ("K2: what follows a removal does not open with a key the removed may hold", keys::removed),
    ("K3: one version, one key, in the vault before the record that needs it", keys::versions),
    ("what is recorded opens under the version it names", keys::readable),
    ("D1: no nonce is used twice under one encapsulation", keys::nonces),
    ("B1: nothing is quarantined while log and vault are whole", log::whole),
];

/// What every oracle objects to.
pub fn judge(history: &History) -> Vec<String> {
    match Reading::of(history) {
        Err(unreadable) => vec![unreadable],
        Ok(reading) => {
            let findings = ALL.iter().map(|(name, oracle)| oracle(&reading).map_err(|what| format!("{name}: {what}")));
            findings.filter_map(Result::err).collect()
        }
    }
}

/// A question, and where in what was seen it stands.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Index into [`History::seen`].
    pub seen: usize,
    /// When, in microseconds.
    pub at: u64,
    /// Which node.
    pub node: usize,
    /// Who.
    pub who: AccountId,
    /// Under which id.
    pub request: RequestId,
    /// What.
    pub command: Command,
    /// Every answer: where it stands, when, and what.
    pub answers: Vec<(usize, u64, Result<Outcome, Refused>)>,
}

/// One command's entry in the log.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Who asked.
    pub who: AccountId,
    /// Under which id.
    pub request: Option<RequestId>,
    /// Which record of the log.
    pub record: usize,
    /// Its first revision and its last.
    pub first: Revision,
    /// Its last revision.
    pub last: Revision,
    /// What has to be answered to it.
    pub outcome: Outcome,
}

/// A history, decoded and put in order.
pub struct Reading<'a> {
    /// What was seen.
    pub history: &'a History,
    /// The records.
    pub records: Vec<Record<Event>>,
    /// The commands' entries, in order.
    pub entries: Vec<Recorded>,
    /// Where in what was seen each record landed.
    pub landed: Vec<usize>,
    /// The questions by ticket.
    pub asked: BTreeMap<Ticket, Asked>,
}

impl<'a> Reading<'a> {
    /// Decodes it.
    ///
    /// # Errors
    /// When something in it is no record, or an answer was given to nobody.
    pub fn of(history: &'a History) -> Result<Self, String> {
        let mut records = Vec::new();
        for stored in &history.log {
            records.push(Record::<Event>::decode(&stored.bytes).map_err(|error| format!("a record is none: {error}"))?);
        }
        let mut asked = BTreeMap::new();
        let mut landed = Vec::new();
        for (seen, (at, what)) in history.seen.iter().enumerate() {
            match what {
                Seen::Asked { ticket, node, who, request, command } => {
                    let (node, who, request, command) = (*node, who.clone(), *request, command.clone());
                    let answers = Vec::new();
                    asked.insert(*ticket, Asked { seen, at: *at, node, who, request, command, answers });
                }
                Seen::Answered { ticket, result } => {
                    let question: &mut Asked =
                        asked.get_mut(ticket).ok_or_else(|| format!("an answer to nobody: {ticket:?}"))?;
                    question.answers.push((seen, *at, result.clone()));
                }
                Seen::Landed => landed.push(seen),
                _ => {}
            }
        }
        if landed.len() != records.len() {
            return Err(format!("{} records in the log, {} landed", records.len(), landed.len()));
        }
        let entries = records.iter().enumerate().flat_map(|(at, record)| entries(history, at, record)).collect();
        Ok(Self { history, records, entries, landed, asked })
    }

    /// Every event, in order.
    pub fn items(&self) -> impl Iterator<Item = Item<'_, Event>> {
        self.records.iter().flat_map(Record::items)
    }

    /// The entries of a request.
    pub fn of_request(&self, who: &AccountId, request: RequestId) -> Vec<&Recorded> {
        self.entries.iter().filter(|entry| entry.who == *who && entry.request == Some(request)).collect()
    }

    /// How many entries were in the log when the `seen`th thing came to pass.
    pub fn entries_before(&self, seen: usize) -> usize {
        let records = self.landed.partition_point(|landed| *landed < seen);
        self.entries.partition_point(|entry| entry.record < records)
    }

    /// The head after each record.
    ///
    /// # Errors
    /// When they do not follow one another.
    pub fn heads(&self) -> Result<Vec<Head>, String> {
        let mut head = Head::EMPTY;
        let mut heads = Vec::new();
        for record in &self.records {
            let follows = record.extend(head);
            head = follows.ok_or_else(|| format!("{} does not follow {}", record.first, head.revision))?;
            heads.push(head);
        }
        Ok(heads)
    }
}

fn entries(history: &History, at: usize, record: &Record<Event>) -> Vec<Recorded> {
    let mut entries: Vec<Recorded> = Vec::new();
    for item in record.items() {
        if item.opens_entry {
            entries.push(Recorded {
                who: item.account.clone(),
                request: item.request,
                record: at,
                first: item.revision,
                last: item.revision,
                outcome: Outcome::Done { revision: item.revision },
            });
        }
        let Some(entry) = entries.last_mut() else { continue };
        entry.last = item.revision;
        let sent = |version| Outcome::Sent { revision: item.revision, time: item.time, version };
        match item.event {
            Event::Created { kind, .. } => {
                entry.outcome = Outcome::Created { room: history.room, kind: *kind, exists: false };
            }
            Event::Message { kind: BodyKind::Message, version, .. } | Event::Edited { version, .. } => {
                entry.outcome = sent(*version);
            }
            _ => {
                if let Outcome::Done { revision } = &mut entry.outcome {
                    *revision = item.revision;
                }
            }
        }
    }
    // A room of two, found again after one of them was shut out.
    let kind = history.log.first().and_then(|first| Record::<Event>::decode(&first.bytes).ok());
    let kind = kind.and_then(|first| match &first.items().next()?.event {
        Event::Created { kind, .. } => Some(*kind),
        _ => None,
    });
    if let Some(kind @ (RoomKind::Dm | RoomKind::BotDm)) = kind {
        for entry in &mut entries {
            let joined = record.items().any(|item| {
                (entry.first..=entry.last).contains(&item.revision) && matches!(item.event, Event::MembersAdded { .. })
            });
            if joined && entry.first > Revision(1) {
                entry.outcome = Outcome::Created { room: history.room, kind, exists: true };
            }
        }
    }
    entries
}
