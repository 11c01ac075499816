//! Bytes that were written once are read by every later version, to the same values and the same digests.
//!
//! `core/tests/golden/` holds what version 1 wrote. These files are never written again: a change that cannot read them is
//! wrong. When a new form is added, it gets new files: `CHAMBERLAIN_WRITE_GOLDEN=1 cargo test -p chamberlain-core --test
//! golden_files` writes those that are missing, and no other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chamberlain_core::account::{AccountChange, AccountState};
use chamberlain_core::directory::{DirectoryChange, Folding, Group};
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use chamberlain_core::log::{Body, Entry, Head, Logged, Position, Record, erase_body};
use chamberlain_core::room::{Event, Fold, History, MessageContent, Role, RoomKind};
use chamberlain_core::site::{Fingerprint, MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn write_missing() -> bool {
    std::env::var_os("CHAMBERLAIN_WRITE_GOLDEN").is_some()
}

/// The bytes of a golden file; what `now` makes is written when there is none and that was asked for.
fn golden(name: &str, now: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = folder().join(name);
    if write_missing() && !path.exists() {
        std::fs::create_dir_all(folder()).expect("a folder");
        std::fs::write(&path, now()).expect("written");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a valid id")
}

fn room() -> RoomId {
    id("GoldenRoom0000001")
}

fn keys() -> SiteKeys {
    SiteKeys::new(id("golden"), &MasterKey::from_bytes([0x5a; 32]))
}

fn secret(version: u8) -> RoomSecret {
    RoomSecret::from_bytes(&[version + 1; 32]).expect("a scalar")
}

fn body(version: u8, kind: BodyKind, sender: &str, message: MessageId, edit: u32, text: &str) -> Body {
    let mut rng = ChaCha20Rng::from_seed([message.as_str().as_bytes()[19]; 32]);
    let (site, room, version) = (id("golden"), room(), KeyVersion(version.into()));
    let public = secret(version.0 as u8).public();
    let mut sealer = Sealer::new(&site, room, version, &public, &mut rng).expect("a key");
    let claim = Claim { room, version, kind, sender: &id(sender), message, edit };
    let plaintext = MessageContent { text: text.into() }.to_bytes();
    Body::Present(Blob(sealer.seal(&claim, &plaintext).expect("sealed").to_bytes()))
}

fn message(n: u8) -> MessageId {
    id(&format!("goldenmessage000000{n}"))
}

fn entry(account: &str, request: u8, events: Vec<(Event, Body)>) -> Entry<Event> {
    Entry {
        account: id(account),
        request: (request > 0).then(|| RequestId::from_random([request; 16])),
        fingerprint: Fingerprint([request; 16]),
        events: events.into_iter().map(|(event, body)| Logged { event, body }).collect(),
    }
}

/// A short life of a room in which every kind of event happens.
fn records() -> Vec<Record<Event>> {
    let all: Vec<AccountId> = vec![id("ada"), id("bob@corp.example")];
    let said = |n, kind, version, ordinal| Event::Message { message: message(n), kind, version, ordinal };
    let rotated =
        |version: u8| Event::KeyRotated { version: KeyVersion(version.into()), public: secret(version).public() };
    let plain = |event| (event, Body::None);
    let (system, member) = (BodyKind::System, BodyKind::Message);
    let owner = Some(id("ada"));
    let created =
        Event::Created { kind: RoomKind::Channel, site: id("golden"), name: Some(id("Goldener Saal")), owner };
    let entries = [
        vec![entry(
            "ada",
            1,
            vec![
                plain(created),
                plain(Event::MembersAdded { accounts: all, history: History::All }),
                plain(rotated(0)),
                (said(1, system, KeyVersion(0), 0), body(0, system, "ada", message(1), 0, "A new room")),
            ],
        )],
        vec![
            entry(
                "bob@corp.example",
                2,
                vec![(
                    said(2, member, KeyVersion(0), 1),
                    body(0, member, "bob@corp.example", message(2), 0, "Guten Tag ✓"),
                )],
            ),
            entry("ada", 3, vec![plain(Event::RoleSet { account: id("bob@corp.example"), role: Role::Owner })]),
            entry("ada", 4, vec![plain(Event::Renamed { name: id("Saal 2") })]),
        ],
        vec![entry(
            "bob@corp.example",
            5,
            vec![(
                Event::Edited { revision: Revision(5), edit: 1, version: KeyVersion(0) },
                body(0, member, "bob@corp.example", message(2), 1, "Guten Abend"),
            )],
        )],
        vec![entry(
            "ada",
            6,
            vec![plain(rotated(1)), plain(Event::MembersAdded { accounts: vec![id("cyd")], history: History::None })],
        )],
        vec![entry("bob@corp.example", 7, vec![plain(Event::Deleted { revision: Revision(5) })])],
        vec![entry(
            "ada",
            8,
            vec![
                plain(Event::MembersRemoved { accounts: vec![id("cyd")] }),
                plain(rotated(2)),
                (said(3, system, KeyVersion(2), 1), body(2, system, "ada", message(3), 0, "gone")),
            ],
        )],
        vec![entry("ada", 9, vec![plain(Event::Unchanged)]), entry("ada", 0, vec![plain(Event::Archived)])],
    ];
    let mut first = Revision(1);
    let mut records = Vec::new();
    for (at, entries) in entries.into_iter().enumerate() {
        let record = Record { first, time: Timestamp(1_700_000_000_000 + at as u64), entries };
        first = record.last().next();
        records.push(record);
    }
    records
}

/// What an operator decides when it is archived already.
fn continued(head: Head) -> Record<Event> {
    let version = KeyVersion(5);
    let events = [
        Event::Unchanged,
        Event::Continued { ended: head.revision, known: head.revision.next(), version },
        Event::KeyRotated { version, public: secret(5).public() },
    ];
    let events = events.map(|event| (event, Body::None)).to_vec();
    Record { first: head.revision.next(), time: Timestamp(1_800_000_000_000), entries: vec![entry("root", 0, events)] }
}

fn account_records() -> Vec<Record<AccountChange>> {
    let changes = [
        AccountChange::Joined {
            room: room(),
            at: Revision(2),
            kind: RoomKind::Channel,
            name: Some(id("Goldener Saal")),
            counterpart: None,
        },
        AccountChange::Joined {
            room: id("GoldenRoom0000002"),
            at: Revision(2),
            kind: RoomKind::Dm,
            name: None,
            counterpart: Some(id("bob@corp.example")),
        },
        AccountChange::Left { room: room(), at: Revision(12) },
    ];
    let mut records = Vec::new();
    for (at, event) in changes.into_iter().enumerate() {
        let entry = Entry {
            account: id("cyd"),
            request: None,
            fingerprint: Fingerprint::default(),
            events: vec![Logged { event, body: Body::None }],
        };
        let (first, time) = (Revision(at as u64 + 1), Timestamp(1_700_000_000_000));
        records.push(Record { first, time, entries: vec![entry] });
    }
    records
}

/// A directory to which everything happens.
fn directory_records() -> Vec<Record<DirectoryChange>> {
    let (ada, cyd) = (|| id::<AccountId>("ada"), || id::<AccountId>("cyd@corp.example"));
    let group = |id: &str| Some(Group { id: id.into(), name: format!("Abteilung {id}") });
    let plain = |account| DirectoryChange::Added {
        account,
        site: id("golden"),
        name: "name".into(),
        local_name: None,
        bot: false,
        disabled: false,
        section: None,
        department: None,
        admin: false,
    };
    let full = DirectoryChange::Added {
        account: ada(),
        site: id("golden"),
        name: "Ada L.".into(),
        local_name: Some("艾达".into()),
        bot: true,
        disabled: true,
        section: group("s"),
        department: group("d"),
        admin: true,
    };
    let records = [
        vec![(id("server"), vec![DirectoryChange::Opened])],
        vec![(ada(), vec![full]), (cyd(), vec![plain(cyd())])],
        vec![(
            cyd(),
            vec![
                DirectoryChange::Named { account: cyd(), name: "Cyd".into(), local_name: None },
                DirectoryChange::Grouped { account: cyd(), section: None, department: group("d") },
                DirectoryChange::Disabled { account: cyd() },
                DirectoryChange::BotSet { account: cyd(), bot: true },
            ],
        )],
        vec![(
            ada(),
            vec![
                DirectoryChange::Enabled { account: ada() },
                DirectoryChange::AdminSet { account: ada(), admin: false },
            ],
        )],
    ];
    let mut first = Revision(1);
    let mut made = Vec::new();
    for (at, entries) in records.into_iter().enumerate() {
        let entries = entries.into_iter().map(|(account, changes)| Entry {
            account,
            request: None,
            fingerprint: Fingerprint::default(),
            events: changes.into_iter().map(|event| Logged { event, body: Body::None }).collect(),
        });
        let record = Record { first, time: Timestamp(1_700_000_000_000 + at as u64), entries: entries.collect() };
        first = record.last().next();
        made.push(record);
    }
    made
}

/// What a file of digests says: a name and a digest a line.
fn digests(file: &str, now: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let text = golden(file, || {
        let mut text = String::new();
        now.iter().for_each(|(name, digest)| writeln!(text, "{name} {digest}").expect("a string takes it"));
        text.into_bytes()
    });
    let text = String::from_utf8(text).expect("text");
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, digest)| (name.into(), digest.into())).collect()
}

#[test]
fn records_of_every_version_are_read_as_they_were_written() {
    let mut heads = BTreeMap::new();
    let mut head = Head::EMPTY;
    let mut fold = Fold::new(room(), 16);
    let mut kinds = std::collections::BTreeSet::new();
    for (at, expected) in records().into_iter().enumerate() {
        let name = format!("room-{at}.v1.bin");
        let bytes = golden(&name, || expected.encode().bytes.to_vec());
        let read = Record::<Event>::decode(&bytes.clone().into()).expect("readable");
        assert_eq!(read, expected, "{name}");
        assert_eq!(read.encode().bytes, bytes, "{name}: the same version still writes the same");
        head = read.extend(head).expect("follows");
        fold.apply(&read, head).expect("folds");
        kinds.extend(read.items().map(|item| item.event.kind()));
        heads.insert(name, head.digest.to_string());
    }
    let mut account = AccountState::default();
    let mut account_head = Head::EMPTY;
    for (at, expected) in account_records().into_iter().enumerate() {
        let name = format!("account-{at}.v1.bin");
        let bytes = golden(&name, || expected.encode().bytes.to_vec());
        let read = Record::<AccountChange>::decode(&bytes.clone().into()).expect("readable");
        assert_eq!(read, expected, "{name}");
        assert_eq!(read.encode().bytes, bytes);
        account_head = read.extend(account_head).expect("follows");
        assert!(account.apply(&read, account_head));
        heads.insert(name, account_head.digest.to_string());
    }
    assert_eq!(account.rooms().collect::<Vec<_>>(), [id::<RoomId>("GoldenRoom0000002")]);

    let stored = digests("digests.txt", &heads);
    for (name, digest) in &heads {
        assert_eq!(stored.get(name), Some(digest), "{name}");
    }

    let snapshot = golden("fold.v1.bin", || fold.to_snapshot());
    assert_eq!(Fold::from_snapshot(&snapshot).expect("readable"), fold);

    let position = Position { room: room(), head };
    let blob = golden("position.v1.bin", || position.to_blob(&keys()).to_vec());
    assert_eq!(Position::from_blob(&blob.into(), room(), &keys()), Some(position));

    let expected = continued(head);
    let bytes = golden("room-7.v1.bin", || expected.encode().bytes.to_vec());
    let read = Record::<Event>::decode(&bytes.clone().into()).expect("readable");
    assert_eq!((&read, read.encode().bytes), (&expected, bytes.into()));
    head = read.extend(head).expect("follows");
    fold.apply(&read, head).expect("folds");
    kinds.extend(read.items().map(|item| item.event.kind()));
    let digest = golden("digest-7.txt", || head.digest.to_string().into_bytes());
    assert_eq!(digest, head.digest.to_string().into_bytes());
    let snapshot = golden("fold.v2.bin", || fold.to_snapshot());
    assert_eq!(Fold::from_snapshot(&snapshot).expect("readable"), fold);
    assert_eq!(kinds.len(), chamberlain_core::room::EVENT_KINDS.len(), "every kind of event: {kinds:?}");
}

#[test]
fn records_of_the_directory_are_read_as_they_were_written() {
    let mut folding = Folding::default();
    let (mut heads, mut kinds) = (BTreeMap::new(), std::collections::BTreeSet::new());
    for (at, expected) in directory_records().into_iter().enumerate() {
        let name = format!("directory-{at}.v1.bin");
        let bytes = golden(&name, || expected.encode().bytes.to_vec());
        let read = Record::<DirectoryChange>::decode(&bytes.clone().into()).expect("readable");
        assert_eq!(read, expected, "{name}");
        assert_eq!(read.encode().bytes, bytes);
        folding.apply(&read).expect("folds");
        kinds.extend(read.items().map(|item| chamberlain_core::codec::encode(item.event)[0]));
        heads.insert(name, folding.head.digest.to_string());
    }
    assert!(kinds.into_iter().eq(0..8), "every kind of change");
    let cyd = &folding.accounts[&id::<AccountId>("cyd@corp.example")];
    assert!(folding.opened && cyd.disabled && cyd.bot && cyd.name == "Cyd", "{cyd:?}");
    assert_eq!(digests("directory-digests.txt", &heads), heads);
}

#[test]
fn an_erased_record_has_the_digests_of_the_whole_one() {
    let records = records();
    let before = records[0].extend(Head::EMPTY).expect("follows");
    let whole = records[1].encode();
    let bytes =
        golden("room-1-erased.v1.bin", || erase_body(&whole, Revision(5)).expect("a body stands there").bytes.to_vec());
    let read = Record::<Event>::decode(&bytes.into()).expect("readable");
    assert_eq!(read.extend(before), records[1].extend(before));
    assert!(matches!(read.entries[0].events[0].body, Body::Erased { .. }));
}

#[test]
fn what_was_sealed_is_opened_still() {
    let bytes = golden("room-1.v1.bin", || records()[1].encode().bytes.to_vec());
    let record = Record::<Event>::decode(&bytes.into()).expect("readable");
    let item = record.items().next().expect("an event");
    let Body::Present(body) = item.body else { panic!("a body") };
    let mut opener = Opener::new(&id("golden"), room(), KeyVersion(0), secret(0), 1);
    let claim = Claim {
        room: room(),
        version: KeyVersion(0),
        kind: BodyKind::Message,
        sender: item.account,
        message: message(2),
        edit: 0,
    };
    let envelope = Envelope::from_bytes(body).expect("an envelope");
    let plaintext = opener.open(&claim, &envelope).expect("opens");
    assert_eq!(MessageContent::parse(&plaintext).map(|content| content.text), Some("Guten Tag ✓".into()));
}

#[test]
fn names_and_fingerprints_are_derived_as_ever() {
    let keys = keys();
    let request = RequestId::from_random([1; 16]);
    let now = BTreeMap::from([
        ("channel".to_owned(), keys.channel_id(&id("ada"), request).to_string()),
        ("dm".to_owned(), keys.dm_id(&id("ada"), &id("bob")).to_string()),
        ("system".to_owned(), keys.system_message_id(room(), &id("ada"), request, 0).to_string()),
        ("fingerprint".to_owned(), format!("{:02x?}", keys.fingerprint(b"command").0).replace(", ", "")),
    ]);
    let text = golden("names.txt", || {
        now.iter().map(|(name, value)| format!("{name} {value}\n")).collect::<String>().into_bytes()
    });
    let text = String::from_utf8(text).expect("text");
    let stored: BTreeMap<String, String> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name.into(), value.into())).collect();
    assert_eq!(stored, now);
}
