//! A client: one program of one person, on a machine of its own, that connects, works, vanishes and comes back.
//!
//! It believes the server in everything; whether it may is what the oracles judge. Simulated here: the client's half of the
//! protocol, and what programs and people do to connections. Its decisions come from the tape.

mod frames;
mod line;
mod memory;
mod steps;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, RequestId};
use chamberlain_core::room::Command;
use chamberlain_core::wire::{ClientFrame, Codec, Hello, Query};
use chamberlain_sim::story::{ClientId, LinkId, Seen};
use chamberlain_sim::tape::Actor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::house::{House, Phase};
use crate::server::Server;
use crate::witness::now;
pub(crate) use line::{Event, Line, NoLine};
use memory::{Memory, Opening, Room};

/// How often a client that catches up asks what there is.
const LOOK: Duration = Duration::from_millis(700);

/// What is asked again at once, at most.
const RETRIES: usize = 12;

/// Microseconds without a word after which the server is gone, beyond those between its pings.
const SILENCE: u64 = 15_000_000;

/// A client.
pub(crate) struct Client {
    house: Arc<House>,
    id: ClientId,
    actor: Actor,
    account: AccountId,
    codec: Codec,
    batch: bool,
    rng: ChaCha20Rng,
    memory: Memory,
    /// How often it did not get in where it went.
    turned_away: u32,
    /// The connection there is.
    link: LinkId,
    welcomed: bool,
    /// When something last came over it, pings included.
    heard: u64,
    /// How long the server asked to stay away.
    stay_away: Option<Duration>,
}

/// What a client does with its connection.
pub(crate) enum Turn {
    /// Goes on.
    On,
    /// Reads nothing for so long.
    Nap(Duration),
    /// Lets go of it: its machine closes it.
    Drop,
    /// Closes it in an orderly way.
    Close,
    Reset,
    /// It is as if the machine were gone.
    Lose,
    HalfClose,
}

impl Client {
    pub(crate) fn new(house: Arc<House>, number: u32) -> Self {
        let actor = Actor::nth("client", number);
        let witness = &house.witness;
        let account = house.accounts[number as usize % house.accounts.len()].clone();
        let seed = witness.seed(actor, "randomness") ^ u64::from(number);
        Self {
            id: ClientId(number),
            account,
            codec: witness.pick(actor, "codec", &[Codec::Json, Codec::Bincode]),
            batch: witness.pick(actor, "batch", &[true, true, true, false]),
            rng: ChaCha20Rng::seed_from_u64(seed),
            memory: Memory::default(),
            turned_away: 0,
            link: LinkId(u32::MAX),
            welcomed: false,
            heard: 0,
            stay_away: None,
            actor,
            house,
        }
    }

    /// Lives until the run is over.
    pub(crate) async fn run(mut self) {
        while self.house.phase() != Phase::Over {
            let server = self.server();
            match Line::open(server.address(), self.codec).await {
                Ok(line) => self.hold(line, &server).await,
                Err(why) => {
                    self.turned_away += 1;
                    if why == NoLine::TimedOut {
                        self.house.witness.probe("connect timed out");
                    }
                }
            }
            let wait = match (self.house.phase(), self.stay_away.take()) {
                (Phase::Working, Some(asked)) if self.chance("obey", 60) => asked,
                (Phase::Working, _) => Duration::from_millis(self.draw("reconnect", 1_500)),
                _ => Duration::from_millis(100 + self.draw("return", 400)),
            };
            tokio::select! {
                biased;
                () = self.house.until(Phase::Over) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Where it goes: each has a server that it prefers, and goes to the next one when it was turned away there.
    fn server(&self) -> Arc<Server> {
        let servers = &self.house.servers;
        let mut at = self.id.0 + self.turned_away;
        if servers.len() > 1 && self.chance("elsewhere", 20) {
            at += 1;
        }
        servers[at as usize % servers.len()].clone()
    }

    fn draw(&self, kind: &'static str, below: u64) -> u64 {
        self.house.witness.draw(self.actor, kind, below)
    }

    fn chance(&self, kind: &'static str, percent: u32) -> bool {
        self.house.witness.chance(self.actor, kind, percent)
    }

    /// Whether something of the plan goes wrong now.
    fn is_armed(&self, armed: bool) -> bool {
        armed && !self.house.witness.is_calm()
    }

    /// One connection, to its end.
    async fn hold(&mut self, mut line: Line, server: &Server) {
        self.link = self.house.link();
        self.welcomed = false;
        self.heard = now();
        self.memory.rooms.values_mut().for_each(Room::close);
        self.memory.queries.clear();
        (self.memory.asked_for_rooms, self.memory.mine) = (None, None);
        self.house.set_caught_up(self.id.0, false);
        self.house.witness.note(Seen::Connected {
            link: self.link,
            client: self.id,
            account: self.account.clone(),
            node: server.id(),
            codec: self.codec,
            batch: self.batch,
        });
        line.send(&ClientFrame::Hello(Hello { token: self.account.as_str().to_owned(), batch: self.batch }));
        let storms = self.house.storms();
        let mut code = None;
        let mut phase = self.house.phase();
        let mut wake = pin!(tokio::time::sleep(self.pause()));
        let turn = loop {
            let turn = tokio::select! {
                biased;
                event = line.next() => match event {
                    Event::Ping => {
                        self.heard = now();
                        Turn::On
                    }
                    Event::Frame(frame) => {
                        self.heard = now();
                        self.house.witness.note(Seen::Came { link: self.link, frame: (*frame).clone() });
                        self.took(*frame, &mut line);
                        Turn::On
                    }
                    Event::Garbage(what) => {
                        self.house.witness.with_story(|story| story.ending.unwell.push(format!("sent garbage: {what}")));
                        Turn::Drop
                    }
                    Event::Ended(with) => {
                        code = with;
                        Turn::Drop
                    }
                },
                () = next_phase(&self.house, phase) => {
                    phase = self.house.phase();
                    wake.set(tokio::time::sleep(Duration::ZERO));
                    if phase == Phase::Over { Turn::Close } else { Turn::On }
                }
                () = &mut wake => {
                    wake.set(tokio::time::sleep(self.pause()));
                    if self.is_in_silence() || self.house.storms() > storms && phase == Phase::Working {
                        Turn::Drop
                    } else {
                        self.step(&mut line)
                    }
                }
            };
            match turn {
                Turn::On => {}
                Turn::Nap(span) => {
                    tokio::select! {
                        biased;
                        () = self.house.until(Phase::Quiet) => {}
                        () = tokio::time::sleep(span) => {}
                    }
                }
                Turn::HalfClose => line.half_close().await,
                turn => break turn,
            }
        };
        self.house.witness.note(Seen::Ended { link: self.link, code });
        self.house.set_caught_up(self.id.0, false);
        match turn {
            Turn::Close => line.close().await,
            Turn::Reset => line.reset(),
            Turn::Lose => line.lose(),
            _ => {}
        }
    }

    /// Whether nothing came for so long that the server must be gone: it pings, and it answers hello.
    fn is_in_silence(&self) -> bool {
        let usual = if self.welcomed { u64::from(self.house.plan.limits.ping_ms) * 2_000 } else { 0 };
        now() - self.heard > usual + SILENCE
    }

    /// How long until it does something again.
    fn pause(&self) -> Duration {
        match self.house.phase() {
            Phase::Working => Duration::from_millis(1 + self.draw("pause", self.house.plan.pace)),
            _ => LOOK,
        }
    }

    fn send(&self, line: &mut Line, frame: ClientFrame) {
        self.house.witness.note(Seen::Sent { link: self.link, frame: frame.clone() });
        line.send(&frame);
    }

    fn request(&mut self) -> RequestId {
        RequestId::from_random(self.rng.random())
    }

    /// Asks for a change, and remembers it until it is answered.
    fn command(&mut self, line: &mut Line, command: Command) {
        let id = self.request();
        self.memory.pending.push((id, command.clone(), 1));
        self.send(line, ClientFrame::Command { id, command });
    }

    fn query(&mut self, line: &mut Line, query: Query) -> RequestId {
        let id = self.request();
        self.memory.queries.insert(id);
        self.send(line, ClientFrame::Query { id, query });
        id
    }

    /// Asks again for what was not answered.
    fn retry(&mut self, line: &mut Line) {
        for at in 0..self.memory.pending.len().min(RETRIES) {
            let (id, command, times) = &mut self.memory.pending[at];
            *times += 1;
            let frame = ClientFrame::Command { id: *id, command: command.clone() };
            self.send(line, frame);
        }
    }
}

/// Waits for another phase than this.
async fn next_phase(house: &House, phase: Phase) {
    match phase {
        Phase::Working => house.until(Phase::Quiet).await,
        Phase::Quiet => house.until(Phase::Over).await,
        Phase::Over => std::future::pending().await,
    }
}

impl Opening {
    fn is_closed(self) -> bool {
        self == Self::Closed
    }
}
