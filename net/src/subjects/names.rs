//! Subjects: what a request's subject says, and where something is published to.
//!
//! An account stands in a subject as one token, with what NATS reserves percent-encoded. There is one spelling of each account:
//! a token that reads as an account but is spelled otherwise belongs to nobody, since the server's permissions compare text.

use chamberlain_core::id::{AccountId, RoomId, SiteId};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What a token of a subject cannot hold, and the sign of the encoding itself.
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'.').add(b'*').add(b'>').add(b'%');

/// What a request is about: the last tokens of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    MemberAdd,
    MemberRemove,
    RoleUpdate,
    MemberList,
    RoomRename,
    KeyGet,
    MsgHistory,
    MsgEdit,
    MsgDelete,
    MessageRead,
    MsgSend,
}

/// Verbs below `chat.user.{account}.request.room.{room}.{site}.`.
const OF_ROOMS: [(&str, Verb); 10] = [
    ("member.add", Verb::MemberAdd),
    ("member.remove", Verb::MemberRemove),
    ("member.role-update", Verb::RoleUpdate),
    ("member.list", Verb::MemberList),
    ("room.rename", Verb::RoomRename),
    ("key.get", Verb::KeyGet),
    ("msg.history", Verb::MsgHistory),
    ("msg.edit", Verb::MsgEdit),
    ("msg.delete", Verb::MsgDelete),
    ("message.read", Verb::MessageRead),
];

impl Verb {
    /// Whether it changes something, so that it needs a request id.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::MemberList | Self::KeyGet | Self::MsgHistory)
    }
}

/// A request's subject, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Who asks: the server lets nobody else publish there.
    pub(super) account: AccountId,
    /// What for, or in words why that cannot be read.
    pub(super) what: Result<(Verb, Option<RoomId>), String>,
}

/// Reads the subject of a request to this site; `None` when it does not say who asks.
pub(super) fn read(subject: &str, site: &SiteId) -> Option<Asked> {
    let rest = subject.strip_prefix("chat.user.")?;
    let (account, rest) = rest.split_once('.')?;
    let account = decode(account)?;
    let site = encode(site.as_str());
    let what = if let Some(rest) = rest.strip_prefix("request.room.") {
        match rest.split_once('.') {
            Some((place, "create")) if place == site => Ok((Verb::Create, None)),
            Some((place, other)) if place == site && !other.contains('.') => {
                Err(format!("subject: {other} is no verb here; there is create"))
            }
            _ => of_room(rest, &site, |verb| {
                let verbs = OF_ROOMS.map(|(name, _)| name);
                let known = OF_ROOMS.iter().find(|(name, _)| *name == verb).map(|(_, verb)| *verb);
                known.ok_or_else(|| format!("subject: {verb} is no verb; there are {}", verbs.join(", ")))
            }),
        }
    } else if let Some(rest) = rest.strip_prefix("room.") {
        of_room(rest, &site, |verb| match verb {
            "msg.send" => Ok(Verb::MsgSend),
            other => Err(format!("subject: {other} is no verb here; there is msg.send")),
        })
    } else {
        return None;
    };
    Some(Asked { account, what })
}

/// Reads `{room}.{site}.{verb}`.
fn of_room(
    rest: &str,
    site: &str,
    verb: impl FnOnce(&str) -> Result<Verb, String>,
) -> Result<(Verb, Option<RoomId>), String> {
    let mut tokens = rest.splitn(3, '.');
    let (room, place, said) = (tokens.next(), tokens.next(), tokens.next());
    if place != Some(site) {
        return Err(format!("subject: the site is not {site}"));
    }
    let verb = verb(said.unwrap_or_default())?;
    let room = room.unwrap_or_default().parse::<RoomId>().map_err(|error| format!("subject: {error}"))?;
    Ok((verb, Some(room)))
}

/// What the node listens to.
pub(super) fn listened(site: &SiteId) -> [String; 3] {
    let site = encode(site.as_str());
    [
        format!("chat.user.*.request.room.{site}.*"),
        format!("chat.user.*.request.room.*.{site}.>"),
        format!("chat.user.*.room.*.{site}.>"),
    ]
}

/// What the node listens to of other servers.
pub(super) fn of_servers(site: &SiteId) -> String {
    format!("chat.server.request.room.{}.>", encode(site.as_str()))
}

/// What another server asks: the tokens after the site.
pub(super) fn read_server<'a>(subject: &'a str, site: &SiteId) -> Option<&'a str> {
    let rest = subject.strip_prefix("chat.server.request.room.")?;
    rest.strip_prefix(&encode(site.as_str()))?.strip_prefix('.')
}

/// Where the answer to `msg.send` goes: `request` is a request id as the client spells it, hexadecimal digits and hyphens.
pub(super) fn response(account: &AccountId, request: &str) -> String {
    format!("chat.user.{}.response.{request}", encode(account.as_str()))
}

/// Where an account hears of its own: `subscription.update`, `room.key`, `room`.
pub(super) fn event(account: &AccountId, what: &str) -> String {
    format!("chat.user.{}.event.{what}", encode(account.as_str()))
}

/// Where anybody may listen to a room.
pub(super) fn room_event(room: RoomId) -> String {
    format!("chat.room.{room}.event")
}

/// Whether an answer to this account may be published there: below its own inbox or its own subjects, and not where requests
/// are listened to.
pub(super) fn may_answer(account: &AccountId, reply: &str) -> bool {
    let token = encode(account.as_str());
    let below = |space: &str| reply.strip_prefix(space)?.strip_prefix(token.as_str())?.strip_prefix('.');
    let own = below("chat.user.").filter(|rest| !["request", "room"].contains(&first_token(rest)));
    own.or_else(|| below("_INBOX.")).is_some_and(is_plain)
}

/// Whether an answer to another server may be published there.
pub(super) fn may_answer_server(reply: &str) -> bool {
    reply.strip_prefix("_INBOX.").is_some_and(is_plain)
}

fn first_token(rest: &str) -> &str {
    rest.split('.').next().unwrap_or_default()
}

/// Whether these tokens can be published to: none is empty, none is a wildcard.
fn is_plain(rest: &str) -> bool {
    rest.split('.').all(|token| {
        !token.is_empty()
            && !token.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b"*>".contains(&b))
    })
}

/// A name as one token of a subject.
pub(super) fn encode(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// The account that a token names, if it is spelled as [`encode`] does.
pub(super) fn decode(token: &str) -> Option<AccountId> {
    let account: AccountId = percent_decode_str(token).decode_utf8().ok()?.parse().ok()?;
    (encode(account.as_str()) == token).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountId {
        name.parse().expect("an account")
    }

    fn home() -> SiteId {
        "home".parse().expect("a site")
    }

    fn asked(subject: &str) -> Option<Asked> {
        read(subject, &home())
    }

    #[test]
    fn every_account_is_one_token_and_read_back() {
        let all = "az09._@+-".chars();
        let names =
            all.clone().filter(char::is_ascii_alphanumeric).flat_map(|a| all.clone().map(move |b| format!("{a}{b}x")));
        for name in names.chain(["ada.l+x@corp.example".to_owned()]) {
            let token = encode(&name);
            assert!(is_plain(&token) && !token.contains('.'), "{token}");
            assert_eq!(decode(&token), Some(account(&name)));
        }
        assert_eq!(encode("ada.l+x@corp.example"), "ada%2El+x@corp%2Eexample");
    }

    #[test]
    fn what_is_spelled_otherwise_is_nobody() {
        for token in ["ada%2el", "%61da", "ada%40corp", "ada%", "ada%2", "ada%ff", "", "Ada", "ada%2A", "ada%20"] {
            assert_eq!(decode(token), None, "{token}");
        }
    }

    #[test]
    fn each_row_of_the_table_is_read() {
        let room: RoomId = "abcdefghijklmnopq".parse().expect("a room");
        let create = asked("chat.user.ada%2El.request.room.home.create").expect("says who");
        assert_eq!(create, Asked { account: account("ada.l"), what: Ok((Verb::Create, None)) });
        for (name, verb) in OF_ROOMS {
            let read = asked(&format!("chat.user.ada.request.room.{room}.home.{name}")).expect("says who");
            assert_eq!(read.what, Ok((verb, Some(room))));
        }
        let send = asked(&format!("chat.user.ada.room.{room}.home.msg.send")).expect("says who");
        assert_eq!(send.what, Ok((Verb::MsgSend, Some(room))));
    }

    #[test]
    fn what_cannot_be_read_says_what_there_is() {
        for (subject, said) in [
            ("chat.user.ada.request.room.home.destroy", "destroy is no verb"),
            ("chat.user.ada.request.room.abcdefghijklmnopq.home.member.kick", "member.add, member.remove"),
            ("chat.user.ada.request.room.abcdefghijklmnopq.away.member.add", "the site is not home"),
            ("chat.user.ada.request.room.short.home.member.add", "17 characters"),
            ("chat.user.ada.room.abcdefghijklmnopq.home.msg.sing", "there is msg.send"),
        ] {
            let why = asked(subject).expect("says who").what.expect_err(subject);
            assert!(why.contains(said), "{why}");
        }
        for subject in
            ["chat.user.Ada.request.room.home.create", "chat.user.ada.event.room", "chat.room.x.event", "chat.user.ada"]
        {
            assert_eq!(asked(subject), None, "{subject}");
        }
    }

    #[test]
    fn answers_go_where_the_requester_may_read_and_nowhere_else() {
        let ada = account("ada.l");
        for good in ["_INBOX.ada%2El.x.1", "chat.user.ada%2El.response.7", "chat.user.ada%2El.mine"] {
            assert!(may_answer(&ada, good), "{good}");
        }
        for bad in [
            "_INBOX.ada.l.x",
            "_INBOX.bob.x",
            "_INBOX.ada%2El",
            "_INBOX.ada%2El.",
            "_INBOX.ada%2El.*",
            "_INBOX.ada%2El.>",
            "_INBOX.ada%2El2.x",
            "_INBOX.x",
            "chat.user.bob.response.7",
            "chat.user.ada%2El.request.room.home.create",
            "chat.user.ada%2El.room.abcdefghijklmnopq.home.msg.send",
            "chat.user.*.response.7",
            "chat.room.abcdefghijklmnopq.event",
            "chat.server.request.room.home.key.ensure",
            "$SYS.REQ.SERVER.PING",
            "$JS.API.STREAM.LIST",
            "x",
            "",
        ] {
            assert!(!may_answer(&ada, bad), "{bad}");
        }
        assert!(may_answer_server("_INBOX.away.x") && !may_answer_server("chat.user.ada.x"));
    }
}
