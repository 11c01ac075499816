//! Who holds what, in words: for clients and stores as the story itself tells it, for nodes as the simulator says.
//!
//! What a client has of a room is what came to it, range by range, so that a gap can be seen as one.

use std::collections::BTreeMap;

use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::wire::ServerFrame;

use super::names::Names;
use super::words::range;
use crate::story::{Lane, LinkId, Seen};

/// Something that somebody holds from now on; `None` when it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Who.
    pub(super) of: Lane,
    /// Which of the things that it holds: `garden`.
    pub(super) part: String,
    /// What.
    pub(super) what: Option<String>,
}

/// A room that is open on a connection.
struct Opening {
    /// It was opened to get what follows this.
    after: Revision,
    /// What came, as it came.
    ranges: Vec<(Revision, Revision)>,
}

/// What everybody holds.
#[derive(Default)]
pub(super) struct Holdings {
    /// What came over a connection of a room.
    rooms: BTreeMap<(LinkId, RoomId), Opening>,
    /// Keys that came over a connection.
    keys: BTreeMap<(LinkId, RoomId), Vec<KeyVersion>>,
    /// Secrets in the vault.
    secrets: BTreeMap<RoomId, Vec<KeyVersion>>,
    /// What is said of each now, so that only changes are told.
    said: BTreeMap<(Lane, String), String>,
}

/// Ranges that are told of a room: the last ones.
const RANGES: usize = 4;

impl Holdings {
    /// What changes by this.
    pub(super) fn take(&mut self, names: &Names, seen: &Seen) -> Vec<Change> {
        let mut changes = Vec::new();
        match seen {
            Seen::Came { link, frame } => self.came(names, *link, frame, &mut changes),
            Seen::Ended { link, .. } => {
                let Some(known) = names.link(*link) else { return changes };
                let (client, node) = (Lane::Client(known.client), Lane::Node(known.node));
                self.rooms.retain(|(of, _), _| of != link);
                self.keys.retain(|(of, _), _| of != link);
                self.drop(
                    |lane, part| *lane == client || (*lane == node && part == names.connection(*link)),
                    &mut changes,
                );
            }
            Seen::Landed { log, record } => {
                let what = format!("up to r{}", record.last);
                self.say(Lane::Logs, names.log(log), what, &mut changes);
            }
            Seen::Put { room, version, .. } => {
                let secrets = self.secrets.entry(*room).or_default();
                secrets.push(*version);
                let what = format!("keys {}", listed(secrets));
                self.say(Lane::Vault, names.room(*room), what, &mut changes);
            }
            Seen::Kept { log: log @ LogId::Room(_), revision, .. } => {
                self.say(Lane::Shelf, names.log(log), format!("snapshot at r{revision}"), &mut changes);
            }
            Seen::Stopped { node, .. } => {
                let node = Lane::Node(*node);
                self.drop(|lane, _| *lane == node, &mut changes);
            }
            Seen::State { of, what } => {
                let (part, what) = what.split_once(": ").filter(|(part, _)| part.len() <= 30).unwrap_or(("", what));
                let part = match part.strip_prefix("link ").and_then(|number| number.parse().ok()) {
                    Some(number) => names.connection(LinkId(number)),
                    None => names.within(part),
                };
                self.say(*of, part, names.within(what), &mut changes);
            }
            _ => {}
        }
        changes
    }

    fn came(&mut self, names: &Names, link: LinkId, frame: &ServerFrame, changes: &mut Vec<Change>) {
        let Some(client) = names.link(link).map(|link| Lane::Client(link.client)) else { return };
        let room = match frame {
            ServerFrame::Opened { room, after, .. } => {
                self.rooms.insert((link, room.room), Opening { after: *after, ranges: Vec::new() });
                room.room
            }
            ServerFrame::Batch { room, from, to, .. } | ServerFrame::Void { room, from, to, .. } => {
                let unopened = || Opening { after: from.previous(), ranges: Vec::new() };
                let ranges = &mut self.rooms.entry((link, *room)).or_insert_with(unopened).ranges;
                match ranges.last_mut() {
                    Some((_, last)) if last.next() == *from => *last = *to,
                    _ => ranges.push((*from, *to)),
                }
                *room
            }
            ServerFrame::Key { room, version, .. } => {
                self.keys.entry((link, *room)).or_default().push(*version);
                *room
            }
            ServerFrame::Reset { room, .. } => {
                self.rooms.remove(&(link, *room));
                self.keys.remove(&(link, *room));
                let name = names.room(*room);
                return self.drop(|lane, part| *lane == client && part == name, changes);
            }
            _ => return,
        };
        let had = self.rooms.get(&(link, room)).map(|Opening { after, ranges }| {
            let told: Vec<String> =
                ranges.iter().rev().take(RANGES).rev().map(|(from, to)| range(*from, *to)).collect();
            let told = if told.is_empty() { "nothing yet".to_owned() } else { told.join(", then ") };
            format!("open after r{after}, has {told}")
        });
        let had = had.unwrap_or_else(|| "not open".to_owned());
        let keys = self.keys.get(&(link, room)).map(|keys| format!("; keys {}", listed(keys))).unwrap_or_default();
        self.say(client, names.room(room), format!("{had}{keys}"), changes);
    }

    fn say(&mut self, of: Lane, part: String, what: String, changes: &mut Vec<Change>) {
        let before = self.said.insert((of, part.clone()), what.clone());
        if before.as_ref() != Some(&what) {
            changes.push(Change { of, part, what: Some(what) });
        }
    }

    fn drop(&mut self, gone: impl Fn(&Lane, &str) -> bool, changes: &mut Vec<Change>) {
        let parts: Vec<(Lane, String)> = self.said.keys().filter(|(lane, part)| gone(lane, part)).cloned().collect();
        for (of, part) in parts {
            self.said.remove(&(of, part.clone()));
            changes.push(Change { of, part, what: None });
        }
    }
}

fn listed(versions: &[KeyVersion]) -> String {
    versions.iter().map(KeyVersion::to_string).collect::<Vec<_>>().join(", ")
}
