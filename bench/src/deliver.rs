//! The bookkeeping of delivery: one hub, many socket machines, and a transport that takes everything at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::fanout::{Ask, Effect, Hub, Input, Pack, Socket, View};
use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::log::{Entry, Head, Logged, Record};
use chamberlain_core::room::Event;
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::{Instant, Timestamp};
use chamberlain_core::wire::Codec;
use chamberlain_net::gateway;

use crate::decide::{GrownRoom, body, limits, message};
use crate::names;

/// A room with a socket for each of its members.
pub struct Audience {
    view: Hubs,
    /// Each in a place of its own, as tasks have them.
    #[expect(clippy::vec_box, reason = "sockets side by side would be kinder to the cache than those of a server")]
    sockets: Vec<Box<Socket>>,
    out: Vec<Effect>,
    now: Instant,
    said: u64,
}

/// As a session looks at its rooms, with a map from ids to hubs.
struct Hubs(BTreeMap<RoomId, Hub>);

impl View for Hubs {
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack {
        self.0.get_mut(&room).map_or(Pack::Nothing, |hub| hub.pack(ask))
    }
}

impl Audience {
    /// So many sockets, caught up, with the key in hand.
    pub fn new(sockets: usize, batch: bool) -> Self {
        let room = GrownRoom::new(sockets, 0, |_, _| {});
        let limits = Arc::new(limits());
        let head = room.fold.state.head();
        let hub = Hub::new(room.fold.state, Arc::new(names::keys()), &limits, gateway::frame);
        let new = |nth| {
            let (limits, now) = (limits.clone(), Instant::default());
            Box::new(Socket::new(names::member(nth), Codec::Bincode, batch, limits, gateway::frame, now))
        };
        let mut audience = Self {
            view: Hubs(BTreeMap::from([(names::room(0), hub)])),
            sockets: (0..sockets).map(new).collect(),
            out: Vec::new(),
            now: Instant(1),
            said: 0,
        };
        audience.open(head);
        audience.say(1);
        audience.deliver();
        audience
    }

    fn open(&mut self, head: Head) {
        for socket in &mut self.sockets {
            let open = Input::Open {
                room: names::room(0),
                after: head.revision,
                head: head.revision,
                chain: Some(head.digest),
                kinds: None,
                opened: Bytes::from_static(b"opened"),
                told_until: Revision(u64::MAX),
            };
            socket.step(self.now, open, &mut self.view, &mut self.out);
            socket.step(self.now, Input::Written, &mut self.view, &mut self.out);
        }
        self.out.clear();
    }

    /// So many messages are committed, in one record.
    pub fn say(&mut self, count: u64) {
        let hub = self.view.0.get_mut(&names::room(0)).expect("the one hub");
        let before = hub.state().head();
        let entry = |nth: u64| {
            let event = message(self.said + nth, self.said + nth + 1);
            Entry {
                account: names::owner(),
                request: Some(names::request(self.said + nth)),
                fingerprint: Fingerprint::default(),
                events: vec![Logged { event, body: body(nth) }],
            }
        };
        let entries = (0..count).map(entry).collect();
        let record: Record<Event> = Record { first: before.revision.next(), time: Timestamp(1), entries };
        self.said += count;
        let after = record.extend(before).expect("it follows");
        hub.commit(&record, after).expect("a log that does not contradict itself");
    }

    /// Tells every socket that the room moved, and takes what it wants written. Returns the frames taken.
    pub fn deliver(&mut self) -> usize {
        let room = names::room(0);
        let head = self.head();
        let mut frames = 0;
        for socket in &mut self.sockets {
            socket.step(self.now, Input::Moved { room, head }, &mut self.view, &mut self.out);
            while let Some(effect) = self.out.pop() {
                match effect {
                    Effect::Write(taken) => {
                        frames += taken.as_slice().len();
                        socket.step(self.now, Input::Written, &mut self.view, &mut self.out);
                    }
                    Effect::Key { room, opening, version } => {
                        let frame = Some(Bytes::from_static(b"key"));
                        let key = Input::Key { room, opening, version, frame };
                        socket.step(self.now, key, &mut self.view, &mut self.out);
                    }
                    other => panic!("nothing asked for {other:?}"),
                }
            }
        }
        frames
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    fn head(&self) -> Revision {
        self.view.0[&names::room(0)].state().head().revision
    }
}
