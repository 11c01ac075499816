//! How a socket behaves in front of hubs that always have more, or nothing; how a hub answers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use crate::keys::{Blob, BodyKind, Encapsulation, Envelope, RoomSecret};
use crate::limits::Limits;
use crate::log::{Body, Digest, Entry, Head, Logged, Offer, Position, Record};
use crate::room::{Event, History, RoomKind, RoomState};
use crate::site::{Fingerprint, MasterKey, SiteKeys};
use crate::time::{Instant, Timestamp};
use crate::wire::{Codec, ResetWhy, ServerFrame, VoidWhy};

fn plain(_: Codec, payload: Vec<u8>) -> Bytes {
    payload.into()
}

fn account(name: &str) -> AccountId {
    name.parse().expect("valid")
}

fn room(n: u8) -> RoomId {
    RoomId::from_digest(&[n; 32])
}

fn request(n: u8) -> RequestId {
    RequestId::from_random([n; 16])
}

/// Hubs that always have the next revision, each in a frame that names its room.
#[derive(Default)]
struct Endless {
    /// The version that frames need.
    needs: Option<KeyVersion>,
    /// Rooms whose next answer is another one.
    answers: BTreeMap<RoomId, Pack>,
    frame_bytes: usize,
}

impl View for Endless {
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack {
        if let Some(pack) = self.answers.get(&room) {
            return pack.clone();
        }
        let mut bytes = room.as_str().as_bytes().to_vec();
        bytes.resize(self.frame_bytes.max(bytes.len()), b'.');
        let from = ask.after.next();
        Pack::Frame(Packed { bytes: bytes.into(), from, to: from, needs: self.needs, chain: None, vouched: None })
    }
}

/// A socket in front of [`Endless`] hubs.
struct Rig {
    socket: Socket,
    view: Endless,
    now: Instant,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let socket = Socket::new(account("ada"), Codec::Json, false, Arc::new(limits), plain, Instant(0));
        Self { socket, view: Endless::default(), now: Instant(0) }
    }

    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.socket.step(self.now, input, &mut self.view, &mut effects);
        effects
    }

    fn open(&mut self, n: u8, head: u64, told: bool) -> Vec<Effect> {
        self.step(Input::Open {
            room: room(n),
            after: Revision::ZERO,
            head: Revision(head),
            chain: None,
            kinds: None,
            opened: Bytes::from_static(b"opened"),
            told_until: Revision(if told { u64::MAX } else { 0 }),
        })
    }

    fn reply(&mut self, n: u8, follows: Option<(RoomId, Revision)>) -> Vec<Effect> {
        self.step(Input::Reply { request: Some(request(n)), frame: Bytes::from_static(b"ok"), follows })
    }

    fn after_ms(&mut self, ms: u64) -> Vec<Effect> {
        self.now = Instant(self.now.0 + ms * 1_000);
        self.step(Input::Tick)
    }
}

/// What is written, as text.
fn written(effects: &[Effect]) -> Vec<&str> {
    let writes = effects.iter().filter_map(|effect| match effect {
        Effect::Write(frames) => Some(frames.as_slice()),
        _ => None,
    });
    writes.flatten().map(|frame| core::str::from_utf8(frame).expect("text")).collect()
}

#[test]
fn one_write_is_under_way_at_a_time() {
    let mut rig = Rig::new(Limits::default());
    assert_eq!(written(&rig.open(1, 1, true)), ["opened", room(1).as_str()]);
    assert!(rig.step(Input::Moved { room: room(1), head: Revision(3) }).is_empty());
    assert!(rig.step(Input::Progress).is_empty());
    assert_eq!(written(&rig.step(Input::Written)), [room(1).as_str(); 2]);
    assert!(rig.step(Input::Written).is_empty(), "nothing is left");
}

#[test]
fn a_busy_room_starves_no_other() {
    let mut rig = Rig::new(Limits::default());
    rig.view.frame_bytes = 100 * 1024;
    rig.open(0, 1_000_000, true);
    for n in 1..5 {
        rig.open(n, 5, true);
    }
    let mut seen = BTreeMap::<_, u64>::new();
    for _ in 0..5 {
        let effects = rig.step(Input::Written);
        for frame in written(&effects).into_iter().filter(|frame| *frame != "opened") {
            *seen.entry(frame.trim_end_matches('.').parse::<RoomId>().expect("a room")).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 5, "each within as many writes as there are rooms");
    assert!(seen.values().all(|frames| (1..=2).contains(frames)), "in turn: {seen:?}");
}

#[test]
fn an_answer_follows_the_revision_it_tells_of() {
    let mut rig = Rig::new(Limits::default());
    rig.open(1, 2, true);
    assert!(rig.reply(1, Some((room(1), Revision(4)))).is_empty());
    assert_eq!(written(&rig.step(Input::Written)), [] as [&str; 0]);
    let effects = rig.step(Input::Moved { room: room(1), head: Revision(5) });
    assert_eq!(written(&effects), [room(1).as_str(), room(1).as_str(), "ok", room(1).as_str()]);
}

#[test]
fn an_answer_does_not_wait_for_a_room_that_is_closed() {
    for close in [Input::Close { room: room(1) }, Input::Reset { room: room(1), why: ResetWhy::Quarantined }] {
        let mut rig = Rig::new(Limits::default());
        rig.open(1, 0, true);
        rig.reply(1, Some((room(1), Revision(4))));
        rig.step(close);
        assert!(written(&rig.step(Input::Written)).contains(&"ok"));
        assert_eq!(written(&rig.step(Input::Written)), [] as [&str; 0]);
        assert_eq!(written(&rig.reply(2, Some((room(1), Revision(4))))), ["ok"]);
    }
}

#[test]
fn a_key_is_asked_for_once_and_written_just_before_what_needs_it() {
    let mut rig = Rig::new(Limits::default());
    rig.view.needs = Some(KeyVersion(3));
    let effects = rig.open(1, 2, true);
    let [Effect::Key { opening, version: KeyVersion(3), .. }, Effect::Write(_)] = effects[..] else {
        panic!("{effects:?}")
    };
    assert!(rig.step(Input::Written).is_empty());
    assert!(rig.step(Input::Moved { room: room(1), head: Revision(3) }).is_empty(), "asked already");
    let key = |opening| Input::Key {
        room: room(1),
        opening,
        version: KeyVersion(3),
        frame: Some(Bytes::from_static(b"key")),
    };
    assert!(rig.step(key(OpeningId(99))).is_empty(), "the answer to another opening");
    let effects = rig.step(key(opening));
    assert_eq!(written(&effects), ["key", room(1).as_str(), room(1).as_str()]);
}

#[test]
fn a_room_waits_for_a_key_alone() {
    let mut rig = Rig::new(Limits::default());
    rig.view.needs = Some(KeyVersion(0));
    rig.open(1, 2, true);
    rig.step(Input::Written);
    rig.view.needs = None;
    assert_eq!(written(&rig.open(2, 1, true)), ["opened", room(2).as_str()]);
}

#[test]
fn the_first_key_waits_until_the_account_was_told() {
    let mut rig = Rig::new(Limits::default());
    rig.view.needs = Some(KeyVersion(0));
    let effects = rig.open(1, 1, false);
    assert_eq!(written(&effects), ["opened"]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Key { .. })));
    rig.step(Input::Written);
    let frame = Bytes::from_static(b"joined");
    let effects = rig.step(Input::AccountEvent { frame, room: room(1), told_until: Revision(u64::MAX) });
    assert_eq!(written(&effects), ["joined"]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Key { .. })));
}

#[test]
fn the_key_of_what_follows_its_leaving_waits_until_the_account_is_told_again() {
    let mut rig = Rig::new(Limits::default());
    rig.open(1, 0, true);
    rig.step(Input::Written);
    let told = |frame: &'static [u8], told_until| {
        let (frame, room, told_until) = (Bytes::from_static(frame), room(1), Revision(told_until));
        Input::AccountEvent { frame, room, told_until }
    };
    rig.step(told(b"left", 2));
    rig.step(Input::Written);
    rig.view.needs = Some(KeyVersion(0));
    let asks = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Key { .. }));
    // What came before, it was told of.
    let effects = rig.step(Input::Moved { room: room(1), head: Revision(2) });
    assert!(asks(&effects), "{effects:?}");
    let Some(Effect::Key { opening, version, .. }) = effects.into_iter().next() else { panic!("a key is asked for") };
    let frame = Some(Bytes::from_static(b"key"));
    let effects = rig.step(Input::Key { room: room(1), opening, version, frame });
    assert_eq!(written(&effects)[..2], ["key", room(1).as_str()]);
    rig.step(Input::Written);
    rig.view.needs = Some(KeyVersion(1));
    assert!(!asks(&rig.step(Input::Moved { room: room(1), head: Revision(3) })));
    assert!(asks(&rig.step(told(b"joined", u64::MAX))));
}

#[test]
fn who_left_before_it_was_told_of_the_room_waits_for_nothing() {
    let mut rig = Rig::new(Limits::default());
    rig.view.needs = Some(KeyVersion(0));
    rig.open(1, 1, false);
    rig.step(Input::Written);
    let frame = Bytes::from_static(b"left");
    rig.view.answers.insert(room(1), Pack::Removed);
    let effects = rig.step(Input::AccountEvent { frame, room: room(1), told_until: Revision(9) });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Reset { why: ResetWhy::Removed, .. })), "{effects:?}");
}

#[test]
fn what_failed_is_asked_again_after_a_while() {
    let mut rig = Rig::new(Limits::default());
    rig.view.answers.insert(room(1), Pack::Fetch);
    let effects = rig.open(1, 9, true);
    let Some(Effect::Fetch { opening, after: Revision(0), .. }) = effects.first() else { panic!("{effects:?}") };
    rig.step(Input::Written);
    assert!(rig.step(Input::FetchFailed { room: room(1), opening: *opening }).is_empty());
    let at = rig.socket.next_deadline().expect("a retry");
    assert_eq!(at, Instant(u64::from(Limits::default().retry_first_ms) * 1_000));
    assert!(matches!(rig.after_ms(at.0 / 1_000)[..], [Effect::Fetch { .. }]));
}

#[test]
fn few_openings_fetch_at_a_time_and_the_others_take_turns() {
    let mut rig = Rig::new(Limits::default());
    let mut fetching = Vec::new();
    for n in 0..20 {
        rig.view.answers.insert(room(n), Pack::Fetch);
        fetching.extend(rig.open(n, 9, true));
        fetching.extend(rig.step(Input::Written));
    }
    fetching.retain(|effect| matches!(effect, Effect::Fetch { .. }));
    assert_eq!(fetching.len(), 4);
    let Effect::Fetch { room, opening, .. } = fetching[0] else { panic!() };
    let effects = rig.step(Input::FetchFailed { room, opening });
    assert!(matches!(effects[..], [Effect::Fetch { .. }]), "the next one's turn");
    rig.step(Input::Close { room: self::room(19) });
    let Effect::Fetch { room, .. } = fetching[1] else { panic!() };
    assert!(matches!(rig.step(Input::Close { room })[..], [Effect::Fetch { .. }]));
}

#[test]
fn a_socket_that_takes_no_byte_is_slow_and_lag_alone_is_not() {
    let limits = Limits::default();
    let mut rig = Rig::new(limits.clone());
    rig.open(1, 1_000_000, true);
    for _ in 0..10 {
        rig.now = Instant(rig.now.0 + u64::from(limits.slow_ms - 1) * 1_000);
        rig.step(Input::Heard);
        assert!(rig.step(Input::Progress).is_empty());
    }
    assert_eq!(written(&rig.step(Input::Written)).len(), 64, "far behind, and served on");
    let effects = rig.after_ms(limits.slow_ms.into());
    assert!(matches!(effects[..], [Effect::End { code: 4008, .. }]), "{effects:?}");
    assert!(rig.step(Input::Written).is_empty() && rig.socket.next_deadline().is_none());
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let limits = Limits::default();
    let mut rig = Rig::new(limits.clone());
    assert_eq!(rig.socket.next_deadline(), Some(Instant(u64::from(limits.ping_ms) * 1_000)));
    assert!(matches!(rig.after_ms(limits.ping_ms.into())[..], [Effect::Ping]));
    rig.step(Input::Heard);
    assert!(matches!(rig.after_ms(limits.ping_ms.into())[..], [Effect::Ping]));
    assert!(matches!(rig.after_ms((limits.dead_ms - limits.ping_ms).into())[..], [Effect::End { .. }]));
}

#[test]
fn who_reads_no_answers_is_slow_and_costs_a_bounded_amount() {
    let limits = Limits { replies_waiting: 16, open_rooms: 4, ..Limits::default() };
    let mut rig = Rig::new(limits);
    rig.step(Input::Control { frame: Bytes::from_static(b"welcome") });
    for n in 0..9 {
        rig.reply(n, None);
    }
    assert!(rig.socket.is_congested());
    for n in 9..60 {
        rig.reply(n, None);
        assert!(rig.socket.waiting() <= 20);
    }
    let effects = rig.step(Input::Written);
    let frames = written(&effects);
    assert!(frames.len() == 1 && frames[0].contains("4008"), "{frames:?}");
    assert!(matches!(rig.step(Input::Written)[..], [Effect::End { code: 4008, .. }]));
}

#[test]
fn a_goodbye_comes_after_what_was_answered_before_and_nothing_after_it() {
    let mut rig = Rig::new(Limits::default());
    rig.open(1, 0, true);
    rig.reply(3, None);
    // Its revision will not go out any more, so it must not either.
    rig.reply(1, Some((room(1), Revision(9))));
    rig.step(Input::Bye { code: 4013, reason: "stopping".into(), retry_after_ms: Some(7) });
    rig.reply(2, None);
    let effects = rig.step(Input::Written);
    let frames = written(&effects);
    assert!(frames.len() == 2 && frames[0] == "ok" && frames[1].contains("4013"), "{frames:?}");
    assert!(matches!(rig.step(Input::Written)[..], [Effect::End { code: 4013, .. }]));
}

/// A channel of ada's with `said` messages, as records of one event each after the first.
struct Channel {
    hub: Hub,
    keys: Arc<SiteKeys>,
    records: Vec<Record<Event>>,
    head: Head,
}

impl Channel {
    fn new(limits: &Limits) -> Self {
        let keys = Arc::new(SiteKeys::new("here".parse().expect("valid"), &MasterKey::from_bytes([1; 32])));
        let hub = Hub::new(RoomState::new(room(1)), keys.clone(), limits, plain);
        let mut channel = Self { hub, keys, records: Vec::new(), head: Head::EMPTY };
        let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
        let site = "here".parse().expect("valid");
        let created = Event::Created { kind: RoomKind::Channel, site, name: None, owner: Some(account("ada")) };
        let added = Event::MembersAdded { accounts: vec![account("ada"), account("bob")], history: History::All };
        let rotated = Event::KeyRotated { version: KeyVersion(0), public };
        channel.commit(vec![(created, Body::None), (added, Body::None), (rotated, Body::None)]);
        channel
    }

    fn commit(&mut self, events: Vec<(Event, Body)>) -> Offer {
        let events = events.into_iter().map(|(event, body)| Logged { event, body }).collect();
        let entry = Entry { account: account("ada"), request: None, fingerprint: Fingerprint::default(), events };
        let record = Record { first: self.head.revision.next(), time: Timestamp(1), entries: vec![entry] };
        self.head = record.extend(self.head).expect("it follows");
        let offer = self.hub.commit(&record, self.head).expect("it contradicts nothing");
        self.records.push(record);
        offer
    }

    fn say(&mut self) {
        let version = KeyVersion(0);
        let ordinal = self.hub.state().messages() + 1;
        let message = "abcdefghijklmnopqrst".parse().expect("valid");
        let ciphertext = Blob::from(vec![5; 40]);
        let envelope = Envelope { version, encapsulation: Encapsulation([4; 65]), counter: ordinal, ciphertext };
        let event = Event::Message { message, kind: BodyKind::Message, version, ordinal };
        self.commit(vec![(event, Body::Present(Blob(envelope.to_bytes())))]);
    }

    fn digest(&self, revision: u64) -> Digest {
        let mut head = Head::EMPTY;
        for record in &self.records {
            if let Some(at) = record.heads(head).find(|head| head.revision == Revision(revision)) {
                return at.digest;
            }
            head = record.extend(head).expect("it follows");
        }
        head.digest
    }
}

const NOTHING: &BTreeSet<RequestId> = &BTreeSet::new();

fn ask<'a>(account: &'a AccountId, after: u64, chain: Option<Digest>, past: Option<&'a Past>) -> Ask<'a> {
    Ask {
        account,
        codec: Codec::Bincode,
        batch: true,
        kinds: None,
        after: Revision(after),
        through: Revision(u64::MAX),
        chain,
        vouched: None,
        refused: None,
        own: NOTHING,
        past,
    }
}

fn packed(pack: Pack) -> Packed {
    match pack {
        Pack::Frame(packed) => packed,
        other => panic!("{other:?}"),
    }
}

fn position(packed: &Packed) -> Blob {
    match Codec::Bincode.decode_server(&packed.bytes).expect("a frame") {
        ServerFrame::Batch { position, .. } | ServerFrame::Void { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_share_the_very_bytes_of_a_frame() {
    let mut channel = Channel::new(&Limits::default());
    channel.say();
    let (ada, bob) = (account("ada"), account("bob"));
    let one = packed(channel.hub.pack(&ask(&ada, 3, None, None)));
    let other = packed(channel.hub.pack(&ask(&bob, 3, Some(channel.digest(3)), None)));
    assert_eq!(one.bytes.as_ptr(), other.bytes.as_ptr());
    assert_eq!((one.needs, one.vouched), (Some(KeyVersion(0)), Some(Revision(4))));
}

#[test]
fn a_position_is_of_the_digest_there_and_in_what_was_fetched_only_with_a_chain() {
    let mut channel = Channel::new(&Limits { tail_records: 1, ..Limits::default() });
    for _ in 0..5 {
        channel.say();
    }
    let ada = account("ada");
    let past = Past::new(channel.records[1..3].to_vec()).expect("consecutive");
    assert!(matches!(channel.hub.pack(&ask(&ada, 3, None, None)), Pack::Fetch));
    let blind = packed(channel.hub.pack(&ask(&ada, 3, None, Some(&past))));
    assert!(blind.to == Revision(5) && position(&blind).is_empty() && blind.chain.is_none());
    // Beginning in the middle of the first record, too.
    for after in [2, 3] {
        let past = Past::new(channel.records[..3].to_vec()).expect("consecutive");
        let sighted = packed(channel.hub.pack(&ask(&ada, after, Some(channel.digest(after)), Some(&past))));
        let read = Position::from_blob(&position(&sighted), room(1), &channel.keys).expect("it verifies");
        assert_eq!(read.head, Head { revision: Revision(5), digest: channel.digest(5) });
    }
    let tail = packed(channel.hub.pack(&ask(&ada, 7, None, None)));
    assert_eq!(tail.chain, Some(channel.digest(8)));
}

#[test]
fn a_chain_that_is_not_ours_is_found_out_where_the_two_meet() {
    let mut channel = Channel::new(&Limits { tail_records: 2, ..Limits::default() });
    for _ in 0..5 {
        channel.say();
    }
    let ada = account("ada");
    let forged = Some(Digest([9; 32]));
    assert!(matches!(channel.hub.pack(&ask(&ada, 7, forged, None)), Pack::Unknown));
    let past = Past::new(channel.records[1..].to_vec()).expect("consecutive");
    assert!(matches!(channel.hub.pack(&ask(&ada, 4, forged, Some(&past))), Pack::Unknown));
    let past = Past::new(channel.records[1..3].to_vec()).expect("consecutive");
    let passes = channel.hub.pack(&ask(&ada, 3, forged, Some(&past)));
    assert!(matches!(passes, Pack::Unknown), "a head that the log had lately is passed");
    // Before the two meet it cannot be told; it is not handed to anybody else.
    for _ in 0..super::hub::MILESTONES {
        channel.say();
    }
    let past = Past::new(channel.records[1..3].to_vec()).expect("consecutive");
    let misled = packed(channel.hub.pack(&ask(&ada, 3, forged, Some(&past))));
    let honest = packed(channel.hub.pack(&ask(&ada, 3, Some(channel.digest(3)), Some(&past))));
    let blind = packed(channel.hub.pack(&ask(&ada, 3, None, Some(&past))));
    assert!(misled.chain != honest.chain && blind.chain.is_none());
}

#[test]
fn who_was_removed_is_told_so_once_nothing_of_its_own_is_left() {
    let mut channel = Channel::new(&Limits::default());
    channel.say();
    channel.commit(vec![(Event::MembersRemoved { accounts: vec![account("bob")] }, Body::None)]);
    let bob = account("bob");
    // Vouched for before the removal: that counts no longer.
    let asked = Ask { vouched: Some(Revision(4)), ..ask(&bob, 3, None, None) };
    assert_eq!(packed(channel.hub.pack(&asked)).to, Revision(4));
    assert!(matches!(channel.hub.pack(&Ask { after: Revision(4), ..asked }), Pack::Removed));
    channel.commit(vec![(Event::MembersAdded { accounts: vec![bob.clone()], history: History::None }, Body::None)]);
    let frame = packed(channel.hub.pack(&ask(&bob, 4, None, None)));
    match Codec::Bincode.decode_server(&frame.bytes).expect("a frame") {
        ServerFrame::Void { to, why, .. } => assert_eq!((to, why), (Revision(5), VoidWhy::NotEntitled)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_next_record_is_taken_and_a_contradiction_ends_it() {
    let mut channel = Channel::new(&Limits::default());
    let old = channel.records[0].clone();
    assert_eq!(channel.hub.commit(&old, channel.head), Ok(Offer::Duplicate));
    let mut ahead = old.clone();
    ahead.first = Revision(9);
    assert_eq!(channel.hub.commit(&ahead, channel.head), Ok(Offer::Gap { after: Revision(3) }));
    let mut again = old;
    again.first = Revision(4);
    let after = again.extend(channel.head).expect("it follows");
    assert!(channel.hub.commit(&again, after).is_err(), "a room is created once");
    assert!(channel.hub.commit(&again, after).is_err());
}

#[test]
fn the_past_is_consecutive_or_none() {
    let mut channel = Channel::new(&Limits::default());
    channel.say();
    channel.say();
    let pick = |at: &[usize]| at.iter().map(|at| channel.records[*at].clone()).collect::<Vec<_>>();
    assert!(Past::new(pick(&[])).is_none() && Past::new(pick(&[0, 2])).is_none());
    assert_eq!(Past::new(pick(&[1, 2])).expect("consecutive").last(), Revision(5));
}
