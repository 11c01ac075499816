//! K, X1, X2, M, N-13, the chain: what logs, vault and snapshots hold.

use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, RoomSecret, Sealer};
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, Fold, Role};
use chamberlain_core::time::Timestamp;
use chamberlain_sim::plan;
use chamberlain_sim::story::{Seen, Story};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Case, case};
use crate::account;

pub(super) const CASES: &[Case] = &[
    case("K2", "what follows a removal is sealed to the key of before", |story, room| {
        let sealed =
            |event: &Event| matches!(event, Event::Message { version: KeyVersion(3), kind: BodyKind::Message, .. });
        seal_to(story, room, sealed, KeyVersion(2));
    }),
    case("K2", "a removal does not move to another key", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let removal =
                |record: &Record<Event>| record.items().any(|item| matches!(item.event, Event::MembersRemoved { .. }));
            let at = records.iter().position(removal).expect("somebody was removed");
            for record in &mut records[at..] {
                for logged in record.entries.iter_mut().flat_map(|entry| &mut entry.events) {
                    match &mut logged.event {
                        Event::Message { version, .. } => *version = KeyVersion(2),
                        Event::KeyRotated { .. } => logged.event = Event::Unchanged,
                        _ => {}
                    }
                }
            }
        });
    }),
    case("K3", "the vault takes a second secret", |story, room| {
        let secret = RoomSecret::from_bytes(&[3; 32]).expect("a scalar");
        let time = story.seen[story.seen.len() - 1].0;
        story.seen.push((time, Seen::Put { room, version: KeyVersion(0), secret }));
    }),
    case("K3", "a version is current before its secret is in the vault", |story, _| {
        let put = story.seen.iter().position(|(_, seen)| matches!(seen, Seen::Put { .. })).expect("put");
        story.seen.swap(put, put + 1);
    }),
    case("K3", "the secret of a version is gone", |story, room| {
        story.ending.vault.remove(&(room, KeyVersion(1)));
        story.seen.retain(|(_, seen)| !matches!(seen, Seen::Put { version: KeyVersion(1), .. }));
    }),
    case("D1", "a body does not open", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let body = first_body(records);
            let Body::Present(bytes) = &*body else { panic!("a body") };
            let mut bytes = bytes.to_vec();
            *bytes.last_mut().expect("not empty") ^= 1;
            *body = Body::Present(Blob::from(bytes));
        });
    }),
    case("D1", "a nonce is used twice", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let body = first_body(records).clone();
            *first_body(&mut records[2..]) = body;
        });
    }),
    case("L1", "the log loses its end", |story, room| {
        story.ending.logs.get_mut(&LogId::Room(room)).expect("there").pop();
    }),
    case("L1", "the log is gone", |story, room| {
        story.ending.logs.remove(&LogId::Room(room));
    }),
    case("L1", "the log holds something else in the end", |story, room| {
        let landed: Vec<_> = story.seen.clone();
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| records[2].time = Timestamp(1_002));
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            records[2].entries[0].fingerprint.0[0] ^= 1
        });
        story.seen = landed;
    }),
    case("M2", "somebody is in who was never added", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let Event::MembersAdded { accounts, .. } = &mut records[0].entries[0].events[1].event else {
                panic!("added")
            };
            accounts.push(account("eve"));
        });
    }),
    case("M2", "somebody removes whom only an owner may", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            for entry in records.iter_mut().flat_map(|record| &mut record.entries) {
                if matches!(entry.events[0].event, Event::MembersRemoved { .. }) {
                    let Event::MembersRemoved { accounts } = &mut entry.events[0].event else { panic!("removed") };
                    *accounts = vec![account("cyd")];
                }
            }
        });
    }),
    case("M3", "the last owner is made a member", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            for logged in records.iter_mut().flat_map(|record| &mut record.entries).flat_map(|entry| &mut entry.events)
            {
                if let Event::RoleSet { account: who, role } = &mut logged.event {
                    (*who, *role) = (account("ada"), Role::Member);
                }
            }
        });
    }),
    case("M4", "an account's log does not say that it left", |story, _| {
        rewrite(story, &LogId::Account(account("cyd")), |records: &mut Vec<Record<AccountChange>>| {
            let (room, at) = records[0].entries[0].events[0].event.source();
            records[0].entries[0].events[0].event = AccountChange::Left { room, at };
        });
    }),
    case("X1", "an account is not told that it left", |story, _| {
        let log = LogId::Account(account("bob"));
        story.seen.retain(|(_, seen)| !matches!(seen, Seen::Landed { log: of, .. } if *of == log));
        story.ending.logs.get_mut(&log).expect("there").truncate(1);
    }),
    case("X1", "a body that was taken back stays", |story, room| {
        let landed = story.seen.iter().filter_map(|(_, seen)| match seen {
            Seen::Landed { log: LogId::Room(of), record } if *of == room => Some(record.clone()),
            _ => None,
        });
        story.ending.logs.insert(LogId::Room(room), landed.collect());
    }),
    case("X2", "a request is carried out twice", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let entry = records[1].entries[0].clone();
            (records[2].entries[0].request, records[2].entries[0].account) = (entry.request, entry.account);
        });
    }),
    case("X2", "an account's log tells late of what is past", |story, room| {
        rewrite(story, &LogId::Account(account("bob")), |records: &mut Vec<Record<AccountChange>>| {
            let (_, at) = records[1].entries[0].events[0].event.source();
            records[2].entries[0].events[0].event = AccountChange::Left { room, at };
        });
    }),
    case("N-13", "a clock jumps back", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| records[3].time = Timestamp(5));
    }),
    case("N-13", "a clock jumps back in an account's log", |story, _| {
        rewrite(story, &LogId::Account(account("bob")), |records: &mut Vec<Record<AccountChange>>| {
            records[0].time = Timestamp(77);
        });
    }),
    case("chain", "a record is left out", |story, room| {
        let landed = |seen: &Seen| matches!(seen, Seen::Landed { log: LogId::Room(of), .. } if *of == room);
        let at = (0..story.seen.len()).filter(|at| landed(&story.seen[*at].1)).nth(2).expect("so many landed");
        story.seen.remove(at);
    }),
    case("chain", "two records land at one place", |story, room| {
        let landed = |seen: &Seen| matches!(seen, Seen::Landed { log: LogId::Room(of), .. } if *of == room);
        let at = (0..story.seen.len()).filter(|at| landed(&story.seen[*at].1)).nth(2).expect("so many landed");
        let again = story.seen[at].clone();
        story.seen.insert(at, again);
    }),
    case("chain", "a log that lost records goes on where they were", |story, room| {
        story.stores_whole = false;
        let landed = |seen: &Seen| matches!(seen, Seen::Landed { log: LogId::Room(of), .. } if *of == room);
        // While rooms are open that were open before.
        let at = (0..story.seen.len()).filter(|at| landed(&story.seen[*at].1)).nth(4).expect("so many landed");
        let again = story.seen[at].clone();
        story.seen.insert(at + 1, again);
    }),
    case("chain", "a member is added again", |story, room| {
        rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
            let Event::MembersAdded { accounts, .. } = &mut records[0].entries[0].events[1].event else {
                panic!("added")
            };
            accounts.push(account("bob"));
        });
    }),
    case("chain", "a body is erased that nobody took back", |story, room| {
        let log = story.ending.logs.get_mut(&LogId::Room(room)).expect("there");
        let first = log[1].first;
        log[1] = chamberlain_core::log::erase_body(&log[1], first).expect("a body");
    }),
    case("fold", "a snapshot is of something else", |story, room| {
        let time = story.seen[story.seen.len() - 1].0;
        let bytes = Bytes::from(Fold::new(room, 9).to_snapshot());
        story.seen.push((time, Seen::Kept { log: LogId::Room(room), revision: Revision(5), bytes }));
    }),
    case("fold", "a snapshot cannot be read", |story, _| {
        for (_, seen) in &mut story.seen {
            if let Seen::Kept { bytes, .. } = seen {
                *bytes = Bytes::from_static(b"nothing");
            }
        }
    }),
];

/// Changes the records of a log, in what landed and in what is there in the end.
fn rewrite<E>(story: &mut Story, log: &LogId, change: impl FnOnce(&mut Vec<Record<E>>))
where
    E: Serialize + DeserializeOwned + Clone,
{
    let landed = |seen: &Seen| matches!(seen, Seen::Landed { log: of, .. } if of == log);
    let mut records: Vec<Record<E>> = story
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Landed { log: of, record } if of == log => Record::decode(&record.bytes).ok(),
            _ => None,
        })
        .collect();
    change(&mut records);
    let stored: Vec<_> = records.iter().map(Record::encode).collect();
    let mut next = stored.iter();
    for (_, seen) in story.seen.iter_mut().filter(|(_, seen)| landed(seen)) {
        if let (Seen::Landed { record, .. }, Some(changed)) = (seen, next.next()) {
            *record = changed.clone();
        }
    }
    story.ending.logs.insert(log.clone(), stored);
}

/// The first body of a member's message.
fn first_body(records: &mut [Record<Event>]) -> &mut Body {
    let events = records.iter_mut().flat_map(|record| &mut record.entries).flat_map(|entry| &mut entry.events);
    let mut said = events.filter(|logged| matches!(logged.event, Event::Message { kind: BodyKind::Message, .. }));
    &mut said.next().expect("something was said").body
}

/// Seals a message anew, to the key of another version than it says.
fn seal_to(story: &mut Story, room: RoomId, is_it: impl Fn(&Event) -> bool, version: KeyVersion) {
    let keys = plan::site_keys();
    let public = story.ending.vault[&(room, version)].public();
    rewrite(story, &LogId::Room(room), |records: &mut Vec<Record<Event>>| {
        let entries = records.iter_mut().flat_map(|record| &mut record.entries);
        let entry = entries.into_iter().find(|entry| entry.events.iter().any(|logged| is_it(&logged.event)));
        let entry = entry.expect("such a message");
        let sender = entry.account.clone();
        let logged = entry.events.iter_mut().find(|logged| is_it(&logged.event)).expect("there");
        let Event::Message { message, version: label, .. } = logged.event else { panic!("a message") };
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut sealer = Sealer::new(keys.site(), room, label, &public, &mut rng).expect("a key");
        let claim = Claim { room, version: label, kind: BodyKind::Message, sender: &sender, message, edit: 0 };
        logged.body = Body::Present(Blob(sealer.seal(&claim, b"{}").expect("fresh").to_bytes()));
    });
}
