//! The bus between nodes: hints that logs moved, word of who is shut out, commands handed to a room's owner.
//!
//! It delays, repeats, reorders and loses. A node that lost something is told so in the end, as by a connection that comes
//! back, and then reads the heads of everything that is active.

use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Outcome, Reason, Refused, Request};

use super::room::Cell;
use super::{Answer, Event, House, Op, Reply};
use crate::story::Lane;
use crate::tape::Actor;

/// The least that a message takes, in microseconds.
const LEAST: u64 = 150;
/// How long a node waits for the answer to a command that it handed on.
const FORWARD: u64 = 3_000_000;
/// How long after a loss a node learns of it, in microseconds.
const NOTICED: u64 = 500_000;

/// What the bus carries.
#[derive(Debug, Clone)]
pub(super) enum Message {
    /// A log grew. A hint, never the truth.
    Moved { log: LogId, revision: Revision },
    /// An account was shut out.
    Shut { account: AccountId },
    /// Decide this for me.
    Forward { from: usize, life: u32, token: u64, request: Box<Request> },
    /// The answer.
    Answered { life: u32, token: u64, result: Result<Outcome, Refused> },
}

impl House {
    /// A record landed: every node is told by the store, in the end, the one that appended it among them. A node that is
    /// alone has a store that tells nobody.
    pub(super) fn announce(&mut self, by: usize, log: LogId, revision: Revision) {
        if self.nodes.len() > 1 {
            (0..self.nodes.len()).for_each(|to| self.publish(by, to, Message::Moved { log: log.clone(), revision }));
        }
    }

    /// Tells the other nodes that an account is shut out.
    pub(super) fn announce_shut(&mut self, by: usize, account: &AccountId) {
        for to in (0..self.nodes.len()).filter(|to| *to != by) {
            self.publish(by, to, Message::Shut { account: account.clone() });
        }
    }

    fn publish(&mut self, from: usize, to: usize, message: Message) {
        let actor = Actor::nth("bus", to as u32);
        // What grew, the store of the logs tells; everything else comes from the node itself.
        let by_node = !matches!(message, Message::Moved { .. });
        if self.nodes[to].bus_cut || (by_node && self.nodes[from].bus_cut) || !self.nodes[to].up {
            return;
        }
        let faults = &self.knobs.faults;
        let (slow, loses, repeats) = (faults.bus_slow_us, faults.bus_loses, faults.bus_repeats);
        if self.tape.chance(actor, "bus-loses", loses) {
            self.probe("bus lost a message");
            let late = self.tape.draw(actor, "bus-notices", NOTICED);
            return self.resume_in(to, late, move |house| house.resynchronize(to));
        }
        if self.tape.chance(actor, "bus-repeats", repeats) {
            let delay = LEAST + self.tape.draw(actor, "bus-delay", slow + 1);
            self.schedule(self.now + delay, Event::Bus { to, message: Box::new(message.clone()) });
        }
        let delay = LEAST + self.tape.draw(actor, "bus-delay", slow + 1);
        if self.story.detailed {
            let (left, words) = (self.now, super::words::of_message(&message));
            let (from, to) = (Lane::Node(super::node::id(from)), Lane::Node(super::node::id(to)));
            self.later(delay, move |house| house.passed(from, to, left, words));
        }
        self.schedule(self.now + delay, Event::Bus { to, message: Box::new(message) });
    }

    pub(super) fn take_message(&mut self, to: usize, message: Message) {
        if !self.nodes[to].up || self.nodes[to].bus_cut {
            return;
        }
        match message {
            Message::Moved { log, revision } => self.moved(to, &log, revision),
            Message::Shut { account } => self.shut_out(to, &account),
            Message::Forward { from, life, token, request } => self.decide_for(to, from, life, token, request),
            Message::Answered { life, token, result } => {
                if self.nodes[to].life == life
                    && let Some(reply) = self.nodes[to].forwarded.remove(&token)
                {
                    self.probe("command decided by the owner");
                    reply(self, result);
                }
            }
        }
    }

    /// A log that this node holds may have grown. A hint that cannot be followed now is followed later.
    fn moved(&mut self, node: usize, log: &LogId, revision: Revision) {
        match log {
            LogId::Room(id) => {
                // One that is being loaded may have been read already: it is looked at when it is there.
                let id = *id;
                if self.nodes[node].rooms.contains_key(&id) {
                    self.room(node, id, move |house, _| house.moved_to(node, id, revision));
                }
                if self.owner(node, id) == node {
                    self.push_effects(node, id);
                }
            }
            // The model's directory has no log.
            LogId::Directory => {}
            LogId::Account(account) => {
                let holds = self.nodes[node].accounts.contains_key(account);
                if holds && self.account_state(node, account).head().revision < revision {
                    let (account, log) = (account.clone(), log.clone());
                    self.refresh(
                        node,
                        account,
                        Box::new(move |house, read| {
                            if read.is_err_and(|failure| failure != Failure::Permanent) {
                                house.resume_in(node, NOTICED, move |house| house.moved(node, &log, revision));
                            }
                        }),
                    );
                }
            }
        }
    }

    fn moved_to(&mut self, node: usize, id: RoomId, revision: Revision) {
        if self.room_at(node, id).is_some_and(|room| room.hub.state().head().revision < revision) {
            self.probe("follower caught up");
            self.catch_up(node, id, move |house, read| {
                if !read {
                    house.resume_in(node, NOTICED, move |house| house.moved(node, &LogId::Room(id), revision));
                }
            });
        }
    }

    /// After messages were lost: the heads of all that is active here are read again, until they could be.
    pub(super) fn resynchronize(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        self.probe("heads read again after a loss");
        self.call(node, Op::List, move |house, told| {
            let Ok(Answer::Logs(logs)) = told else {
                return house.resume_in(node, NOTICED, move |house| house.resynchronize(node));
            };
            for (log, revision) in logs {
                house.moved(node, &log, revision);
            }
        });
        self.call(node, Op::Disabled, move |house, told| match told {
            Ok(Answer::People(people)) => {
                for account in people
                    .keys()
                    .filter(|account| !house.nodes[node].shut.contains(account))
                    .cloned()
                    .collect::<Vec<_>>()
                {
                    house.shut_out(node, &account);
                }
            }
            _ => house.resume_in(node, NOTICED, move |house| house.resynchronize(node)),
        });
    }

    /// The node that owns a room, as this node sees it: rendezvous hashing over those it believes to live.
    pub(super) fn owner(&self, node: usize, room: RoomId) -> usize {
        let weight = |candidate: usize| {
            let name =
                room.as_str().bytes().fold(candidate as u64 + 1, |hash, byte| super::mix(hash ^ u64::from(byte)));
            super::mix(name)
        };
        if self.knobs.stubborn {
            return node;
        }
        let live = self.nodes[node].live.iter().copied();
        live.chain([node]).max_by_key(|candidate| weight(*candidate)).unwrap_or(node)
    }

    /// Brings a command to where it is decided. `queued` is called when it stands in a queue, or is on its way to one.
    pub(super) fn hand_in(
        &mut self,
        node: usize,
        request: Box<Request>,
        queued: impl FnOnce(&mut Self) + 'static,
        reply: Reply,
    ) {
        let owner = self.owner(node, request.room);
        if owner == node || self.nodes[node].bus_cut {
            let id = request.room;
            return self.room(node, id, move |house, loaded| {
                match loaded {
                    Ok(()) => house.submit(node, request, reply),
                    Err(refused) => reply(house, Err(refused)),
                }
                queued(house);
            });
        }
        let (life, token) = (self.nodes[node].life, self.count);
        self.count += 1;
        self.nodes[node].forwarded.insert(token, reply);
        self.publish(node, owner, Message::Forward { from: node, life, token, request });
        queued(self);
        self.resume_in(node, FORWARD, move |house| {
            // It may still come to pass: nobody may say no to it, but the client asks again.
            if let Some(reply) = house.nodes[node].forwarded.remove(&token) {
                house.probe("forwarded command unanswered");
                house.nodes[node].live.remove(&owner);
                reply(house, Err(Reason::Deadline.into()));
                house.resume_in(node, FORWARD, move |house| {
                    if house.nodes[owner].up {
                        house.nodes[node].live.insert(owner);
                    }
                });
            }
        });
    }

    fn decide_for(&mut self, node: usize, from: usize, life: u32, token: u64, request: Box<Request>) {
        let answer = move |house: &mut Self, result| {
            house.publish(node, from, Message::Answered { life, token, result });
        };
        if self.nodes[node].draining {
            return answer(self, Err(Reason::Draining.into()));
        }
        self.room(node, request.room, move |house, loaded| match loaded {
            Ok(()) => house.submit(node, request, Box::new(answer)),
            Err(refused) => answer(house, Err(refused)),
        });
    }

    /// Whether a node stopped appending to a room, and why.
    pub(super) fn quarantines(&self, node: usize) -> impl Iterator<Item = (RoomId, &'static str)> {
        let rooms = self.nodes[node].rooms.iter();
        rooms.filter_map(|(id, cell)| Some((*id, Cell::ready(cell)?.quarantined?)))
    }
}
