//! Group commit: the commands that wait become one record, each decided on top of the one before.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::flight::{Flight, Reply};
use super::{Effect, Pending, Phase, Sequencer};
use crate::id::{KeyVersion, Revision};
use crate::keys::{Blob, Claim, SealError, Sealer};
use crate::log::{Body, Entry, Item, Logged, Record};
use crate::room::{
    Command, Content, Context, Decision, Draft, DraftBody, Event, Need, Outcome, Reason, Refused, Request, decide,
};
use crate::time::Timestamp;

/// What an event costs in a record beside its body and its names, at most.
const EVENT_BYTES: usize = 256;
/// What a named account costs, at most: in an event and in the system message that tells of it.
const ACCOUNT_BYTES: usize = 200;

impl Sequencer {
    /// Decides what waits and begins to append it, if the log is free.
    pub(super) fn decide_next(&mut self, wall: Timestamp, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Ready) || self.queue.is_empty() {
            return;
        }
        let Some(fold) = &self.fold else { return };
        let before = fold.state.head();
        let time = wall.max(fold.state.time());
        let mut record = Record { first: before.revision.next(), time, entries: Vec::new() };
        let mut next = record.first;
        let mut replies: Vec<Reply> = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = self.queue.pop_front() {
            bytes += cost(&pending.request);
            let full = bytes > self.limits.record_bytes as usize
                || record.entries.len() >= self.limits.record_commands as usize;
            if full && !record.entries.is_empty() {
                self.queue.push_front(pending);
                break;
            }
            let mut remembered = false;
            let result = match self.decide_one(&pending) {
                Ok(Decision::Needs(need)) => {
                    self.queue.push_front(pending);
                    self.want(need, out);
                    break;
                }
                Ok(Decision::Record(drafts)) => match self.record_entry(&pending.request, drafts, next, time) {
                    Ok((entry, outcome)) => {
                        next = next.plus(entry.events.len() as u64);
                        record.entries.push(entry);
                        Ok(outcome)
                    }
                    Err(what) => {
                        self.queue.push_front(pending);
                        self.queue.extend(replies.into_iter().map(|reply| reply.pending));
                        return self.quarantine(what, out);
                    }
                },
                Ok(Decision::Answered(outcome)) => {
                    remembered = true;
                    Ok(outcome)
                }
                Err(refused) => Err(refused),
            };
            // What was carried out before is durable, and stays so. Everything else waits until the log is known to be as
            // the fold has it: it might turn out otherwise.
            if remembered && record.entries.is_empty() {
                out.push(Effect::Answer { ticket: pending.ticket, result });
            } else {
                replies.push(Reply { pending, result });
            }
        }
        if record.entries.is_empty() {
            if !replies.is_empty() {
                self.confirm(before.revision, replies, out);
            }
            return;
        }
        let after = record.extend(before).expect("the record begins after the head it was decided on");
        if let Some(fold) = &mut self.fold {
            fold.state.settle(after);
        }
        let bytes = record.encode();
        out.push(Effect::Append { expected: before, record: bytes.clone(), after });
        self.phase = Phase::Appending(Box::new(Flight::new(Arc::new(record), bytes, before, after, replies)));
    }

    fn decide_one(&mut self, pending: &Pending) -> Result<Decision, Refused> {
        let Some(fold) = &self.fold else { return Err(Reason::Defect.into()) };
        let mut context = Context {
            limits: &self.limits,
            keys: &self.keys,
            staged: self.staged.as_ref().map(|(version, secret)| (*version, secret.public())),
            opener: self.opener.as_mut(),
            target: pending.target.as_ref(),
        };
        decide(&fold.state, &fold.requests, &pending.request, &mut context)
    }

    /// Seals and folds what was decided, event by event: a version that an event brings is there for the next one's body.
    fn record_entry(
        &mut self,
        request: &Request,
        drafts: Vec<Draft>,
        first: Revision,
        time: Timestamp,
    ) -> Result<(Entry<Event>, Outcome), &'static str> {
        let count = drafts.len();
        let mut events = Vec::with_capacity(count);
        for (at, draft) in drafts.into_iter().enumerate() {
            let body = self.seal(request, &draft)?;
            let item = Item {
                revision: first.plus(at as u64),
                time,
                account: &request.account,
                request: Some(request.id),
                fingerprint: request.fingerprint,
                opens_entry: at == 0,
                closes_entry: at + 1 == count,
                event: &draft.event,
                body: &body,
            };
            let fold = self.fold.as_mut().ok_or("there is no fold")?;
            fold.apply_item(&item).map_err(|contradiction| contradiction.what)?;
            events.push(Logged { event: draft.event, body });
        }
        let fold = self.fold.as_ref().ok_or("there is no fold")?;
        let answered = fold.requests.answered(&request.account, request.id).ok_or("an entry is not remembered")?;
        let entry = Entry {
            account: request.account.clone(),
            request: Some(request.id),
            fingerprint: request.fingerprint,
            events,
        };
        Ok((entry, answered.outcome))
    }

    fn seal(&mut self, request: &Request, draft: &Draft) -> Result<Body, &'static str> {
        match &draft.body {
            DraftBody::None => Ok(Body::None),
            DraftBody::Sealed(envelope) => Ok(Body::Present(Blob(envelope.to_bytes()))),
            DraftBody::Seal { kind, message, sender, edit, plaintext } => {
                let version = draft.event.sealed_under().ok_or("an event without a version has a body")?;
                let claim = Claim { room: request.room, version, kind: *kind, sender, message: *message, edit: *edit };
                let envelope = match self.sealer(version)?.seal(&claim, plaintext) {
                    Err(SealError::Exhausted) => {
                        self.sealer = None;
                        self.sealer(version)?.seal(&claim, plaintext)
                    }
                    sealed => sealed,
                };
                let envelope = envelope.map_err(|_| "a body cannot be sealed")?;
                Ok(Body::Present(Blob(envelope.to_bytes())))
            }
        }
    }

    fn sealer(&mut self, version: KeyVersion) -> Result<&mut Sealer, &'static str> {
        if self.sealer.as_ref().is_none_or(|sealer| sealer.version() != version) {
            let state = &self.fold.as_ref().ok_or("there is no fold")?.state;
            let site = state.site().ok_or("a room without a site")?;
            let public = state.public(version).ok_or("a version without a key")?;
            let sealer = Sealer::new(site, self.room, version, &public, &mut self.rng);
            self.sealer = Some(sealer.map_err(|_| "a public half that is no key")?);
        }
        self.sealer.as_mut().ok_or("there is no sealer")
    }
}

/// What a command adds to a record, at most, in bytes.
fn cost(request: &Request) -> usize {
    let content = |content: &Content| match content {
        // JSON may write a character in six bytes.
        Content::Plain { text } => text.len() * 6,
        Content::Sealed(envelope) => envelope.ciphertext.len(),
    };
    let own = match &request.command {
        Command::Submit(submit) => content(&submit.content),
        Command::Edit { content: new, .. } => content(new),
        Command::CreateChannel { accounts, .. } | Command::Add { accounts, .. } | Command::Remove { accounts, .. } => {
            (accounts.len() + request.from_channels.len()) * ACCOUNT_BYTES
        }
        Command::Rename { name, .. } => name.len() * 7,
        _ => 0,
    };
    own + 5 * EVENT_BYTES
}

impl Need {
    /// In words, for traces.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Stage(_) => "the next key in the vault",
            Self::Secret(_) => "the current key",
            Self::Target(_) => "the message it is about",
        }
    }
}
