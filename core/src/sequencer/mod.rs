//! What is appended to a room's log next.
//!
//! One per active room, on the node that owns the room; two that both believe they own it are serialized by
//! compare-and-append. Commands wait in order; those that are there when the log is free are decided one after the other,
//! each on top of the one before, and become one record (group commit). Nothing is answered before its record is durable:
//! an answer is true, and a refusal is given only once the log was found to end where the fold does. A conflict forgets everything decided and not stored, loads the room again, and decides anew. A key
//! version's secret is in the vault before the record that makes it current is appended.

mod batch;
mod flight;
#[cfg(test)]
mod tests;
mod wants;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::id::{KeyVersion, RequestId, Revision, RoomId};
use crate::keys::{Opener, RoomSecret, Sealer};
use crate::limits::Limits;
use crate::log::{Head, Record, RecordBytes};
use crate::retry::{Backoff, Failure};
use crate::room::{Event, Fold, Need, Outcome, Reason, Refused, Request, Target};
use crate::site::SiteKeys;
use crate::time::{Instant, Timestamp};
use flight::{Confirming, Flight, Reply};
use wants::Wanted;

/// Names a command to whoever waits for its answer. Chosen by the driver, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a sequencer is told.
#[derive(Debug)]
pub enum Input {
    /// A command, with everything around it resolved. Answered once, within the deadline.
    Request {
        /// Names the answer.
        ticket: Ticket,
        /// The command.
        request: Box<Request>,
    },
    /// The answer to [`Effect::Load`]: the fold at the head of the log, by an authoritative read.
    Loaded(Result<Box<Fold>, Failure>),
    /// The answer to [`Effect::Append`].
    Appended(Result<Append, Failure>),
    /// The answer to [`Effect::ReadBack`]: the first record after the revision, if there is one.
    ReadBack(Result<Option<RecordBytes>, Failure>),
    /// The answer to [`Effect::PutSecret`]: what stands under the version, for ever.
    SecretPut {
        /// The version.
        version: KeyVersion,
        /// The winner.
        secret: Result<RoomSecret, Failure>,
    },
    /// The answer to [`Effect::GetSecret`].
    SecretGot {
        /// The version.
        version: KeyVersion,
        /// What the vault holds.
        secret: Result<RoomSecret, Failure>,
    },
    /// The answer to [`Effect::FindMessage`].
    MessageFound {
        /// The revision.
        revision: Revision,
        /// What stands there.
        target: Result<Target, Failure>,
    },
    /// Take no more commands; finish those that are here.
    Drain,
    /// A deadline passed.
    Tick,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// It is durable.
    Done,
    /// The head was another one; nothing was written.
    Conflict,
}

/// What a sequencer wants done. At most one append, load or read-back is out at a time.
#[derive(Debug)]
pub enum Effect {
    /// Fold the log to its head. Records that were not announced by [`Effect::Committed`] may be among them, and one of
    /// them may be our own.
    Load,
    /// Append the record, if the head is `expected`.
    Append {
        /// The head it must follow.
        expected: Head,
        /// The record.
        record: RecordBytes,
        /// The head it leads to.
        after: Head,
    },
    /// Read the first record after a revision, authoritatively: an append's outcome is unknown, or a refusal is about to be
    /// answered and must not be one by a fold that another node overtook.
    ReadBack {
        /// The revision.
        after: Revision,
    },
    /// Put the secret unless the version has one; durable before it is answered.
    PutSecret {
        /// The version.
        version: KeyVersion,
        /// The secret.
        secret: RoomSecret,
    },
    /// Fetch the secret of a version.
    GetSecret {
        /// The version.
        version: KeyVersion,
    },
    /// Find the sender and name of the message at a revision.
    FindMessage {
        /// The revision.
        revision: Revision,
    },
    /// The record is durable: show it to the room's sockets. Comes before the answers to its commands.
    Committed {
        /// The record.
        record: Arc<Record<Event>>,
        /// The head after it.
        after: Head,
    },
    /// Keep this fold.
    Snapshot {
        /// The revision it was folded to.
        revision: Revision,
        /// The fold.
        bytes: Bytes,
    },
    /// The answer to a command.
    Answer {
        /// Which.
        ticket: Ticket,
        /// What came of it.
        result: Result<Outcome, Refused>,
    },
    /// The log cannot be right, or contradicts the vault: reads go on, appends have stopped.
    Quarantined {
        /// What is wrong.
        what: &'static str,
    },
}

/// A command that waits.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    request: Box<Request>,
    deadline: Instant,
    target: Option<Target>,
}

/// What the sequencer is doing.
#[derive(Debug)]
enum Phase {
    /// Nothing is known of the room; loading, or waiting to try again.
    Loading { retry_at: Option<Instant> },
    /// The fold is at the log's head.
    Ready,
    /// Everything that waited was refused, and nothing recorded: the log is read after the fold's head. A refusal by a
    /// fold that another node overtook would not be true.
    Confirming(Box<Confirming>),
    /// A record is being appended; the fold is ahead of the log by it.
    Appending(Box<Flight>),
    /// Appends have stopped.
    Quarantined,
}

/// The machine.
pub struct Sequencer {
    room: RoomId,
    keys: Arc<SiteKeys>,
    limits: Arc<Limits>,
    rng: ChaCha20Rng,
    fold: Option<Box<Fold>>,
    phase: Phase,
    queue: VecDeque<Pending>,
    wanted: BTreeMap<Need, Wanted>,
    staged: Option<(KeyVersion, RoomSecret)>,
    opener: Option<Opener>,
    sealer: Option<Sealer>,
    backoff: Backoff,
    snapshot_at: Revision,
    /// The last head known to be durable: the log never ends before it.
    durable: Head,
    /// What the vault said it will never have.
    suspected: Option<Need>,
    draining: bool,
}

impl Sequencer {
    /// A sequencer that knows nothing of its room yet. `seed` is 32 fresh random bytes, of which all its randomness comes.
    pub fn new(room: RoomId, keys: Arc<SiteKeys>, limits: Arc<Limits>, seed: [u8; 32], out: &mut Vec<Effect>) -> Self {
        out.push(Effect::Load);
        let backoff = Backoff::new(
            Duration::from_millis(limits.retry_first_ms.into()),
            Duration::from_millis(limits.retry_most_ms.into()),
        );
        Self {
            room,
            keys,
            limits,
            rng: ChaCha20Rng::from_seed(seed),
            fold: None,
            phase: Phase::Loading { retry_at: None },
            queue: VecDeque::new(),
            wanted: BTreeMap::new(),
            staged: None,
            opener: None,
            sealer: None,
            backoff,
            snapshot_at: Revision::ZERO,
            durable: Head::EMPTY,
            suspected: None,
            draining: false,
        }
    }

    /// Takes one input; all its effects are in `out` when it returns. `wall` is the node's wall clock.
    pub fn step(&mut self, now: Instant, wall: Timestamp, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Request { ticket, request } => self.admit(now, ticket, request, out),
            Input::Loaded(loaded) => self.loaded(now, loaded, out),
            Input::Appended(appended) => self.appended(now, appended, out),
            Input::ReadBack(found) => self.read_back(now, found, out),
            Input::SecretPut { version, secret } => self.secret_put(now, version, secret, out),
            Input::SecretGot { version, secret } => self.secret_got(now, version, secret, out),
            Input::MessageFound { revision, target } => self.message_found(now, revision, target, out),
            Input::Drain => self.draining = true,
            Input::Tick => {}
        }
        self.expire(now, out);
        self.retry(now, out);
        self.decide_next(wall, out);
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let flying = match &self.phase {
            Phase::Appending(flight) => flight.next_deadline(),
            Phase::Confirming(confirming) => confirming.next_deadline(),
            Phase::Loading { retry_at } => *retry_at,
            Phase::Ready | Phase::Quarantined => None,
        };
        let waiting = self.queue.front().map(|pending| pending.deadline);
        let wanted = self.wanted.values().filter_map(|wanted| match wanted {
            Wanted::RetryAt(at) => Some(*at),
            Wanted::Out => None,
        });
        flying.into_iter().chain(waiting).chain(wanted).min()
    }

    /// Whether nothing waits and nothing is under way: it may be dropped, and made again when it is needed.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && matches!(self.phase, Phase::Ready | Phase::Quarantined)
    }

    /// Whether appends have stopped. It does not go on: another one takes its place once the log is whole.
    pub fn is_quarantined(&self) -> bool {
        matches!(self.phase, Phase::Quarantined)
    }

    /// How many commands wait or are being appended.
    pub fn backlog(&self) -> usize {
        let flying = match &self.phase {
            Phase::Appending(flight) => flight.replies.len(),
            Phase::Confirming(confirming) => confirming.replies.len(),
            Phase::Loading { .. } | Phase::Ready | Phase::Quarantined => 0,
        };
        self.queue.len() + flying
    }

    fn admit(&mut self, now: Instant, ticket: Ticket, request: Box<Request>, out: &mut Vec<Effect>) {
        debug_assert_eq!(request.room, self.room);
        let refusal = if self.draining {
            Some(Reason::Draining)
        } else if matches!(self.phase, Phase::Quarantined) {
            Some(Reason::Quarantined)
        } else if self.backlog() >= self.limits.room_queue as usize {
            Some(Reason::Busy)
        } else {
            None
        };
        match refusal {
            Some(reason) => out.push(Effect::Answer { ticket, result: Err(reason.into()) }),
            None => {
                let deadline = now.after(self.limits.command_deadline());
                self.queue.push_back(Pending { ticket, request, deadline, target: None });
            }
        }
    }

    fn loaded(&mut self, now: Instant, loaded: Result<Box<Fold>, Failure>, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Loading { .. }) {
            return;
        }
        match loaded {
            Ok(mut fold) => {
                debug_assert_eq!(fold.state.room(), self.room);
                let head = fold.state.head();
                let lost = head.revision < self.durable.revision;
                if lost || (head.revision == self.durable.revision && head != self.durable) {
                    return self.quarantine("the log lost what it had acknowledged", out);
                }
                fold.requests.set_most(self.limits.remembered_requests);
                self.durable = head;
                self.snapshot_at = self.snapshot_at.max(fold.kept());
                self.fold = Some(fold);
                self.phase = Phase::Ready;
                self.backoff.reset();
                self.forget_other_keys();
                // A sealer is not used again after a fork of what it sealed for: it encapsulates anew.
                self.sealer = None;
            }
            Err(Failure::Permanent) => self.quarantine("the log cannot be folded", out),
            // To go on would be to go on without what it says.
            Err(Failure::Newer) => self.quarantine("a newer version wrote to the log", out),
            Err(Failure::Transient | Failure::Unknown) => {
                let wait = self.backoff.wait(&mut self.rng);
                self.phase = Phase::Loading { retry_at: Some(now.after(wait)) };
            }
        }
    }

    fn reload(&mut self, out: &mut Vec<Effect>) {
        self.reload_at(None);
        out.push(Effect::Load);
    }

    /// Forgets everything decided and not stored; what waited for it waits in the queue again, in the same order.
    fn reload_at(&mut self, retry_at: Option<Instant>) {
        for reply in self.take_replies(Phase::Loading { retry_at }).into_iter().rev() {
            self.queue.push_front(reply.pending);
        }
        self.fold = None;
    }

    /// Moves to another phase; what waited for the end of this one is the caller's.
    fn take_replies(&mut self, next: Phase) -> Vec<Reply> {
        match core::mem::replace(&mut self.phase, next) {
            Phase::Appending(flight) => flight.replies,
            Phase::Confirming(confirming) => confirming.replies,
            Phase::Loading { .. } | Phase::Ready | Phase::Quarantined => Vec::new(),
        }
    }

    fn quarantine(&mut self, what: &'static str, out: &mut Vec<Effect>) {
        let flying = self.take_replies(Phase::Quarantined);
        self.fold = None;
        out.push(Effect::Quarantined { what });
        for pending in flying.into_iter().map(|reply| reply.pending).chain(self.queue.drain(..)) {
            out.push(Effect::Answer { ticket: pending.ticket, result: Err(Reason::Quarantined.into()) });
        }
    }

    /// Answers what waited too long. It may still come to pass; the client may ask again with the same request id.
    fn expire(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let late = |pending: &Pending| pending.deadline <= now;
        let answer = |pending: Pending| Effect::Answer { ticket: pending.ticket, result: Err(Reason::Deadline.into()) };
        while self.queue.front().is_some_and(late) {
            out.extend(self.queue.pop_front().map(answer));
        }
        let replies = match &mut self.phase {
            Phase::Appending(flight) => &mut flight.replies,
            Phase::Confirming(confirming) => &mut confirming.replies,
            Phase::Loading { .. } | Phase::Ready | Phase::Quarantined => return,
        };
        let end = replies.partition_point(|reply| late(&reply.pending));
        out.extend(replies.drain(..end).map(|reply| answer(reply.pending)));
    }

    /// Does again what failed and is due.
    fn retry(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Loading { retry_at } if retry_at.is_some_and(|at| at <= now) => {
                *retry_at = None;
                out.push(Effect::Load);
            }
            Phase::Appending(flight) => flight.retry(now, out),
            Phase::Confirming(confirming) => confirming.retry(now, out),
            _ => {}
        }
        self.retry_wanted(now);
    }
}

/// The requests that wait, without what they say.
impl core::fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ids: Vec<RequestId> = self.queue.iter().map(|pending| pending.request.id).collect();
        f.debug_struct("Sequencer").field("room", &self.room).field("phase", &self.phase).field("queue", &ids).finish()
    }
}
