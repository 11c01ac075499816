//! A record on its way into the log, until it is known to be there or known not to be.

use alloc::boxed::Box;
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
    /// The last append found another head.
    contradicted: bool,
}

/// Refusals that wait for the log to be read.
#[derive(Debug)]
pub(super) struct Confirming {
    after: Revision,
    pub(super) replies: Vec<Reply>,
    retry_at: Option<Instant>,
}

/// An answer that is true once the record is durable, or the fold is found to be at the head.
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
        Self { record, bytes, before, after, replies, retry: None, contradicted: false }
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
        self.contradicted = false;
        out.push(Effect::Append { expected: self.before, record: self.bytes.clone(), after: self.after });
    }
}

impl Confirming {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.retry_at.into_iter().chain(self.replies.first().map(|reply| reply.pending.deadline)).min()
    }

    pub(super) fn retry(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            out.push(Effect::ReadBack { after: self.after });
        }
    }
}

impl Sequencer {
    pub(super) fn appended(&mut self, now: Instant, appended: Result<Append, Failure>, out: &mut Vec<Effect>) {
        let wait = self.backoff.wait(&mut self.rng);
        let Phase::Appending(flight) = &mut self.phase else { return };
        match appended {
            Ok(Append::Done) => self.committed(out),
            // Somebody else's record, or our own from an attempt whose answer was lost: read before believing either.
            Ok(Append::Conflict) => {
                flight.contradicted = true;
                out.push(Effect::ReadBack { after: flight.before.revision });
            }
            Err(Failure::Transient) => flight.retry = Some(Retry::Append(now.after(wait))),
            Err(Failure::Unknown) => out.push(Effect::ReadBack { after: flight.before.revision }),
            Err(Failure::Permanent | Failure::Newer) => self.quarantine("the log refuses the record", out),
        }
    }

    pub(super) fn read_back(
        &mut self,
        now: Instant,
        found: Result<Option<RecordBytes>, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let wait = self.backoff.wait(&mut self.rng);
        match (&mut self.phase, found) {
            (Phase::Appending(_) | Phase::Confirming(_), Err(Failure::Permanent)) => {
                self.quarantine("the log cannot be read", out);
            }
            (Phase::Appending(flight), Ok(Some(found))) if found == flight.bytes => self.committed(out),
            // Another record stands where ours should, or after what was refused: decide anew, in the same order.
            (Phase::Appending(_) | Phase::Confirming(_), Ok(Some(_))) => self.reload(out),
            // Another head, and nothing after ours: the log ends before it. Loading shows whether it lost something.
            (Phase::Appending(flight), Ok(None)) if flight.contradicted => self.reload_at(Some(now.after(wait))),
            (Phase::Appending(flight), Ok(None)) => flight.append(out),
            (Phase::Appending(flight), Err(_)) => flight.retry = Some(Retry::ReadBack(now.after(wait))),
            (Phase::Confirming(_), Ok(None)) => self.confirmed(out),
            (Phase::Confirming(confirming), Err(_)) => confirming.retry_at = Some(now.after(wait)),
            (Phase::Loading { .. } | Phase::Ready | Phase::Quarantined, _) => {}
        }
    }

    /// Nothing recorded, everything refused: the log must still end where the fold does.
    pub(super) fn confirm(&mut self, after: Revision, replies: Vec<Reply>, out: &mut Vec<Effect>) {
        self.phase = Phase::Confirming(Box::new(Confirming { after, replies, retry_at: None }));
        out.push(Effect::ReadBack { after });
    }

    /// The fold is at the head.
    fn confirmed(&mut self, out: &mut Vec<Effect>) {
        self.backoff.reset();
        for reply in self.take_replies(Phase::Ready) {
            out.push(Effect::Answer { ticket: reply.pending.ticket, result: reply.result });
        }
    }

    /// The record is durable.
    fn committed(&mut self, out: &mut Vec<Effect>) {
        let Phase::Appending(flight) = core::mem::replace(&mut self.phase, Phase::Ready) else { return };
        self.backoff.reset();
        self.durable = flight.after;
        self.suspected = None;
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
        if let (Some((version, secret)), Some(site)) = (self.staged.clone(), fold.state.site())
            && current.is_some_and(|key| key.version == version && key.public == secret.public())
        {
            let cache = self.limits.sealers_per_key as usize;
            self.opener = Some(Opener::new(site, self.room, version, secret, cache));
            self.staged = None;
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
}
