//! Frames, records and events in words: a label short enough for an arrow, and a sentence without its subject.

use chamberlain_core::account::AccountChange;
use chamberlain_core::directory::DirectoryChange;
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::log::{Position, Record, RecordBytes};
use chamberlain_core::room::{Code, Command, Content, Event, Outcome, Submit};
use chamberlain_core::wire::{
    Answer, ClientFrame, HistoryRange, Item, Open, OwnRevision, Query, ResetWhy, ServerFrame, VoidWhy,
};

use super::names::Names;
use crate::story::Story;

/// Something in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// For an arrow.
    pub(super) label: String,
    /// For the list of steps: `opens garden, from the start`.
    pub(super) sentence: String,
}

fn words(label: impl Into<String>, sentence: impl Into<String>) -> Words {
    Words { label: label.into(), sentence: sentence.into() }
}

/// What a client asks.
pub(super) fn of_client(story: &Story, names: &Names, frame: &ClientFrame) -> Words {
    match frame {
        ClientFrame::Hello(hello) if hello.batch => words("hello", "says who it is"),
        ClientFrame::Hello(_) => words("hello", "says who it is, and wants one revision a frame"),
        ClientFrame::Refresh { .. } => words("refresh", "sends a newer token"),
        ClientFrame::Open(open) => of_open(story, names, open),
        ClientFrame::Close { room } => {
            words(format!("close {}", names.room(*room)), format!("closes {}", names.room(*room)))
        }
        ClientFrame::Watch { kinds } => words("watch", format!("watches its rooms for {}", kinds.join(", "))),
        ClientFrame::Command { id, command } => {
            let Words { label, sentence } = of_command(names, command);
            words(label, format!("asks to {sentence} ({})", names.request(*id)))
        }
        ClientFrame::Query { id, query } => {
            let sentence = of_query(names, query);
            let label = sentence.split(' ').take(2).collect::<Vec<_>>().join(" ");
            words(format!("? {label}"), format!("asks for {sentence} ({})", names.request(*id)))
        }
        ClientFrame::Ping => words("ping", "asks whether anybody is there"),
    }
}

fn of_open(story: &Story, names: &Names, open: &Open) -> Words {
    let name = names.room(open.room);
    let from = match (&open.position, open.from, open.limit) {
        (Some(blob), ..) => match Position::from_blob(blob, open.room, &story.keys) {
            Some(position) => format!("to resume after {}", position.head.revision),
            None => "to resume from a position that nobody made".to_owned(),
        },
        (None, Some(from), _) => format!("from {from} on"),
        (None, None, Some(limit)) => format!("with the last {limit}"),
        (None, None, None) => "for what comes".to_owned(),
    };
    let only = open.kinds.as_ref().map(|kinds| format!(", only {}", kinds.join(", "))).unwrap_or_default();
    words(format!("open {name}"), format!("opens {name} {from}{only}"))
}

fn of_command(names: &Names, command: &Command) -> Words {
    let (label, sentence) = match command {
        Command::CreateChannel { name, accounts, .. } if accounts.is_empty() => ("create", format!("create {name}")),
        Command::CreateChannel { name, accounts, .. } => ("create", format!("create {name} with {}", list(accounts))),
        Command::CreateDm { account } => ("create dm", format!("talk to {account} alone")),
        Command::Add { room, accounts, .. } => ("add", format!("add {} to {}", list(accounts), names.room(*room))),
        Command::Remove { room, accounts } => {
            ("remove", format!("remove {} from {}", list(accounts), names.room(*room)))
        }
        Command::SetRole { room, account, role } => {
            ("role", format!("make {account} {role:?} of {}", names.room(*room)).to_lowercase())
        }
        Command::Rename { room, name } => ("rename", format!("rename {} to {name}", names.room(*room))),
        Command::Archive { room } => ("archive", format!("archive {}", names.room(*room))),
        Command::Rotate { room } => ("rotate", format!("move {} to a new key", names.room(*room))),
        Command::Submit(Submit { room, content, .. }) => {
            ("say", format!("say {} in {}", said(content), names.room(*room)))
        }
        Command::Edit { room, revision, content, .. } => {
            ("edit", format!("change message {revision} of {} to {}", names.room(*room), said(content)))
        }
        Command::Delete { room, revision } => ("delete", format!("delete message {revision} of {}", names.room(*room))),
        Command::MarkRead { room, revision } => {
            ("read", format!("mark {} as read up to {revision}", names.room(*room)))
        }
        Command::DisableAccount { account } => ("disable", format!("shut {account} out")),
    };
    words(label, sentence)
}

fn said(content: &Content) -> String {
    match content {
        Content::Plain { text } if text.chars().count() <= 24 => format!("\u{201c}{text}\u{201d}"),
        Content::Plain { text } => format!("{} characters", text.chars().count()),
        Content::Sealed(envelope) => format!("something sealed under key {}", envelope.version),
    }
}

fn of_query(names: &Names, query: &Query) -> String {
    match query {
        Query::History { room, range, .. } => {
            let range = match range {
                HistoryRange::Before(revision) => format!("before {revision}"),
                HistoryRange::After(revision) => format!("after {revision}"),
                HistoryRange::Around(revision) => format!("around {revision}"),
                HistoryRange::Latest => "at the end".to_owned(),
            };
            format!("history {range} of {}", names.room(*room))
        }
        Query::Members { room, .. } => format!("members of {}", names.room(*room)),
        Query::Rooms => "rooms it is in".to_owned(),
        Query::Key { room, version: Some(version) } => format!("key {version} of {}", names.room(*room)),
        Query::Key { room, version: None } => format!("key of {}", names.room(*room)),
    }
}

/// What a client is told.
pub(super) fn of_server(names: &Names, frame: &ServerFrame) -> Words {
    match frame {
        ServerFrame::Welcome(welcome) => {
            words("welcome", format!("is welcome; its account stands at {}", welcome.account_revision))
        }
        ServerFrame::Opened { room, after, head } => {
            let name = names.room(room.room);
            words(format!("opened {name}"), format!("has {name} open after {after}; the head is {head}"))
        }
        ServerFrame::Batch { room, from, to, items, own, .. } => of_batch(names, *room, (*from, *to), items, own),
        ServerFrame::Void { room, from, to, why, .. } => {
            let range = range(*from, *to);
            let why = match why {
                VoidWhy::Filtered => "kinds it did not ask for",
                VoidWhy::NotEntitled => "not for it to read",
                VoidWhy::Expired => "whose keys are past their grace",
            };
            words(format!("{range} void"), format!("gets {range} of {} without content: {why}", names.room(*room)))
        }
        ServerFrame::Key { room, version, .. } => {
            words(format!("key {version}"), format!("gets key {version} of {}", names.room(*room)))
        }
        ServerFrame::Account { revision, event } => match event {
            AccountChange::Joined { room, at, .. } => {
                words("joined", format!("learns that it joined {} at {at} (account {revision})", names.room(*room)))
            }
            AccountChange::Left { room, at } => {
                words("left", format!("learns that it left {} at {at} (account {revision})", names.room(*room)))
            }
        },
        ServerFrame::Watched { room, item } => words(
            format!("watched {}", item.revision),
            format!("hears of {} in {}", of_event(&item.event, &item.account), names.room(*room)),
        ),
        ServerFrame::WatchLagged { missed } => {
            words("lagged", format!("is told that it missed {missed} watched events"))
        }
        ServerFrame::Ok { id, answer } => {
            let request = names.request(*id);
            words(format!("ok {request}"), format!("is answered: {request} is done, {}", of_answer(names, answer)))
        }
        ServerFrame::Error { id, reason, code, message, .. } => {
            let request = id.map_or_else(|| "its frame".to_owned(), |id| names.request(id));
            let done = if *code == Code::Unavailable { "is not done for now" } else { "is refused" };
            let sentence = format!("is answered: {request} {done}, {reason:?} ({})", names.within(message));
            words(format!("{reason:?}"), sentence)
        }
        ServerFrame::Reset { room, why } => {
            let name = names.room(*room);
            let why = match why {
                ResetWhy::Removed => "it was removed",
                ResetWhy::UnknownPosition => "its position is not of this log",
                ResetWhy::Quarantined => "the log is quarantined",
            };
            words(format!("reset {name}"), format!("no longer has {name} open: {why}"))
        }
        ServerFrame::Pong => words("pong", "hears that somebody is there"),
        ServerFrame::Bye { code, reason, .. } => {
            words(format!("bye {code}"), format!("is told that the connection ends: {reason}"))
        }
    }
}

fn of_batch(
    names: &Names,
    room: RoomId,
    (from, to): (Revision, Revision),
    items: &[Item],
    own: &[OwnRevision],
) -> Words {
    let covered = range(from, to);
    let mut told: Vec<String> = items.iter().take(4).map(|item| of_event(&item.event, &item.account)).collect();
    if items.len() > 4 {
        told.push(format!("{} more", items.len() - 4));
    }
    let own = match own {
        [] => String::new(),
        own => {
            format!("; its own: {}", own.iter().map(|own| names.request(own.request)).collect::<Vec<_>>().join(", "))
        }
    };
    let told = if told.is_empty() { "nothing it asked for".to_owned() } else { told.join(", ") };
    let sentence = format!("gets {covered} of {}: {told}{own}", names.room(room));
    words(covered, sentence)
}

fn of_answer(names: &Names, answer: &Answer) -> String {
    match answer {
        Answer::Outcome(Outcome::Created { room, exists: false, .. }) => format!("{} is there", names.room(*room)),
        Answer::Outcome(Outcome::Created { room, .. }) => format!("{} was there before", names.room(*room)),
        Answer::Outcome(Outcome::Done { revision }) => format!("at {revision}"),
        Answer::Outcome(Outcome::Sent { revision, version, .. }) => format!("at {revision} under key {version}"),
        Answer::Outcome(Outcome::Marked { revision }) => format!("read up to {revision}"),
        Answer::Outcome(Outcome::Disabled { rooms }) => format!("removed from {rooms} rooms"),
        Answer::History { room, items, from, to, .. } => {
            format!("history {} of {}, {} items", range(*from, *to), names.room(*room), items.len())
        }
        Answer::Members { members, total, .. } => format!("{} of {total} members", members.len()),
        Answer::Rooms { rooms, account_revision } => format!("{} rooms at account {account_revision}", rooms.len()),
        Answer::Key { room, version, .. } => format!("key {version} of {}", names.room(*room)),
    }
}

/// What a record says.
pub(super) fn of_record(names: &Names, log: &LogId, record: &RecordBytes) -> Words {
    let covered = range(record.first, record.last);
    let told: Vec<String> = match log {
        LogId::Room(_) => match Record::<Event>::decode(&record.bytes) {
            Ok(record) => record.items().map(|item| of_event(item.event, item.account)).collect(),
            Err(error) => vec![error.to_string()],
        },
        LogId::Account(_) => match Record::<AccountChange>::decode(&record.bytes) {
            Ok(record) => record.items().map(|item| of_change(names, item.event)).collect(),
            Err(error) => vec![error.to_string()],
        },
        LogId::Directory => match Record::<DirectoryChange>::decode(&record.bytes) {
            Ok(record) => record.items().map(|item| format!("{:?}", item.event)).collect(),
            Err(error) => vec![error.to_string()],
        },
    };
    let name = names.log(log);
    words(format!("{name} {covered}"), format!("{name} {covered} is durable: {}", told.join(", ")))
}

fn of_change(names: &Names, change: &AccountChange) -> String {
    match change {
        AccountChange::Joined { room, at, .. } => format!("joined {} at {at}", names.room(*room)),
        AccountChange::Left { room, at } => format!("left {} at {at}", names.room(*room)),
    }
}

fn of_event(event: &Event, account: &AccountId) -> String {
    match event {
        Event::Created { .. } => "the room begins".to_owned(),
        Event::MembersAdded { accounts, .. } => format!("{} added", list(accounts)),
        Event::MembersRemoved { accounts } => format!("{} removed", list(accounts)),
        Event::RoleSet { account, role } => format!("{account} is {role:?}").to_lowercase(),
        Event::Renamed { name } => format!("renamed to {name}"),
        Event::Archived => "archived".to_owned(),
        Event::KeyRotated { version, .. } => format!("key {version} from here on"),
        Event::Message { kind: chamberlain_core::keys::BodyKind::System, version, .. } => {
            format!("the room's own message under key {version}")
        }
        Event::Message { version, .. } => format!("{account}'s message under key {version}"),
        Event::Edited { revision, .. } => format!("{account} edits {revision}"),
        Event::Deleted { revision } => format!("{account} deletes {revision}"),
        Event::Unchanged => "nothing changed".to_owned(),
        Event::Continued { known, version, .. } => format!("goes on after a loss up to {known}, under key {version}"),
    }
}

/// `5`, or `5..=7`.
pub(super) fn range(from: Revision, to: Revision) -> String {
    if from == to { format!("r{from}") } else { format!("r{from}\u{2013}{to}") }
}

fn list(accounts: &[AccountId]) -> String {
    let named: Vec<&str> = accounts.iter().take(3).map(AccountId::as_str).collect();
    match accounts.len() {
        0..=3 => named.join(", "),
        more => format!("{} and {} more", named.join(", "), more - 3),
    }
}
