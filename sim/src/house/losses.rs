//! Stores that break their promise: what was acknowledged is gone. From then on only that is asked for which follows from it.

use chamberlain_core::id::{LogId, RoomId};
use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::Event as Happened;

use super::House;

impl House {
    /// The log of a room ends so many records earlier from now on, as if an older copy of it had been restored.
    pub(super) fn lose_records(&mut self, room: RoomId, count: usize) {
        self.break_promise(format!("the log of {room} loses its last {count} records"));
        let Some(log) = self.stores.logs.get_mut(&LogId::Room(room)) else { return };
        let left = log.records.len().saturating_sub(count);
        log.records.truncate(left);
        log.head = log.records.iter().fold(Head::EMPTY, |head, stored| {
            let record = Record::<Happened>::decode(&stored.bytes).expect("what landed can be read");
            record.extend(head).expect("what landed follows")
        });
    }

    /// The vault forgets every secret of a room, and nodes start anew, so that none remembers them either.
    pub(super) fn lose_secrets(&mut self, room: RoomId) {
        self.break_promise(format!("the vault loses the secrets of {room}"));
        self.stores.vault.retain(|(of, _), _| *of != room);
        for node in 0..self.nodes.len() {
            self.crash(node, false);
            self.later(50_000, move |house| house.start(node));
        }
    }

    fn break_promise(&mut self, what: String) {
        self.story.stores_whole = false;
        self.fault(what);
    }
}
