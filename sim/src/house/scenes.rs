//! The scripts themselves: one function each, named in [`SCENARIOS`](crate::run::SCENARIOS).

use chamberlain_core::id::RoomId;
use chamberlain_core::limits::Limits;
use chamberlain_core::wire::Codec;

use super::faults::Kind;
use super::scripts::{Act, How, Play};

fn say(room: RoomId) -> Act {
    Act::Say { room, sealed: None, same_name: false }
}

fn open(room: RoomId, how: How) -> Act {
    Act::Open { room, how, kinds: false }
}

/// The first account begins a channel with the others, and everybody opens it.
fn hall(play: &mut Play, others: &[u8]) {
    let others = others.to_vec();
    play.act(0, |_| Act::Create { others });
    play.wait_ms(100);
    for client in 0..play.clients() {
        play.act(client, |rooms| open(rooms[0], How::Start));
    }
    play.wait_ms(50);
}

/// S-01, S-07, S-21: an author without batches in two rooms, others speaking at the same time, a second program of the author.
pub(crate) fn own_among_others() -> Play {
    let mut play = Play::new(1, &[0, 1, 0]).takes(0, Codec::Json, false);
    hall(&mut play, &[1]);
    play.act(0, |_| Act::Create { others: vec![1] });
    play.wait_ms(50);
    (0..3).for_each(|client| play.act(client, |rooms| open(rooms[1], How::Now)));
    for _ in 0..15 {
        for (client, room) in [(0, 0), (1, 0), (2, 1), (0, 1), (1, 1), (0, 0)] {
            play.act(client, move |rooms| say(rooms[room]));
        }
    }
    play
}

/// S-06: batches on and off, both codecs: frames differ, what is in them does not.
pub(crate) fn batches_on_and_off() -> Play {
    let mut play = Play::new(1, &[0, 1, 2, 3]).takes(1, Codec::Json, false).takes(2, Codec::Bincode, true);
    play = play.takes(3, Codec::Bincode, false);
    hall(&mut play, &[1, 2, 3]);
    for nth in 0..6 {
        play.act(nth % 4, |rooms| Act::Burst(rooms[0], 4));
        play.act(0, |rooms| Act::Rotate(rooms[0]));
        play.act(nth % 4, |rooms| Act::Delete { room: rooms[0], which: 1 });
        play.wait_ms(20);
    }
    play
}

/// S-09, N-17: positions that nobody gave out, and one of this site that the log does not have.
pub(crate) fn positions_of_no_log() -> Play {
    let mut play = Play::new(1, &[0, 1, 2]);
    play.act(0, |_| Act::Create { others: vec![1, 2] });
    play.wait_ms(50);
    play.act(0, |rooms| Act::Burst(rooms[0], 6));
    play.act(1, |rooms| open(rooms[0], How::Invented));
    play.act(2, |rooms| open(rooms[0], How::Beyond));
    play.wait_ms(50);
    play.act(1, |rooms| open(rooms[0], How::Start));
    play.act(0, |rooms| say(rooms[0]));
    play
}

/// K-18: away while keys are handed out; back, everything is asked for again, and what may not be held is refused.
pub(crate) fn away_at_the_rotation() -> Play {
    let mut play = Play::new(1, &[0, 1, 2]);
    hall(&mut play, &[1, 2]);
    play.act(0, |rooms| say(rooms[0]));
    play.wait_ms(50);
    play.blow(Kind::Death, 1, 1);
    for _ in 0..3 {
        play.act(0, |rooms| Act::Rotate(rooms[0]));
        play.act(0, |rooms| say(rooms[0]));
    }
    play.act(0, |rooms| Act::Remove { room: rooms[0], accounts: vec![2] });
    play.act(0, |rooms| say(rooms[0]));
    play.wait_ms(100);
    play.act(1, |_| Act::Reconnect);
    play.wait_ms(600);
    for version in 0..5 {
        play.act(1, move |rooms| Act::Key { room: rooms[0], version: Some(version) });
        play.act(2, move |rooms| Act::Key { room: rooms[0], version: Some(version) });
    }
    play
}

/// S-20: many connections of one room, all behind what is in memory.
pub(crate) fn many_at_one_record() -> Play {
    let cast: Vec<u8> = (0..40).map(|client| client % 7).collect();
    let mut play = Play::new(1, &cast).limits(Limits { sockets_per_account: 100, ..Limits::default() });
    hall(&mut play, &[1, 2, 3, 4, 5]);
    for _ in 0..10 {
        play.act(0, |rooms| say(rooms[0]));
        play.wait_ms(5);
    }
    play
}

/// A watcher that reads nothing while much happens.
pub(crate) fn watcher_behind() -> Play {
    let limits = Limits { slow_ms: 60_000, submits_burst: 10_000, submits_per_second: 10_000, ..Limits::default() };
    let mut play = Play::new(1, &[0, 1]).limits(limits).narrow();
    play.act(0, |_| Act::Create { others: vec![1] });
    play.act(1, |_| Act::Watch(true));
    play.wait_ms(50);
    play.stall(1, 4_000);
    for _ in 0..40 {
        play.act(0, |rooms| Act::Burst(rooms[0], 20));
        play.wait_ms(20);
    }
    play
}

/// S-10, S-14: a thin connection whose client has a busy room open and a quiet one, without batches.
pub(crate) fn quiet_beside_busy() -> Play {
    let limits = Limits {
        slow_ms: 60_000,
        submits_burst: 10_000,
        submits_per_second: 10_000,
        replies_waiting: 16,
        open_rooms: 8,
        ..Limits::default()
    };
    let mut play = Play::new(1, &[0, 1]).limits(limits).takes(1, Codec::Json, false).narrow().thin();
    hall(&mut play, &[1]);
    play.act(0, |_| Act::Create { others: vec![1] });
    play.wait_ms(500);
    play.act(1, |rooms| open(rooms[1], How::Now));
    play.wait_ms(500);
    for nth in 0..300 {
        play.act(0, |rooms| Act::Burst(rooms[0], 4));
        play.wait_ms(6);
        if nth == 100 {
            play.act(0, |rooms| say(rooms[1]));
        }
    }
    play
}

/// K-22, N-14: a key is handed out, the log loses the record that made it current, and goes on.
pub(crate) fn log_restored() -> Play {
    let mut play = Play::new(1, &[0, 1, 2, 3]);
    hall(&mut play, &[1, 2, 3]);
    play.act(0, |rooms| say(rooms[0]));
    play.wait_ms(50);
    play.act(0, |rooms| Act::Remove { room: rooms[0], accounts: vec![2] });
    play.wait_ms(50);
    play.act(0, |rooms| say(rooms[0]));
    play.wait_ms(50);
    play.lose_records(0, 2);
    for account in [1, 3] {
        play.act(0, move |rooms| Act::Remove { room: rooms[0], accounts: vec![account] });
        play.wait_ms(300);
        play.act(0, |rooms| say(rooms[0]));
        play.wait_ms(300);
    }
    play
}

/// K-19: the vault is gone, and the log is not.
pub(crate) fn vault_lost() -> Play {
    let mut play = Play::new(1, &[0, 1, 2]);
    hall(&mut play, &[1, 2]);
    play.act(0, |_| Act::Create { others: vec![1] });
    play.wait_ms(50);
    play.act(0, |rooms| say(rooms[0]));
    play.act(0, |rooms| say(rooms[1]));
    play.wait_ms(50);
    play.lose_secrets(0);
    play.wait_ms(1_000);
    for _ in 0..3 {
        play.act(0, |rooms| Act::Remove { room: rooms[0], accounts: vec![2] });
        play.act(1, |rooms| open(rooms[0], How::Start));
        play.act(1, |rooms| Act::Say { room: rooms[0], sealed: Some(0), same_name: false });
        play.act(0, |rooms| say(rooms[1]));
        play.wait_ms(200);
    }
    play
}

/// M-21: a removal whose answer is lost in a crash, asked again at whichever node is there.
pub(crate) fn removal_retried() -> Play {
    let mut play = Play::new(2, &[0, 1, 2]);
    hall(&mut play, &[1, 2]);
    // Each of the nodes, half-way through an append, before it landed and after.
    for whom in [0, 49, 50, 1] {
        play.blow(Kind::Trap, whom, 0);
        play.act(0, |rooms| Act::Remove { room: rooms[0], accounts: vec![2] });
        play.wait_ms(1_000);
        play.act(0, |_| Act::Retry);
        play.act(0, |rooms| Act::Add { room: rooms[0], accounts: vec![2], none: false });
        play.wait_ms(1_000);
    }
    play
}

/// M-02, M-11, M-12: both ends of a room of two, two owners that leave at once, two additions near the limit, at two nodes.
pub(crate) fn two_at_once() -> Play {
    let mut play = Play::new(2, &[0, 1, 2]).limits(Limits { room_members: 4, ..Limits::default() }).stubborn();
    play.act(0, |_| Act::Dm { other: 1, both: true });
    hall(&mut play, &[1, 2]);
    play.act(0, |rooms| Act::Role { room: *rooms.last().expect("begun"), account: 1, owner: true });
    play.wait_ms(50);
    play.act(0, |rooms| Act::Add { room: *rooms.last().expect("begun"), accounts: vec![3], none: false });
    play.act(1, |rooms| Act::Add { room: *rooms.last().expect("begun"), accounts: vec![4], none: true });
    play.wait_ms(50);
    play.act(0, |rooms| Act::Leave(*rooms.last().expect("begun")));
    play.act(1, |rooms| Act::Leave(*rooms.last().expect("begun")));
    play
}

/// One connection, more rooms open than may fetch at a time, and behind in all of them.
pub(crate) fn behind_in_many_rooms() -> Play {
    let limits = Limits { tail_records: 1, ..Limits::default() };
    let mut play = Play::new(1, &[0, 1]).limits(limits).narrow();
    for _ in 0..9 {
        play.act(0, |_| Act::Create { others: vec![1] });
        play.wait_ms(20);
    }
    for _ in 0..4 {
        for room in 0..9 {
            play.act(0, move |rooms| say(rooms[room]));
        }
        play.wait_ms(20);
    }
    for room in 0..9 {
        play.act(1, move |rooms| open(rooms[room], How::Start));
    }
    play.stall(1, 500);
    play.wait_ms(2_000);
    play
}

/// S-08, N-19: far behind over a narrow connection, closed as slow, and back again.
pub(crate) fn far_behind() -> Play {
    let limits = Limits { slow_ms: 1_000, tail_records: 1, batch_items: 2, ..Limits::default() };
    let mut play = Play::new(1, &[0, 1]).limits(limits).narrow();
    hall(&mut play, &[1]);
    for _ in 0..2 {
        play.stall(1, 1_600);
        for _ in 0..8 {
            play.act(0, |rooms| Act::Burst(rooms[0], 4));
            play.wait_ms(60);
        }
        play.wait_ms(4_000);
    }
    play
}
