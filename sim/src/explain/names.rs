//! Short names for what a story calls by ids: rooms by the name of the channel, requests by who asked and for the
//! how-manieth time, connections by their client.

use std::collections::BTreeMap;

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, LogId, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::log::{Record, RecordBytes};
use chamberlain_core::room::{Command, Event, RoomKind};
use chamberlain_core::wire::{ClientFrame, ServerFrame};

use crate::story::{ClientId, LinkId, NodeId, Seen, Story};

/// What is on the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Whose it is.
    pub(super) client: ClientId,
    /// To which node.
    pub(super) node: NodeId,
    /// As whom.
    pub(super) account: AccountId,
    /// The how-manieth of its client, from 1.
    pub(super) nth: u32,
}

/// The names of one story.
#[derive(Debug, Default)]
pub(super) struct Names {
    rooms: BTreeMap<RoomId, String>,
    requests: BTreeMap<RequestId, String>,
    messages: BTreeMap<MessageId, String>,
    links: BTreeMap<LinkId, Link>,
    clients: BTreeMap<ClientId, String>,
}

impl Names {
    /// Reads the whole story for them.
    pub(super) fn of(story: &Story) -> Self {
        let mut names = Self::default();
        let mut asked: BTreeMap<AccountId, usize> = BTreeMap::new();
        let mut connected: BTreeMap<ClientId, u32> = BTreeMap::new();
        for (_, seen) in &story.seen {
            match seen {
                Seen::Connected { link, client, account, node, .. } => {
                    let nth = connected.entry(*client).or_insert(0);
                    *nth += 1;
                    names
                        .links
                        .insert(*link, Link { client: *client, node: *node, account: account.clone(), nth: *nth });
                    names.meet(*client, account);
                }
                Seen::Sent { link, frame } => {
                    let (ClientFrame::Command { id, .. } | ClientFrame::Query { id, .. }) = frame else { continue };
                    let Some(account) = names.links.get(link).map(|link| link.account.clone()) else { continue };
                    if let std::collections::btree_map::Entry::Vacant(unnamed) = names.requests.entry(*id) {
                        let nth = asked.entry(account.clone()).or_default();
                        *nth += 1;
                        unnamed.insert(format!("{account}#{nth}"));
                        let name = format!("{account}'s message #{nth}");
                        if let ClientFrame::Command { command: Command::Submit(submit), .. } = frame {
                            names.messages.entry(submit.message).or_insert(name);
                        }
                    }
                }
                Seen::Landed { log, record } => names.read(log, record),
                Seen::Came { frame: ServerFrame::Opened { room, .. }, .. } => {
                    names.room_is(room.room, room.kind, Some(room.name.as_str()));
                }
                Seen::Came {
                    frame: ServerFrame::Account { event: AccountChange::Joined { room, kind, name, .. }, .. },
                    ..
                } => names.room_is(*room, *kind, name.as_ref().map(|name| name.as_str())),
                _ => {}
            }
        }
        names
    }

    /// A client's name: its account, with a number where the account has several.
    pub(super) fn client(&self, client: ClientId) -> String {
        self.clients.get(&client).cloned().unwrap_or_else(|| format!("client {}", client.0))
    }

    /// What is known of a connection.
    pub(super) fn link(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    /// A room's name.
    pub(super) fn room(&self, room: RoomId) -> String {
        self.rooms.get(&room).cloned().unwrap_or_else(|| format!("room {}", &room.as_str()[..4]))
    }

    /// A request's name.
    pub(super) fn request(&self, request: RequestId) -> String {
        self.requests.get(&request).cloned().unwrap_or_else(|| format!("request {}", &request.as_str()[..4]))
    }

    /// A log's name.
    pub(super) fn log(&self, log: &LogId) -> String {
        match log {
            LogId::Room(room) => self.room(*room),
            LogId::Account(account) => format!("account {account}"),
            LogId::Directory => "the directory".to_owned(),
        }
    }

    /// A connection's name: `ada's connection 2`.
    pub(super) fn connection(&self, link: LinkId) -> String {
        match self.link(link) {
            Some(known) => format!("{}'s connection {}", self.client(known.client), known.nth),
            None => format!("connection {}", link.0),
        }
    }

    /// The same words with names for the ids in them, and revisions written as the page writes them.
    pub(super) fn within(&self, words: &str) -> String {
        let mut named = String::with_capacity(words.len());
        let mut rest = words;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
            let (word, mut after) = rest.split_at(end);
            if let Some((name, left)) = self.of_number(word, after).or_else(|| range_of(word, after)) {
                named.push_str(&name);
                rest = left;
                continue;
            }
            match self.of_id(word) {
                Some(name) => {
                    // A log is called by its room.
                    let bare = named.strip_suffix("room/").map_or(named.len(), str::len);
                    named.truncate(bare);
                    named.push_str(name);
                }
                None => named.push_str(word),
            }
            if let Some(next) = after.chars().next() {
                named.push(next);
                after = &after[next.len_utf8()..];
            }
            rest = after;
        }
        named
    }

    /// The name of what has this id, if it is one that the story knows.
    fn of_id(&self, word: &str) -> Option<&String> {
        match word.len() {
            // The beginning of a room's id, where it is that of one room alone.
            5 if word.chars().any(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) => {
                let mut begin_so = self.rooms.iter().filter(|(id, _)| id.as_str().starts_with(word));
                begin_so.next().filter(|_| begin_so.next().is_none()).map(|(_, name)| name)
            }
            17 | 20 => {
                let room = word.parse().ok().and_then(|id| self.rooms.get(&id));
                room.or_else(|| word.parse().ok().and_then(|id| self.messages.get(&id)))
            }
            36 => word.parse().ok().and_then(|id| self.requests.get(&id)),
            _ => None,
        }
    }

    /// What is written as a type around a number: `LinkId(12)`; also what follows it.
    fn of_number<'a>(&self, word: &str, after: &'a str) -> Option<(String, &'a str)> {
        let (number, rest) = after.strip_prefix('(')?.split_once(')')?;
        let number: u32 = number.parse().ok()?;
        let name = match word {
            "LinkId" => self.connection(LinkId(number)),
            "NodeId" => format!("node {number}"),
            "ClientId" => self.client(ClientId(number)),
            "Revision" => format!("r{number}"),
            "KeyVersion" => format!("key {number}"),
            _ => return None,
        };
        Some((name, rest))
    }

    fn meet(&mut self, client: ClientId, account: &AccountId) {
        if self.clients.contains_key(&client) {
            return;
        }
        let of_account = |name: &&String| **name == account.as_str() || name.starts_with(&format!("{account}/"));
        let others = self.clients.values().filter(of_account).count();
        let name = if others == 0 { account.to_string() } else { format!("{account}/{}", others + 1) };
        self.clients.insert(client, name);
    }

    fn read(&mut self, log: &LogId, record: &RecordBytes) {
        let LogId::Room(room) = log else { return };
        if record.first.0 != 1 {
            return;
        }
        let Ok(record) = Record::<Event>::decode(&record.bytes) else { return };
        for item in record.items() {
            if let Event::Created { kind, name, .. } = item.event {
                self.room_is(*room, *kind, name.as_ref().map(|name| name.as_str()));
            }
        }
    }

    /// The first name that a room had stays its name, so that the page calls it by one.
    fn room_is(&mut self, room: RoomId, kind: RoomKind, name: Option<&str>) {
        if self.rooms.contains_key(&room) {
            return;
        }
        let name = match (kind, name) {
            (RoomKind::Channel, Some(name)) if !name.is_empty() => name.to_owned(),
            (RoomKind::Channel, _) => "channel".to_owned(),
            _ => "dm".to_owned(),
        };
        let same =
            self.rooms.values().filter(|other| **other == name || other.starts_with(&format!("{name}/"))).count();
        let name = if same == 0 { name } else { format!("{name}/{}", same + 1) };
        self.rooms.insert(room, name);
    }
}

/// Revisions from one to another: `5..=7`; also what follows them.
fn range_of<'a>(word: &str, after: &'a str) -> Option<(String, &'a str)> {
    let rest = after.strip_prefix("..=")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (from, to) = (word.parse().ok()?, rest[..end].parse().ok()?);
    Some((super::words::range(Revision(from), Revision(to)), &rest[end..]))
}
