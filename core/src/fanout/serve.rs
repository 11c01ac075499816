//! Filling a write: what a socket sends, in which order. The other half of [`Socket`].
//!
//! Everything here happens in one step with the write that comes of it: a frame that a hub packed is either in that write or
//! thrown away, never kept. A room whose turn it is gives one frame, or is found to wait for something and leaves the line.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::cursor::Budget;
use super::io::{Effect, Frames};
use super::opening::{Opening, Wait};
use super::pack::{Ask, Pack, Packed, View};
use super::queue::Watched;
use super::socket::Socket;
use crate::id::RoomId;
use crate::time::Instant;
use crate::wire::{ResetWhy, ServerFrame};

/// Bytes after which a write is full; the last frame may go beyond.
const WRITE_BYTES: usize = 128 * 1024;
/// Frames of rooms after which a write is full.
const WRITE_FRAMES: usize = 64;
/// Openings that fetch, or hold what they fetched, at a time.
pub(super) const FETCHES: usize = 4;

/// A write that is being filled.
#[derive(Default)]
struct Write {
    frames: Frames,
    bytes: usize,
    from_rooms: usize,
}

impl Write {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn is_full(&self) -> bool {
        self.bytes >= WRITE_BYTES || self.from_rooms >= WRITE_FRAMES
    }
}

impl Socket {
    /// Fills a write, unless one is under way.
    pub(super) fn fill(&mut self, now: Instant, view: &mut impl View, out: &mut Vec<Effect>) {
        if self.writing.is_some() || self.ended {
            return;
        }
        let mut write = Write::default();
        self.fill_control(&mut write);
        // Rooms wait for what was told before them: the `opened` frame, the account event that tells of a room.
        if self.control.len() == 0 {
            while !write.is_full() {
                let Some(room) = self.ready.pop_front() else { break };
                self.serve(now, room, view, &mut write, out);
            }
            // At least one each time, so that rooms do not starve a watcher.
            while let Some(next) = self.watched.pop() {
                write.push(match next {
                    Watched::Frame(frame) => frame,
                    Watched::Missed(missed) => self.frame(&ServerFrame::WatchLagged { missed }),
                });
                if write.is_full() {
                    break;
                }
            }
            // Rooms that were closed just now.
            self.fill_control(&mut write);
        }
        match write.frames {
            Frames::None => {
                if let Some((code, reason)) = self.ending.take() {
                    self.end(code, reason, out);
                }
            }
            frames => {
                self.writing = Some(now);
                out.push(Effect::Write(frames));
            }
        }
    }

    fn fill_control(&mut self, write: &mut Write) {
        while write.bytes < WRITE_BYTES {
            let Some(frame) = self.control.pop() else { break };
            write.push(frame);
        }
    }

    /// Gives a room its turn: one frame, or the reason why not.
    fn serve(&mut self, now: Instant, room: RoomId, view: &mut impl View, write: &mut Write, out: &mut Vec<Effect>) {
        let budget = Budget { items: self.limits.batch_items };
        let Some(opening) = self.rooms.get_mut(&room) else { return };
        opening.queued = false;
        if opening.wait != Wait::Nothing {
            return;
        }
        let Some(claim) = opening.cursor.claimed().or_else(|| opening.cursor.claim(budget)) else { return };
        if opening.sent >= claim.through {
            // All of it is in flight; the rest is claimed when the transport took it.
            return;
        }
        let ask = Ask {
            account: &self.account,
            codec: self.codec,
            batch: self.batch,
            kinds: opening.kinds,
            after: opening.sent,
            through: claim.through,
            chain: opening.chain,
            vouched: opening.vouched,
            refused: opening.refused,
            own: &self.asked,
            past: opening.past.as_deref(),
        };
        match view.pack(room, &ask) {
            Pack::Frame(packed) => {
                assert!(packed.from == opening.sent.next(), "a frame that does not follow what was sent");
                assert!(packed.from <= packed.to && packed.to <= claim.through, "a frame beyond the claim");
                self.send(room, packed, write, out);
            }
            Pack::Fetch if opening.past.is_some() => self.retry_later(now, room),
            Pack::Fetch if self.fetching >= FETCHES => {
                opening.wait = Wait::Turn;
                self.fetch_line.push_back(room);
            }
            Pack::Fetch => {
                opening.wait = Wait::Fetch;
                self.fetching += 1;
                let (opening, after) = (opening.id, opening.sent);
                out.push(Effect::Fetch { room, opening, after, through: claim.through });
            }
            Pack::Removed => self.reset(room, ResetWhy::Removed, out),
            Pack::Unknown => self.reset(room, ResetWhy::UnknownPosition, out),
            Pack::Nothing if !opening.in_flight => opening.cursor.abandon(),
            Pack::Nothing => {}
        }
    }

    /// Puts a frame into the write, its key before it and the answers that follow it after it.
    fn send(&mut self, room: RoomId, packed: Packed, write: &mut Write, out: &mut Vec<Effect>) {
        let Some(opening) = self.rooms.get_mut(&room) else { return };
        if let Some(version) = packed.needs.filter(|version| opening.given != Some(*version)) {
            // What follows its leaving, it reads as a member again: the event that says so comes.
            if packed.to >= opening.told_until {
                opening.wait = Wait::Told;
                self.drop_past(room);
                return;
            }
            match opening.key.take() {
                Some((at_hand, frame)) if at_hand == version => {
                    opening.given = Some(version);
                    write.push(frame);
                }
                _ => {
                    opening.wait = Wait::Key(version);
                    out.push(Effect::Key { room, opening: opening.id, version });
                    return;
                }
            }
        }
        write.push(packed.bytes);
        write.from_rooms += 1;
        opening.sent = packed.to;
        opening.chain = packed.chain;
        opening.vouched = packed.vouched;
        if !opening.in_flight {
            opening.in_flight = true;
            self.in_flight.push((room, opening.id));
        }
        while opening.answers.first_key_value().is_some_and(|((follows, _), _)| *follows <= opening.sent) {
            let Some((_, answer)) = opening.answers.pop_first() else { break };
            self.held -= 1;
            self.held_bytes -= answer.frame.len();
            if let Some(request) = answer.request {
                self.asked.remove(&request);
            }
            write.push(answer.frame);
        }
        let used_up = opening.past.as_ref().is_some_and(|past| past.last() <= packed.to);
        if opening.cursor.claimed().is_some_and(|claim| opening.sent < claim.through) {
            enqueue(&mut self.ready, room, opening);
        }
        if used_up {
            self.drop_past(room);
        }
    }

    /// The transport took the write: only now do the cursors move.
    pub(super) fn written(&mut self) {
        debug_assert!(self.writing.is_some(), "nothing was being written");
        self.writing = None;
        let mut in_flight = core::mem::take(&mut self.in_flight);
        for (room, id) in in_flight.drain(..) {
            let Some(opening) = self.rooms.get_mut(&room).filter(|opening| opening.id == id) else { continue };
            opening.in_flight = false;
            opening.cursor.emitted(opening.sent);
            if opening.wait == Wait::Nothing {
                opening.cursor.abandon();
            }
            enqueue(&mut self.ready, room, opening);
        }
        // Kept for its memory.
        self.in_flight = in_flight;
    }
}

/// Puts a room into the line, once, if it could be sent something.
pub(super) fn enqueue(ready: &mut VecDeque<RoomId>, room: RoomId, opening: &mut Opening) {
    if !opening.queued && opening.is_ready() {
        opening.queued = true;
        ready.push_back(room);
    }
}
