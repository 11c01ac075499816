//! A talk against frames that a server would send.

use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{
    Code, Command, Content, CurrentKey, Event, MessageContent, Outcome, Reason, Role, RoomKind, Submit,
};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{Answer, ClientFrame, Item, Query, ResetWhy, RoomView, ServerFrame, Welcome};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Options;
use super::talk::{Act, Talk};

const ROOM: &str = "abcdefghijklmnopq";

/// The server's side of a talk.
struct Other {
    talk: Talk,
    shown: Vec<String>,
    ended: Option<Result<(), String>>,
}

fn secret(byte: u8) -> RoomSecret {
    RoomSecret::from_bytes(&[byte; 32]).unwrap()
}

fn room() -> RoomId {
    ROOM.parse().unwrap()
}

fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn key(version: u32, byte: u8) -> CurrentKey {
    CurrentKey { version: KeyVersion(version), public: secret(byte).public() }
}

fn view(name: &str, current: CurrentKey) -> RoomView {
    RoomView {
        room: room(),
        kind: RoomKind::Channel,
        name: name.into(),
        counterpart: None,
        role: Role::Owner,
        archived: false,
        members: 2,
        head: Revision(4),
        time: Timestamp(0),
        messages: 0,
        unread: 0,
        read: Revision::ZERO,
        key: current,
    }
}

impl Other {
    fn new(named: &str, create: bool, stay: bool) -> Self {
        let options = Options { room: named.into(), account: account("ada"), create, last: 20, stay };
        let talk = Talk::new(options, "ada", StdRng::from_seed([7; 32]));
        Self { talk, shown: Vec::new(), ended: None }
    }

    /// In the room, with the key of version 0.
    fn in_the_room(stay: bool) -> Self {
        let mut other = Self::new("lobby", false, stay);
        other.welcome();
        let ClientFrame::Query { id, query: Query::Rooms } = other.sent().pop().unwrap() else {
            panic!("it asks for rooms")
        };
        other.take(ServerFrame::Ok {
            id,
            answer: Answer::Rooms { rooms: vec![view("lobby", key(0, 1))], account_revision: Revision(1) },
        });
        other.open(0, 1);
        other
    }

    fn welcome(&mut self) {
        self.talk.connected();
        assert!(matches!(self.sent()[..], [ClientFrame::Hello(_)]));
        self.take(ServerFrame::Welcome(Welcome {
            account: account("ada"),
            name: "Ada".into(),
            admin: false,
            site: "local".parse().unwrap(),
            node: "node-1".into(),
            time: Timestamp(0),
            account_revision: Revision(1),
            expires: None,
            limits: Limits::default(),
        }));
    }

    /// Answers the frame that opens the room, which must be the next.
    fn open(&mut self, version: u32, byte: u8) {
        let sent = self.sent();
        assert!(matches!(&sent[..], [ClientFrame::Open(open)] if open.room == room()), "{sent:?}");
        self.take(ServerFrame::Opened {
            room: view("lobby", key(version, byte)),
            after: Revision(4),
            head: Revision(4),
        });
        self.key(version, byte);
    }

    fn key(&mut self, version: u32, byte: u8) {
        let secret = secret(byte);
        self.take(ServerFrame::Key {
            room: room(),
            version: KeyVersion(version),
            public: secret.public(),
            secret: Blob(Bytes::copy_from_slice(&*secret.to_bytes())),
        });
    }

    fn take(&mut self, frame: ServerFrame) {
        self.talk.take(frame);
    }

    /// What it sent since; what it showed and how it ended is kept.
    fn sent(&mut self) -> Vec<ClientFrame> {
        let mut sent = Vec::new();
        for act in self.talk.acts() {
            match act {
                Act::Send(frame) => sent.push(frame),
                Act::Show(text) => self.shown.push(text),
                Act::End(ended) => self.ended = Some(ended.map_err(|failure| format!("{failure:?}"))),
            }
        }
        sent
    }

    /// The one message that it submitted since.
    fn submitted(&mut self) -> (chamberlain_core::id::RequestId, MessageId, Envelope) {
        let sent = self.sent();
        match &sent[..] {
            [
                ClientFrame::Command {
                    id,
                    command: Command::Submit(Submit { message, content: Content::Sealed(envelope), .. }),
                },
            ] => (*id, *message, envelope.clone()),
            _ => panic!("{sent:?}"),
        }
    }

    fn batch(&mut self, revision: u64, sender: &str, event: Event, body: Option<Envelope>) {
        let revision = Revision(revision);
        let item = Item { revision, time: Timestamp(0), account: account(sender), event, body };
        let position = Blob(Bytes::from_static(b"position"));
        self.take(ServerFrame::Batch {
            room: room(),
            from: revision,
            to: revision,
            items: vec![item],
            position,
            own: vec![],
        });
    }

    fn refuse(&mut self, id: chamberlain_core::id::RequestId, reason: Reason, current: Option<CurrentKey>) {
        self.take(ServerFrame::Error {
            id: Some(id),
            room: None,
            code: Code::Conflict,
            reason,
            message: "no".into(),
            current,
        });
    }
}

fn sealed(byte: u8, version: u32, message: MessageId, edit: u32, text: &str) -> Envelope {
    let (site, bob) = ("local".parse().unwrap(), account("bob"));
    let version = KeyVersion(version);
    let mut sealer =
        Sealer::new(&site, room(), version, &secret(byte).public(), &mut StdRng::from_seed([9; 32])).unwrap();
    let claim = Claim { room: room(), version, kind: BodyKind::Message, sender: &bob, message, edit };
    sealer.seal(&claim, &MessageContent { text: text.into() }.to_bytes()).unwrap()
}

fn opened(byte: u8, version: u32, message: MessageId, envelope: &Envelope) -> String {
    let (site, ada) = ("local".parse().unwrap(), account("ada"));
    let version = KeyVersion(version);
    let mut opener = Opener::new(&site, room(), version, secret(byte), 1);
    let claim = Claim { room: room(), version, kind: BodyKind::Message, sender: &ada, message, edit: 0 };
    MessageContent::parse(&opener.open(&claim, envelope).unwrap()).unwrap().text
}

fn done() -> Answer {
    Answer::Outcome(Outcome::Done { revision: Revision(9) })
}

#[test]
fn what_is_said_is_sealed_and_what_is_heard_is_opened() {
    let mut other = Other::in_the_room(false);
    other.talk.line("hello");
    let (id, message, envelope) = other.submitted();
    assert_eq!(opened(1, 0, message, &envelope), "hello");
    other.take(ServerFrame::Ok { id, answer: done() });

    let message: MessageId = "0123456789abcdefghij".parse().unwrap();
    let event = Event::Message { message, kind: BodyKind::Message, version: KeyVersion(0), ordinal: 1 };
    other.batch(5, "bob", event, Some(sealed(1, 0, message, 0, "hi\u{1b}[2J\nthere")));
    let edited = Event::Edited { revision: Revision(5), edit: 1, version: KeyVersion(0) };
    other.batch(6, "bob", edited, Some(sealed(1, 0, message, 1, "ho")));
    other.batch(7, "bob", Event::Deleted { revision: Revision(5) }, None);
    other.sent();
    let shown = other.shown.join("\n");
    assert!(shown.contains("#5 k0 00:00 bob: hi\u{fffd}[2J\n"), "{shown}");
    assert!(shown.contains("#5 k0 00:00 bob: ho (edited)") && shown.contains("bob took back #5"), "{shown}");
    assert!(other.ended.is_none());
    other.talk.input_ended();
    other.sent();
    assert_eq!(other.ended, Some(Ok(())));
}

#[test]
fn a_message_under_an_old_key_is_sealed_anew_under_the_same_names() {
    let mut other = Other::in_the_room(false);
    other.talk.line("hello");
    let (id, message, _) = other.submitted();
    other.refuse(id, Reason::StaleKey, Some(key(1, 2)));
    let (again, same, envelope) = other.submitted();
    assert_eq!((again, same, envelope.version), (id, message, KeyVersion(1)));
    assert_eq!(opened(2, 1, message, &envelope), "hello");

    let rotated = Event::KeyRotated { version: KeyVersion(2), public: secret(3).public() };
    other.batch(6, "bob", rotated, None);
    other.talk.line("next");
    let (_, message, envelope) = other.submitted();
    assert_eq!(opened(3, 2, message, &envelope), "next");
}

#[test]
fn what_was_not_answered_is_sent_again_as_it_was() {
    let mut other = Other::in_the_room(false);
    other.talk.line("hello");
    let first = other.submitted();
    other.batch(5, "bob", Event::Unchanged, None);
    other.talk.input_ended();
    other.welcome();
    let sent = other.sent();
    assert!(matches!(&sent[..], [ClientFrame::Open(open)] if open.position.is_some()), "it resumes: {sent:?}");
    assert!(!other.talk.takes_lines());
    other.take(ServerFrame::Opened { room: view("lobby", key(0, 1)), after: Revision(5), head: Revision(5) });
    assert_eq!(other.submitted(), first);
    other.refuse(first.0, Reason::RateLimited, None);
    assert_eq!(other.sent(), []);
    other.talk.again();
    assert_eq!(other.submitted(), first);
    assert!(other.ended.is_none(), "it waits for the answer");
    other.take(ServerFrame::Ok { id: first.0, answer: done() });
    other.sent();
    assert_eq!(other.ended, Some(Ok(())));
}

#[test]
fn a_channel_is_made_once_however_often_the_connection_breaks() {
    let mut other = Other::new("lobby", true, false);
    other.welcome();
    let ClientFrame::Query { id, .. } = other.sent().pop().unwrap() else { panic!("it asks for rooms") };
    other.take(ServerFrame::Ok { id, answer: Answer::Rooms { rooms: vec![], account_revision: Revision(0) } });
    let made = other.sent();
    assert!(matches!(&made[..], [ClientFrame::Command { command: Command::CreateChannel { .. }, .. }]), "{made:?}");
    other.welcome();
    assert_eq!(other.sent(), made);
    let [ClientFrame::Command { id, .. }] = made[..] else { panic!("one command") };
    let created = Outcome::Created { room: room(), kind: RoomKind::Channel, exists: false };
    other.take(ServerFrame::Ok { id, answer: Answer::Outcome(created) });
    other.open(0, 1);
}

#[test]
fn ends_are_told_as_what_they_are() {
    let mut other = Other::in_the_room(true);
    other.talk.input_ended();
    other.sent();
    assert!(other.ended.is_none(), "it stays");
    other.take(ServerFrame::Reset { room: room(), why: ResetWhy::Removed });
    other.sent();
    assert!(other.ended.clone().is_some_and(|ended| ended.is_err_and(|why| why.contains("removed from the room"))));

    let mut other = Other::in_the_room(false);
    other.talk.line("hello");
    let (id, ..) = other.submitted();
    other.talk.input_ended();
    other.refuse(id, Reason::RestrictedToOwners, None);
    other.sent();
    assert!(other.ended.clone().is_some_and(|ended| ended.is_err()), "not everything was taken");

    let mut other = Other::in_the_room(false);
    other.take(ServerFrame::Reset { room: room(), why: ResetWhy::UnknownPosition });
    let sent = other.sent();
    assert!(matches!(&sent[..], [ClientFrame::Open(open)] if open.position.is_none()), "{sent:?}");
    assert!(other.ended.is_none());
}

#[test]
fn what_was_said_before_is_shown_before_it_ends() {
    let mut other = Other::in_the_room(false);
    other.take(ServerFrame::Opened { room: view("lobby", key(0, 1)), after: Revision(4), head: Revision(5) });
    other.talk.input_ended();
    other.sent();
    assert!(other.ended.is_none());
    other.batch(5, "bob", Event::Unchanged, None);
    other.sent();
    assert_eq!(other.ended, Some(Ok(())));
}

#[test]
fn commands_are_understood_or_explained() {
    let mut other = Other::in_the_room(false);
    for line in ["", "   ", "/help", "/dance", "/edit 5", "/edit x y", "/delete", "/edit 99 what"] {
        other.talk.line(line);
        assert_eq!(other.sent(), [], "{line}");
    }
    other.talk.line("/delete #5");
    let sent = other.sent();
    assert!(matches!(&sent[..], [ClientFrame::Command { command: Command::Delete { revision: Revision(5), .. }, .. }]));
    other.talk.line("//shrug");
    let (_, message, envelope) = other.submitted();
    assert_eq!(opened(1, 0, message, &envelope), "/shrug");
}
