//! Connections as the network sees them: bytes that take a while, a window that a reader opens again, ends of all kinds.
//!
//! What a node writes is taken as far as the window goes, arrives a while later in the same order, and makes room only when
//! the client reads it. A connection may stop carrying anything without a word to either end.

use std::collections::VecDeque;

use bytes::Bytes;
use chamberlain_core::wire::{ClientFrame, Codec, ServerFrame};

use super::{Event, House};
use crate::story::{Lane, LinkId, Seen};
use crate::tape::Actor;

/// The least latency of a connection, in microseconds.
const LEAST: u64 = 200;
/// How long a node goes on writing to a connection that it closes.
const CLOSING: u64 = 5_000_000;
/// Bytes of a ping.
const PING: usize = 2;

/// Something that crosses a connection.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A frame, encoded.
    Frame(Bytes),
    /// The transport's ping, which the other end answers by itself.
    Ping,
    /// The answer.
    Pong,
    /// The end, with a close code.
    Close(u16),
    /// The end, without a word.
    Gone,
}

/// One connection.
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) node: usize,
    pub(super) codec: Codec,
    /// The node's life it belongs to.
    life: u32,
    latency: u64,
    /// Bytes a second.
    speed: u64,
    window: usize,
    /// What the node wants written, and how much of the first frame was taken.
    out: VecDeque<Piece>,
    taken: usize,
    /// Bytes taken and not read by the client.
    unread: usize,
    down_at: u64,
    up_at: u64,
    said_hello: bool,
    /// It carries nothing any more, and nobody is told.
    pub(super) dead: bool,
    /// The client reads nothing until then.
    pub(super) stalled_until: u64,
    /// The node holds its end.
    served: bool,
    /// The client holds its end.
    held: bool,
}

/// A payload is a frame: the simulated transport keeps them apart.
pub(super) fn framing(_: Codec, payload: Vec<u8>) -> Bytes {
    payload.into()
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Frame(bytes) => bytes.len(),
            _ => PING,
        }
    }
}

impl Link {
    /// Whether the node still holds its end.
    pub(super) fn is_served(&self) -> bool {
        self.served
    }

    /// Frames and bytes that wait to be taken.
    pub(super) fn waits(&self) -> (u64, u64) {
        let bytes: usize = self.out.iter().map(Piece::len).sum();
        (self.out.len() as u64, bytes.saturating_sub(self.taken) as u64)
    }
}

impl House {
    /// A connection of a client to a node; its first frame is on its way when this returns.
    pub(super) fn connect(&mut self, client: usize, node: usize, hello: ClientFrame) -> LinkId {
        let id = LinkId(self.links.last_key_value().map_or(0, |(last, _)| last.0 + 1));
        let actor = Actor::nth("client", client as u32);
        let faults = &self.knobs.faults;
        let (slow, narrow, thin) = (faults.link_slow_us, faults.link_narrow, faults.link_thin);
        let latency = LEAST + self.tape.draw(actor, "latency", slow + 1);
        let window = match (narrow, self.tape.draw(actor, "window", 4)) {
            (true, 3) => 300,
            (true, 2) => 2_000,
            (true, 1) => 20_000,
            _ => 256 * 1024,
        };
        let speed = match (thin, self.tape.draw(actor, "speed", 3)) {
            (true, 2) => 20_000,
            (true, 1) => 200_000,
            _ => 100_000_000,
        };
        let codec = self.clients[client].codec;
        let link = Link {
            client,
            node,
            codec,
            life: self.nodes[node].life,
            latency,
            speed,
            window,
            out: VecDeque::new(),
            taken: 0,
            unread: 0,
            down_at: 0,
            up_at: 0,
            said_hello: false,
            dead: false,
            stalled_until: 0,
            served: true,
            held: true,
        };
        self.links.insert(id, link);
        self.send_up(id, Piece::Frame(codec.encode(&hello).into()));
        id
    }

    /// A client sends a frame.
    pub(super) fn send(&mut self, id: LinkId, frame: ClientFrame) {
        let Some(link) = self.links.get(&id).filter(|link| link.held) else { return };
        let bytes: Bytes = link.codec.encode(&frame).into();
        self.note(Seen::Sent { link: id, frame });
        self.send_up(id, Piece::Frame(bytes));
    }

    pub(super) fn send_up(&mut self, id: LinkId, piece: Piece) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up_at = link.up_at.max(now + link.latency + piece.len() as u64 * 1_000_000 / link.speed);
        let at = link.up_at;
        self.schedule(at, Event::Up { link: id, piece });
    }

    /// Something comes to a node.
    pub(super) fn come_up(&mut self, id: LinkId, piece: Piece) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (node, codec) = (link.node, link.codec);
        if !link.served || link.dead || self.nodes[node].clients_cut || self.nodes[node].life != link.life {
            return;
        }
        if self.story.detailed
            && let Piece::Frame(bytes) = &piece
            && let Ok(frame) = codec.decode_client(bytes)
        {
            let (client, left) = (self.links[&id].client, self.now.saturating_sub(self.links[&id].latency));
            let (from, to) = (Lane::Client(super::client::id(client)), Lane::Node(super::node::id(node)));
            self.passed(from, to, left, super::words::of_client_frame(&frame));
        }
        match piece {
            Piece::Frame(bytes) if self.nodes[node].sessions.contains_key(&id) => self.came(node, id, Some(bytes)),
            Piece::Frame(bytes) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                // What comes before the welcome is kept back by the client; a second hello is no hello.
                if !std::mem::replace(&mut link.said_hello, true) {
                    self.hello(node, id, codec, &bytes);
                }
            }
            Piece::Ping | Piece::Pong => self.came(node, id, None),
            Piece::Close(_) | Piece::Gone => {
                self.leave(node, id);
                self.server_closes(id, 1000);
            }
        }
    }

    /// A node writes: it is taken as far as the window goes.
    pub(super) fn write(&mut self, id: LinkId, pieces: impl IntoIterator<Item = Piece>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.out.extend(pieces);
        self.pump(id);
    }

    fn pump(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        let (mut bytes, mut whole) = (0, Vec::new());
        while link.unread < link.window {
            let Some(first) = link.out.front() else { break };
            let len = first.len();
            let take = (len - link.taken).min(link.window - link.unread);
            link.unread += take;
            link.taken += take;
            bytes += take;
            if link.taken == len {
                link.taken = 0;
                whole.extend(link.out.pop_front());
            }
        }
        if bytes == 0 {
            return;
        }
        let (node, all) = (link.node, link.out.is_empty());
        link.down_at = link.down_at.max(now + link.latency) + bytes as u64 * 1_000_000 / link.speed;
        let at = link.down_at;
        self.schedule(at, Event::Down { link: id, bytes, pieces: whole });
        self.schedule(now, Event::Wrote { node, link: id, all });
    }

    /// Bytes come to a client: it reads them, unless it reads nothing now.
    pub(super) fn come_down(&mut self, id: LinkId, bytes: usize, pieces: Vec<Piece>) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.dead || !link.held || self.nodes[link.node].clients_cut {
            // Bytes that nobody reads: the window stays as it is.
            return;
        }
        link.unread -= bytes;
        let (client, codec, node, latency) = (link.client, link.codec, link.node, link.latency);
        for piece in pieces {
            match piece {
                Piece::Frame(bytes) => match codec.decode_server(&bytes) {
                    Ok(frame) => {
                        if self.story.detailed {
                            let (from, to) =
                                (Lane::Node(super::node::id(node)), Lane::Client(super::client::id(client)));
                            let words = super::words::of_server_frame(&frame);
                            self.passed(from, to, now.saturating_sub(latency), words);
                        }
                        self.frame_came(client, id, frame);
                    }
                    Err(error) => panic!("a frame that cannot be read came to a client: {error}"),
                },
                Piece::Ping => self.send_up(id, Piece::Pong),
                Piece::Pong => {}
                Piece::Close(code) => self.ended(client, id, Some(code)),
                Piece::Gone => self.ended(client, id, None),
            }
        }
        self.pump(id);
    }

    /// The node's end is closed in order: what is left is written for a while, then a close frame.
    pub(super) fn server_closes(&mut self, id: LinkId, code: u16) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !std::mem::replace(&mut link.served, false) {
            return;
        }
        link.out.push_back(Piece::Close(code));
        self.pump(id);
        self.later(CLOSING, move |house| house.forget_link(id));
    }

    /// The node's end is gone, with or without a reset that reaches the client.
    pub(super) fn server_gone(&mut self, id: LinkId, silent: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let served = std::mem::replace(&mut link.served, false);
        link.out.clear();
        link.taken = 0;
        if silent {
            link.dead = true;
        } else if served {
            let at = self.now + link.latency;
            self.schedule(at, Event::Down { link: id, bytes: 0, pieces: vec![Piece::Gone] });
        }
    }

    /// The client's end is gone: it hears nothing more, and the node learns of it unless the way is dead.
    pub(super) fn client_gone(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if std::mem::replace(&mut link.held, false) {
            self.send_up(id, Piece::Gone);
        }
    }

    fn forget_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.held && !link.dead {
            let (at, client) = (self.now + link.latency, link.client);
            link.out.clear();
            self.later(at - self.now, move |house| house.ended(client, id, None));
        }
    }

    /// Whether watched events were left out, for the probe.
    pub(super) fn look_for_probes(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::WatchLagged { .. } => self.probe("watch lagged"),
            ServerFrame::Reset { .. } => self.probe("room reset by the server"),
            _ => {}
        }
    }
}
