//! A story as a picture: lanes, and the steps between them, numbered in the order in which they came to pass.
//!
//! A message is one step, at the moment at which it arrived: what was sent and what came are told by the same step as the
//! passage between. What was sent and never arrived is a step that leads nowhere.

use std::collections::BTreeMap;

use chamberlain_core::wire::{ClientFrame, Query};

use super::holdings::{Change, Holdings};
use super::names::Names;
use super::words::{self, Words};
use crate::judge::Objection;
use crate::story::{Lane, LinkId, Seen, Story};

/// Everything that is drawn.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// From left to right.
    pub(super) columns: Vec<Column>,
    /// From top to bottom.
    pub(super) steps: Vec<Step>,
    /// What somebody holds, from a step on.
    pub(super) states: Vec<Holding>,
    /// When somebody lives, or is connected.
    pub(super) spans: Vec<Span>,
}

/// A lane.
#[derive(Debug)]
pub(super) struct Column {
    /// Whose.
    pub(super) lane: Lane,
    /// What it is called.
    pub(super) name: String,
    /// What it is, for those who do not know.
    pub(super) what: &'static str,
}

/// What kind of step it is; its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client asks.
    Ask,
    /// A client is told.
    Tell,
    /// Between nodes, stores and the bus.
    Inner,
    /// A store took something for good.
    Durable,
    /// Somebody begins or ends.
    Life,
    /// Something goes wrong on purpose.
    Fault,
    /// A turn of the run: faults end, questions end.
    Turn,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// When, in microseconds.
    pub(super) at: u64,
    /// What kind.
    pub(super) kind: Kind,
    /// The lane where it begins.
    pub(super) from: Option<usize>,
    /// The lane where it ends; the same one for what happens at one place.
    pub(super) to: Option<usize>,
    /// When it left, in microseconds.
    pub(super) left: u64,
    /// Whether it never arrived.
    pub(super) lost: bool,
    /// For the arrow.
    pub(super) label: String,
    /// For the list.
    pub(super) sentence: String,
    /// Which objections are about it.
    pub(super) broken: Vec<usize>,
}

/// What somebody holds from a step on.
#[derive(Debug)]
pub(super) struct Holding {
    /// From this step on.
    pub(super) step: usize,
    /// The lane.
    pub(super) lane: usize,
    /// Which of the things that it holds.
    pub(super) part: String,
    /// What; nothing when it is gone.
    pub(super) what: Option<String>,
}

/// From this step to that one somebody is there.
#[derive(Debug)]
pub(super) struct Span {
    /// The lane.
    pub(super) lane: usize,
    /// First step.
    pub(super) from: usize,
    /// Last step, where it ended.
    pub(super) to: Option<usize>,
}

impl Kind {
    /// The name of its colour.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Tell => "tell",
            Self::Inner => "inner",
            Self::Durable => "durable",
            Self::Life => "life",
            Self::Fault => "fault",
            Self::Turn => "turn",
        }
    }
}

/// Draws a story; `objections` are marked at the steps that they are about.
pub(super) fn draw(story: &Story, names: &Names, objections: &[Objection]) -> Picture {
    let mut drawing = Drawing {
        story,
        names,
        picture: Picture { columns: columns(story, names), ..Picture::default() },
        partners: Partners::of(story, names),
        step_of: Vec::with_capacity(story.seen.len()),
        open: BTreeMap::new(),
    };
    let mut holdings = Holdings::default();
    for (index, (at, seen)) in story.seen.iter().enumerate() {
        let about = objections.iter().any(|objection| objection.at == Some(index));
        drawing.see(index, *at, seen, about);
        drawing.hold(holdings.take(names, seen));
        drawing.step_of.push(drawing.picture.steps.len().saturating_sub(1));
    }
    let Drawing { mut picture, step_of, partners, .. } = drawing;
    for (number, objection) in objections.iter().enumerate() {
        let Some(index) = objection.at else { continue };
        // What was told by another's step is broken there.
        let told_at = partners.told_by.get(&index).copied().unwrap_or(index);
        if let Some(step) = step_of.get(told_at).and_then(|step| picture.steps.get_mut(*step)) {
            step.broken.push(number);
        }
    }
    picture
}

/// Everybody who does anything: clients, nodes, then what they share.
fn columns(story: &Story, names: &Names) -> Vec<Column> {
    let mut lanes = std::collections::BTreeSet::new();
    for (_, seen) in &story.seen {
        match seen {
            Seen::Connected { client, node, .. } => lanes.extend([Lane::Client(*client), Lane::Node(*node)]),
            Seen::Started { node } | Seen::Stopped { node, .. } => lanes.extend([Lane::Node(*node)]),
            Seen::Landed { .. } | Seen::Erased { .. } => lanes.extend([Lane::Logs]),
            Seen::Put { .. } => lanes.extend([Lane::Vault]),
            Seen::Kept { .. } => lanes.extend([Lane::Shelf]),
            Seen::Passed { from, to, .. } => lanes.extend([*from, *to]),
            Seen::State { of, .. } => lanes.extend([*of]),
            _ => {}
        }
    }
    // The bus is between the nodes and the stores.
    let order = |lane: &Lane| match lane {
        Lane::Client(client) => (0, client.0),
        Lane::Node(node) => (1, node.0),
        Lane::Bus => (2, 0),
        Lane::Logs => (3, 0),
        Lane::Vault => (4, 0),
        Lane::Shelf => (5, 0),
    };
    let mut lanes: Vec<Lane> = lanes.into_iter().collect();
    lanes.sort_by_key(order);
    lanes.into_iter().map(|lane| Column { lane, name: name(names, lane), what: what(lane) }).collect()
}

fn name(names: &Names, lane: Lane) -> String {
    match lane {
        Lane::Client(client) => names.client(client),
        Lane::Node(node) => format!("node {}", node.0),
        Lane::Logs => "logs".to_owned(),
        Lane::Vault => "vault".to_owned(),
        Lane::Shelf => "shelf".to_owned(),
        Lane::Bus => "bus".to_owned(),
    }
}

fn what(lane: Lane) -> &'static str {
    match lane {
        Lane::Client(_) => {
            "A client: one program of one person, over all its connections. The line is solid while it is connected."
        }
        Lane::Node(_) => {
            "A node: a server. It runs rooms, and a socket for each connection. The line is solid while it runs."
        }
        Lane::Logs => "The logs: one per room, one per account. A record is durable once a log took it.",
        Lane::Vault => "The vault: the secret of each key version of each room, written once.",
        Lane::Shelf => "The shelf: snapshots of rooms, and marks of how far something was done.",
        Lane::Bus => "The bus: messages between nodes. They may be late, lost or doubled.",
    }
}

/// Which passages belong to which frames and records.
#[derive(Default)]
struct Partners {
    /// The passage that brought what was seen.
    brought_by: BTreeMap<usize, usize>,
    /// What was seen, told by the step of this one.
    told_by: BTreeMap<usize, usize>,
    /// What a passage from a client carried.
    carries: BTreeMap<usize, usize>,
}

impl Partners {
    fn of(story: &Story, names: &Names) -> Self {
        let mut partners = Self::default();
        let mut sent: BTreeMap<Lane, Vec<usize>> = BTreeMap::new();
        for (index, (_, seen)) in story.seen.iter().enumerate() {
            match seen {
                Seen::Sent { link, .. } => {
                    let Some(client) = client_of(names, *link) else { continue };
                    sent.entry(client).or_default().push(index);
                }
                Seen::Passed { from: from @ Lane::Client(_), to: Lane::Node(_), left, what } => {
                    // The first that was sent by then and sounds alike; where none does, the first.
                    let Some(waiting) = sent.get_mut(from) else { continue };
                    let by_then = waiting.iter().take_while(|frame| story.seen[**frame].0 <= *left).count();
                    let alike = |frame: &usize| matches!(&story.seen[*frame].1, Seen::Sent { frame, .. } if sounds_like(frame, what));
                    let found = waiting[..by_then].iter().position(alike).or((by_then > 0).then_some(0));
                    if let Some(frame) = found.map(|at| waiting.remove(at)) {
                        partners.carries.insert(index, frame);
                        partners.told_by.insert(frame, index);
                    }
                }
                Seen::Came { link, .. } => {
                    if let Some(client) = client_of(names, *link) {
                        partners.beside(story, index, client);
                    }
                }
                Seen::Landed { .. } | Seen::Erased { .. } => partners.beside(story, index, Lane::Logs),
                Seen::Put { .. } => partners.beside(story, index, Lane::Vault),
                Seen::Kept { .. } => partners.beside(story, index, Lane::Shelf),
                _ => {}
            }
        }
        partners
    }

    /// The passage to this lane nearest to `index`, at the same time.
    fn beside(&mut self, story: &Story, index: usize, lane: Lane) {
        let at = story.seen[index].0;
        let mut near: Vec<usize> = (index.saturating_sub(3)..(index + 4).min(story.seen.len())).collect();
        near.sort_by_key(|other| other.abs_diff(index));
        let found = near.into_iter().find(|other| {
            let (when, seen) = &story.seen[*other];
            let free = !self.told_by.contains_key(other) && !self.carries.contains_key(other);
            *when == at && free && matches!(seen, Seen::Passed { to, .. } if *to == lane)
        });
        if let Some(passage) = found {
            self.brought_by.insert(index, passage);
            self.told_by.insert(passage, index);
        }
    }
}

/// Whether a passage's words may be those of this frame.
fn sounds_like(frame: &ClientFrame, what: &str) -> bool {
    let first = what.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_lowercase();
    let query = |query: &Query| format!("{query:?}").to_lowercase().starts_with(&first);
    match frame {
        ClientFrame::Command { command, .. } => command.name() == first,
        ClientFrame::Query { query: asked, .. } => query(asked),
        ClientFrame::Hello(_) => first == "hello",
        ClientFrame::Open(_) => first == "open",
        ClientFrame::Close { .. } => first == "close",
        ClientFrame::Ping => first == "ping",
        ClientFrame::Watch { .. } => first == "watch",
        ClientFrame::Refresh { .. } => first == "refresh",
    }
}

fn client_of(names: &Names, link: LinkId) -> Option<Lane> {
    names.link(link).map(|link| Lane::Client(link.client))
}

/// A picture under way.
struct Drawing<'a> {
    story: &'a Story,
    names: &'a Names,
    picture: Picture,
    partners: Partners,
    /// The step that was the last when something was seen.
    step_of: Vec<usize>,
    /// Where in the spans those are that have not ended, by lane.
    open: BTreeMap<usize, usize>,
}

impl Drawing<'_> {
    fn see(&mut self, index: usize, at: u64, seen: &Seen, about: bool) {
        if self.partners.told_by.contains_key(&index) {
            return;
        }
        let names = self.names;
        match seen {
            Seen::Connected { link, client, account, node, codec, batch } => {
                let nth = names.link(*link).map_or(1, |link| link.nth);
                let again = if nth > 1 { format!(" again, for the {nth}. time,") } else { String::new() };
                let how = format!("{codec:?}{}", if *batch { "" } else { ", one revision a frame" });
                let sentence = format!("connects{again} to node {} as {account} ({how})", node.0);
                let (from, to) = (self.column(Lane::Client(*client)), self.column(Lane::Node(*node)));
                self.step(at, at, Kind::Life, from, to, Words { label: "connect".to_owned(), sentence });
                self.begin(from);
            }
            Seen::Sent { link, frame } => {
                let said = words::of_client(self.story, names, frame);
                let (from, to) = self.ends(*link);
                self.step(at, at, Kind::Ask, from, to, said);
                if self.story.detailed {
                    self.lost();
                }
            }
            Seen::Came { link, frame } => {
                let said = words::of_server(names, frame);
                let (to, from) = self.ends(*link);
                let left = self.left(index).unwrap_or(at);
                self.step(at, left, Kind::Tell, from, to, said);
            }
            Seen::Ended { link, code } => {
                let (client, _) = self.ends(*link);
                let sentence = match code {
                    Some(code) => format!("is disconnected with code {code}"),
                    None => "is disconnected without a word".to_owned(),
                };
                self.step(at, at, Kind::Life, client, client, Words { label: "ended".to_owned(), sentence });
                self.end(client);
            }
            Seen::Holds { link, items, bytes } if about => {
                let (client, node) = self.ends(*link);
                let whose = client.map_or_else(String::new, |client| self.picture.columns[client].name.clone());
                let sentence = format!("holds {items} items and {bytes} bytes that {whose} did not take yet");
                self.step(at, at, Kind::Inner, node, node, Words { label: "holds".to_owned(), sentence });
            }
            Seen::Holds { .. } => {}
            Seen::Landed { log, record } => {
                let said = words::of_record(names, log, record);
                self.stored(index, at, Lane::Logs, said);
            }
            Seen::Erased { log, revision } => {
                let sentence = format!("the body of {} r{revision} is erased", names.log(log));
                self.stored(index, at, Lane::Logs, Words { label: format!("erase r{revision}"), sentence });
            }
            Seen::Put { room, version, .. } => {
                let sentence = format!("the secret of key {version} of {} is kept", names.room(*room));
                self.stored(index, at, Lane::Vault, Words { label: format!("key {version}"), sentence });
            }
            Seen::Kept { log, revision, .. } => {
                let sentence = format!("a snapshot of {} at r{revision} is kept", names.log(log));
                self.stored(index, at, Lane::Shelf, Words { label: format!("snapshot r{revision}"), sentence });
            }
            Seen::Quarantined { room, what } => {
                let sentence = format!("{} is quarantined: {}", names.room(*room), names.within(what));
                self.step(at, at, Kind::Fault, None, None, Words { label: "quarantine".to_owned(), sentence });
            }
            Seen::Started { node } => {
                let node = self.column(Lane::Node(*node));
                let words = Words { label: "starts".to_owned(), sentence: "starts".to_owned() };
                self.step(at, at, Kind::Life, node, node, words);
                self.begin(node);
            }
            Seen::Stopped { node, drained } => {
                let (label, sentence) =
                    if *drained { ("stops", "stops, with a word to its clients") } else { ("crashes", "crashes") };
                let kind = if *drained { Kind::Life } else { Kind::Fault };
                let node = self.column(Lane::Node(*node));
                self.step(at, at, kind, node, node, Words { label: label.to_owned(), sentence: sentence.to_owned() });
                self.end(node);
            }
            Seen::Fault { what } => {
                let sentence = names.within(what);
                self.step(at, at, Kind::Fault, None, None, Words { label: "fault".to_owned(), sentence });
            }
            Seen::Healed => {
                self.turn(at, "From here on nothing goes wrong any more, and everybody is to be caught up in time")
            }
            Seen::Quiet => self.turn(at, "From here on nobody asks for anything new"),
            Seen::Passed { from, to, left, what } => {
                let carried = self.partners.carries.get(&index).map(|frame| &self.story.seen[*frame].1);
                let (kind, said) = match carried {
                    Some(Seen::Sent { frame, .. }) => (Kind::Ask, words::of_client(self.story, names, frame)),
                    _ => (kind_of(*from, *to), of_passage(names, what)),
                };
                let (from, to) = (self.column(*from), self.column(*to));
                self.step(at, *left, kind, from, to, said);
            }
            Seen::State { .. } => {}
        }
    }

    fn hold(&mut self, changes: Vec<Change>) {
        let step = self.picture.steps.len().saturating_sub(1);
        for Change { of, part, what } in changes {
            if let Some(lane) = self.column(of) {
                self.picture.states.push(Holding { step, lane, part, what });
            }
        }
    }

    fn step(&mut self, at: u64, left: u64, kind: Kind, from: Option<usize>, to: Option<usize>, words: Words) {
        let Words { label, sentence } = words;
        let step = Step { at, kind, from, to, left, lost: false, label, sentence, broken: Vec::new() };
        self.picture.steps.push(step);
    }

    /// What a store took, from where it came.
    fn stored(&mut self, index: usize, at: u64, lane: Lane, words: Words) {
        let to = self.column(lane);
        let passage = self.partners.brought_by.get(&index).map(|passage| &self.story.seen[*passage].1);
        let (from, left) = match passage {
            Some(Seen::Passed { from, left, .. }) => (self.column(*from), *left),
            _ => (to, at),
        };
        self.step(at, left, Kind::Durable, from, to, words);
    }

    fn turn(&mut self, at: u64, sentence: &str) {
        let words = Words { label: String::new(), sentence: sentence.to_owned() };
        self.step(at, at, Kind::Turn, None, None, words);
    }

    fn lost(&mut self) {
        if let Some(step) = self.picture.steps.last_mut() {
            step.lost = true;
            step.sentence.push_str("; it never arrives");
        }
    }

    fn left(&self, index: usize) -> Option<u64> {
        match self.story.seen[*self.partners.brought_by.get(&index)?].1 {
            Seen::Passed { left, .. } => Some(left),
            _ => None,
        }
    }

    fn begin(&mut self, lane: Option<usize>) {
        let Some(lane) = lane else { return };
        let (from, next) = (self.picture.steps.len() - 1, self.picture.spans.len());
        if let std::collections::btree_map::Entry::Vacant(entry) = self.open.entry(lane) {
            entry.insert(next);
            self.picture.spans.push(Span { lane, from, to: None });
        }
    }

    fn end(&mut self, lane: Option<usize>) {
        let open = lane.and_then(|lane| self.open.remove(&lane));
        if let Some(span) = open.and_then(|at| self.picture.spans.get_mut(at)) {
            span.to = Some(self.picture.steps.len() - 1);
        }
    }

    fn ends(&self, link: LinkId) -> (Option<usize>, Option<usize>) {
        let Some(link) = self.names.link(link) else { return (None, None) };
        (self.column(Lane::Client(link.client)), self.column(Lane::Node(link.node)))
    }

    fn column(&self, lane: Lane) -> Option<usize> {
        self.picture.columns.iter().position(|column| column.lane == lane)
    }
}

fn kind_of(from: Lane, to: Lane) -> Kind {
    match (from, to) {
        (Lane::Client(_), _) => Kind::Ask,
        (_, Lane::Client(_)) => Kind::Tell,
        _ => Kind::Inner,
    }
}

/// A passage in its own words, of which the first few are its label.
fn of_passage(names: &Names, what: &str) -> Words {
    let sentence = names.within(what);
    let short: Vec<&str> = sentence.split([':', ',', ';', '(']).next().unwrap_or_default().split_whitespace().collect();
    Words { label: short[..short.len().min(4)].join(" "), sentence }
}
