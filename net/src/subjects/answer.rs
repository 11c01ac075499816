//! Answers, in the field names of these subjects, and refusals in their one form.

use std::borrow::Cow;

use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, Envelope, RoomPublic};
use chamberlain_core::room::{Code, Command, Event, Outcome, Reason, Refused, Role, RoomKind};
use chamberlain_core::wire::{Answer, Item, MemberView};
use serde::Serialize;
use serde_json::{Value, json};

/// A refusal as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    /// Why, for a person.
    pub(super) error: Cow<'static, str>,
    pub(super) code: Code,
    /// Why, for a program.
    pub(super) reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
}

impl Refusal {
    pub(super) fn new(code: Code, reason: &'static str, error: String) -> Self {
        Self { error: error.into(), code, reason: reason.into(), metadata: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let metadata = refused.current.map(|key| json!({ "keyVersion": key.version, "publicKey": key.public }));
        let (code, reason) = (refused.code(), reason_name(refused.reason).into());
        Self { error: refused.message, code, reason, metadata }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refused::from(reason).into()
    }
}

/// A reason as on every wire.
fn reason_name(reason: Reason) -> String {
    serde_json::to_value(reason).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What came of a command.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<RoomId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_type: Option<RoomKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<KeyVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
}

/// A key, as an answer and as an event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyView<'a> {
    pub(super) room_id: RoomId,
    pub(super) version: KeyVersion,
    pub(super) public_key: RoomPublic,
    pub(super) private_key: &'a chamberlain_core::keys::Blob,
    pub(super) timestamp: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    room_id: RoomId,
    items: Vec<Said>,
    from: Revision,
    to: Revision,
    more: bool,
}

/// A revision of a room's past.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    #[serde(rename = "type")]
    kind: &'static str,
    revision: Revision,
    timestamp: u64,
    account: AccountId,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<KeyVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_message: Option<Envelope>,
    /// Everything that the event says, as the other surfaces have it.
    event: Event,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    room_id: RoomId,
    members: Vec<Member>,
    total: u32,
    read_floor: Revision,
    more: bool,
}

#[derive(Serialize)]
struct Member {
    account: AccountId,
    name: String,
    role: Role,
    bot: bool,
    since: Revision,
    read: Revision,
}

/// What kind of event this is on these subjects: as everywhere, but what the room says is told apart from what members say.
pub(super) fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::Message { kind: BodyKind::System, .. } => "system",
        other => other.kind(),
    }
}

/// The answer to a command, of which the outcome is this.
pub(super) fn outcome(command: &Command, outcome: &Outcome) -> Bytes {
    let mut accepted = Accepted {
        status: "accepted",
        room_id: command.room(),
        room_type: None,
        revision: None,
        message_id: None,
        key_version: None,
        timestamp: None,
    };
    match *outcome {
        Outcome::Created { room, kind, exists } => {
            accepted.status = if exists { "exists" } else { "accepted" };
            (accepted.room_id, accepted.room_type) = (Some(room), Some(kind));
        }
        Outcome::Done { revision } | Outcome::Marked { revision } => accepted.revision = Some(revision),
        Outcome::Sent { revision, time, version } => {
            if let Command::Submit(submit) = command {
                accepted.message_id = Some(submit.message);
            }
            (accepted.revision, accepted.timestamp, accepted.key_version) =
                (Some(revision), Some(time.0), Some(version));
        }
        Outcome::Disabled { .. } => {}
    }
    written(&accepted)
}

/// The answer to a question, read at `now`.
pub(super) fn answer(answer: Answer, now: u64) -> Bytes {
    match answer {
        Answer::History { room, items, from, to, more } => {
            written(&Page { room_id: room, items: items.into_iter().map(said).collect(), from, to, more })
        }
        Answer::Members { room, members, total, read_floor, more } => {
            let members = members.into_iter().map(member).collect();
            written(&Members { room_id: room, members, total, read_floor, more })
        }
        Answer::Key { room, version, public, secret } => {
            written(&KeyView { room_id: room, version, public_key: public, private_key: &secret, timestamp: now })
        }
        // No verb asks for these.
        Answer::Outcome(_) | Answer::Rooms { .. } => written(&Refusal::from(Reason::Defect)),
    }
}

fn said(item: Item) -> Said {
    let message_id = match item.event {
        Event::Message { message, .. } => Some(message),
        _ => None,
    };
    Said {
        kind: kind_of(&item.event),
        revision: item.revision,
        timestamp: item.time.0,
        account: item.account,
        message_id,
        key_version: item.event.sealed_under(),
        encrypted_message: item.body,
        event: item.event,
    }
}

fn member(view: MemberView) -> Member {
    let MemberView { account, name, role, bot, since, read } = view;
    Member { account, name, role, bot, since, read }
}

/// This as JSON.
pub(super) fn written(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).map_or_else(
        |error| {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Bytes::from_static(br#"{"error":"a defect of the server","code":"internal","reason":"defect"}"#)
        },
        Bytes::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use chamberlain_core::time::Timestamp;

    fn read(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn a_creation_says_whether_the_room_was_there() {
        let room: RoomId = "abcdefghijklmnopq".parse().expect("a room");
        let command = Command::CreateDm { account: "bob".parse().expect("an account") };
        for (exists, status) in [(false, "accepted"), (true, "exists")] {
            let said = read(&outcome(&command, &Outcome::Created { room, kind: RoomKind::Dm, exists }));
            assert_eq!(said, json!({ "status": status, "roomId": room, "roomType": "dm" }));
        }
    }

    #[test]
    fn what_was_sent_says_where_it_stands() {
        let room: RoomId = "abcdefghijklmnopq".parse().expect("a room");
        let sent = Outcome::Sent { revision: Revision(7), time: Timestamp(5), version: KeyVersion(1) };
        let said = read(&outcome(&Command::Archive { room }, &sent));
        let expected = json!({ "status": "accepted", "roomId": room, "revision": 7, "keyVersion": 1, "timestamp": 5 });
        assert_eq!(said, expected);
    }

    #[test]
    fn a_refusal_has_the_fields_of_the_rules() {
        let said = read(&written(&Refusal::from(Reason::NotAMember)));
        assert_eq!((said["code"].as_str(), said["reason"].as_str()), (Some("not_found"), Some("not_a_member")));
        assert!(said["error"].is_string() && said.get("metadata").is_none());
    }
}
