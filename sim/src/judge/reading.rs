//! A story, decoded once and put in order, for all oracles.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use chamberlain_core::account::AccountChange;
use chamberlain_core::codec;
use chamberlain_core::directory::DirectoryChange;
use chamberlain_core::id::{AccountId, LogId, RequestId, Revision, RoomId};
use chamberlain_core::log::{Body, Head, Record, RecordBytes};
use chamberlain_core::room::{Command, Event, Outcome, Reason};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{Answer, ClientFrame};

use super::Findings;
use super::keys::{self, Unopened};
use super::links::Link;
use super::model::{self, Replay};
use super::rooms::{Entry, Room};
use crate::story::{LinkId, Seen, Story};

/// A story, decoded.
pub struct Reading<'a> {
    pub(super) story: &'a Story,
    pub(super) rooms: BTreeMap<RoomId, Room>,
    pub(super) accounts: BTreeMap<AccountId, Vec<Told>>,
    pub(super) links: BTreeMap<LinkId, Link<'a>>,
    /// Every command of every account, over all connections. More than one where an id was used again for another.
    pub(super) commands: BTreeMap<(AccountId, RequestId), Vec<Asked<'a>>>,
    /// Rooms whose log lost something, and the first revision that is not what it was.
    pub(super) lost: BTreeMap<RoomId, Revision>,
    /// What cannot be read, or does not follow.
    pub(super) broken: Findings,
    /// What landed, and is not there in the end.
    pub(super) gone: Findings,
    unopened: OnceCell<Vec<Unopened>>,
    replays: OnceCell<BTreeMap<RoomId, Replay>>,
    /// Where faults ended, and when.
    pub(super) healed: Option<(usize, u64)>,
    /// Whether the run came to its end: nobody asks for more, and everybody was waited for.
    pub(super) quiet: bool,
    /// When the story ends.
    pub(super) end: u64,
}

/// One revision of an account's log.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) landed: Option<usize>,
    pub(super) time: Timestamp,
    pub(super) change: AccountChange,
}

/// A command, over all connections on which it was sent.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) command: &'a Command,
    /// The room it is about: named, or found by its name.
    pub(super) room: Option<RoomId>,
    /// What the log tells it by.
    pub(super) fingerprint: Fingerprint,
    /// Where and over which connection it was sent, in order.
    pub(super) sent: Vec<(usize, LinkId)>,
    /// Where it was answered, over which connection, and the answer; with where it was first sent over that one.
    pub(super) came: Vec<Answered>,
}

/// An answer to a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) at: usize,
    pub(super) link: LinkId,
    /// Where it was first sent over this connection.
    pub(super) sent: usize,
    pub(super) result: Result<Outcome, Reason>,
}

impl<'a> Reading<'a> {
    /// Decodes a story.
    pub fn of(story: &'a Story) -> Self {
        let mut reading = Self {
            story,
            rooms: BTreeMap::new(),
            accounts: BTreeMap::new(),
            links: BTreeMap::new(),
            commands: BTreeMap::new(),
            lost: BTreeMap::new(),
            broken: Findings::new(),
            gone: Findings::new(),
            unopened: OnceCell::new(),
            replays: OnceCell::new(),
            healed: None,
            quiet: false,
            end: story.seen.last().map_or(0, |(at, _)| *at),
        };
        for (at, (time, seen)) in story.seen.iter().enumerate() {
            match seen {
                Seen::Connected { link, account, batch, .. } => {
                    reading.links.insert(*link, Link::new(*link, account, *batch, at));
                }
                Seen::Sent { link, frame } => reading.of_link(*link, at, |link| link.sent(at, frame)),
                Seen::Came { link, frame } => reading.of_link(*link, at, |link| link.came(at, frame)),
                Seen::Ended { link, code } => {
                    reading.of_link(*link, at, |link| link.ended = link.ended.or(Some((at, *code))));
                }
                Seen::Landed { log, record } => reading.take(log, record, Some(at)),
                Seen::Healed => reading.healed = Some((at, *time)),
                Seen::Quiet => reading.quiet = true,
                _ => {}
            }
        }
        reading.compare_ending();
        reading.collect_commands();
        reading
    }

    /// What happened at the `seen`th moment.
    pub(super) fn seen(&self, at: usize) -> &'a Seen {
        &self.story.seen[at].1
    }

    /// When that was.
    pub(super) fn time(&self, at: usize) -> u64 {
        self.story.seen[at].0
    }

    /// Whether a revision of a room is what it was from the moment it landed: always so while stores keep their promises.
    pub(super) fn is_kept(&self, room: RoomId, revision: Revision) -> bool {
        self.lost.get(&room).is_none_or(|lost| revision < *lost)
    }

    /// Bodies that do not open as what they are recorded as.
    pub(super) fn unopened(&self) -> &[Unopened] {
        self.unopened.get_or_init(|| keys::open_all(self))
    }

    /// Every room as the rules make it.
    pub(super) fn replays(&self) -> &BTreeMap<RoomId, Replay> {
        self.replays.get_or_init(|| model::replay_all(self))
    }

    fn of_link(&mut self, link: LinkId, at: usize, then: impl FnOnce(&mut Link<'a>)) {
        match self.links.get_mut(&link) {
            Some(link) if link.ended.is_none() => then(link),
            Some(_) => self.broken.push((format!("{link:?} goes on after it ended"), Some(at))),
            None => self.broken.push((format!("{link:?} was never connected"), Some(at))),
        }
    }

    fn take(&mut self, log: &LogId, record: &RecordBytes, landed: Option<usize>) {
        match log {
            LogId::Room(id) => {
                let room = self.rooms.entry(*id).or_insert_with(|| Room::new(*id));
                match Record::<Event>::decode(&record.bytes) {
                    Err(error) => self.broken.push((format!("a record of {log} is none: {error}"), landed)),
                    Ok(decoded) if room.take(&decoded, landed) => {}
                    Ok(decoded) => {
                        let lost = decoded.first.min(room.head().revision.next());
                        let lost = self.lost.get(id).map_or(lost, |before| lost.min(*before));
                        self.lost.insert(*id, lost);
                        let what = format!("{} of {log} landed after {}", decoded.first, room.head().revision);
                        self.broken.push((what, landed));
                    }
                }
            }
            // No invariant is about it yet, but that it can be read.
            LogId::Directory => {
                if let Err(error) = Record::<DirectoryChange>::decode(&record.bytes) {
                    self.broken.push((format!("a record of {log} is none: {error}"), landed));
                }
            }
            LogId::Account(account) => {
                let told = self.accounts.entry(account.clone()).or_default();
                match Record::<AccountChange>::decode(&record.bytes) {
                    Err(error) => self.broken.push((format!("a record of {log} is none: {error}"), landed)),
                    Ok(decoded) if decoded.first.0 as usize != told.len() + 1 => {
                        let what = format!("{} of {log} landed after {}", decoded.first, told.len());
                        self.broken.push((what, landed));
                    }
                    Ok(decoded) => told.extend(decoded.items().map(|item| {
                        let (time, change) = (item.time, item.event.clone());
                        Told { landed, time, change }
                    })),
                }
            }
        }
    }

    /// What landed is there in the end. What is there and was never seen to land, is taken as it is there.
    fn compare_ending(&mut self) {
        for (log, records) in &self.story.ending.logs {
            match log {
                LogId::Room(id) => self.compare_room(*id, log, records),
                LogId::Directory => {}
                LogId::Account(account) => {
                    let landed = self.accounts.get(account).map_or(0, Vec::len) as u64;
                    records.iter().filter(|record| record.first.0 > landed).for_each(|record| {
                        self.take(log, record, None);
                    });
                    if records.last().map_or(0, |last| last.last.0) < landed {
                        self.gone.push((format!("{log} ends before {landed}, which had landed"), None));
                    }
                }
            }
        }
        let ends = |log: &LogId| self.story.ending.logs.get(log).and_then(|log| log.last()).is_some();
        let gone: Vec<RoomId> = self.rooms.keys().filter(|room| !ends(&LogId::Room(**room))).copied().collect();
        for room in gone.into_iter().filter(|_| !self.story.ending.logs.is_empty()) {
            self.gone.push((format!("the log of {room} is gone"), None));
            self.lost.insert(room, Revision(1));
        }
    }

    fn compare_room(&mut self, id: RoomId, log: &LogId, records: &[RecordBytes]) {
        let landed = self.rooms.get(&id).map_or(Revision::ZERO, |room| room.head().revision);
        let (mut head, mut lost) = (Head::EMPTY, None);
        for record in records {
            if record.first > landed {
                self.take(log, record, None);
                continue;
            }
            let decoded = Record::<Event>::decode(&record.bytes);
            let follows = decoded.as_ref().ok().and_then(|decoded| decoded.extend(head));
            let ours = follows.and_then(|after| self.rooms.get(&id)?.fact(after.revision).map(|fact| fact.head));
            if follows.is_none() || follows != ours {
                lost = lost.or(Some(head.revision.next()));
                self.gone.push((format!("{log} holds something else at {} in the end", record.first), None));
                break;
            }
            head = follows.unwrap_or(head);
            // Erased bodies keep their hash, so that the digests are the same; nothing else may be erased.
            for item in decoded.iter().flat_map(Record::items) {
                let erased = matches!(item.body, Body::Erased { .. });
                let known = self.rooms.get(&id).is_some_and(|room| room.taken_back.contains_key(&item.revision));
                if erased && !known {
                    self.broken.push((
                        format!("the body at {} of {log} is erased, and nobody took it back", item.revision),
                        None,
                    ));
                }
            }
        }
        let end = records.last().map_or(Revision::ZERO, |last| last.last);
        if lost.is_none() && end < landed {
            self.gone.push((format!("{log} ends at {end} in the end, {landed} had landed"), None));
            lost = Some(end.next());
        }
        if let Some(lost) = lost {
            let before = self.lost.get(&id).copied().unwrap_or(lost);
            self.lost.insert(id, lost.min(before));
        }
    }

    fn collect_commands(&mut self) {
        for link in self.links.values() {
            for (id, request) in &link.requests {
                for (at, frame) in &request.sent {
                    let ClientFrame::Command { command, .. } = frame else { continue };
                    let same_id = self.commands.entry((link.account.clone(), *id)).or_default();
                    let found = same_id.iter().position(|asked| asked.command == command);
                    let index = found.unwrap_or_else(|| {
                        let fingerprint = self.story.keys.fingerprint(&codec::encode(command));
                        let room = room_of(self.story, link.account, *id, command);
                        same_id.push(Asked { command, room, fingerprint, sent: Vec::new(), came: Vec::new() });
                        same_id.len() - 1
                    });
                    same_id[index].sent.push((*at, link.id));
                }
                let Some(same_id) = self.commands.get_mut(&(link.account.clone(), *id)) else { continue };
                for (nth, (at, result)) in request.came.iter().enumerate() {
                    let result = match result {
                        Ok(Answer::Outcome(outcome)) => Ok(*outcome),
                        Ok(_) => continue,
                        Err(reason) => Err(*reason),
                    };
                    // Answers to one id may come in another order than they were asked for: only where all ask the same is it
                    // known what was answered.
                    let ClientFrame::Command { command, .. } = request.sent[nth].1 else { continue };
                    let all_same = request.sent.iter().all(|(_, sent)| *sent == request.sent[nth].1);
                    let asked = same_id.iter_mut().find(|asked| asked.command == command).filter(|_| all_same);
                    if let Some(asked) = asked {
                        asked.came.push(Answered { at: *at, link: link.id, sent: request.sent[0].0, result });
                    }
                }
            }
        }
        for asked in self.commands.values_mut().flatten() {
            asked.sent.sort_unstable();
            asked.came.sort_by_key(|answered| answered.at);
        }
    }

    /// The command that an entry of a log carries out.
    pub(super) fn asked_for(&self, entry: &Entry) -> Option<&Asked<'a>> {
        let same_id = self.commands.get(&(entry.who.clone(), entry.request?))?;
        same_id.iter().find(|asked| asked.fingerprint == entry.fingerprint)
    }

    /// Every command with who asked for it and under which id.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&AccountId, RequestId, &Asked<'a>)> {
        self.commands.iter().flat_map(|((who, id), same_id)| same_id.iter().map(move |asked| (who, *id, asked)))
    }
}

fn room_of(story: &Story, who: &AccountId, id: RequestId, command: &Command) -> Option<RoomId> {
    match command {
        Command::CreateChannel { .. } => Some(story.keys.channel_id(who, id)),
        Command::CreateDm { account } => Some(story.keys.dm_id(who, account)),
        other => other.room(),
    }
}
