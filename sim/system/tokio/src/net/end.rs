//! One end of a connection: what it has to send, what it holds for its reader, and how far the other end is.
//!
//! A small TCP: sequence numbers, cumulative acknowledgements, a window in bytes, one timer for what is not acknowledged or
//! for a window that does not open. Segments are lost, never changed, and do not overtake each other, so what comes out of
//! order is dropped and sent again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::Waker;

use super::fabric::HostId;

/// An end of a connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId(pub(crate) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Asked for so many times.
    Connecting(u32),
    Open,
    Failed(ErrorKind),
}

pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The connection that it is an end of, by the id of the end that asked for it.
    pub(crate) connection: EndId,
    pub(crate) peer: Option<EndId>,
    pub(crate) phase: Phase,
    pub(crate) out: Out,
    pub(crate) into: Into,
    /// Whether a program holds it. The machine goes on with what was written when none does.
    pub(crate) owned: bool,
    /// Whether it is reset, and not closed, when the program lets go of it.
    pub(crate) abrupt: bool,
    /// The last arrival at the other end that was arranged: segments do not overtake each other.
    pub(crate) last_arrival: u64,
    /// Timers of earlier generations mean nothing.
    pub(crate) timer: u64,
    /// Where things stood when the one that runs was set.
    pub(crate) timed: Option<(u64, u64)>,
    pub(crate) backoff: u32,
    /// When the other end last gave a sign of life that was of use, or when there was last nothing to wait for.
    pub(crate) progress: u64,
    /// Whether its losses have been told to its program.
    pub(crate) told: bool,
}

/// What goes out.
pub(crate) struct Out {
    /// From `acked` on.
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) capacity: usize,
    /// It was full, and takes nothing until a third of it is free: else writes and segments would become ever smaller.
    pub(crate) full: bool,
    pub(crate) acked: u64,
    pub(crate) next: u64,
    /// Up to where the other end has room.
    pub(crate) limit: u64,
    pub(crate) finishing: bool,
    pub(crate) finished: bool,
    pub(crate) waker: Option<Waker>,
}

impl Out {
    /// How much it takes.
    pub(crate) fn room(&mut self) -> usize {
        let free = self.capacity.saturating_sub(self.bytes.len());
        self.full = free == 0 || self.full && free < self.capacity / 3;
        if self.full { 0 } else { free }
    }
}

/// What comes in.
pub(crate) struct Into {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) capacity: usize,
    pub(crate) next: u64,
    pub(crate) ended: bool,
    /// The last limit that the other end was told.
    pub(crate) told: u64,
    pub(crate) waker: Option<Waker>,
}

/// What an end wants sent.
pub(crate) struct Segment {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: bool,
}

impl End {
    pub(crate) fn new(
        host: HostId,
        (local, remote): (SocketAddr, SocketAddr),
        connection: EndId,
        (send, receive): (usize, usize),
        now: u64,
    ) -> Self {
        Self {
            host,
            local,
            remote,
            connection,
            peer: None,
            phase: Phase::Connecting(0),
            out: Out {
                bytes: VecDeque::new(),
                capacity: send,
                full: false,
                acked: 0,
                next: 0,
                limit: receive as u64,
                finishing: false,
                finished: false,
                waker: None,
            },
            into: Into {
                bytes: VecDeque::new(),
                capacity: receive,
                next: 0,
                ended: false,
                told: receive as u64,
                waker: None,
            },
            owned: true,
            abrupt: false,
            last_arrival: 0,
            timer: 0,
            timed: None,
            backoff: 0,
            progress: now,
            told: false,
        }
    }

    /// The next segment that may leave, of at most so many bytes.
    pub(crate) fn next_segment(&mut self, most: usize) -> Option<Segment> {
        let out = &mut self.out;
        let sent = (out.next - out.acked) as usize;
        let waiting = out.bytes.len().saturating_sub(sent);
        let room = out.limit.saturating_sub(out.next) as usize;
        let take = waiting.min(room).min(most);
        let end = out.finishing && !out.finished && sent <= out.bytes.len() && take == waiting;
        if self.phase != Phase::Open || (take == 0 && !end) {
            return None;
        }
        let bytes = out.bytes.range(sent.min(out.bytes.len())..).take(take).copied().collect();
        let segment = Segment { at: out.next, bytes, end };
        out.next += take as u64 + u64::from(end);
        Some(segment)
    }

    /// Whether something is to be heard of the other end.
    pub(crate) fn waits(&self) -> bool {
        match self.phase {
            Phase::Connecting(_) => true,
            Phase::Open => self.out.next > self.out.acked || !self.out.bytes.is_empty(),
            Phase::Failed(_) => false,
        }
    }

    /// What the other end has acknowledged, and up to where it has room.
    pub(crate) fn stands(&self) -> (u64, u64) {
        (self.out.acked, self.out.limit)
    }

    /// The other end has everything before `upto`, and room up to `limit`. Who is to be woken.
    pub(crate) fn acknowledged(&mut self, upto: u64, limit: u64, now: u64) -> Option<Waker> {
        let out = &mut self.out;
        out.limit = out.limit.max(limit);
        // The other end answers, also when it has no room.
        self.progress = now;
        if upto <= out.acked {
            return None;
        }
        self.backoff = 0;
        let bytes = ((upto - out.acked) as usize).min(out.bytes.len());
        out.bytes.drain(..bytes);
        out.finished |= upto - out.acked > bytes as u64;
        out.acked = upto;
        out.next = out.next.max(upto);
        (out.room() > 0).then(|| out.waker.take()).flatten()
    }

    /// A segment came. Who is to be woken.
    pub(crate) fn came(&mut self, segment: &Segment) -> Option<Waker> {
        let into = &mut self.into;
        let last = segment.at + segment.bytes.len() as u64;
        if segment.at > into.next || (last <= into.next && !segment.end) || into.ended {
            return None;
        }
        let fresh = &segment.bytes[(into.next - segment.at).min(segment.bytes.len() as u64) as usize..];
        let room = into.capacity - into.bytes.len();
        let taken = fresh.len().min(room);
        into.bytes.extend(&fresh[..taken]);
        into.next += taken as u64;
        if segment.end && into.next == last {
            into.ended = true;
            into.next += 1;
        }
        (taken > 0 || into.ended).then(|| into.waker.take()).flatten()
    }

    /// What the other end may be told: everything before this has come, and there is room up to that.
    pub(crate) fn acknowledge(&mut self) -> (u64, u64) {
        let into = &mut self.into;
        into.told = into.next + (into.capacity - into.bytes.len()) as u64;
        (into.next, into.told)
    }

    /// Whether enough was read since the other end was last told of room for it to be told again.
    pub(crate) fn has_opened(&self, segment: usize) -> bool {
        let room = self.into.next + (self.into.capacity - self.into.bytes.len()) as u64;
        room - self.into.told.min(room) >= (self.into.capacity / 2).min(segment).max(1) as u64
    }

    /// It is of no use any more. Who is to be woken.
    pub(crate) fn fail(&mut self, kind: ErrorKind) -> [Option<Waker>; 2] {
        if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Failed(kind);
        }
        // What was not read is lost with it, as it may be.
        self.into.bytes.clear();
        self.out.bytes.clear();
        [self.out.waker.take(), self.into.waker.take()]
    }

    /// The error that its program is told: what happened, once, and afterwards that it is over.
    pub(crate) fn error(&mut self) -> Option<io::Error> {
        let Phase::Failed(kind) = self.phase else { return None };
        let told = std::mem::replace(&mut self.told, true);
        Some(if told { ErrorKind::BrokenPipe.into() } else { kind.into() })
    }
}
