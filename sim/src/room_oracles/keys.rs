//! Of keys and of what they open.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret};
use chamberlain_core::log::{Body, Item};
use chamberlain_core::room::Event;

use super::log::models;
use super::{Finding, Reading};
use crate::plan;
use crate::room_history::Seen;

/// A sealed body, with what it is bound to.
struct Sealed {
    revision: Revision,
    version: KeyVersion,
    kind: BodyKind,
    sender: AccountId,
    message: MessageId,
    edit: u32,
    envelope: Envelope,
}

fn sealed(reading: &Reading<'_>) -> Result<Vec<Sealed>, String> {
    let mut messages: BTreeMap<Revision, MessageId> = BTreeMap::new();
    let mut all = Vec::new();
    for item in reading.items() {
        let (version, kind, message, edit) = match item.event {
            Event::Message { message, kind, version, .. } => {
                messages.insert(item.revision, *message);
                (*version, *kind, *message, 0)
            }
            Event::Edited { revision, edit, version } => {
                let message = messages.get(revision).ok_or_else(|| format!("{} edits nothing", item.revision))?;
                (*version, BodyKind::Message, *message, *edit)
            }
            _ => continue,
        };
        let envelope = envelope(&item)?;
        let (revision, sender) = (item.revision, item.account.clone());
        all.push(Sealed { revision, version, kind, sender, message, edit, envelope });
    }
    Ok(all)
}

fn envelope(item: &Item<'_, Event>) -> Result<Envelope, String> {
    match item.body {
        Body::Present(bytes) => Envelope::from_bytes(bytes).map_err(|error| format!("{}: {error}", item.revision)),
        _ => Err(format!("{} has no body", item.revision)),
    }
}

impl Sealed {
    /// Whether `secret` opens it, under the version that the envelope says.
    fn opens_with(&self, reading: &Reading<'_>, secret: &RoomSecret) -> bool {
        let version = self.envelope.version;
        let mut opener = Opener::new(&plan::site(), reading.history.room, version, secret.clone(), 0);
        let claim = Claim {
            room: reading.history.room,
            version,
            kind: self.kind,
            sender: &self.sender,
            message: self.message,
            edit: self.edit,
        };
        opener.open(&claim, &self.envelope).is_ok()
    }
}

pub(super) fn readable(reading: &Reading<'_>) -> Finding {
    for body in sealed(reading)? {
        let secret = reading.history.vault.get(&body.version);
        let secret =
            secret.ok_or_else(|| format!("{} is under {}, which is in no vault", body.revision, body.version))?;
        if body.envelope.version != body.version || !body.opens_with(reading, secret) {
            return Err(format!("{} does not open under {}", body.revision, body.version));
        }
    }
    Ok(())
}

pub(super) fn removed(reading: &Reading<'_>) -> Finding {
    let models = models(reading)?;
    let bodies = sealed(reading)?;
    let mut tried = BTreeSet::new();
    for (at, entry) in reading.entries.iter().enumerate() {
        let (before, after) = (&models[at], &models[at + 1]);
        let gone = before.members.iter().filter(|member| after.role(&member.account).is_none());
        for account in gone.map(|member| &member.account) {
            let held = before.held_by(account);
            for body in bodies.iter().filter(|body| body.revision > entry.first) {
                for version in &held {
                    // One encapsulation gives one key: whether it opens one body or all.
                    if !tried.insert((*version, body.envelope.version, body.envelope.encapsulation)) {
                        continue;
                    }
                    let Some(secret) = reading.history.vault.get(&KeyVersion(*version)) else { continue };
                    if body.opens_with(reading, secret) {
                        let revision = body.revision;
                        return Err(format!("{account}, removed at {}, opens {revision} with {version}", entry.first));
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn versions(reading: &Reading<'_>) -> Finding {
    let seen = &reading.history.seen;
    for (_, what) in seen {
        let Seen::Told { version, secret } = what else { continue };
        if reading.history.vault.get(version) != Some(secret) {
            return Err(format!("the vault told two secrets of {version}"));
        }
    }
    let mut next = KeyVersion::FIRST;
    for (record, landed) in reading.records.iter().zip(&reading.landed) {
        for item in record.items() {
            let Event::KeyRotated { version, public } = item.event else { continue };
            if *version != next {
                return Err(format!("{version} follows, {next} should"));
            }
            next = next.next();
            let put = seen[..*landed].iter().any(|(_, seen)| matches!(seen, Seen::Put { version: v } if v == version));
            if !put {
                return Err(format!("{version} was current before its secret was in the vault"));
            }
            if reading.history.vault.get(version).map(RoomSecret::public) != Some(*public) {
                return Err(format!("the log names another public half of {version}"));
            }
        }
    }
    Ok(())
}

pub(super) fn nonces(reading: &Reading<'_>) -> Finding {
    let mut used = BTreeSet::new();
    for body in sealed(reading)? {
        if !used.insert((body.envelope.encapsulation, body.envelope.counter)) {
            return Err(format!("{} repeats one", body.revision));
        }
    }
    Ok(())
}
