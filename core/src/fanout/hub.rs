//! What the sockets of one room on one node are served from: the fold, the last records, and frames encoded once.
//!
//! A frame holds what the fold of this very moment allows: nothing to whom the fold does not entitle at that revision, no
//! body that any record folded so far took away. Whether an account is still a member is looked up once per removal in the
//! room and not once per frame, by way of [`Packed::vouched`]. A position is given only where the chain of digests up to it
//! is known: in memory always; in what was fetched, if the socket's own chain leads there; empty otherwise.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::cache::{Cache, Key};
use super::line::Line;
use super::pack::{Ask, Pack, Packed};
use super::packer::{Packer, Payload};
use super::past::Past;
use crate::id::Revision;
use crate::keys::Blob;
use crate::limits::Limits;
use crate::log::{Digest, Head, Offer, Position, Record, Tail};
use crate::room::{Contradiction, Event, RoomState};
use crate::site::SiteKeys;
use crate::wire::{Codec, VoidWhy};

/// Makes a transport's frame of a payload: for WebSocket, a whole unmasked frame, so that the same bytes go to every socket.
pub type Framing = fn(Codec, Vec<u8>) -> Bytes;

/// A room on one node, as its sockets see it.
#[derive(Debug)]
pub struct Hub {
    state: RoomState,
    keys: Arc<SiteKeys>,
    framing: Framing,
    batch_items: usize,
    frame_bytes: usize,
    tail: Tail<Held>,
    /// Heads that the log had lately, older ones than the tail knows among them: a chain that a client began is held against
    /// each that it passes, so that it cannot go past the head at which it was opened with another log's digest.
    milestones: VecDeque<Head>,
    cache: Cache,
    /// The last revision that removed anybody; up to the head that the hub began with, not known better.
    last_removal: Revision,
    /// The record that contradicted the fold: from then on nothing is taken.
    broken: Option<Contradiction>,
}

/// Heads that are remembered: 10 KiB a room at most.
pub(super) const MILESTONES: usize = 256;

/// A record in memory.
#[derive(Debug)]
struct Held {
    first: Revision,
    /// The digest before it.
    before: Digest,
    lines: Vec<Line>,
}

/// What of a claim is for the account, or is not.
struct Run {
    entitled: bool,
    to: Revision,
    vouched: Option<Revision>,
}

impl Hub {
    /// A hub of the room as folded so far; it holds no records yet.
    pub fn new(state: RoomState, keys: Arc<SiteKeys>, limits: &Limits, framing: Framing) -> Self {
        let head = state.head().revision;
        let milestones = VecDeque::from([state.head()]);
        Self {
            state,
            keys,
            framing,
            batch_items: limits.batch_items as usize,
            frame_bytes: limits.frame_out_bytes as usize,
            tail: Tail::new(head, limits.tail_records as usize, limits.tail_bytes as usize),
            milestones,
            cache: Cache::new(limits.frame_out_bytes as usize),
            last_removal: head,
            broken: None,
        }
    }

    /// The room as folded.
    pub fn state(&self) -> &RoomState {
        &self.state
    }

    /// The revision after which everything is in memory.
    pub fn floor(&self) -> Revision {
        self.tail.floor()
    }

    /// Takes the next record, which leads to the head `after`; says what it was. What it deletes is served no more.
    ///
    /// # Errors
    /// Permanent: the record contradicts the fold, and the log has to be quarantined. Every later record is answered the same.
    pub fn commit(&mut self, record: &Record<Event>, after: Head) -> Result<Offer, Contradiction> {
        if let Some(contradiction) = self.broken {
            return Err(contradiction);
        }
        let offer = self.tail.judge(record.first);
        if offer != Offer::Next {
            return Ok(offer);
        }
        let before = self.state.head();
        let lost: Vec<Revision> = record.items().flat_map(|item| self.state.erased_by(item.event)).collect();
        if let Err(contradiction) = self.state.apply(record, after) {
            self.broken = Some(contradiction);
            return Err(contradiction);
        }
        for revision in lost {
            self.bury(revision);
        }
        if self.milestones.len() >= MILESTONES {
            self.milestones.pop_front();
        }
        self.milestones.push_back(after);
        let removes = |event: &Event| matches!(event, Event::MembersRemoved { .. });
        if let Some(removal) = record.items().filter(|item| removes(item.event)).last() {
            self.last_removal = removal.revision;
        }
        // Erased by the fold that includes this record: it may take back what it says itself.
        let erased = |revision| self.state.is_erased(revision);
        let lines: Vec<Line> = Line::of_record(record, before.revision, Some(before.digest), erased).collect();
        debug_assert_eq!(lines.last().and_then(|line| line.digest), Some(after.digest));
        let weight = lines.iter().map(Line::weight).sum();
        let held = Held { first: record.first, before: before.digest, lines };
        Ok(self.tail.offer(record.first, record.last(), weight, held))
    }

    /// The next frame for a socket, or why there is none.
    pub fn pack(&mut self, ask: &Ask<'_>) -> Pack {
        let through = ask.through.min(self.state.head().revision);
        if ask.after >= through {
            return Pack::Nothing;
        }
        let Some(run) = self.run(ask, through) else { return Pack::Removed };
        let key = (run.entitled && run.to == through).then(|| cache_key(ask, through));
        let shareable = ask.kinds.is_none() && (ask.own.is_empty() || !self.is_own_ahead(ask, run.to));
        if let Some(key) = key.filter(|_| shareable)
            && let Some(packed) = self.cache.get(key, ask.chain)
            && (packed.needs.is_none() || packed.needs != ask.refused)
        {
            return Pack::Frame(Packed { vouched: run.vouched, ..packed.clone() });
        }
        let before = self.digest_at(ask.after);
        if let (Some(ours), Some(theirs)) = (before, ask.chain)
            && ours != theirs
        {
            return Pack::Unknown;
        }
        if before.is_some() {
            let payload = if run.entitled { self.pack_tail(ask, run.to) } else { Some(self.void(ask, run.to, None)) };
            return self.finish(ask, &run, payload, key.map(|key| (key, before, true)));
        }
        match ask.past.filter(|past| past.follows(ask.after)) {
            Some(past) => {
                let Some(lines) = self.read(past, ask, run.to) else { return Pack::Unknown };
                let payload = if run.entitled {
                    self.packer(ask).pack(ask.after, lines.iter())
                } else {
                    lines.last().map(|last| self.void(ask, last.revision, last.digest))
                };
                self.finish(ask, &run, payload, key.map(|key| (key, ask.chain, false)))
            }
            // Without a chain to go on with, what is not for the account need not be read.
            None if !run.entitled && ask.chain.is_none() => {
                let payload = self.void(ask, run.to, None);
                self.finish(ask, &run, Some(payload), None)
            }
            None => Pack::Fetch,
        }
    }

    /// Makes a frame of a payload, and keeps it for others where it says the same to them.
    fn finish(
        &mut self,
        ask: &Ask<'_>,
        run: &Run,
        payload: Option<Payload>,
        key: Option<(Key, Option<Digest>, bool)>,
    ) -> Pack {
        let Some(payload) = payload else { return Pack::Nothing };
        debug_assert!(ask.after < payload.to && payload.to <= run.to);
        let packed = Packed {
            bytes: (self.framing)(ask.codec, payload.bytes),
            from: ask.after.next(),
            to: payload.to,
            needs: payload.needs,
            chain: payload.chain,
            vouched: run.vouched,
        };
        if let Some((key, before, from_tail)) = key.filter(|_| payload.shared) {
            self.cache.put(key, before, from_tail, packed.clone());
        }
        Pack::Frame(packed)
    }

    /// Up to where the account may, or may not, read what follows; `None` when it is gone for good.
    fn run(&self, ask: &Ask<'_>, through: Revision) -> Option<Run> {
        let head = self.state.head().revision;
        let from = ask.after.next();
        if ask.vouched.is_some_and(|vouched| vouched >= self.last_removal) {
            debug_assert_eq!(self.state.entitlement(ask.account, from, head), (true, head));
            return Some(Run { entitled: true, to: through, vouched: ask.vouched });
        }
        let (entitled, to) = self.state.entitlement(ask.account, from, head);
        let member = self.state.is_member(ask.account);
        if !entitled && !member && to == head {
            return None;
        }
        let vouched = (entitled && member && to == head).then_some(head);
        Some(Run { entitled, to: to.min(through), vouched })
    }

    fn pack_tail(&self, ask: &Ask<'_>, to: Revision) -> Option<Payload> {
        let records = self.tail.after(ask.after)?;
        let lines = records.flat_map(|held| &held.lines);
        let lines = lines.skip_while(|line| line.revision <= ask.after).take_while(|line| line.revision <= to);
        self.packer(ask).pack(ask.after, lines)
    }

    /// What was fetched, as the fold of now lets it be seen; `None` when it leads to another log than ours.
    fn read(&self, past: &Past, ask: &Ask<'_>, to: Revision) -> Option<Vec<Line>> {
        let (mut lines, mut after, mut chain) = (Vec::new(), ask.after, ask.chain);
        for record in past.after(ask.after) {
            for mut line in Line::of_record(record, after, chain, |revision| self.state.is_erased(revision)) {
                if line.revision > to {
                    return Some(lines);
                }
                let ours = self.digest_at(line.revision);
                match (line.digest, ours.or_else(|| self.milestone(line.revision))) {
                    (Some(theirs), Some(ours)) if theirs != ours => return None,
                    (None, _) => line.digest = ours,
                    _ => {}
                }
                (after, chain) = (line.revision, line.digest);
                lines.push(line);
            }
        }
        Some(lines)
    }

    fn void(&self, ask: &Ask<'_>, to: Revision, digest: Option<Digest>) -> Payload {
        let chain = digest.or_else(|| self.digest_at(to));
        let position = chain.map_or_else(Blob::default, |digest| {
            let head = Head { revision: to, digest };
            Position { room: self.state.room(), head }.to_blob(&self.keys)
        });
        let bytes = self.packer(ask).void(ask.after.next(), to, VoidWhy::NotEntitled, position);
        Payload { bytes, to, needs: None, chain, shared: false }
    }

    fn packer<'a>(&'a self, ask: &Ask<'a>) -> Packer<'a> {
        Packer {
            room: self.state.room(),
            keys: &self.keys,
            codec: ask.codec,
            max_items: if ask.batch { self.batch_items } else { 1 },
            max_bytes: self.frame_bytes,
            kinds: ask.kinds,
            refused: ask.refused,
            account: ask.account,
            own: ask.own,
        }
    }

    /// Whether this socket asked for anything that lies ahead of it.
    fn is_own_ahead(&self, ask: &Ask<'_>, to: Revision) -> bool {
        let Some(records) = self.tail.after(ask.after) else { return true };
        let packer = self.packer(ask);
        let ahead = records.flat_map(|held| &held.lines).skip_while(|line| line.revision <= ask.after);
        ahead.take_while(|line| line.revision <= to).any(|line| packer.mark(line).is_some())
    }

    /// The digest at a revision from the floor on.
    fn digest_at(&self, revision: Revision) -> Option<Digest> {
        let head = self.state.head();
        if revision == head.revision {
            return Some(head.digest);
        }
        let held = self.tail.get(revision.next())?;
        match revision.next().since(held.first).checked_sub(1) {
            None => Some(held.before),
            Some(at) => held.lines.get(at as usize)?.digest,
        }
    }

    fn milestone(&self, revision: Revision) -> Option<Digest> {
        let at = self.milestones.binary_search_by_key(&revision, |head| head.revision).ok()?;
        Some(self.milestones[at].digest)
    }

    /// Nobody is served the body at `revision` again.
    fn bury(&mut self, revision: Revision) {
        self.cache.clear();
        if let Some(held) = self.tail.get_mut(revision) {
            let at = revision.since(held.first) as usize;
            if let Some(line) = held.lines.get_mut(at) {
                line.bury();
            }
        }
    }
}

/// What a shared frame is found by. One revision per frame comes from `after` alone.
fn cache_key(ask: &Ask<'_>, through: Revision) -> Key {
    let through = if ask.batch { through } else { ask.after.next() };
    Key { after: ask.after, through, codec: ask.codec, batch: ask.batch }
}
