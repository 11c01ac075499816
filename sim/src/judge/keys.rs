//! K1, K2, K3: which keys were given, to whom, before what, and what they open; and the nonces and bodies of D1.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, Claim, Encapsulation, Opener, RoomPublic, RoomSecret};
use chamberlain_core::room::Event;
use chamberlain_core::wire::{Answer, ServerFrame};

use super::rooms::{Fact, Room};
use super::{Findings, Reading};
use crate::story::Seen;

/// Message keys that are remembered per version, so that an encapsulation is opened once.
const SEALERS: usize = 1_024;

/// A key that came to a client.
struct Given<'a> {
    at: usize,
    account: &'a AccountId,
    room: RoomId,
    version: KeyVersion,
    public: RoomPublic,
    secret: &'a [u8],
}

/// Every key that came to anybody.
fn given<'a>(reading: &'a Reading<'_>) -> impl Iterator<Item = Given<'a>> {
    reading.links.values().flat_map(|link| {
        link.seen.iter().filter_map(|at| match reading.seen(*at) {
            Seen::Came {
                frame:
                    ServerFrame::Key { room, version, public, secret }
                    | ServerFrame::Ok { answer: Answer::Key { room, version, public, secret }, .. },
                ..
            } => {
                let (at, account, secret) = (*at, link.account, &secret[..]);
                Some(Given { at, account, room: *room, version: *version, public: *public, secret })
            }
            _ => None,
        })
    })
}

/// Whatever comes sealed comes after its key, on the same connection.
pub(super) fn before_ciphertext(reading: &Reading<'_>, out: &mut Findings) {
    for link in reading.links.values() {
        let mut held: BTreeSet<(RoomId, KeyVersion)> = BTreeSet::new();
        for at in &link.seen {
            let Seen::Came { frame, .. } = reading.seen(*at) else { continue };
            match frame {
                ServerFrame::Key { room, version, .. }
                | ServerFrame::Ok { answer: Answer::Key { room, version, .. }, .. } => {
                    held.insert((*room, *version));
                }
                ServerFrame::Batch { room, items, .. } => {
                    for item in items {
                        let Some(body) = item.body.as_ref().filter(|body| !held.contains(&(*room, body.version)))
                        else {
                            continue;
                        };
                        let (revision, version, who) = (item.revision, body.version, link.account);
                        let what =
                            format!("{revision} of {room} came to {who} over {:?} before key {version}", link.id);
                        out.push((what, Some(*at)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Keys go to whom the log lets read something under them; nothing under a version that somebody holds is kept from him.
pub(super) fn removed(reading: &Reading<'_>, out: &mut Findings) {
    let mut held: BTreeMap<(RoomId, KeyVersion), BTreeSet<&AccountId>> = BTreeMap::new();
    for given in given(reading) {
        let Given { at, account, room, version, .. } = given;
        let log = reading.rooms.get(&room);
        let head = log.map_or(Revision::ZERO, |log| log.durable(at));
        if !log.is_some_and(|log| log.may_hold(account, version, head)) {
            let what = format!("{account} was given key {version} of {room}, and may not hold it at {head}");
            out.push((what, Some(at)));
        }
        held.entry((room, version)).or_default().insert(account);
    }
    for room in reading.rooms.values() {
        let head = room.head().revision;
        for version in (0..room.versions.len() as u32).map(KeyVersion) {
            let Some((since, until)) = room.reign(version, head) else { continue };
            let sealed: Vec<&Fact> =
                room.facts(since, until.previous()).iter().filter(|f| f.event.sealed_under().is_some()).collect();
            let given = held.get(&(room.id, version));
            for account in room.everybody() {
                let holds = given.is_some_and(|given| given.contains(account));
                if !holds && !room.may_hold(account, version, head) {
                    continue;
                }
                if let Some(closed) = sealed.iter().find(|fact| !room.readable(account, fact.revision, head)) {
                    let revision = closed.revision;
                    let what = format!("{account} may hold key {version} of {}, which opens {revision}", room.id);
                    out.push((what, closed.landed));
                }
            }
        }
    }
    for unopened in reading.unopened() {
        if let Some(under) = unopened.opens_with {
            let Unopened { room, revision, version, landed, .. } = unopened;
            let what = format!("{revision} of {room} says version {version}, and opens with the key of {under}");
            out.push((what, *landed));
        }
    }
}

/// One secret for each version: in the vault before the record, the same to everybody, the other half of what the log names.
pub(super) fn one_secret(reading: &Reading<'_>, out: &mut Findings) {
    let mut puts: BTreeMap<(RoomId, KeyVersion), (usize, &RoomSecret)> = BTreeMap::new();
    for (at, (_, seen)) in reading.story.seen.iter().enumerate() {
        let Seen::Put { room, version, secret } = seen else { continue };
        if let Some((before, first)) = puts.insert((*room, *version), (at, secret))
            && first != secret
        {
            out.push((format!("the vault took two secrets of {version} of {room}, the first at {before}"), Some(at)));
        }
    }
    let vault = &reading.story.ending.vault;
    for room in reading.rooms.values() {
        for (nth, version) in room.versions.iter().enumerate() {
            let key = (room.id, KeyVersion(nth as u32));
            let landed = room.fact(version.since).and_then(|fact| fact.landed);
            let secret = vault.get(&key).or(puts.get(&key).map(|(_, secret)| *secret));
            match secret {
                None if reading.story.stores_whole => {
                    out.push((format!("{} of {} is current, and its secret in no vault", key.1, room.id), landed));
                }
                Some(secret) if secret.public() != version.public => {
                    out.push((format!("the log of {} names another public half of {}", room.id, key.1), landed));
                }
                _ => {}
            }
            let late = puts.get(&key).map_or(!puts.is_empty(), |(put, _)| landed.is_some_and(|landed| landed < *put));
            if late {
                out.push((format!("{} of {} was current before its secret was in the vault", key.1, room.id), landed));
            }
        }
    }
    for (key, (at, secret)) in &puts {
        if vault.get(key).is_some_and(|held| held != *secret) {
            out.push((format!("the vault holds another secret of {} of {} in the end", key.1, key.0), Some(*at)));
        }
    }
    told(reading, out);
}

/// What clients were told of keys is what vault and log hold.
fn told(reading: &Reading<'_>, out: &mut Findings) {
    let mut told: BTreeMap<(RoomId, KeyVersion), &[u8]> = BTreeMap::new();
    for given in given(reading) {
        let Given { at, account, room, version, public, secret } = given;
        let place = || format!("key {version} of {room}, as {account} was told it,");
        if told.insert((room, version), secret).is_some_and(|before| before != secret) {
            out.push((format!("{} is not what was told before", place()), Some(at)));
        }
        let held = reading.story.ending.vault.get(&(room, version));
        if held.is_some_and(|held| held.to_bytes()[..] != *secret) {
            out.push((format!("{} is not the one of the vault", place()), Some(at)));
        }
        public_half(reading, room, version, public, &place(), at, out);
    }
    for link in reading.links.values() {
        for at in &link.seen {
            let (room, current) = match reading.seen(*at) {
                Seen::Came { frame: ServerFrame::Opened { room, .. }, .. } => (room.room, room.key),
                Seen::Came { frame: ServerFrame::Error { room: Some(room), current: Some(current), .. }, .. } => {
                    (*room, *current)
                }
                _ => continue,
            };
            let place =
                format!("the key {} of {room} to seal under, as {} was told it,", current.version, link.account);
            public_half(reading, room, current.version, current.public, &place, *at, out);
        }
    }
}

fn public_half(
    reading: &Reading<'_>,
    room: RoomId,
    version: KeyVersion,
    public: RoomPublic,
    place: &str,
    at: usize,
    out: &mut Findings,
) {
    let log = reading.rooms.get(&room);
    match log.and_then(|log| log.versions.get(version.0 as usize)) {
        None => out.push((format!("{place} is not in the log"), Some(at))),
        Some(named) if !reading.is_kept(room, named.since) => {}
        Some(named) if named.public != public => {
            out.push((format!("{place} has another public half than the log names"), Some(at)));
        }
        Some(named) if log.is_some_and(|log| log.durable(at) < named.since) => {
            out.push((format!("{place} was not in the log yet"), Some(at)));
        }
        Some(_) => {}
    }
}

/// No two bodies of a log were sealed with one nonce.
pub(super) fn nonces(reading: &Reading<'_>, out: &mut Findings) {
    for room in reading.rooms.values() {
        let mut used: BTreeMap<(KeyVersion, Encapsulation, u64), Revision> = BTreeMap::new();
        for fact in &room.facts {
            let Some(body) = &fact.body else { continue };
            let nonce = (body.version, body.encapsulation, body.counter);
            if let Some(first) = used.insert(nonce, fact.revision) {
                let what = format!("{} and {first} of {} are sealed with one nonce", fact.revision, room.id);
                out.push((what, fact.landed));
            }
        }
    }
}

/// What is recorded opens under the version it names, as what it claims to be.
pub(super) fn readable(reading: &Reading<'_>, out: &mut Findings) {
    for unopened in reading.unopened() {
        let Unopened { room, revision, version, landed, .. } = unopened;
        out.push((format!("{revision} of {room} does not open under {version}"), *landed));
    }
}

/// A body that does not open as what it is recorded as.
pub(super) struct Unopened {
    room: RoomId,
    revision: Revision,
    version: KeyVersion,
    landed: Option<usize>,
    /// The version whose key opens it all the same.
    opens_with: Option<KeyVersion>,
}

/// Opens every body, each encapsulation once.
pub(super) fn open_all(reading: &Reading<'_>) -> Vec<Unopened> {
    let site = reading.story.keys.site();
    let vault = &reading.story.ending.vault;
    let mut unopened = Vec::new();
    for room in reading.rooms.values() {
        let mut openers: BTreeMap<KeyVersion, Opener> = BTreeMap::new();
        for fact in &room.facts {
            let (Some(body), Some(version)) = (&fact.body, fact.event.sealed_under()) else { continue };
            let Some(secret) = vault.get(&(room.id, version)) else { continue };
            let Some((message, kind, edit)) = claimed(room, fact) else { continue };
            let sender = &fact.account;
            let claim = Claim { room: room.id, version, kind, sender, message, edit };
            let opener =
                openers.entry(version).or_insert_with(|| Opener::new(site, room.id, version, secret.clone(), SEALERS));
            if opener.open(&claim, body).is_ok() {
                continue;
            }
            let labelled = Claim { version: body.version, ..claim };
            let opens_with =
                (0..room.versions.len() as u32).map(KeyVersion).filter(|other| *other != version).find(|other| {
                    let secret = vault.get(&(room.id, *other));
                    secret.is_some_and(|secret| {
                        Opener::new(site, room.id, body.version, secret.clone(), 0).open(&labelled, body).is_ok()
                    })
                });
            let (revision, landed) = (fact.revision, fact.landed);
            unopened.push(Unopened { room: room.id, revision, version, landed, opens_with });
        }
    }
    unopened
}

fn claimed(room: &Room, fact: &Fact) -> Option<(MessageId, BodyKind, u32)> {
    match &fact.event {
        Event::Message { message, kind, .. } => Some((*message, *kind, 0)),
        Event::Edited { revision, edit, .. } => {
            room.message(*revision).map(|(_, message)| (message, BodyKind::Message, *edit))
        }
        _ => None,
    }
}
