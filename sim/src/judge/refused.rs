//! X3: what is answered was so at some moment between question and answer.

use chamberlain_core::id::{AccountId, MessageId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener};
use chamberlain_core::room::{Command, Content, MessageContent, Outcome, Reason};
use chamberlain_core::wire::{ClientFrame, Query, ResetWhy};

use super::answered::says_nothing;
use super::links::{Came, Link};
use super::model::{is_shut_out, people, unborn};
use super::reading::{Answered, Asked};
use super::rooms::Room;
use super::{Findings, Reading};
use crate::room_model::Verdict;

pub(super) fn true_results(reading: &Reading<'_>, out: &mut Findings) {
    for (who, id, asked) in reading.asked() {
        for answered in &asked.came {
            let is_true = match answered.result {
                Ok(outcome) => is_so(reading, who, asked, answered, outcome),
                Err(reason) => says_nothing(reason) || was_refused(reading, (who, id), asked, answered, reason),
            };
            if !is_true {
                let (name, told) = (asked.command.name(), answered.result);
                out.push((format!("{who} asked {name} and was told {told:?}, which was never so"), Some(answered.at)));
            }
        }
    }
    for link in reading.links.values() {
        for at in &link.uncalled {
            out.push((format!("{} was answered on {:?} what it did not ask", link.account, link.id), Some(*at)));
        }
        for opening in &link.openings {
            let Some((at, ResetWhy::Removed)) = opening.reset else { continue };
            if always_in(reading, link, opening.room, at) {
                out.push((format!("{} was told to be removed from {}", link.account, opening.room), Some(at)));
            }
        }
        for asked in &link.opens {
            let Some((at, Came::Refused(reason))) = asked.came else { continue };
            let room = asked.open.room;
            if reason == Reason::NotAMember && always_in(reading, link, room, at) {
                out.push((format!("{} was told not to be in {room}", link.account), Some(at)));
            }
        }
        queries(reading, link, out);
    }
}

/// Whether the account was in a room for all that this connection could have been shown of it.
fn always_in(reading: &Reading<'_>, link: &Link<'_>, room: RoomId, at: usize) -> bool {
    let Some(log) = reading.rooms.get(&room).filter(|log| reading.is_kept(room, log.head().revision)) else {
        return false;
    };
    let from = link.shown(reading.story, room, at);
    log.is_always_member(link.account, from, log.durable(at))
}

fn queries(reading: &Reading<'_>, link: &Link<'_>, out: &mut Findings) {
    for request in link.requests.values() {
        let Some((_, ClientFrame::Query { query, .. })) = request.sent.first() else { continue };
        for (at, result) in &request.came {
            let (Err(reason), Query::History { room, .. } | Query::Members { room, .. } | Query::Key { room, .. }) =
                (result, query)
            else {
                continue;
            };
            let log = reading.rooms.get(room);
            let shown = link.shown(reading.story, *room, *at);
            let is_true = match (reason, query) {
                (Reason::NotAMember, Query::Key { version: Some(version), .. }) => {
                    !always_in(reading, link, *room, *at)
                        && !log.is_some_and(|log| log.may_hold(link.account, *version, shown))
                }
                (Reason::NotAMember, _) => !always_in(reading, link, *room, *at),
                (Reason::NoSuchKey, Query::Key { version, .. }) => {
                    // The current one there always is, once it was shown; an older one may be out of grace.
                    let current = log.and_then(|log| log.fact(log.durable(*at))?.version);
                    version.or(current).is_none_or(|version| {
                        Some(version) != current || !log.is_some_and(|log| log.may_hold(link.account, version, shown))
                    })
                }
                _ => true,
            };
            if !is_true {
                let what = format!("{} asked {query:?} and was told {reason:?}, which was never so", link.account);
                out.push((what, Some(*at)));
            }
        }
    }
}

/// What a success says beside the log: marks, and who may shut out. L1 looks at the rest.
fn is_so(reading: &Reading<'_>, who: &AccountId, asked: &Asked<'_>, answered: &Answered, outcome: Outcome) -> bool {
    match (asked.command, outcome) {
        (Command::MarkRead { room, revision }, Outcome::Marked { revision: stands }) => {
            let log = reading.rooms.get(room);
            let durable = log.map_or(Revision::ZERO, |log| log.durable(answered.at));
            let was_in = log.is_some_and(|log| log.is_ever_member(who, Revision::ZERO, durable));
            !reading.story.stores_whole || (*revision <= stands && stands <= durable && was_in)
        }
        (Command::MarkRead { .. }, _) | (_, Outcome::Marked { .. }) => false,
        (Command::DisableAccount { .. }, Outcome::Disabled { .. }) => {
            let people = people(reading);
            people.is_empty() || people.iter().any(|person| person.account == *who && person.admin)
        }
        (Command::DisableAccount { .. }, _) | (_, Outcome::Disabled { .. }) => false,
        _ => true,
    }
}

/// Whether the rules refused it so at some moment between question and answer.
fn was_refused(
    reading: &Reading<'_>,
    (who, id): (&AccountId, chamberlain_core::id::RequestId),
    asked: &Asked<'_>,
    answered: &Answered,
    reason: Reason,
) -> bool {
    let limits = &reading.story.limits;
    let named = named(asked.command);
    let room = asked.room.and_then(|room| reading.rooms.get(&room));
    let link = reading.links.get(&answered.link);
    match (asked.command, reason) {
        (Command::MarkRead { room, .. }, Reason::NotAMember) => {
            return link.is_none_or(|link| !always_in(reading, link, *room, answered.at));
        }
        (Command::MarkRead { room: id, revision }, Reason::BeyondHead) => {
            let shown = link.map_or(Revision::ZERO, |link| link.shown(reading.story, *id, answered.at));
            return *revision > shown;
        }
        (Command::DisableAccount { account }, Reason::UnknownAccount) => {
            return reading.story.people.iter().all(|person| person.account != *account);
        }
        (Command::DisableAccount { .. }, Reason::NotAdmin) => {
            let admin = people(reading).iter().any(|person| person.account == *who && person.admin);
            return !admin || is_shut_out(reading, who, Some(answered.at));
        }
        (Command::DisableAccount { .. }, _) => return true,
        (_, Reason::TooMany) if named.len() > limits.accounts_per_command as usize => return true,
        (_, Reason::TooLarge) => {
            return content(asked.command).is_some_and(|content| length(content) > limits.message_bytes as usize);
        }
        (_, Reason::AccountDisabled) => {
            let at = Some(answered.at);
            return is_shut_out(reading, who, at) || named.iter().any(|account| is_shut_out(reading, account, at));
        }
        (_, Reason::BadEnvelope | Reason::Empty) if matches!(content(asked.command), Some(Content::Sealed(_))) => {
            return !opens(reading, who, room, asked.command);
        }
        _ => {}
    }
    let channels = matches!(asked.command,
        Command::CreateChannel { channels, .. } | Command::Add { channels, .. } if !channels.is_empty());
    let Some(room_id) = asked.room.filter(|_| !channels && !reading.story.people.is_empty()) else { return true };
    let Some(room) = room.filter(|room| reading.is_kept(room_id, room.head().revision)) else {
        let unborn = unborn(reading, room_id, &people(reading));
        return reading.rooms.contains_key(&room_id)
            || unborn.judge(who, id, asked.command) == Verdict::Refused(reason);
    };
    let Some(replay) = reading.replays().get(&room_id) else { return true };
    let entries = |seen: usize| {
        let durable = room.durable(seen);
        room.entries.partition_point(|entry| entry.last <= durable)
    };
    let (from, to) = (entries(answered.sent), entries(answered.at));
    let Some(models) = replay.models.get(from..=to) else { return true };
    models.iter().any(|model| model.judge(who, id, asked.command) == Verdict::Refused(reason))
}

/// The accounts that a command names.
fn named(command: &Command) -> &[AccountId] {
    match command {
        Command::CreateChannel { accounts, .. } | Command::Add { accounts, .. } | Command::Remove { accounts, .. } => {
            accounts
        }
        Command::CreateDm { account } | Command::SetRole { account, .. } => std::slice::from_ref(account),
        _ => &[],
    }
}

fn content(command: &Command) -> Option<&Content> {
    match command {
        Command::Submit(submit) => Some(&submit.content),
        Command::Edit { content, .. } => Some(content),
        _ => None,
    }
}

fn length(content: &Content) -> usize {
    match content {
        Content::Plain { text } => text.len(),
        Content::Sealed(envelope) => envelope.ciphertext.len(),
    }
}

/// Whether what a client sealed opens as what it claims, and says something.
fn opens(reading: &Reading<'_>, who: &AccountId, room: Option<&Room>, command: &Command) -> bool {
    let Some(room) = room else { return false };
    let (message, edit, envelope): (MessageId, u32, &Envelope) = match command {
        Command::Submit(submit) => match &submit.content {
            Content::Sealed(envelope) => (submit.message, 0, envelope),
            Content::Plain { .. } => return false,
        },
        Command::Edit { revision, edit, content: Content::Sealed(envelope), .. } => match room.message(*revision) {
            Some((_, message)) => (message, *edit, envelope),
            None => return false,
        },
        _ => return false,
    };
    let version = envelope.version;
    let Some(secret) = reading.story.ending.vault.get(&(room.id, version)) else { return false };
    let mut opener = Opener::new(reading.story.keys.site(), room.id, version, secret.clone(), 0);
    let claim = Claim { room: room.id, version, kind: BodyKind::Message, sender: who, message, edit };
    let Ok(plaintext) = opener.open(&claim, envelope) else { return false };
    MessageContent::parse(&plaintext).is_some_and(|content| !content.text.trim().is_empty())
}
