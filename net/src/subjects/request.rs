//! What a request asks for: its body and headers, read with its verb into a command or a question. What cannot be read is
//! refused in words that name the field.

use async_nats::HeaderMap;
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::Envelope;
use chamberlain_core::room::{Code, Command, Content, History, Reason, Refused, Role, Submit};
use chamberlain_core::site::SiteKeys;
use chamberlain_core::wire::{HistoryRange, Query};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::Refusal;
use super::names::Verb;

/// The header of the request id.
pub(super) const REQUEST_ID: &str = "X-Request-ID";

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    Change(RequestId, Command),
    Ask(Query),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: Option<String>,
    #[serde(default)]
    users: Vec<AccountId>,
    #[serde(default)]
    orgs: Vec<String>,
    #[serde(default)]
    channels: Vec<RoomId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(default)]
    users: Vec<AccountId>,
    #[serde(default)]
    orgs: Vec<String>,
    #[serde(default)]
    channels: Vec<RoomId>,
    #[serde(default)]
    bots: bool,
    #[serde(default)]
    history: Mode,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Mode {
    mode: History,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remove {
    account: Option<AccountId>,
    org_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SetRole {
    account: AccountId,
    new_role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    after: Option<AccountId>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    version: Option<KeyVersion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    before: Option<Revision>,
    after: Option<Revision>,
    around: Option<Revision>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Send {
    message_id: Option<MessageId>,
    text: Option<String>,
    encrypted_message: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    revision: Revision,
    edit: u32,
    text: Option<String>,
    encrypted_message: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct At {
    revision: Revision,
}

/// The request id of a request; refused where there is none, or several.
pub(super) fn request_id(headers: Option<&HeaderMap>) -> Result<RequestId, Refusal> {
    spelled_id(headers).map(|(id, _)| id)
}

/// The same, and as the client spells it.
pub(super) fn spelled_id(headers: Option<&HeaderMap>) -> Result<(RequestId, &str), Refusal> {
    let named = headers.into_iter().flat_map(HeaderMap::iter);
    let mut ids = named.filter(|(name, _)| name.to_string().eq_ignore_ascii_case(REQUEST_ID)).flat_map(|(_, ids)| ids);
    let malformed = |why: &str| Refusal::from(Refused::new(Reason::Malformed, format!("{REQUEST_ID}: {why}")));
    let id = ids.next().ok_or_else(|| malformed("the header is missing; a command has a request id"))?.as_str();
    if ids.next().is_some() {
        return Err(malformed("stands there twice"));
    }
    id.parse().map(|read| (read, id)).map_err(|error: chamberlain_core::id::InvalidId| malformed(&error.to_string()))
}

/// Reads a request of this account.
pub(super) fn read(
    account: &AccountId,
    verb: Verb,
    room: Option<RoomId>,
    headers: Option<&HeaderMap>,
    body: &[u8],
    keys: &SiteKeys,
) -> Result<Task, Refusal> {
    let id = if verb.changes() { Some(request_id(headers)?) } else { None };
    let change = |command| id.map(|id| Task::Change(id, command)).ok_or_else(defect);
    let room = || room.ok_or_else(defect);
    match verb {
        Verb::Create => change(create(json(body)?)?),
        Verb::MemberAdd => {
            let Add { users, orgs, channels, bots, history } = json(body)?;
            no_orgs(&orgs)?;
            change(Command::Add { room: room()?, accounts: users, channels, bots, history: history.mode })
        }
        Verb::MemberRemove => match json(body)? {
            Remove { account: Some(account), org_id: None } => {
                change(Command::Remove { room: room()?, accounts: vec![account] })
            }
            Remove { account: None, org_id: Some(org) } => Err(unknown_org("orgId", &org)),
            _ => Err(malformed("body: either `account` or `orgId`")),
        },
        Verb::RoleUpdate => {
            let SetRole { account, new_role } = json(body)?;
            change(Command::SetRole { room: room()?, account, role: new_role })
        }
        Verb::RoomRename => {
            let Rename { name } = json(body)?;
            change(Command::Rename { room: room()?, name })
        }
        Verb::MsgSend => {
            let Send { message_id, text, encrypted_message } = json(body)?;
            let content = content(text, encrypted_message)?;
            let room = room()?;
            let message = match (message_id, &content) {
                (Some(message), _) => message,
                // Its sender must know the name to seal under it.
                (None, Content::Sealed(_)) => {
                    return Err(malformed("messageId: is missing, and what is sealed is bound to it"));
                }
                (None, Content::Plain { .. }) => message_id_of(keys, room, account, id.ok_or_else(defect)?),
            };
            change(Command::Submit(Submit { room, message, content }))
        }
        Verb::MsgEdit => {
            let Edit { revision, edit, text, encrypted_message } = json(body)?;
            change(Command::Edit { room: room()?, revision, edit, content: content(text, encrypted_message)? })
        }
        Verb::MsgDelete => {
            let At { revision } = json(body)?;
            change(Command::Delete { room: room()?, revision })
        }
        Verb::MessageRead => {
            let At { revision } = json(body)?;
            change(Command::MarkRead { room: room()?, revision })
        }
        Verb::MemberList => {
            let List { after, limit } = json(body)?;
            Ok(Task::Ask(Query::Members { room: room()?, after, limit }))
        }
        Verb::KeyGet => {
            let Key { version } = json(body)?;
            Ok(Task::Ask(Query::Key { room: room()?, version }))
        }
        Verb::MsgHistory => {
            let Past { before, after, around, limit } = json(body)?;
            let mut named =
                [before.map(HistoryRange::Before), after.map(HistoryRange::After), around.map(HistoryRange::Around)]
                    .into_iter()
                    .flatten();
            let range = named.next().unwrap_or(HistoryRange::Latest);
            if named.next().is_some() {
                return Err(
                    Refused::new(Reason::InvalidRange, "only one of before, after and around may be given").into()
                );
            }
            Ok(Task::Ask(Query::History { room: room()?, range, limit }))
        }
    }
}

/// A channel has a name; without one, the single user named is the counterpart of a direct message room.
fn create(asked: Create) -> Result<Command, Refusal> {
    no_orgs(&asked.orgs)?;
    match asked {
        Create { name: Some(name), users, channels, .. } => {
            Ok(Command::CreateChannel { name, accounts: users, channels })
        }
        Create { name: None, mut users, channels, .. } if users.len() == 1 && channels.is_empty() => {
            users.pop().map(|account| Command::CreateDm { account }).ok_or_else(defect)
        }
        _ => Err(malformed(
            "name: is missing; without a name, `users` must be the one counterpart of a direct message room",
        )),
    }
}

fn no_orgs(orgs: &[String]) -> Result<(), Refusal> {
    orgs.first().map_or(Ok(()), |org| Err(unknown_org("orgs", org)))
}

/// This server has no orgs: whatever is named is unknown.
fn unknown_org(field: &str, org: &str) -> Refusal {
    let shown: String = org.chars().take(64).collect();
    Refusal::new(Code::NotFound, "unknown_org", format!("{field}: there is no org {shown:?}"))
}

fn content(text: Option<String>, sealed: Option<Envelope>) -> Result<Content, Refusal> {
    match (text, sealed) {
        (Some(text), None) => Ok(Content::Plain { text }),
        (None, Some(envelope)) => Ok(Content::Sealed(envelope)),
        _ => Err(malformed("body: either `text` or `encryptedMessage`")),
    }
}

/// The name of a message that the client did not name: the same again for a retry of the same request.
fn message_id_of(keys: &SiteKeys, room: RoomId, account: &AccountId, id: RequestId) -> MessageId {
    let mut digest = [0; 32];
    for (half, part) in digest.chunks_exact_mut(16).zip(["a", "b"]) {
        let named = format!("subject message {part} {room} {account} {id}");
        half.copy_from_slice(&keys.fingerprint(named.as_bytes()).0);
    }
    MessageId::from_digest(&digest)
}

/// A body as this type. An empty one is an object without fields.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(malformed("body: must be a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if matches!(path.as_str(), "." | "?") { "body" } else { &path };
        malformed(format!("{field}: {}", error.inner()))
    })?;
    reader.end().map_err(|error| malformed(format!("body: {error}")))?;
    Ok(read)
}

pub(super) fn malformed(why: impl Into<String>) -> Refusal {
    Refused::new(Reason::Malformed, why.into()).into()
}

fn defect() -> Refusal {
    Refused::from(Reason::Defect).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chamberlain_core::site::MasterKey;

    const ID: &str = "018f4e3c-0000-7000-8000-00000000000a";

    fn room() -> RoomId {
        "abcdefghijklmnopq".parse().expect("a room")
    }

    fn headers(ids: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        ids.iter().for_each(|id| headers.append("X-Request-ID", *id));
        headers
    }

    fn asked(verb: Verb, body: &str) -> Result<Task, Refusal> {
        let site = "home".parse().expect("a site");
        let keys = SiteKeys::new(site, &MasterKey::from_bytes([7; 32]));
        let ada = "ada".parse().expect("an account");
        let room = (verb != Verb::Create).then(room);
        read(&ada, verb, room, Some(&headers(&[ID])), body.as_bytes(), &keys)
    }

    fn command(verb: Verb, body: &str) -> Command {
        match asked(verb, body) {
            Ok(Task::Change(id, command)) => {
                assert_eq!(id.as_str(), ID);
                command
            }
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn bodies_have_the_fields_of_the_rules() {
        let bob: AccountId = "bob".parse().expect("an account");
        let (name, accounts) = ("Lobby".to_owned(), vec![bob.clone()]);
        let body = r#"{"name":"Lobby","users":["bob"],"orgs":[],"channels":["abcdefghijklmnopq"]}"#;
        let made = Command::CreateChannel { name: name.clone(), accounts: accounts.clone(), channels: vec![room()] };
        assert_eq!(command(Verb::Create, body), made);
        assert_eq!(command(Verb::Create, r#"{"users":["bob"]}"#), Command::CreateDm { account: bob.clone() });
        let body = r#"{"users":["bob"],"history":{"mode":"none"}}"#;
        let history = History::None;
        let added = Command::Add { room: room(), accounts: accounts.clone(), channels: vec![], bots: false, history };
        assert_eq!(command(Verb::MemberAdd, body), added);
        assert_eq!(command(Verb::MemberRemove, r#"{"account":"bob"}"#), Command::Remove { room: room(), accounts });
        let role = Command::SetRole { room: room(), account: bob, role: Role::Owner };
        assert_eq!(command(Verb::RoleUpdate, r#"{"account":"bob","newRole":"owner"}"#), role);
        assert_eq!(command(Verb::RoomRename, r#"{"name":"Lobby"}"#), Command::Rename { room: room(), name });
        let list = Query::Members { room: room(), after: None, limit: Some(7) };
        assert_eq!(asked(Verb::MemberList, r#"{"limit":7}"#), Ok(Task::Ask(list)));
        let key = Query::Key { room: room(), version: None };
        assert_eq!(asked(Verb::KeyGet, ""), Ok(Task::Ask(key)));
    }

    #[test]
    fn a_retry_names_the_same_message() {
        let (first, second) = (command(Verb::MsgSend, r#"{"text":"hi"}"#), command(Verb::MsgSend, r#"{"text":"hi"}"#));
        assert_eq!(first, second);
    }

    #[test]
    fn what_cannot_be_read_names_the_field() {
        for (verb, body, said) in [
            (Verb::Create, r#"{"nmae":"x"}"#, "unknown field `nmae`"),
            (Verb::Create, r#"{"users":["bob","eve"]}"#, "name: is missing"),
            (Verb::Create, r#"{"name":"x","users":["BOB"]}"#, "users[0]: account must be"),
            (Verb::Create, r#"["x"]"#, "must be a JSON object"),
            (Verb::MemberAdd, r#"{"history":{"mode":"some"}}"#, "history.mode: unknown variant"),
            (Verb::MemberRemove, "{}", "either `account` or `orgId`"),
            (Verb::MsgSend, r#"{}"#, "either `text` or `encryptedMessage`"),
            (Verb::MsgDelete, "", "missing field `revision`"),
            (Verb::MsgHistory, r#"{"before":1,"after":2}"#, "only one of"),
            (Verb::KeyGet, r#"{"version":-1}"#, "version: invalid value"),
        ] {
            let refused = asked(verb, body).expect_err(body);
            assert_eq!(refused.code, Code::BadRequest, "{body}");
            assert!(refused.error.contains(said), "{body}: {}", refused.error);
        }
    }

    #[test]
    fn an_org_is_unknown() {
        for (verb, body) in [
            (Verb::Create, r#"{"name":"x","orgs":["sales"]}"#),
            (Verb::MemberAdd, r#"{"orgs":["sales"]}"#),
            (Verb::MemberRemove, r#"{"orgId":"sales"}"#),
        ] {
            let refused = asked(verb, body).expect_err(body);
            assert_eq!((refused.code, refused.reason.as_ref()), (Code::NotFound, "unknown_org"), "{body}");
            assert!(refused.error.contains("sales"), "{}", refused.error);
        }
    }

    #[test]
    fn a_command_has_one_request_id() {
        for (ids, said) in [(&[][..], "is missing"), (&["7"], "UUID"), (&[ID, ID], "twice")] {
            let refused = request_id(Some(&headers(ids))).expect_err(said);
            assert_eq!(refused.code, Code::BadRequest);
            assert!(refused.error.starts_with("X-Request-ID: ") && refused.error.contains(said), "{}", refused.error);
        }
        let mut lower = HeaderMap::new();
        lower.insert("x-request-id", ID);
        assert!(request_id(Some(&lower)).is_ok());
        assert!(request_id(None).is_err());
    }
}
