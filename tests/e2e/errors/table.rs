//! The table: what is sent, and what it is answered.

use std::collections::BTreeSet;

use chamberlain_core::id::{KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope};
use chamberlain_core::room::{Command, Content, Event, History, Outcome, Reason, Role, Submit};
use chamberlain_core::wire::{ClientFrame, Codec, Hello, HistoryRange, Open, Query};
use tokio_tungstenite::tungstenite::Message;

use super::{ELSEWHERE, UNREACHABLE, documented};
use crate::harness::{Client, Refusal, Server, account, message_id, request_id};

/// Limits that are easy to reach.
const CONFIG: &str = "
[limits]
room_members = 4
large_room = 4
accounts_per_command = 8
edits_per_message = 2
open_rooms = 3
submits_per_second = 10000
submits_burst = 10000
";

/// What is sent.
enum Bad {
    Command(Command),
    /// Under an id that was used.
    CommandAs(chamberlain_core::id::RequestId, Command),
    Query(Query),
    Frame(ClientFrame),
    Raw(Vec<u8>),
}

/// A row: what it is, what is sent, why it is refused, and words that the message must have.
type Row = (&'static str, Bad, Reason, &'static [&'static str]);

/// The offender and everything around it.
struct Scene {
    eve: Client,
    ada: Client,
    /// Eve's own channel, which bob is in, too.
    own: RoomId,
    /// Ada's channel, in which eve is a member. Its key has moved on once.
    member: RoomId,
    /// The room that has to go on.
    other: RoomId,
    /// A channel that eve is not in.
    foreign: RoomId,
    dm: RoomId,
    archived: RoomId,
    /// Full, and so large that only owners write.
    full: RoomId,
}

impl Scene {
    async fn set(server: &Server, codec: Codec) -> Self {
        for name in ["bob", "cyd", "dan"] {
            drop(Client::connect(server.address, name, Codec::Json).await);
        }
        let mut eve = Client::connect(server.address, "eve", codec).await;
        let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
        let own = eve.channel("eve's own", &["bob"]).await;
        let member = ada.channel("ada's", &["eve"]).await;
        ada.done(Command::Rotate { room: member }).await;
        let other = ada.channel("the other", &["eve"]).await;
        let foreign = ada.channel("not for eve", &[]).await;
        ada.close(foreign).await;
        let archived = eve.channel("over", &[]).await;
        eve.done(Command::Archive { room: archived }).await;
        eve.close(archived).await;
        let full = ada.channel("full", &["eve", "bob", "cyd"]).await;
        let Ok(Outcome::Created { room: dm, .. }) = eve.command(Command::CreateDm { account: account("ada") }).await
        else {
            panic!("no direct messages")
        };
        eve.enter(member).await;
        eve.enter(other).await;
        Self { eve, ada, own, member, other, foreign, dm, archived, full }
    }

    /// What goes on is said by ada, and reaches eve.
    async fn goes_on(&mut self, after: &str) {
        let said = self.ada.say(self.other, after).await;
        self.eve.reach(self.other, said).await;
        assert_eq!(self.eve.text(self.other, said).as_deref(), Some(after), "the other room after: {after}");
    }

    async fn provoke(&mut self, bad: Bad) -> Refusal {
        let eve = &mut self.eve;
        match bad {
            Bad::Command(command) => eve.refused(command).await,
            Bad::CommandAs(id, command) => eve.refused_as(id, command).await,
            Bad::Query(query) => match eve.query(query).await {
                Err(refusal) => refusal,
                Ok(answer) => panic!("not refused, but {answer:?}"),
            },
            Bad::Frame(frame) => {
                eve.send(&frame).await;
                eve.until(|eve| !eve.refusals.is_empty()).await;
                eve.refusals.pop().unwrap()
            }
            Bad::Raw(bytes) => {
                eve.send_raw(match eve.codec {
                    Codec::Json => Message::text(String::from_utf8(bytes).unwrap()),
                    Codec::Bincode => Message::binary(bytes),
                })
                .await;
                eve.until(|eve| !eve.refusals.is_empty()).await;
                eve.refusals.pop().unwrap()
            }
        }
    }

    /// Every row, in the codec of the offender.
    async fn rows(&mut self) -> Vec<Row> {
        let mut rows = self.creations();
        rows.extend(self.membership());
        rows.extend(self.messages().await);
        rows.extend(self.envelopes().await);
        rows.extend(self.questions());
        rows.extend(self.openings());
        rows.extend(self.unreadable());
        rows
    }

    fn creations(&self) -> Vec<Row> {
        use Reason as R;
        let nowhere = nowhere();
        let channel = |name: &str, names: &[&str], channels: Vec<RoomId>| {
            let accounts = names.iter().map(|name| account(name)).collect();
            Bad::Command(Command::CreateChannel { name: name.into(), accounts, channels })
        };
        let dm = |name: &str| Bad::Command(Command::CreateDm { account: account(name) });
        let nine = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        vec![
            ("a channel without a name", channel("", &[], vec![]), R::InvalidName, &["name", "1 to 100"]),
            ("a channel with a blank name", channel(" \t ", &[], vec![]), R::InvalidName, &["name", "1 to 100"]),
            ("a name of 101 characters", channel(&"n".repeat(101), &[], vec![]), R::InvalidName, &["name", "100"]),
            ("a name that rings", channel("a\u{7}b", &[], vec![]), R::InvalidName, &["name", "control"]),
            ("a channel with a bot", channel("x", &["robo"], vec![]), R::BotNotAllowed, &["accounts", "robo"]),
            (
                "a channel with a stranger",
                channel("x", &["nobody"], vec![]),
                R::UnknownAccount,
                &["accounts", "nobody"],
            ),
            (
                "a channel with a disabled one",
                channel("x", &["gone"], vec![]),
                R::AccountDisabled,
                &["accounts", "gone"],
            ),
            ("members of a foreign channel", channel("x", &[], vec![self.foreign]), R::NotAMember, &["channels"]),
            ("members of no channel", channel("x", &[], vec![nowhere]), R::NotAMember, &["channels"]),
            (
                "five in a room for four",
                channel("x", &["ada", "bob", "cyd", "dan"], vec![]),
                R::RoomFull,
                &["5", "limit is 4"],
            ),
            (
                "nine names where eight may be",
                channel("x", &nine, vec![]),
                R::TooMany,
                &["accounts", "9", "limit is 8"],
            ),
            ("direct messages with a stranger", dm("nobody"), R::UnknownAccount, &["account", "nobody"]),
            ("direct messages with a disabled one", dm("gone"), R::AccountDisabled, &["account", "gone"]),
        ]
    }

    fn membership(&self) -> Vec<Row> {
        use Reason as R;
        let (own, member, dm, nowhere) = (self.own, self.member, self.dm, nowhere());
        let names = |names: &[&str]| names.iter().map(|name| account(name)).collect::<Vec<_>>();
        let add = |room, named: &[&str]| {
            let accounts = names(named);
            Bad::Command(Command::Add { room, accounts, channels: vec![], bots: false, history: History::All })
        };
        let remove = |room, named: &[&str]| Bad::Command(Command::Remove { room, accounts: names(named) });
        let role = |room, name: &str, role| Bad::Command(Command::SetRole { room, account: account(name), role });
        let rename = |room, name: &str| Bad::Command(Command::Rename { room, name: name.into() });
        vec![
            ("adding to a foreign room", add(self.foreign, &["bob"]), R::NotAMember, &["not a member"]),
            ("adding to no room", add(nowhere, &["bob"]), R::NotAMember, &["not a member"]),
            ("adding to direct messages", add(dm, &["bob"]), R::NotAChannel, &["no channel"]),
            ("adding to what is over", add(self.archived, &["bob"]), R::Archived, &["archived"]),
            ("adding nobody", add(own, &[]), R::NobodyNamed, &["account"]),
            ("adding a bot unasked", add(own, &["robo"]), R::BotNotAllowed, &["accounts", "robo"]),
            ("adding a stranger", add(own, &["nobody"]), R::UnknownAccount, &["accounts", "nobody"]),
            ("adding a disabled one", add(own, &["gone"]), R::AccountDisabled, &["accounts", "gone"]),
            ("adding to a full room", add(self.full, &["dan"]), R::RoomFull, &["5", "limit is 4"]),
            ("removing nobody", remove(own, &[]), R::NobodyNamed, &["account"]),
            ("removing who is not there", remove(own, &["cyd"]), R::TargetNotAMember, &["accounts", "cyd"]),
            ("removing without the right", remove(member, &["ada"]), R::NotOwner, &["owners"]),
            ("removing from direct messages", remove(dm, &["ada"]), R::NotAChannel, &["no channel"]),
            ("removing from a foreign room", remove(self.foreign, &["ada"]), R::NotAMember, &["not a member"]),
            ("leaving as the last owner", remove(own, &["eve"]), R::LastOwner, &["owner"]),
            ("leaving what one is not in", remove(self.foreign, &["eve"]), R::NotAMember, &["not a member"]),
            ("a role without the right", role(member, "eve", Role::Owner), R::NotOwner, &["owners"]),
            ("a role for who is not there", role(own, "cyd", Role::Owner), R::TargetNotAMember, &["account", "cyd"]),
            ("the role one has", role(own, "bob", Role::Member), R::AlreadyThatRole, &["role"]),
            ("the last owner stepping down", role(own, "eve", Role::Member), R::LastOwner, &["owner"]),
            ("a role in direct messages", role(dm, "ada", Role::Owner), R::NotAChannel, &["no channel"]),
            ("a blank new name", rename(own, "  "), R::InvalidName, &["name", "1 to 100"]),
            ("renaming without the right", rename(member, "mine"), R::NotOwner, &["owners"]),
            ("renaming direct messages", rename(dm, "us"), R::NotAChannel, &["no channel"]),
            ("ending without the right", Bad::Command(Command::Archive { room: member }), R::NotOwner, &["owners"]),
            ("ending twice", Bad::Command(Command::Archive { room: self.archived }), R::Archived, &["archived"]),
            ("a new key without the right", Bad::Command(Command::Rotate { room: member }), R::NotOwner, &["owners"]),
            (
                "disabling without the right",
                Bad::Command(Command::DisableAccount { account: account("ada") }),
                R::NotAdmin,
                &["administrators"],
            ),
        ]
    }

    async fn messages(&mut self) -> Vec<Row> {
        use Reason as R;
        let (own, member) = (self.own, self.member);
        let text = |room, text: &str| plain(room, message_id(), text);
        let mine = self.eve.say(own, "said by eve").await;
        let theirs = self.ada.say(member, "said by ada").await;
        let edited = self.eve.say(own, "to be edited").await;
        for nth in [1, 2] {
            self.eve.done(edit(own, edited, nth, "edited")).await;
        }
        let used = request_id();
        self.eve.command_as(used, text(own, "first")).await.unwrap();
        let named = message_id();
        self.eve.done(plain(own, named, "first")).await;
        let deleted = self.eve.say(own, "to be taken back").await;
        self.eve.done(Command::Delete { room: own, revision: deleted }).await;
        let delete = |room, revision| Bad::Command(Command::Delete { room, revision });
        let mark = |room, revision| Bad::Command(Command::MarkRead { room, revision: Revision(revision) });
        let long = "x".repeat(20 * 1024 + 1);
        let sealed_long = self.eve.sealed(own, &long);
        let sealed_blank = self.eve.sealed(own, " \n ");
        vec![
            ("nothing", Bad::Command(text(own, "")), R::Empty, &["empty"]),
            ("blanks", Bad::Command(text(own, " \n\t ")), R::Empty, &["empty"]),
            ("blanks, sealed", Bad::Command(sealed_blank), R::Empty, &["empty"]),
            ("too much", Bad::Command(text(own, &long)), R::TooLarge, &["content", "20481", "limit is 20480"]),
            ("too much, sealed", Bad::Command(sealed_long), R::TooLarge, &["content", "20481", "limit is 20480"]),
            ("talking in a foreign room", Bad::Command(text(self.foreign, "hi")), R::NotAMember, &["not a member"]),
            ("talking in no room", Bad::Command(text(nowhere(), "hi")), R::NotAMember, &["not a member"]),
            ("talking where it is over", Bad::Command(text(self.archived, "hi")), R::Archived, &["archived"]),
            ("talking in a large room", Bad::Command(text(self.full, "hi")), R::RestrictedToOwners, &["large room"]),
            ("a used request id", Bad::CommandAs(used, text(own, "second")), R::RequestReused, &["request id"]),
            ("a used message id", Bad::Command(plain(own, named, "second")), R::MessageReused, &["message id"]),
            ("editing what another said", Bad::Command(edit(member, theirs, 1, "no")), R::NotSender, &["sender"]),
            ("editing nothing", Bad::Command(edit(own, Revision::ZERO, 1, "no")), R::NoSuchMessage, &["message"]),
            (
                "editing what is to come",
                Bad::Command(edit(own, Revision(9_999), 1, "no")),
                R::NoSuchMessage,
                &["message"],
            ),
            (
                "editing what is no message",
                Bad::Command(edit(own, Revision(1), 1, "no")),
                R::NoSuchMessage,
                &["message"],
            ),
            ("editing what was taken back", Bad::Command(edit(own, deleted, 1, "no")), R::NoSuchMessage, &["message"]),
            ("an edit out of order", Bad::Command(edit(own, mine, 2, "no")), R::StaleEdit, &["edit", "1"]),
            ("one edit too many", Bad::Command(edit(own, edited, 3, "no")), R::TooMany, &["edited 2 times", "limit"]),
            ("an empty edit", Bad::Command(edit(own, mine, 1, " ")), R::Empty, &["empty"]),
            ("taking back nothing", delete(own, Revision(9_999)), R::NoSuchMessage, &["message"]),
            ("taking back what another said", delete(member, theirs), R::NotSender, &["sender"]),
            ("taking back in a foreign room", delete(self.foreign, Revision(5)), R::NotAMember, &["not a member"]),
            ("reading what is to come", mark(own, 9_999), R::BeyondHead, &["revision", "9999"]),
            ("reading a foreign room", mark(self.foreign, 1), R::NotAMember, &["not a member"]),
        ]
    }

    async fn envelopes(&mut self) -> Vec<Row> {
        use Reason as R;
        let (member, other) = (self.member, self.other);
        let theirs = self.ada.say(member, "sealed by ada").await;
        let mine = self.eve.say(member, "sealed by eve").await;
        self.eve.reach(member, theirs).await;
        let taken = |client: &Client, revision: Revision| {
            let item = client.rooms[&member].items[&revision].clone();
            let Event::Message { message, .. } = item.event else { panic!("no message at {revision}") };
            (message, item.body.unwrap())
        };
        let (their_id, their_envelope) = taken(&self.eve, theirs);
        let (_, my_envelope) = taken(&self.eve, mine);
        let eve = account("eve");
        let current = KeyVersion(1);
        let ada = account("ada");
        let seal = |client: &mut Client, sender, room, kind, edit, version| {
            let message = message_id();
            let claim = Claim { room, version, kind, sender, message, edit };
            (message, client.seal_as(member, &claim, "mislabelled"))
        };
        let as_ada = seal(&mut self.eve, &ada, member, BodyKind::Message, 0, current);
        let as_other_room = seal(&mut self.eve, &eve, other, BodyKind::Message, 0, current);
        let as_system = seal(&mut self.eve, &eve, member, BodyKind::System, 0, current);
        let as_edit = seal(&mut self.eve, &eve, member, BodyKind::Message, 1, current);
        let honest = seal(&mut self.eve, &eve, member, BodyKind::Message, 0, current);
        let of_before = seal(&mut self.eve, &eve, member, BodyKind::Message, 0, KeyVersion(0));
        let mut flipped = honest.1.clone();
        let mut bytes = flipped.ciphertext.to_vec();
        bytes[3] ^= 1;
        flipped.ciphertext = Blob::from(bytes);
        let bare = self.eve.seal_bare(member, honest.0, b"\"no object\"");
        let submit = |(message, envelope): (MessageId, Envelope)| {
            Bad::Command(Command::Submit(Submit { room: member, message, content: Content::Sealed(envelope) }))
        };
        let labelled = |envelope: &Envelope, version| Envelope { version: KeyVersion(version), ..envelope.clone() };
        let is_not: &[&str] = &["envelope"];
        vec![
            ("sealed as somebody else", submit(as_ada), R::BadEnvelope, is_not),
            ("sealed for another room", submit(as_other_room), R::BadEnvelope, is_not),
            ("sealed as the room itself", submit(as_system), R::BadEnvelope, is_not),
            ("sealed as an edit", submit(as_edit), R::BadEnvelope, is_not),
            ("sealed to v, labelled v + 1", submit((of_before.0, labelled(&of_before.1, 1))), R::BadEnvelope, is_not),
            (
                "under a version to come",
                submit((honest.0, labelled(&honest.1, 2))),
                R::StaleKey,
                &["version 2", "current is 1"],
            ),
            ("under a version of the past", submit(of_before), R::StaleKey, &["version 0", "current is 1"]),
            ("a bit flipped", submit((honest.0, flipped)), R::BadEnvelope, is_not),
            (
                "a counter moved on",
                submit((honest.0, Envelope { counter: 9, ..honest.1.clone() })),
                R::BadEnvelope,
                is_not,
            ),
            ("another's message again", submit((their_id, their_envelope.clone())), R::BadEnvelope, is_not),
            ("another's body as one's own", submit((message_id(), their_envelope)), R::BadEnvelope, is_not),
            ("one's own body under another name", submit((message_id(), my_envelope)), R::BadEnvelope, is_not),
            ("sealed, and no message", submit((honest.0, bare)), R::BadEnvelope, &["content", "text"]),
        ]
    }

    fn questions(&self) -> Vec<Row> {
        use Reason as R;
        let history =
            |room, limit| Bad::Query(Query::History { room, range: HistoryRange::Latest, limit: Some(limit) });
        let members = |room, limit| Bad::Query(Query::Members { room, after: None, limit: Some(limit) });
        let key = |room, version| Bad::Query(Query::Key { room, version });
        vec![
            ("a page of nothing", history(self.own, 0), R::TooMany, &["limit", "1 to 100"]),
            ("a page of too much", history(self.own, 101), R::TooMany, &["limit", "1 to 100"]),
            ("history of a foreign room", history(self.foreign, 10), R::NotAMember, &["not a member"]),
            ("history of no room", history(nowhere(), 10), R::NotAMember, &["not a member"]),
            ("no members", members(self.own, 0), R::TooMany, &["limit", "1 to 200"]),
            ("too many members", members(self.own, 201), R::TooMany, &["limit", "1 to 200"]),
            ("members of a foreign room", members(self.foreign, 10), R::NotAMember, &["not a member"]),
            ("the key of a foreign room", key(self.foreign, None), R::NotAMember, &["not a member"]),
            ("the key of no room", key(nowhere(), None), R::NotAMember, &["not a member"]),
            ("a key to come", key(self.own, Some(KeyVersion(7))), R::NoSuchKey, &["key version"]),
        ]
    }

    fn openings(&self) -> Vec<Row> {
        use Reason as R;
        let open = |room| Open { room, position: None, from: None, kinds: None, limit: None };
        let kinds = |kinds: &[&str]| Some(kinds.iter().map(|&kind| kind.to_owned()).collect::<Vec<_>>());
        let frame = |open| Bad::Frame(ClientFrame::Open(open));
        let hello = ClientFrame::Hello(Hello { token: "eve".into(), batch: true });
        let massage = || kinds(&["message", "massage"]);
        vec![
            ("opening what is open", frame(open(self.other)), R::AlreadyOpen, &["already open"]),
            ("a fourth room", frame(open(self.dm)), R::TooMany, &["open", "3 rooms"]),
            ("hello again", Bad::Frame(hello), R::Malformed, &["hello"]),
            (
                "watching no kind of event",
                Bad::Frame(ClientFrame::Watch { kinds: massage().unwrap() }),
                R::Malformed,
                &["kinds[1]", "members_added"],
            ),
        ]
    }

    /// Frames that cannot be read.
    fn unreadable(&self) -> Vec<Row> {
        let malformed = |what, text: &str, words: &'static [&'static str]| -> Row {
            (what, Bad::Raw(text.as_bytes().to_vec()), Reason::Malformed, words)
        };
        let (id, room) = (request_id(), self.own);
        let large = Bad::Raw(vec![b' '; 64 * 1024 + 1]);
        let mut rows: Vec<Row> =
            vec![("a frame over the limit", large, Reason::TooLarge, &["frame", "65537", "limit is 65536"])];
        match self.eve.codec {
            Codec::Json => rows.extend([
                malformed("no JSON", "{", &["EOF"]),
                malformed("nothing", "", &["EOF"]),
                malformed("two frames", "\"ping\"\"ping\"", &["trailing"]),
                malformed("JSON of something else", "[1,2]", &[]),
                malformed("an unknown frame", r#"{"shout":{}}"#, &["shout", "open"]),
                malformed("a frame without its field", r#"{"open":{}}"#, &["room"]),
                malformed("a room id that is none", r#"{"open":{"room":"garden"}}"#, &["room", "17 characters"]),
                malformed("an id of another kind", r#"{"command":{"id":"7","command":{}}}"#, &["request id", "UUID"]),
                malformed("no such command", &format!(r#"{{"command":{{"id":"{id}","command":{{"sing":{{}}}}}}}}"#), &["sing"]),
                malformed(
                    "no such range",
                    &format!(r#"{{"query":{{"id":"{id}","query":{{"history":{{"room":"{room}","range":"sideways"}}}}}}}}"#),
                    &["sideways", "latest"],
                ),
                malformed(
                    "a negative revision",
                    &format!(r#"{{"command":{{"id":"{id}","command":{{"mark_read":{{"room":"{room}","revision":-1}}}}}}}}"#),
                    &["-1"],
                ),
                malformed(
                    "an account that cannot be",
                    &format!(r#"{{"command":{{"id":"{id}","command":{{"create_dm":{{"account":"Ada Lovelace"}}}}}}}}"#),
                    &["account"],
                ),
                malformed(
                    "a message id that cannot be",
                    &format!(
                        r#"{{"command":{{"id":"{id}","command":{{"submit":{{"room":"{room}","message":"1","content":{{"plain":{{"text":"x"}}}}}}}}}}}}"#
                    ),
                    &["message"],
                ),
                malformed("a deep nest", &format!(r#"{{"open":{{"more":{}"#, "[".repeat(60_000)), &["EOF"]),
            ]),
            Codec::Bincode => {
                let ping = Codec::Bincode.encode(&ClientFrame::Ping);
                let open = Codec::Bincode.encode(&ClientFrame::Open(Open {
                    room,
                    position: None,
                    from: None,
                    kinds: None,
                    limit: None,
                }));
                let raw = |what, bytes: Vec<u8>| (what, Bad::Raw(bytes), Reason::Malformed, &[][..]);
                rows.extend([
                    raw("nothing", vec![]),
                    raw("an unknown frame", vec![200]),
                    raw("a frame cut off", open[..open.len() - 1].to_vec()),
                    raw("a frame and more", [&ping[..], &[0]].concat()),
                    raw("a length that is a lie", vec![0, 253, 255, 255, 255, 255, 255, 255, 255, 127]),
                    raw("noise", vec![0xff; 4_096]),
                ]);
            }
        }
        rows
    }
}

/// A room that is not there.
fn nowhere() -> RoomId {
    RoomId::from_digest(&[9; 32])
}

fn plain(room: RoomId, message: MessageId, text: &str) -> Command {
    Command::Submit(Submit { room, message, content: Content::Plain { text: text.into() } })
}

fn edit(room: RoomId, revision: Revision, edit: u32, text: &str) -> Command {
    Command::Edit { room, revision, edit, content: Content::Plain { text: text.into() } }
}

#[tokio::test]
async fn every_refusal_has_its_documented_code_and_harms_no_other_room() {
    let server = Server::start_with(&[], CONFIG);
    server.accounts("account,name,bot,disabled\nrobo,Robo,true,\ngone,Gone,,true\n");
    let mut provoked = BTreeSet::new();
    for codec in Codec::ALL {
        let mut scene = Scene::set(&server, codec).await;
        for (what, bad, reason, words) in scene.rows().await {
            let refusal = scene.provoke(bad).await;
            assert_eq!(refusal.reason, reason, "{what}: {}", refusal.message);
            assert_eq!(refusal.code, documented(reason), "{what}");
            for word in words {
                let said = refusal.message.to_lowercase();
                assert!(said.contains(&word.to_lowercase()), "{what}: {:?} does not say {word:?}", refusal.message);
            }
            match reason {
                Reason::StaleKey => assert_eq!(refusal.current, scene.eve.rooms[&scene.member].current, "{what}"),
                _ => assert_eq!(refusal.current, None, "{what}"),
            }
            scene.goes_on(what).await;
            provoked.insert(reason);
        }
        // What the offender does not get is not told from what is not there.
        let eve = &mut scene.eve;
        let foreign = eve.refused(plain(scene.foreign, message_id(), "hi")).await;
        let missing = eve.refused(plain(nowhere(), message_id(), "hi")).await;
        assert_eq!(foreign.message, missing.message, "a stranger is told that a room exists");
    }

    let mut covered: Vec<Reason> = provoked.into_iter().collect();
    covered.extend(ELSEWHERE.iter().chain(UNREACHABLE).map(|(reason, _)| *reason));
    for reason in Reason::ALL {
        let times = covered.iter().filter(|covered| *covered == reason).count();
        assert!(times > 0, "{reason:?} is neither provoked nor said to be unreachable");
        assert_eq!(times, 1, "{reason:?} is provoked here, and said to be provoked elsewhere or nowhere");
    }
}
