//! Messages and states in words, for people.

use chamberlain_core::id::RoomId;
use chamberlain_core::room::Outcome;
use chamberlain_core::sequencer::Effect;
use chamberlain_core::wire::{Answer as Said, ClientFrame, ServerFrame};

use super::bus::Message;
use super::{Answer, Op, Told};

/// Enough of a room's name to tell it from others.
pub(super) fn short(room: RoomId) -> String {
    room.as_str().chars().take(5).collect()
}

pub(super) fn of_op(op: &Op) -> String {
    match op {
        Op::Append { log, expected, record, .. } => {
            format!("append {}..={} to {log}, if it ends at {}", record.first, record.last, expected.revision)
        }
        Op::Read { log, after, .. } => format!("read {log} after {after}"),
        Op::Erase { log, revision } => format!("erase {revision} of {log}"),
        Op::List => "list the logs".into(),
        Op::Put { room, version, .. } => format!("put key {version} of {}, unless there is one", short(*room)),
        Op::Get { room, version } => format!("get key {version} of {}", short(*room)),
        Op::Keep { log, revision, .. } => format!("keep a snapshot of {log} at {revision}"),
        Op::Latest { log, .. } => format!("the latest snapshot of {log}"),
        Op::Raise(marks) => {
            let marks: Vec<String> = marks.iter().map(|(name, value)| format!("{name} to {value}")).collect();
            format!("raise {}", marks.join(", "))
        }
        Op::Marks(names) => format!("read {}", names.join(", ")),
        Op::People(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            format!("who are {}", names.join(", "))
        }
        Op::Disabled => "who is shut out".into(),
        Op::Disable(account) => format!("shut out {account}"),
    }
}

pub(super) fn of_told(told: &Told) -> String {
    match told {
        Ok(Answer::Appended(true)) => "done".into(),
        Ok(Answer::Appended(false)) => "conflict".into(),
        Ok(Answer::Records(records)) => match (records.first(), records.last()) {
            (Some(first), Some(last)) => format!("{}..={}", first.first, last.last),
            _ => "nothing".into(),
        },
        Ok(Answer::Secret(found)) => if found.is_some() { "this one" } else { "none" }.into(),
        Ok(Answer::Snapshot(found)) => found.as_ref().map_or("none".into(), |(at, _)| format!("at {at}")),
        Ok(Answer::Numbers(numbers)) => format!("{numbers:?}"),
        Ok(Answer::Logs(logs)) => format!("{} logs", logs.len()),
        Ok(Answer::People(people)) => format!("{} known", people.len()),
        Ok(Answer::Done) => "done".into(),
        Err(failure) => format!("{failure:?}"),
    }
}

pub(super) fn of_message(message: &Message) -> String {
    match message {
        Message::Moved { log, revision } => format!("{log} is at {revision}"),
        Message::Shut { account } => format!("{account} is shut out"),
        Message::Forward { request, .. } => {
            format!("decide {} of {} in {}", request.command.name(), request.account, short(request.room))
        }
        Message::Answered { result, .. } => format!("decided: {}", of_result(result)),
    }
}

fn of_result(result: &Result<Outcome, chamberlain_core::room::Refused>) -> String {
    match result {
        Ok(outcome) => format!("{outcome:?}"),
        Err(refused) => format!("refused, {:?}", refused.reason),
    }
}

pub(super) fn of_client_frame(frame: &ClientFrame) -> String {
    match frame {
        ClientFrame::Hello(hello) => format!("hello, I am {}", hello.token),
        ClientFrame::Open(open) => {
            let from = match (&open.position, open.from, open.limit) {
                (Some(_), ..) => "from its position".into(),
                (None, Some(from), _) => format!("from {from}"),
                (None, None, Some(limit)) => format!("the last {limit}"),
                _ => "from now on".into(),
            };
            format!("open {}, {from}", short(open.room))
        }
        ClientFrame::Close { room } => format!("close {}", short(*room)),
        ClientFrame::Command { command, .. } => {
            let room = command.room().map_or(String::new(), |room| format!(" in {}", short(room)));
            format!("{}{room}", command.name())
        }
        ClientFrame::Query { query, .. } => format!("{query:?}"),
        other => format!("{other:?}"),
    }
}

pub(super) fn of_server_frame(frame: &ServerFrame) -> String {
    match frame {
        ServerFrame::Welcome(welcome) => format!("welcome at account revision {}", welcome.account_revision),
        ServerFrame::Opened { room, after, head } => {
            format!("{} is open: what follows {after}; its head is {head}", short(room.room))
        }
        ServerFrame::Batch { room, from, to, items, own, .. } => {
            let own = if own.is_empty() { "" } else { ", its own among them" };
            format!("{}: {from}..={to}, {} items{own}", short(*room), items.len())
        }
        ServerFrame::Void { room, from, to, why, .. } => format!("{}: {from}..={to} void, {why:?}", short(*room)),
        ServerFrame::Key { room, version, .. } => format!("key {version} of {}", short(*room)),
        ServerFrame::Account { revision, event } => format!("account revision {revision}: {event:?}"),
        ServerFrame::Watched { room, item } => {
            format!("watched: {} {} {}", short(*room), item.revision, item.event.kind())
        }
        ServerFrame::Ok { answer: Said::Outcome(outcome), .. } => format!("ok: {outcome:?}"),
        ServerFrame::Ok { .. } => "ok: the answer".into(),
        ServerFrame::Error { reason, .. } => format!("refused: {reason:?}"),
        ServerFrame::Reset { room, why } => format!("{} is closed: {why:?}", short(*room)),
        other => format!("{other:?}"),
    }
}

/// What a step of a sequencer came to.
pub(super) fn of_sequencer(room: RoomId, waiting: usize, out: &[Effect]) -> String {
    let wants: Vec<String> = out
        .iter()
        .map(|effect| match effect {
            Effect::Load => "loads".into(),
            Effect::Append { record, .. } => format!("appends {}..={}", record.first, record.last),
            Effect::ReadBack { after } => format!("reads after {after}"),
            Effect::PutSecret { version, .. } => format!("puts key {version}"),
            Effect::GetSecret { version } => format!("gets key {version}"),
            Effect::FindMessage { revision } => format!("looks for {revision}"),
            Effect::Committed { after, .. } => format!("is durable up to {}", after.revision),
            Effect::Snapshot { revision, .. } => format!("keeps a snapshot at {revision}"),
            Effect::Answer { result, .. } => format!("answers: {}", of_result(result)),
            Effect::Quarantined { what } => format!("is quarantined: {what}"),
        })
        .collect();
    let wants = if wants.is_empty() { "waits".into() } else { wants.join("; ") };
    format!("{}: {waiting} commands wait; {wants}", short(room))
}
