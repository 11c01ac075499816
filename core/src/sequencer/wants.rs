//! What commands wait for: secrets of the vault, and messages that they are about.

use alloc::vec::Vec;

use super::{Effect, Phase, Sequencer};
use crate::id::{KeyVersion, Revision};
use crate::keys::{Opener, RoomSecret};
use crate::retry::Failure;
use crate::room::{Command, Need, Target};
use crate::time::Instant;

/// Something that a command waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Asked for.
    Out,
    /// Failed; asked for again then.
    RetryAt(Instant),
}

impl Sequencer {
    /// What is held beside the fold must match it: another node may have rotated meanwhile.
    pub(super) fn forget_other_keys(&mut self) {
        let Some(fold) = &self.fold else { return };
        let current = fold.state.current_key();
        let next = fold.state.next_version();
        self.opener = self.opener.take().filter(|opener| Some(opener.public()) == current.map(|key| key.public));
        self.staged = self.staged.take().filter(|(version, _)| *version == next);
    }

    pub(super) fn secret_put(
        &mut self,
        now: Instant,
        version: KeyVersion,
        secret: Result<RoomSecret, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match secret {
            Ok(secret) => {
                self.wanted.remove(&Need::Stage(version));
                self.suspected = None;
                self.staged = Some((version, secret));
                self.forget_other_keys();
            }
            Err(Failure::Permanent) => {
                self.suspect(now, Need::Stage(version), "the next key version was destroyed", out)
            }
            Err(_) => self.want_again(now, Need::Stage(version)),
        }
    }

    pub(super) fn secret_got(
        &mut self,
        now: Instant,
        version: KeyVersion,
        secret: Result<RoomSecret, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match secret {
            Ok(secret) => {
                self.wanted.remove(&Need::Secret(version));
                self.suspected = None;
                let Some(fold) = &self.fold else { return };
                let (Some(site), Some(public)) = (fold.state.site(), fold.state.public(version)) else { return };
                if secret.public() != public {
                    return self.quarantine("the vault holds another key than the log names", out);
                }
                let cache = self.limits.sealers_per_key as usize;
                self.opener = Some(Opener::new(site, self.room, version, secret, cache));
                self.forget_other_keys();
            }
            Err(Failure::Permanent) => self.suspect(now, Need::Secret(version), "the vault lost the current key", out),
            Err(_) => self.want_again(now, Need::Secret(version)),
        }
    }

    pub(super) fn message_found(
        &mut self,
        now: Instant,
        revision: Revision,
        target: Result<Target, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match target {
            Ok(target) => {
                self.wanted.remove(&Need::Target(revision));
                for pending in &mut self.queue {
                    if about(&pending.request.command) == Some(revision) {
                        pending.target = Some(target.clone());
                    }
                }
            }
            Err(Failure::Permanent | Failure::Newer) => self.quarantine("a record cannot be read", out),
            Err(_) => self.want_again(now, Need::Target(revision)),
        }
    }

    /// The vault says that it will never have what the fold needs. A fold that another node overtook needs what is long
    /// gone: the room is loaded again, and only when it still needs the same is something wrong.
    fn suspect(&mut self, now: Instant, need: Need, what: &'static str, out: &mut Vec<Effect>) {
        let asks_still = matches!(self.phase, Phase::Ready);
        if asks_still && self.suspected == Some(need) {
            return self.quarantine(what, out);
        }
        self.want_again(now, need);
        if asks_still {
            self.suspected = Some(need);
            self.reload(out);
        }
    }

    fn want_again(&mut self, now: Instant, need: Need) {
        let wait = self.backoff.wait(&mut self.rng);
        self.wanted.insert(need, Wanted::RetryAt(now.after(wait)));
    }

    /// Asks for what a command waits for, unless that is on its way.
    pub(super) fn want(&mut self, need: Need, out: &mut Vec<Effect>) {
        if self.wanted.contains_key(&need) {
            return;
        }
        self.wanted.insert(need, Wanted::Out);
        out.push(match need {
            Need::Stage(version) => Effect::PutSecret { version, secret: RoomSecret::generate(&mut self.rng) },
            Need::Secret(version) => Effect::GetSecret { version },
            Need::Target(revision) => Effect::FindMessage { revision },
        });
    }

    /// Forgets what is due for another attempt: whoever still wants it asks in the decision that follows.
    pub(super) fn retry_wanted(&mut self, now: Instant) {
        self.wanted.retain(|_, wanted| !matches!(wanted, Wanted::RetryAt(at) if *at <= now));
    }
}

/// The message that a command is about.
fn about(command: &Command) -> Option<Revision> {
    match command {
        Command::Edit { revision, .. } | Command::Delete { revision, .. } => Some(*revision),
        _ => None,
    }
}
