//! Which sockets are to be told of what: by room, by kind of event, and of every kind.
//!
//! Each index entry is a set of sockets, changed under one borrow: an entry is removed only when its set is empty, so the
//! last listener that goes cannot take a new one with it (RACES.md S-13). Adding and removing twice is the same as once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::id::RoomId;

/// The indexes. `K` names a socket.
#[derive(Debug, Clone)]
pub struct Registry<K = u64> {
    rooms: BTreeMap<RoomId, BTreeSet<K>>,
    kinds: BTreeMap<&'static str, BTreeSet<K>>,
    wildcard: BTreeSet<K>,
    /// The rooms of each socket, so that one that goes is found everywhere.
    listening: BTreeMap<K, BTreeSet<RoomId>>,
}

impl<K> Default for Registry<K> {
    fn default() -> Self {
        Self { rooms: BTreeMap::new(), kinds: BTreeMap::new(), wildcard: BTreeSet::new(), listening: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Registry<K> {
    /// Tells this socket of the room from now on; whether it is the room's first.
    pub fn listen(&mut self, socket: K, room: RoomId) -> bool {
        self.listening.entry(socket).or_default().insert(room);
        let listeners = self.rooms.entry(room).or_default();
        let first = listeners.is_empty();
        listeners.insert(socket);
        first
    }

    /// No longer tells this socket of the room; whether nobody listens any more.
    pub fn unlisten(&mut self, socket: K, room: RoomId) -> bool {
        take(&mut self.listening, &socket, &room);
        take(&mut self.rooms, &room, &socket);
        !self.rooms.contains_key(&room)
    }

    /// Tells this socket of events of these kinds instead of those before; of every kind, with `all`; of none, when the list
    /// is empty and `all` is not set.
    pub fn watch(&mut self, socket: K, kinds: &[&'static str], all: bool) {
        self.kinds.retain(|_, watchers| {
            watchers.remove(&socket);
            !watchers.is_empty()
        });
        self.wildcard.remove(&socket);
        if all {
            self.wildcard.insert(socket);
        } else {
            for kind in kinds {
                self.kinds.entry(kind).or_default().insert(socket);
            }
        }
    }

    /// Forgets the socket; gives the rooms that nobody listens to any more.
    pub fn remove(&mut self, socket: K) -> Vec<RoomId> {
        self.watch(socket, &[], false);
        let rooms = self.listening.remove(&socket).unwrap_or_default();
        rooms
            .into_iter()
            .filter(|room| {
                take(&mut self.rooms, room, &socket);
                !self.rooms.contains_key(room)
            })
            .collect()
    }

    /// The sockets that have the room open, in their order.
    pub fn listeners(&self, room: RoomId) -> impl Iterator<Item = K> {
        self.rooms.get(&room).into_iter().flatten().copied()
    }

    /// The sockets that watch this kind of event, each once.
    pub fn watchers(&self, kind: &str) -> impl Iterator<Item = K> {
        // A socket is in one of the two: `watch` sees to it.
        self.kinds.get(kind).into_iter().flatten().chain(&self.wildcard).copied()
    }

    /// Whether anybody watches anything.
    pub fn has_watchers(&self) -> bool {
        !self.kinds.is_empty() || !self.wildcard.is_empty()
    }

    /// Whether nothing is registered at all.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.listening.is_empty() && !self.has_watchers()
    }
}

/// Removes a value from a set in an index, and the entry when its set is empty then.
fn take<I: Ord, V: Ord>(index: &mut BTreeMap<I, BTreeSet<V>>, entry: &I, value: &V) {
    if let Some(set) = index.get_mut(entry) {
        set.remove(value);
        if set.is_empty() {
            index.remove(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(n: u8) -> RoomId {
        RoomId::from_digest(&[n; 32])
    }

    fn listeners(registry: &Registry, n: u8) -> Vec<u64> {
        registry.listeners(room(n)).collect()
    }

    #[test]
    fn listening_twice_is_undone_by_leaving_once() {
        let mut registry = Registry::default();
        assert!(registry.listen(1, room(1)));
        assert!(!registry.listen(1, room(1)));
        assert!(registry.unlisten(1, room(1)));
        assert!(registry.unlisten(1, room(1)));
        assert!(registry.is_empty());
    }

    #[test]
    fn the_last_listener_that_goes_takes_nobody_with_it() {
        let mut registry = Registry::default();
        registry.listen(1, room(1));
        registry.listen(2, room(1));
        assert!(!registry.unlisten(1, room(1)));
        assert_eq!(registry.remove(1), []);
        assert_eq!(listeners(&registry, 1), [2]);
        assert_eq!(registry.remove(2), [room(1)]);
    }

    #[test]
    fn a_watcher_of_every_kind_is_told_once() {
        let mut registry = Registry::default();
        registry.watch(1, &["message", "edited"], false);
        registry.watch(2, &["message"], true);
        assert_eq!(registry.watchers("message").collect::<Vec<_>>(), [1, 2]);
        assert_eq!(registry.watchers("renamed").collect::<Vec<_>>(), [2]);
        registry.watch(1, &["renamed"], false);
        registry.watch(2, &[], false);
        assert_eq!(registry.watchers("message").count(), 0);
        assert_eq!(registry.watchers("renamed").collect::<Vec<_>>(), [1]);
        registry.remove(1);
        assert!(!registry.has_watchers());
    }

    proptest! {
        /// S-13: whatever the order, an index holds exactly the live ones.
        #[test]
        fn an_index_holds_exactly_who_listens(acts in proptest::collection::vec((0..3_u8, 0..4_u64, 0..3_u8), 0..60)) {
            let mut registry = Registry::default();
            let mut model = BTreeSet::new();
            for (act, socket, n) in acts {
                match act {
                    0 => {
                        let first = model.iter().all(|(r, _)| *r != n);
                        prop_assert_eq!(registry.listen(socket, room(n)), first);
                        model.insert((n, socket));
                    }
                    1 => {
                        model.remove(&(n, socket));
                        let last = model.iter().all(|(r, _)| *r != n);
                        prop_assert_eq!(registry.unlisten(socket, room(n)), last);
                    }
                    _ => {
                        registry.remove(socket);
                        model.retain(|(_, s)| *s != socket);
                    }
                }
                for n in 0..3 {
                    let expected: Vec<u64> = model.iter().filter(|(r, _)| *r == n).map(|(_, s)| *s).collect();
                    prop_assert_eq!(listeners(&registry, n), expected);
                }
                prop_assert_eq!(registry.is_empty(), model.is_empty());
            }
        }
    }
}
