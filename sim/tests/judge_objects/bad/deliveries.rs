//! K, S, D1, M1: what came over connections.

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{KeyVersion, RoomId};
use chamberlain_core::keys::{Blob, RoomSecret};
use chamberlain_core::log::{Head, Position};
use chamberlain_core::room::Event;
use chamberlain_core::wire::{Answer, Item, OwnRevision, ResetWhy, ServerFrame, VoidWhy};
use chamberlain_sim::plan;
use chamberlain_sim::story::{LinkId, Seen, Story};

use super::{Case, case};
use crate::{ADA, ADA_AGAIN, BOB, CYD, came, change, drop_at, insert};

pub(super) const CASES: &[Case] = &[
    case("K1", "the key comes after what is sealed under it", |story, _| {
        let at = came(story, ADA, is_key);
        story.seen.swap(at, at + 1);
    }),
    case("K1", "the key does not come at all", |story, _| {
        let at = came(story, CYD, is_key);
        drop_at(story, at);
    }),
    case("K2", "who was added without history is given the key of before", |story, room| {
        let at = came(story, CYD, is_key);
        let key = key(story, room, 0);
        insert(story, at, Seen::Came { link: CYD, frame: key });
    }),
    case("K2", "who was removed is given the key that followed", |story, room| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Reset { .. }));
        let last = story.ending.vault.keys().filter(|(of, _)| *of == room).count() as u32 - 1;
        let key = key(story, room, last);
        insert(story, at, Seen::Came { link: BOB, frame: key });
    }),
    case("K3", "somebody is given another secret", |story, _| {
        let at = came(story, ADA, is_key);
        change(story, at, |frame| {
            let ServerFrame::Key { secret, .. } = frame else { panic!("a key") };
            *secret = Blob::from(vec![5; 32]);
        });
    }),
    case("K3", "somebody is told another key to seal under", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        change(story, at, |frame| {
            let ServerFrame::Opened { room, .. } = frame else { panic!("opened") };
            room.key.public = RoomSecret::from_bytes(&[9; 32]).expect("a scalar").public();
        });
    }),
    case("K4", "the account is told of the room only after its key", |story, _| {
        let at = came(story, CYD, |frame| matches!(frame, ServerFrame::Account { .. }));
        let told = drop_at(story, at);
        let at = came(story, CYD, is_key);
        insert(story, at + 1, told);
    }),
    case("S1", "a frame is skipped", |story, _| {
        let at = nth_batch(story, ADA, 2);
        drop_at(story, at);
    }),
    case("S1", "a frame comes twice", |story, _| {
        let at = nth_batch(story, ADA, 2);
        let again = story.seen[at].1.clone();
        insert(story, at, again);
    }),
    case("S1", "two frames change places", |story, _| {
        let (one, other) = (nth_batch(story, ADA, 1), nth_batch(story, ADA, 2));
        let (a, b) = (story.seen[one].1.clone(), story.seen[other].1.clone());
        (story.seen[one].1, story.seen[other].1) = (b, a);
    }),
    case("S1", "a frame leaves out what it covers", |story, _| {
        let at = nth_batch(story, ADA, 0);
        change_items(story, at, |items| drop(items.remove(0)));
    }),
    case("S1", "an opening begins at the head of later", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        change(story, at, |frame| {
            let ServerFrame::Opened { after, .. } = frame else { panic!("opened") };
            *after = after.next();
        });
    }),
    case("S1", "a frame comes after the room was reset", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Reset { .. }));
        let batch = story.seen[nth_batch(story, BOB, 1)].1.clone();
        insert(story, at + 1, batch);
    }),
    case("S2", "the answer comes before the revision", |story, _| {
        let at = came(story, ADA, |frame| matches!(frame, ServerFrame::Batch { own, .. } if !own.is_empty()));
        let ok = (at..story.seen.len())
            .find(|at| matches!(&story.seen[*at].1, Seen::Came { link, frame: ServerFrame::Ok { .. } } if *link == ADA))
            .expect("answered");
        let ok = drop_at(story, ok);
        insert(story, at, ok);
    }),
    case("S2", "a revision is marked for who did not ask", |story, _| {
        let own = came(story, ADA, |frame| matches!(frame, ServerFrame::Batch { own, .. } if !own.is_empty()));
        let Seen::Came { frame: ServerFrame::Batch { own, .. }, .. } = story.seen[own].1.clone() else { panic!("own") };
        let at = came(
            story,
            BOB,
            |frame| matches!(frame, ServerFrame::Batch { items, .. } if items.iter().any(|item| item.revision == own[0].revision)),
        );
        change_own(story, at, |marks| *marks = own);
    }),
    case("S2", "the mark of one's own revision is missing", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Batch { own, .. } if !own.is_empty()));
        change_own(story, at, Vec::clear);
    }),
    case("S3", "a resumed room begins where the server was", |story, _| {
        let at = came(story, ADA_AGAIN, |frame| matches!(frame, ServerFrame::Opened { .. }));
        change(story, at, |frame| {
            let ServerFrame::Opened { after, .. } = frame else { panic!("opened") };
            *after = after.next();
        });
    }),
    case("S3", "a position of the log is refused", |story, room| {
        let at = came(story, ADA_AGAIN, |frame| matches!(frame, ServerFrame::Opened { .. }));
        story.seen[at].1 =
            Seen::Came { link: ADA_AGAIN, frame: ServerFrame::Reset { room, why: ResetWhy::UnknownPosition } };
    }),
    case("S3", "a frame carries the position of another log", |story, room| {
        let at = nth_batch(story, ADA, 1);
        let keys = plan::site_keys();
        change(story, at, |frame| {
            let ServerFrame::Batch { to, position, .. } = frame else { panic!("a batch") };
            *position = Position { room, head: Head { revision: *to, ..Head::EMPTY } }.to_blob(&keys);
        });
    }),
    case("D1", "what was there before comes to who may not read it", |story, room| {
        let at = came(story, CYD, |frame| matches!(frame, ServerFrame::Void { .. }));
        let batch = story.seen[nth_batch(story, ADA, 0)].1.clone();
        let Seen::Came { frame: ServerFrame::Batch { mut items, .. }, .. } = batch else { panic!("a batch") };
        change(story, at, |frame| {
            let ServerFrame::Void { from, to, position, .. } = frame.clone() else { panic!("void") };
            items.retain(|item| (from..=to).contains(&item.revision));
            *frame = ServerFrame::Batch { room, from, to, items, position, own: Vec::new() };
        });
    }),
    case("D1", "what the account may read is void", |story, room| {
        let at = nth_batch(story, BOB, 1);
        change(story, at, |frame| {
            let ServerFrame::Batch { from, to, position, .. } = frame.clone() else { panic!("a batch") };
            *frame = ServerFrame::Void { room, from, to, why: VoidWhy::NotEntitled, position };
        });
    }),
    case("D1", "an item was said by somebody else", |story, _| {
        let at = nth_batch(story, ADA, 1);
        change_items(story, at, |items| items[0].account = "eve".parse().expect("valid"));
    }),
    case("D1", "a body is left out that nobody took back", |story, _| {
        let at = sealed_batch(story, ADA);
        change_items(story, at, |items| items.iter_mut().for_each(|item| item.body = None));
    }),
    case("D1", "a body is delivered after it was taken back", |story, _| {
        let kept = (0..story.seen.len())
            .find_map(|at| match &story.seen[at].1 {
                Seen::Came { frame: ServerFrame::Batch { items, .. }, .. } => {
                    items.iter().find(|item| matches!(item.event, Event::Edited { .. }) && item.body.is_some()).cloned()
                }
                _ => None,
            })
            .expect("an edit came");
        let buried = |item: &Item| item.revision == kept.revision && item.body.is_none();
        let at = (0..story.seen.len())
            .find(|at| match &story.seen[*at].1 {
                Seen::Came { link, frame: ServerFrame::Batch { items, .. } } => {
                    *link == BOB && items.iter().any(buried)
                }
                _ => false,
            })
            .expect("it came again without its body");
        change_items(story, at, |items| {
            let item = items.iter_mut().find(|item| item.revision == kept.revision).expect("there");
            *item = kept;
        });
    }),
    case("D1", "a watcher sees the body of what it may not read", |story, _| {
        let at = came(story, ADA, |frame| matches!(frame, ServerFrame::Watched { .. }));
        let Seen::Came { link, .. } = &mut story.seen[at].1 else { panic!("watched") };
        *link = CYD;
    }),
    case("D1", "a page of history leaves something out", |story, _| {
        let at = came(story, ADA, |frame| matches!(frame, ServerFrame::Ok { answer: Answer::History { .. }, .. }));
        change(story, at, |frame| {
            let ServerFrame::Ok { answer: Answer::History { items, .. }, .. } = frame else { panic!("a page") };
            items.remove(1);
        });
    }),
    case("M1", "an account event is left out", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Account { .. }));
        drop_at(story, at);
    }),
    case("M1", "an account is told of what its log does not say", |story, _| {
        let at = came(story, CYD, |frame| matches!(frame, ServerFrame::Account { .. }));
        change(story, at, |frame| {
            let ServerFrame::Account { event: AccountChange::Joined { at, .. }, .. } = frame else { panic!("joined") };
            *at = at.next();
        });
    }),
];

fn is_key(frame: &ServerFrame) -> bool {
    matches!(frame, ServerFrame::Key { .. })
}

/// The right key of a version, as a frame.
fn key(story: &Story, room: RoomId, version: u32) -> ServerFrame {
    let version = KeyVersion(version);
    let secret = &story.ending.vault[&(room, version)];
    ServerFrame::Key { room, version, public: secret.public(), secret: Blob::from(secret.to_bytes().to_vec()) }
}

fn nth_batch(story: &Story, link: LinkId, nth: usize) -> usize {
    let is_batch =
        |seen: &Seen| matches!(seen, Seen::Came { link: on, frame: ServerFrame::Batch { .. } } if *on == link);
    let mut batches = (0..story.seen.len()).filter(|at| is_batch(&story.seen[*at].1));
    batches.nth(nth).expect("so many came")
}

fn sealed_batch(story: &Story, link: LinkId) -> usize {
    came(
        story,
        link,
        |frame| matches!(frame, ServerFrame::Batch { items, .. } if items.iter().any(|item| item.body.is_some())),
    )
}

fn change_items(story: &mut Story, at: usize, then: impl FnOnce(&mut Vec<Item>)) {
    change(story, at, |frame| {
        let ServerFrame::Batch { items, .. } = frame else { panic!("a batch") };
        then(items);
    });
}

fn change_own(story: &mut Story, at: usize, then: impl FnOnce(&mut Vec<OwnRevision>)) {
    change(story, at, |frame| {
        let ServerFrame::Batch { own, .. } = frame else { panic!("a batch") };
        then(own);
    });
}
