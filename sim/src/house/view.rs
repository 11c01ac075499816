//! How a connection's machine sees the hubs of its node, for the duration of one step.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::fanout::{Ask, Pack, View};
use chamberlain_core::id::RoomId;

use super::room::Cell;

/// The rooms of a node, and those of them that the connection has open.
pub(super) struct Hubs<'a> {
    pub(super) rooms: &'a mut BTreeMap<RoomId, Cell>,
    pub(super) open: &'a BTreeSet<RoomId>,
}

impl View for Hubs<'_> {
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack {
        if !self.open.contains(&room) {
            return Pack::Nothing;
        }
        match self.rooms.get_mut(&room).and_then(Cell::ready_mut) {
            Some(room) => room.hub.pack(ask),
            None => Pack::Nothing,
        }
    }
}
