//! Behaviours of the sequencer, one by one. Whole worlds of them are simulated in the `sim` crate.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;

use super::*;
use crate::id::AccountId;
use crate::log::Digest;
use crate::room::{Code, Command, Content, Profile, Submit};
use crate::site::{Fingerprint, MasterKey};

/// A sequencer and everything it asked for, with a log and a vault that answer when told to.
struct Bench {
    sequencer: Sequencer,
    out: Vec<Effect>,
    log: Fold,
    records: Vec<RecordBytes>,
    vault: BTreeMap<KeyVersion, RoomSecret>,
    now: Instant,
    tickets: u64,
}

impl Bench {
    /// Before anything is loaded.
    fn new(limits: Limits) -> Self {
        let room = RoomId::from_digest(&[1; 32]);
        let keys = SiteKeys::new("home".parse().expect("valid"), &MasterKey::from_bytes([1; 32]));
        let mut out = Vec::new();
        let log = Fold::new(room, limits.remembered_requests);
        let sequencer = Sequencer::new(room, keys.into(), limits.into(), [7; 32], &mut out);
        let (records, vault) = (Vec::new(), BTreeMap::new());
        Self { sequencer, out, log, records, vault, now: Instant(0), tickets: 0 }
    }

    /// With ada's channel in it, at rest.
    fn channel(limits: Limits) -> Self {
        let mut bench = Self::new(limits);
        bench.ask("ada", Command::CreateChannel { name: "Hall".into(), accounts: Vec::new(), channels: Vec::new() });
        bench.serve();
        assert_eq!(bench.answers(), [Ok(())]);
        bench
    }

    fn step(&mut self, input: Input) {
        self.sequencer.step(self.now, Timestamp(1_000), input, &mut self.out);
    }

    fn ask(&mut self, who: &str, command: Command) {
        self.tickets += 1;
        let account: AccountId = who.parse().expect("valid");
        let profile = Profile { name: String::new(), bot: false, disabled: false, admin: false };
        let request = Request {
            room: self.log.state.room(),
            account: account.clone(),
            id: RequestId::from_random([self.tickets as u8; 16]),
            fingerprint: Fingerprint([self.tickets as u8; 16]),
            command,
            from_channels: Vec::new(),
            foreign_channel: false,
            people: BTreeMap::from([(account, profile)]),
        };
        let ticket = Ticket(self.tickets);
        self.step(Input::Request { ticket, request: Box::new(request) });
    }

    fn say(&mut self, who: &str) {
        let message = alloc::format!("message{:013}", self.tickets).parse().expect("valid");
        let content = Content::Plain { text: "hello".into() };
        self.ask(who, Command::Submit(Submit { room: self.log.state.room(), message, content }));
    }

    /// Stores what somebody else, or this one, appended.
    fn store(&mut self, record: &RecordBytes) {
        let decoded = Record::<Event>::decode(&record.bytes).expect("readable");
        let after = decoded.extend(self.log.state.head()).expect("it follows");
        self.log.apply(&decoded, after).expect("it folds");
        self.records.push(record.clone());
    }

    /// Carries out one effect, and tells.
    fn serve_one(&mut self, effect: Effect) {
        match effect {
            Effect::Load => self.step(Input::Loaded(Ok(Box::new(self.log.clone())))),
            Effect::Append { expected, record, .. } => {
                let fits = expected == self.log.state.head();
                if fits {
                    self.store(&record);
                }
                self.step(Input::Appended(Ok(if fits { Append::Done } else { Append::Conflict })));
            }
            Effect::ReadBack { after } => {
                let found = self.records.iter().find(|record| record.first > after).cloned();
                self.step(Input::ReadBack(Ok(found)));
            }
            Effect::PutSecret { version, secret } => {
                let secret = self.vault.entry(version).or_insert(secret).clone();
                self.step(Input::SecretPut { version, secret: Ok(secret) });
            }
            Effect::GetSecret { version } => {
                let secret = self.vault.get(&version).cloned().ok_or(Failure::Permanent);
                self.step(Input::SecretGot { version, secret });
            }
            told => self.out.push(told),
        }
    }

    /// Carries out everything that is asked for.
    fn serve(&mut self) {
        while let Some(at) = self.out.iter().position(asks) {
            let effect = self.out.remove(at);
            self.serve_one(effect);
        }
    }

    /// The next thing asked for, not carried out.
    fn asked(&mut self) -> Option<Effect> {
        let at = self.out.iter().position(asks)?;
        Some(self.out.remove(at))
    }

    /// What was answered since the last time.
    fn answers(&mut self) -> Vec<Result<(), Reason>> {
        let mut answers = Vec::new();
        self.out.retain(|effect| match effect {
            Effect::Answer { result, .. } => {
                answers.push(result.as_ref().map(|_| ()).map_err(|refused| refused.reason));
                false
            }
            _ => true,
        });
        answers
    }

    fn quarantined(&self) -> bool {
        self.out.iter().any(|effect| matches!(effect, Effect::Quarantined { .. }))
    }

    /// Lets time pass until the sequencer wants it to.
    fn wait(&mut self) {
        self.now = self.sequencer.next_deadline().expect("it waits for something").max(self.now);
        self.step(Input::Tick);
    }
}

fn asks(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Answer { .. } | Effect::Committed { .. } | Effect::Snapshot { .. } | Effect::Quarantined { .. }
    )
}

#[test]
fn what_waits_becomes_one_record() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("ada");
    let Some(Effect::Append { record, .. }) = bench.asked() else { panic!("the first goes at once") };
    (0..3).for_each(|_| bench.say("ada"));
    assert!(bench.answers().is_empty() && bench.asked().is_none());
    bench.store(&record);
    bench.step(Input::Appended(Ok(Append::Done)));
    assert_eq!(bench.answers(), [Ok(())]);
    bench.serve();
    assert_eq!(bench.answers(), [Ok(()); 3]);
    assert_eq!(bench.records.len(), 3);
}

#[test]
fn a_record_holds_so_many_commands() {
    let mut bench = Bench::new(Limits { record_commands: 2, ..Limits::default() });
    bench.ask("ada", Command::CreateChannel { name: "Hall".into(), accounts: Vec::new(), channels: Vec::new() });
    (0..4).for_each(|_| bench.say("ada"));
    bench.serve();
    assert_eq!(bench.answers(), [Ok(()); 5]);
    assert_eq!(bench.records.len(), 3);
}

#[test]
fn a_refusal_waits_until_the_log_is_found_to_end_there() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("bob");
    assert!(bench.answers().is_empty());
    assert!(matches!(bench.asked(), Some(Effect::ReadBack { after }) if after == bench.log.state.head().revision));
    bench.step(Input::ReadBack(Err(Failure::Transient)));
    assert!(bench.answers().is_empty());
    bench.wait();
    bench.serve();
    assert_eq!(bench.answers(), [Err(Reason::NotAMember)]);
}

#[test]
fn a_lost_answer_is_read_back_and_not_appended_twice() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("ada");
    let Some(Effect::Append { record, .. }) = bench.asked() else { panic!("an append") };
    bench.store(&record);
    bench.step(Input::Appended(Err(Failure::Unknown)));
    bench.serve();
    assert_eq!(bench.answers(), [Ok(())]);
    assert_eq!(bench.records.len(), 2);
}

#[test]
fn an_answer_never_comes_before_its_deadline_passed_or_its_record_is_there() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("ada");
    let Some(Effect::Append { record, .. }) = bench.asked() else { panic!("an append") };
    bench.now = bench.now.after(Limits::default().command_deadline());
    bench.step(Input::Tick);
    assert_eq!(bench.answers(), [Err(Reason::Deadline)]);
    // It comes to pass all the same, and is shown.
    bench.store(&record);
    bench.step(Input::Appended(Ok(Append::Done)));
    assert!(bench.answers().is_empty());
    assert!(bench.out.iter().any(|effect| matches!(effect, Effect::Committed { .. })));
}

#[test]
fn a_log_that_lost_its_end_is_quarantined() {
    let mut bench = Bench::channel(Limits::default());
    let before = bench.log.clone();
    bench.say("ada");
    bench.serve();
    assert_eq!(bench.answers(), [Ok(())]);
    // The store forgets the last record, and says so in the way of stores.
    bench.log = before;
    bench.records.pop();
    bench.say("ada");
    let Some(Effect::Append { .. }) = bench.asked() else { panic!("an append") };
    bench.step(Input::Appended(Ok(Append::Conflict)));
    bench.serve();
    assert!(bench.answers().is_empty());
    bench.wait();
    bench.serve();
    assert!(bench.quarantined());
    assert_eq!(bench.answers(), [Err(Reason::Quarantined)]);
    bench.say("ada");
    assert_eq!(bench.answers(), [Err(Reason::Quarantined)]);
}

#[test]
fn a_log_that_ends_alike_and_is_another_is_quarantined() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("bob");
    let Some(Effect::ReadBack { .. }) = bench.asked() else { panic!("a read") };
    bench.step(Input::ReadBack(Ok(Some(bench.records[0].clone()))));
    let Some(Effect::Load) = bench.asked() else { panic!("a load") };
    let mut other = Fold::new(bench.log.state.room(), 16);
    let record = Record::<Event>::decode(&bench.records[0].bytes).expect("readable");
    let head = Head { revision: record.last(), digest: Digest([9; 32]) };
    other.apply(&record, head).expect("it folds");
    bench.step(Input::Loaded(Ok(Box::new(other))));
    assert!(bench.quarantined());
}

#[test]
fn nothing_is_decided_without_what_a_newer_version_wrote() {
    let mut bench = Bench::channel(Limits::default());
    bench.say("bob");
    let Some(Effect::ReadBack { .. }) = bench.asked() else { panic!("a read") };
    bench.step(Input::ReadBack(Ok(Some(bench.records[0].clone()))));
    let Some(Effect::Load) = bench.asked() else { panic!("a load") };
    assert!(!bench.sequencer.is_quarantined());
    bench.step(Input::Loaded(Err(Failure::Newer)));
    assert!(bench.sequencer.is_quarantined());
    assert_eq!(bench.answers(), [Err(Reason::Quarantined)]);
    bench.say("ada");
    assert_eq!(bench.answers(), [Err(Reason::Quarantined)]);
    assert!(bench.asked().is_none(), "nothing is appended");
}

#[test]
fn a_destroyed_version_is_believed_after_loading_again() {
    let mut bench = Bench::channel(Limits::default());
    let room = bench.log.state.room();
    bench.ask("ada", Command::Rotate { room });
    let version = KeyVersion(1);
    let Some(Effect::PutSecret { .. }) = bench.asked() else { panic!("a secret to put") };
    bench.step(Input::SecretPut { version, secret: Err(Failure::Permanent) });
    assert!(!bench.quarantined());
    bench.serve();
    bench.wait();
    let Some(Effect::PutSecret { .. }) = bench.asked() else { panic!("put again") };
    bench.step(Input::SecretPut { version, secret: Err(Failure::Permanent) });
    assert!(bench.quarantined());
    assert_eq!(bench.answers(), [Err(Reason::Quarantined)]);
}

#[test]
fn a_vault_that_holds_another_key_than_the_log_is_quarantined() {
    let mut bench = Bench::channel(Limits::default());
    let other = RoomSecret::generate(&mut ChaCha20Rng::from_seed([9; 32]));
    bench.vault.insert(KeyVersion(0), other);
    // A sequencer that starts anew has to ask the vault.
    let mut again = Bench::new(Limits::default());
    (again.log, again.records, again.vault) = (bench.log, bench.records, bench.vault);
    let envelope = crate::keys::Envelope {
        version: KeyVersion(0),
        encapsulation: crate::keys::Encapsulation([4; 65]),
        counter: 0,
        ciphertext: vec![0; 40].into(),
    };
    let message = "abcdefghijklmnopqrst".parse().expect("valid");
    let (room, content) = (again.log.state.room(), Content::Sealed(envelope));
    again.tickets = 9;
    again.ask("ada", Command::Submit(Submit { room, message, content }));
    again.serve();
    assert!(again.quarantined());
}

#[test]
fn a_full_queue_and_a_stopping_server_refuse_at_once() {
    let mut bench = Bench::new(Limits { room_queue: 2, ..Limits::default() });
    (0..3).for_each(|_| bench.say("ada"));
    assert_eq!(bench.answers(), [Err(Reason::Busy)]);
    bench.step(Input::Drain);
    bench.say("ada");
    assert_eq!(bench.answers(), [Err(Reason::Draining)]);
    assert_eq!((bench.sequencer.backlog(), bench.sequencer.is_idle()), (2, false));
    bench.serve();
    assert_eq!(bench.answers(), [Err(Reason::NotAMember); 2]);
    assert!(bench.sequencer.is_idle());
    assert_eq!(Reason::Busy.code(), Code::TooManyRequests);
}

#[test]
fn a_room_that_was_loaded_far_beyond_its_snapshot_keeps_one_soon() {
    let mut bench = Bench::channel(Limits::default());
    (0..20).for_each(|_| {
        bench.say("ada");
        bench.serve();
    });
    let kept = |bench: &Bench| bench.out.iter().filter(|effect| matches!(effect, Effect::Snapshot { .. })).count();
    assert_eq!(kept(&bench), 0);
    let mut again = Bench::new(Limits { snapshot_every: 16, ..Limits::default() });
    (again.log, again.records, again.tickets) = (bench.log, bench.records, bench.tickets);
    for _ in 0..3 {
        again.say("ada");
        again.serve();
    }
    assert_eq!(kept(&again), 1, "with the first record, and then not for a while");
}
