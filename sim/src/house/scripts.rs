//! Scripted scenarios: who takes part, and what happens at which moment.
//!
//! A script fills a [`Play`]; see [`SCENARIOS`](crate::run::SCENARIOS) for where to name it. Rooms go by number, in the order
//! in which they were begun; accounts and clients go by number too. After the last line the run ends like any other: faults
//! stop, clients come back and are caught up, and the same oracles judge.

use chamberlain_core::id::{LogId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::wire::Codec;

use super::House;
pub use super::acts::{Act, How};
use super::faults::Kind;
use super::knobs::Knobs;

/// Something that happens at a moment.
type Line = Box<dyn FnOnce(&mut House)>;

/// A script.
pub struct Play {
    pub(super) cast: Vec<(u8, Codec, bool)>,
    pub(crate) knobs: Knobs,
    lines: Vec<(u64, Line)>,
    now: u64,
}

impl Play {
    /// So many nodes, and a client for each of these accounts, who take batches of JSON.
    pub fn new(nodes: usize, accounts: &[u8]) -> Self {
        let cast = accounts.iter().map(|account| (*account, Codec::Json, true)).collect();
        // Time for everybody to be welcomed.
        Self { cast, knobs: Knobs::plain(nodes, accounts.len()), lines: Vec::new(), now: 150_000 }
    }

    /// With these limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.knobs.limits = limits;
        self
    }

    /// One client takes frames otherwise.
    #[must_use]
    pub fn takes(mut self, client: usize, codec: Codec, batch: bool) -> Self {
        self.cast[client].1 = codec;
        self.cast[client].2 = batch;
        self
    }

    /// Windows of connections are small.
    #[must_use]
    pub fn narrow(mut self) -> Self {
        self.knobs.faults.link_narrow = true;
        self
    }

    /// Connections carry little.
    #[must_use]
    pub fn thin(mut self) -> Self {
        self.knobs.faults.link_thin = true;
        self
    }

    /// Every node believes that it owns every room.
    #[must_use]
    pub fn stubborn(mut self) -> Self {
        self.knobs.stubborn = true;
        self
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.cast.len()
    }

    /// Some time passes.
    pub fn wait_ms(&mut self, ms: u64) {
        self.now += ms * 1_000;
    }

    /// A client does something; rooms are numbered as they began.
    pub fn act(&mut self, client: usize, act: impl FnOnce(&[RoomId]) -> Act + 'static) {
        self.line(move |house| {
            let rooms = house.rooms_begun();
            // Before the first room there is none to name.
            house.act(client, act(&rooms));
        });
    }

    /// Something goes wrong at a node, for so long.
    pub fn blow(&mut self, kind: Kind, whom: u64, ms: u64) {
        self.line(move |house| house.blow(kind, whom, ms * 1_000));
    }

    /// The log of a room loses its last records.
    pub fn lose_records(&mut self, room: usize, count: usize) {
        self.line(move |house| {
            let room = house.rooms_begun()[room];
            house.lose_records(room, count);
        });
    }

    /// The vault loses the secrets of a room.
    pub fn lose_secrets(&mut self, room: usize) {
        self.line(move |house| {
            let room = house.rooms_begun()[room];
            house.lose_secrets(room);
        });
    }

    /// A client reads nothing for so long.
    pub fn stall(&mut self, client: usize, ms: u64) {
        self.line(move |house| {
            let until = house.now + ms * 1_000;
            house.stall(client, until);
        });
    }

    fn line(&mut self, line: impl FnOnce(&mut House) + 'static) {
        self.lines.push((self.now, Box::new(line)));
        // In their order, and never two at once.
        self.now += 10;
    }
}

impl House {
    /// Schedules a script; gives when its last line is over.
    pub(super) fn rehearse(&mut self, play: Play) -> u64 {
        let end = play.now + 500_000;
        for (at, line) in play.lines {
            self.later(at, line);
        }
        end
    }

    /// The rooms there are, in the order in which they began.
    fn rooms_begun(&self) -> Vec<RoomId> {
        let mut rooms = Vec::new();
        for (_, seen) in &self.story.seen {
            if let crate::story::Seen::Landed { log: LogId::Room(room), .. } = seen
                && !rooms.contains(room)
            {
                rooms.push(*room);
            }
        }
        rooms
    }
}
