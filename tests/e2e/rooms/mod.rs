//! What rooms do for people: RULES.md, "Rooms", "Commands", "Sockets", seen from the outside.

mod accounts;
mod delivery;
mod members;
mod messages;
mod talk;

use chamberlain_core::id::{KeyVersion, Revision, RoomId};
use chamberlain_core::room::{Command, Content, History, Submit};
use chamberlain_core::wire::{Answer, HistoryRange, Item, MemberView, Open, Query, RoomView};

use crate::harness::{Client, Refusal, account, message_id};

fn opening(room: RoomId, from: u64) -> Open {
    Open { room, position: None, from: Some(Revision(from)), kinds: None, limit: None }
}

pub(crate) fn plain(room: RoomId, text: &str) -> Command {
    Command::Submit(Submit { room, message: message_id(), content: Content::Plain { text: text.into() } })
}

pub(crate) fn add(room: RoomId, names: &[&str], history: History) -> Command {
    let accounts = names.iter().map(|name| account(name)).collect();
    Command::Add { room, accounts, channels: vec![], bots: false, history }
}

fn remove(room: RoomId, names: &[&str]) -> Command {
    Command::Remove { room, accounts: names.iter().map(|name| account(name)).collect() }
}

/// A page of history: the items, what they cover, whether there is more.
async fn history(
    client: &mut Client,
    room: RoomId,
    range: HistoryRange,
    limit: u32,
) -> Result<(Vec<Item>, (u64, u64), bool), Refusal> {
    match client.query(Query::History { room, range, limit: Some(limit) }).await? {
        Answer::History { items, from, to, more, .. } => Ok((items, (from.0, to.0), more)),
        other => panic!("asked for history, answered {other:?}"),
    }
}

/// A page of members, how many there are in all, up to where everybody has read, and whether there are more.
async fn members(
    client: &mut Client,
    room: RoomId,
    after: Option<&str>,
    limit: u32,
) -> (Vec<MemberView>, u32, u64, bool) {
    let query = Query::Members { room, after: after.map(account), limit: Some(limit) };
    match client.query(query).await {
        Ok(Answer::Members { members, total, read_floor, more, .. }) => (members, total, read_floor.0, more),
        other => panic!("asked for members, answered {other:?}"),
    }
}

async fn rooms(client: &mut Client) -> Vec<RoomView> {
    match client.query(Query::Rooms).await {
        Ok(Answer::Rooms { rooms, .. }) => rooms,
        other => panic!("asked for rooms, answered {other:?}"),
    }
}

async fn view(client: &mut Client, room: RoomId) -> Option<RoomView> {
    rooms(client).await.into_iter().find(|view| view.room == room)
}

async fn key(client: &mut Client, room: RoomId, version: Option<u32>) -> Result<KeyVersion, Refusal> {
    match client.query(Query::Key { room, version: version.map(KeyVersion) }).await? {
        Answer::Key { version, .. } => Ok(version),
        other => panic!("asked for a key, answered {other:?}"),
    }
}
