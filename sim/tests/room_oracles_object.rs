//! Each oracle is fed a history that it must object to: a good one, spoiled in one place.

use chamberlain_core::id::{KeyVersion, Revision};
use chamberlain_core::keys::{Blob, BodyKind, Claim, RoomSecret, Sealer};
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, Outcome, Reason};
use chamberlain_core::sequencer::Ticket;
use chamberlain_core::time::Timestamp;
use chamberlain_sim::plan::{self, Plan, What};
use chamberlain_sim::room_history::{History, Seen};
use chamberlain_sim::room_oracles::judge;
use chamberlain_sim::sequencer_world::{Faults, Script, Step, World};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Ada begins with bob and cyd, they talk, bob is removed, they talk on; some of it is asked twice.
fn good() -> History {
    let say = |message| What::Say { message, text: 1, sealed: None };
    let plans = [
        (0, say(1)),
        (1, say(2)),
        (0, What::Rename { name: 2 }),
        (0, What::Remove { accounts: vec![1] }),
        (0, say(3)),
        (2, say(4)),
        (1, say(5)),
        (2, What::Rotate),
    ];
    let ask = |(who, what)| (100, Step::Ask { plan: Plan { who, what }, node: 0 });
    let steps = plans.into_iter().map(ask).collect();
    let begins = Plan { who: 0, what: What::Begin { others: vec![1, 2] } };
    World::run(&Script { seed: 7, nodes: 1, faults: Faults::default(), begins, steps })
}

#[track_caller]
fn objects(name: &str, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let objections = judge(&history);
    assert!(objections.iter().any(|objection| objection.starts_with(&format!("{name}: "))), "{name}: {objections:#?}");
}

/// Changes a record in place, and writes it again.
fn change(history: &mut History, at: usize, change: impl FnOnce(&mut Record<Event>)) {
    let mut record = Record::<Event>::decode(&history.log[at].bytes).expect("readable");
    change(&mut record);
    history.log[at] = record.encode();
}

/// The record that removes bob.
fn removal(history: &History) -> usize {
    let removes = |event: &Event| matches!(event, Event::MembersRemoved { .. });
    let found = history.log.iter().position(|stored| {
        Record::<Event>::decode(&stored.bytes).expect("readable").items().any(|item| removes(item.event))
    });
    found.expect("bob is removed")
}

/// Where in what was seen the first answer of this kind stands, to a command that names the room.
fn answer(history: &History, good: bool) -> usize {
    let fits = |seen: &Seen| matches!(seen, Seen::Answered { ticket, result } if result.is_ok() == good && *ticket != Ticket(1));
    history.seen.iter().position(|(_, seen)| fits(seen)).expect("there is one")
}

#[test]
fn a_good_history_pleases_every_oracle() {
    assert!(judge(&good()).is_empty());
}

#[test]
fn to_a_gap_and_to_heads_that_are_none() {
    objects("chain", |history| {
        history.log.remove(2);
        let landed = history.seen.iter().position(|(_, seen)| matches!(seen, Seen::Landed)).expect("landed");
        history.seen.remove(landed);
    });
    objects("heads", |history| {
        for (_, seen) in &mut history.seen {
            if let Seen::Committed { after, .. } = seen {
                after.digest.0[0] ^= 1;
            }
        }
    });
    objects("L1", |history| {
        let mut record = Record::<Event>::decode(&history.erased[1].bytes).expect("readable");
        record.entries[0].account = plan::account(4);
        history.erased[1] = record.encode();
    });
}

#[test]
fn to_time_that_goes_back() {
    objects("N-13", |history| change(history, 3, |record| record.time = Timestamp(1)));
}

#[test]
fn to_an_acknowledgement_that_is_not_so() {
    let ok = "L1";
    objects(ok, |history| {
        let at = answer(history, true) + 1;
        for (_, seen) in &mut history.seen[at..] {
            if let Seen::Answered { result: Ok(Outcome::Sent { revision, .. }), .. } = seen {
                *revision = revision.next();
            }
        }
    });
    objects(ok, |history| {
        let at = answer(history, true);
        let early = history.seen.remove(at);
        let before = &history.seen[..at];
        let landed = before.iter().rposition(|(_, seen)| matches!(seen, Seen::Landed)).expect("landed");
        history.seen.insert(landed, early);
    });
    objects(ok, |history| {
        history.log.pop();
        history.erased.pop();
        let landed = history.seen.iter().rposition(|(_, seen)| matches!(seen, Seen::Landed)).expect("landed");
        history.seen.remove(landed);
    });
}

#[test]
fn to_a_request_that_is_there_twice() {
    objects("X2", |history| {
        let mut again = Record::<Event>::decode(&history.log[1].bytes).expect("readable");
        again.first = history.log[history.log.len() - 1].last.next();
        history.log.push(again.encode());
        history.seen.push((0, Seen::Landed));
    });
}

#[test]
fn to_a_retry_that_is_told_something_else() {
    for other in [Ok(Outcome::Done { revision: Revision(1) }), Err(Reason::NotOwner.into())] {
        objects("L1", |history| {
            let last = history.seen.iter_mut().rev().find_map(|(_, seen)| match seen {
                Seen::Answered { result, .. } => Some(result),
                _ => None,
            });
            *last.expect("an answer") = other;
        });
    }
}

#[test]
fn to_a_refusal_that_was_never_true() {
    objects("X3", |history| {
        let at = answer(history, false);
        if let (_, Seen::Answered { result, .. }) = &mut history.seen[at] {
            *result = Err(Reason::Archived.into());
        }
    });
    objects("X3", |history| {
        let at = answer(history, true);
        if let (_, Seen::Answered { result, .. }) = &mut history.seen[at] {
            *result = Err(Reason::NotAMember.into());
        }
    });
}

#[test]
fn to_answers_that_are_missing_late_or_too_many() {
    objects("V1", |history| {
        let at = answer(history, true);
        history.seen.remove(at);
    });
    objects("V1", |history| {
        let at = answer(history, true);
        history.seen[at].0 += history.deadline + 1;
    });
    objects("V1", |history| {
        let again = history.seen[answer(history, true)].clone();
        history.seen.push(again);
    });
}

#[test]
fn to_an_answer_before_its_record_was_shown() {
    objects("shown", |history| {
        history.seen.retain(|(_, seen)| !matches!(seen, Seen::Committed { .. } | Seen::Loaded { .. }));
    });
}

#[test]
fn to_members_that_the_rules_do_not_make() {
    let somebody_else = |history: &mut History| {
        change(history, 0, |record| {
            if let Event::MembersAdded { accounts, .. } = &mut record.entries[0].events[1].event {
                accounts.push(plan::account(4));
            }
        });
    };
    objects("M2", somebody_else);
    objects("M2", |history| {
        let at = removal(history);
        change(history, at, |record| {
            if let Event::MembersRemoved { accounts } = &mut record.entries[0].events[0].event {
                *accounts = vec![plan::account(0)];
            }
        });
    });
}

#[test]
fn to_a_snapshot_of_something_else() {
    objects("fold", |history| {
        let other = chamberlain_core::room::Fold::new(history.room, 9).to_snapshot();
        history.seen.push((0, Seen::Kept { revision: Revision(5), bytes: other.into() }));
    });
}

#[test]
fn to_what_the_removed_can_open() {
    objects("K2", |history| {
        // Sealed to the last version's key, labelled as the current one.
        let public = history.vault[&KeyVersion(0)].public();
        let (room, version) = (history.room, KeyVersion(1));
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut sealer = Sealer::new(&plan::site(), room, version, &public, &mut rng).expect("a key");
        let at = removal(history) + 1;
        change(history, at, |record| {
            let sender = record.entries[0].account.clone();
            let logged = &mut record.entries[0].events[0];
            let Event::Message { message, .. } = &logged.event else { panic!("a message") };
            let claim = Claim { room, version, kind: BodyKind::Message, sender: &sender, message: *message, edit: 0 };
            logged.body = Body::Present(Blob(sealer.seal(&claim, b"{}").expect("sealed").to_bytes()));
        });
    });
}

#[test]
fn to_two_secrets_of_one_version() {
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let other = RoomSecret::generate(&mut rng);
    objects("K3", |history| {
        history.seen.push((0, Seen::Told { version: KeyVersion(0), secret: other.clone() }));
    });
    objects("K3", |history| {
        history.vault.insert(KeyVersion(1), other.clone());
        history.seen.retain(|(_, seen)| !matches!(seen, Seen::Told { .. }));
    });
    objects("K3", |history| {
        history.seen.retain(|(_, seen)| !matches!(seen, Seen::Put { version: KeyVersion(0) }));
    });
}

#[test]
fn to_a_body_that_does_not_open() {
    objects("D1", |history| {
        change(history, 1, |record| {
            let logged = &mut record.entries[0].events[0];
            let Body::Present(bytes) = &logged.body else { panic!("a body") };
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().expect("not empty") ^= 1;
            logged.body = Body::Present(bytes.into());
        });
    });
}

#[test]
fn to_a_nonce_that_repeats() {
    objects("D1", |history| {
        let first = Record::<Event>::decode(&history.log[1].bytes).expect("readable");
        let body = first.entries[0].events[0].body.clone();
        change(history, 2, |record| record.entries[0].events[0].body = body);
    });
}

#[test]
fn to_quarantine_without_cause() {
    objects("B1", |history| history.seen.push((0, Seen::Quarantined { what: "nothing" })));
}

#[test]
fn to_an_answer_to_nobody() {
    let mut history = good();
    history.seen.push((0, Seen::Answered { ticket: Ticket(9_999), result: Err(Reason::Busy.into()) }));
    assert!(!judge(&history).is_empty());
}
