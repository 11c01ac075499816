//! A record on its way into the log, until it is known to be there or known not to be.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Append, Effect, Pending, Phase, Sequencer};
use crate::id::Revision;
use crate::keys::Opener;
use crate::log::{Head, Record, RecordBytes};
use crate::retry::Failure;
use crate::room::{Event, Outcome, Refused};
use crate::time::Instant;

/// A record being appended, and the answers that wait for it.
#[derive(Debug)]
pub(super) struct Flight {
    record: Arc<Record<Event>>,
    bytes: RecordBytes,
    before: Head,
    after: Head,
    pub(super) replies: Vec<Reply>,
    retry: Option<Retry>,
}

/// An answer that is true once the record is durable.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) pending: Pending,
    pub(super) result: Result<Outcome, Refused>,
}

#[derive(Debug, Clone, Copy)]
enum Retry {
    Append(Instant),
    ReadBack(Instant),
}

impl Flight {
    pub(super) fn new(
        record: Arc<Record<Event>>,
        bytes: RecordBytes,
        before: Head,
        after: Head,
        replies: Vec<Reply>,
    ) -> Self {
        Self { record, bytes, before, after, replies, retry: None }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retry = self.retry.map(|(Retry::Append(at) | Retry::ReadBack(at))| at);
        retry.into_iter().chain(self.replies.first().map(|reply| reply.pending.deadline)).min()
    }

    pub(super) fn retry(&mut self, now: Instant, out: &mut Vec<Effect>) {
        match self.retry {
            Some(Retry::Append(at)) if at <= now => self.append(out),
            Some(Retry::ReadBack(at)) if at <= now => {
                self.retry = None;
                out.push(Effect::ReadBack { after: self.before.revision });
            }
            _ => {}
        }
    }

    /// The same bytes again: a store that has them already says so, or says conflict.
    fn append(&mut self, out: &mut Vec<Effect>) {
        self.retry = None;
        out.push(Effect::Append { expected: self.before, record: self.bytes.clone(), after: self.after });
    }
}

impl Sequencer {
    pub(super) fn appended(&mut self, now: Instant, appended: Result<Append, Failure>, out: &mut Vec<Effect>) {
        let wait = self.backoff.wait(&mut self.rng);
        let Phase::Appending(flight) = &mut self.phase else { return };
        match appended {
            Ok(Append::Done) => self.committed(out),
            // Somebody else's record, or our own from an attempt whose answer was lost: read before believing either.
            Ok(Append::Conflict) => out.push(Effect::ReadBack { after: flight.before.revision }),
            Err(Failure::Transient) => flight.retry = Some(Retry::Append(now.after(wait))),
            Err(Failure::Unknown) => out.push(Effect::ReadBack { after: flight.before.revision }),
            Err(Failure::Permanent) => self.quarantine("the log refuses the record", out),
        }
    }

    pub(super) fn read_back(
        &mut self,
        now: Instant,
        found: Result<Option<RecordBytes>, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let wait = self.backoff.wait(&mut self.rng);
        let Phase::Appending(flight) = &mut self.phase else { return };
        match found {
            Ok(Some(found)) if found == flight.bytes => self.committed(out),
            Ok(Some(_)) => self.give_way(out),
            Ok(None) => flight.append(out),
            Err(Failure::Permanent) => self.quarantine("the log cannot be read", out),
            Err(_) => flight.retry = Some(Retry::ReadBack(now.after(wait))),
        }
    }

    /// The record is durable.
    fn committed(&mut self, out: &mut Vec<Effect>) {
        let Phase::Appending(flight) = core::mem::replace(&mut self.phase, Phase::Ready) else { return };
        self.backoff.reset();
        self.take_up_staged();
        out.push(Effect::Committed { record: flight.record, after: flight.after });
        for reply in flight.replies {
            out.push(Effect::Answer { ticket: reply.pending.ticket, result: reply.result });
        }
        self.snapshot_when_due(out);
    }

    /// The version that was staged is current now: what it opens is the same secret.
    fn take_up_staged(&mut self) {
        let Some(fold) = &self.fold else { return };
        let current = fold.state.current_key();
        if let (Some((version, secret)), Some(site)) = (self.staged.clone(), fold.state.site()) {
            if current.is_some_and(|key| key.version == version && key.public == secret.public()) {
                let cache = self.limits.sealers_per_key as usize;
                self.opener = Some(Opener::new(site, self.room, version, secret, cache));
                self.staged = None;
            }
        }
    }

    fn snapshot_when_due(&mut self, out: &mut Vec<Effect>) {
        let Some(fold) = &self.fold else { return };
        let revision: Revision = fold.state.head().revision;
        if revision.since(self.snapshot_at) >= u64::from(self.limits.snapshot_every) {
            self.snapshot_at = revision;
            out.push(Effect::Snapshot { revision, bytes: fold.to_snapshot().into() });
        }
    }

    /// Another record stands where ours should: load the room again and decide anew, in the same order.
    fn give_way(&mut self, out: &mut Vec<Effect>) {
        if let Phase::Appending(flight) = core::mem::replace(&mut self.phase, Phase::Ready) {
            for reply in flight.replies.into_iter().rev() {
                self.queue.push_front(reply.pending);
            }
        }
        self.reload(out);
    }
}
