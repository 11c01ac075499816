//! L1, M, X3, S4, V1, B1: what was answered, how much waits, and for how long.

use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::room::{Outcome, Reason, Role};
use chamberlain_core::wire::{Answer, ResetWhy, ServerFrame, VoidWhy};
use chamberlain_sim::plan;
use chamberlain_sim::story::{Seen, Story};

use super::{Case, case};
use crate::{ADA, ADA_AGAIN, BOB, CYD, came, change, drop_at, insert};

pub(super) const CASES: &[Case] = &[
    case("L1", "a message is acknowledged that is nowhere", |story, _| {
        let at = answered(story, 11);
        change(story, at, |frame| {
            let revision = Revision(3);
            let outcome = Outcome::Sent { revision, time: Default::default(), version: Default::default() };
            *frame = ServerFrame::Ok { id: plan::request_id(11), answer: Answer::Outcome(outcome) };
        });
    }),
    case("L1", "an answer names another revision", |story, _| {
        let at = answered(story, 2);
        change_outcome(story, at);
    }),
    case("L1", "a retry is answered otherwise", |story, _| {
        let at = came(story, ADA_AGAIN, |frame| is_answer(frame, 12));
        change_outcome(story, at);
    }),
    case("L1", "a retry of what is there is refused", |story, _| {
        let at = came(story, ADA_AGAIN, |frame| is_answer(frame, 12));
        change(story, at, |frame| *frame = refusal(12, Reason::NotAMember));
    }),
    case("L1", "a message is acknowledged before it is durable", |story, _| {
        let at = answered(story, 1);
        let ok = drop_at(story, at);
        let sent = story.seen.iter().position(|(_, seen)| matches!(seen, Seen::Sent { .. })).expect("sent");
        insert(story, sent + 1, ok);
    }),
    case("L1", "a revision is shown before it is durable", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Batch { .. }));
        let batch = drop_at(story, at);
        let first = came(story, BOB, |frame| matches!(frame, ServerFrame::Welcome(_)));
        insert(story, first + 1, batch);
    }),
    case("M2", "a room is said to have more members", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        change(story, at, |frame| {
            let ServerFrame::Opened { room, .. } = frame else { panic!("opened") };
            room.members += 1;
        });
    }),
    case("M2", "a page of members leaves somebody out", |story, _| {
        let at = came(story, ADA, |frame| matches!(frame, ServerFrame::Ok { answer: Answer::Members { .. }, .. }));
        change(story, at, |frame| {
            let ServerFrame::Ok { answer: Answer::Members { members, .. }, .. } = frame else { panic!("members") };
            members.remove(0);
        });
    }),
    case("M4", "a room is missing from the list", |story, _| {
        let at = came(story, CYD, |frame| matches!(frame, ServerFrame::Ok { answer: Answer::Rooms { .. }, .. }));
        change(story, at, |frame| {
            let ServerFrame::Ok { answer: Answer::Rooms { rooms, .. }, .. } = frame else { panic!("rooms") };
            rooms.clear();
        });
    }),
    case("M4", "a member is told another role", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        change(story, at, |frame| {
            let ServerFrame::Opened { room, .. } = frame else { panic!("opened") };
            room.role = Role::Owner;
        });
    }),
    case("X3", "a member is told not to be one", |story, _| {
        let at = answered(story, 3);
        change(story, at, |frame| *frame = refusal(3, Reason::NotAMember));
    }),
    case("X3", "a good message is refused as empty", |story, _| {
        let at = answered(story, 11);
        change(story, at, |frame| *frame = refusal(11, Reason::Empty));
    }),
    case("X3", "a request is answered twice", |story, _| {
        let at = answered(story, 2);
        let again = story.seen[at].1.clone();
        insert(story, at, again);
    }),
    case("X3", "a mark is said to stand beyond the head", |story, _| {
        let at = answered(story, 9);
        change(story, at, |frame| {
            let outcome = Outcome::Marked { revision: Revision(1_000) };
            *frame = ServerFrame::Ok { id: plan::request_id(9), answer: Answer::Outcome(outcome) };
        });
    }),
    case("X3", "a member is told to be removed", |story, room| {
        let at = answered(story, 5);
        insert(story, at, Seen::Came { link: BOB, frame: ServerFrame::Reset { room, why: ResetWhy::Removed } });
    }),
    case("S4", "frames pile up for a connection", |story, _| {
        let time = story.seen[story.seen.len() - 1].0;
        story.seen.push((time, Seen::Holds { link: ADA_AGAIN, items: 1_000_000, bytes: 1_000 }));
    }),
    case("S4", "bytes pile up for a connection", |story, _| {
        let time = story.seen[story.seen.len() - 1].0;
        story.seen.push((time, Seen::Holds { link: ADA_AGAIN, items: 10, bytes: 1 << 40 }));
    }),
    case("fair", "a quiet room waits while another one is busy", |story, _| {
        let at = came(story, ADA, |frame| matches!(frame, ServerFrame::Batch { .. }));
        story.seen.iter_mut().skip(at).for_each(|(time, _)| *time += 60_000_000);
        let opened = came(story, ADA, |frame| matches!(frame, ServerFrame::Opened { .. }));
        let Seen::Came { frame: ServerFrame::Opened { room, .. }, .. } = &story.seen[opened].1 else {
            panic!("opened")
        };
        let (busy, mut view) = (RoomId::from_digest(&[7; 32]), room.clone());
        view.room = busy;
        for nth in (1..=200).rev().map(Revision) {
            let position = Blob::default();
            let frame = ServerFrame::Void { room: busy, from: nth, to: nth, why: VoidWhy::Filtered, position };
            insert(story, at, Seen::Came { link: ADA, frame });
        }
        let frame = ServerFrame::Opened { room: view, after: Revision::ZERO, head: Revision(200) };
        insert(story, at, Seen::Came { link: ADA, frame });
    }),
    case("V1", "a request is not answered", |story, _| {
        let at = came(story, CYD, |frame| is_answer(frame, 14));
        drop_at(story, at);
    }),
    case("V1", "a connection stays behind", |story, _| {
        let batches = |seen: &Seen| matches!(seen, Seen::Came { link: CYD, frame: ServerFrame::Batch { .. } });
        let at = (0..story.seen.len()).rev().find(|at| batches(&story.seen[*at].1)).expect("a batch");
        drop_at(story, at);
    }),
    case("V1", "a removed member is not told", |story, _| {
        let at = came(story, BOB, |frame| matches!(frame, ServerFrame::Reset { .. }));
        let opened = came_last(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        story.seen.drain(opened - 1..);
        let time = story.seen[story.seen.len() - 1].0;
        story.seen.extend([(time, Seen::Healed), (time, Seen::Quiet)]);
        drop_at(story, at);
    }),
    case("V1", "a room is asked for, and nothing comes", |story, _| {
        let opened = came_last(story, BOB, |frame| matches!(frame, ServerFrame::Opened { .. }));
        story.seen.truncate(opened);
        let time = story.seen[opened - 1].0;
        story.seen.extend([(time, Seen::Healed), (time, Seen::Quiet)]);
    }),
    case("B1", "a room is quarantined", |story, room| {
        let time = story.seen[story.seen.len() - 1].0;
        story.seen.push((time, Seen::Quarantined { room, what: "nothing".into() }));
    }),
    case("B1", "a node is left that cannot serve", |story, _| story.ending.unwell.push("node 0 cannot load".into())),
    case("B1", "a request meets a defect", |story, _| {
        let at = answered(story, 11);
        change(story, at, |frame| *frame = refusal(11, Reason::Defect));
    }),
    case("B1", "a connection ends as an internal error", |story, _| {
        let ended = story.seen.iter_mut().find_map(|(_, seen)| match seen {
            Seen::Ended { code, .. } => Some(code),
            _ => None,
        });
        *ended.expect("one ended") = Some(1011);
    }),
];

fn is_answer(frame: &ServerFrame, n: u64) -> bool {
    let request = plan::request_id(n);
    matches!(frame, ServerFrame::Ok { id, .. } | ServerFrame::Error { id: Some(id), .. } if *id == request)
}

/// Where a request was first answered.
fn answered(story: &Story, n: u64) -> usize {
    let is_it = |seen: &Seen| matches!(seen, Seen::Came { frame, .. } if is_answer(frame, n));
    story.seen.iter().position(|(_, seen)| is_it(seen)).expect("answered")
}

fn came_last(story: &Story, link: chamberlain_sim::story::LinkId, is_it: impl Fn(&ServerFrame) -> bool) -> usize {
    let of = |(_, seen): &(u64, Seen)| matches!(seen, Seen::Came { link: on, frame } if *on == link && is_it(frame));
    story.seen.iter().rposition(of).expect("such a frame came")
}

fn change_outcome(story: &mut Story, at: usize) {
    change(story, at, |frame| {
        let ServerFrame::Ok { answer: Answer::Outcome(Outcome::Sent { revision, .. }), .. } = frame else {
            panic!("something was sent")
        };
        *revision = revision.previous();
    });
}

fn refusal(n: u64, reason: Reason) -> ServerFrame {
    let id = Some(plan::request_id(n));
    ServerFrame::Error { id, room: None, code: reason.code(), reason, message: String::new(), current: None }
}
