//! What a server keeps, apart from the server: what was written, and of that what was synced.
//!
//! A process that ends loses nothing that was written. Power that is cut takes what was not synced: each change is undone
//! that no sync followed. A sync is of one file of a stream (a block), or of all; deleting a message overwrites it in place and
//! syncs its block, as the server does it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::jetstream::StreamConfig;
use crate::store::{Message, Store};

/// Bytes of a block: `defaultLargeBlockSize` of the server.
const BLOCK_BYTES: u64 = 8 << 20;

/// Changes that wait for a sync, at most; the operating system writes older ones by itself.
const UNSYNCED_MOST: usize = 100_000;

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Files>>);

/// What lies on a disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// By account and name.
    pub(crate) streams: BTreeMap<(String, String), StreamFile>,
    /// Grows with every server that takes it and with everything that happens to it beneath one; whose number is older may
    /// not use it.
    pub(crate) holder: u64,
}

/// A stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamFile {
    pub(crate) config: StreamConfig,
    /// Nanoseconds since 1970.
    pub(crate) created: u64,
    pub(crate) store: Store,
    /// The block that is written to, and how full it is.
    block: (u64, u64),
    unsynced: VecDeque<Change>,
}

/// Something that was written and not synced.
#[derive(Debug, Clone)]
struct Change {
    /// The block that it is in.
    block: u64,
    undo: Undo,
}

#[derive(Debug, Clone)]
enum Undo {
    /// The stream was not there.
    Created,
    /// It was configured otherwise.
    Configured(Box<StreamConfig>),
    /// The message was not there; the time of the last one before it.
    Stored { sequence: u64, last_time: u64 },
    /// The message was there.
    Removed(Arc<Message>),
}

impl Disk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        // Nothing between lock and unlock panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy as it is now, synced or not: a backup. What happens to one does not happen to the other.
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.files().clone())))
    }

    /// Puts an earlier copy in its place. A server that runs over it is as good as dead.
    pub fn restore(&self, copy: &Self) {
        let streams = copy.files().streams.clone();
        let mut files = self.files();
        files.streams = streams;
        files.holder += 1;
    }

    /// The power is cut: what was not synced is gone. A server that runs over it is as good as dead.
    pub fn lose_unsynced(&self) {
        let mut files = self.files();
        files.holder += 1;
        files.streams.retain(|_, stream| stream.lose_unsynced());
    }

    /// How many changes would be lost with the power.
    pub fn unsynced(&self) -> usize {
        self.files().streams.values().map(|stream| stream.unsynced.len()).sum()
    }

    /// How many messages there are.
    pub fn messages(&self) -> usize {
        self.files().streams.values().map(|stream| stream.store.len()).sum()
    }

    /// Whether these bytes lie anywhere in a message, or in one that may come back.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let within =
            |message: &Message| !bytes.is_empty() && message.payload.windows(bytes.len()).any(|window| window == bytes);
        let files = self.files();
        files.streams.values().any(|stream| {
            let removed = stream.unsynced.iter().filter_map(|change| match &change.undo {
                Undo::Removed(message) => Some(message),
                _ => None,
            });
            stream.store.messages().chain(removed).any(|message| within(message))
        })
    }
}

impl Files {
    /// A server takes it: others may not use it any more. What was in memory is gone.
    pub(crate) fn take(&mut self) -> u64 {
        self.streams.retain(|_, stream| !stream.store.in_memory);
        self.holder += 1;
        self.holder
    }

    pub(crate) fn sync(&mut self) {
        self.streams.values_mut().for_each(|stream| stream.unsynced.clear());
    }
}

impl StreamFile {
    pub(crate) fn create(config: StreamConfig, created: u64, sync: bool) -> Self {
        let store = Store::new(config.in_memory());
        let mut stream = Self { config, created, store, block: (1, 0), unsynced: VecDeque::new() };
        stream.changed(0, Undo::Created, sync);
        stream
    }

    pub(crate) fn configure(&mut self, config: StreamConfig, sync: bool) {
        let before = std::mem::replace(&mut self.config, config);
        self.changed(0, Undo::Configured(Box::new(before)), sync);
    }

    /// Stores a message under the next sequence, which it returns.
    pub(crate) fn store(&mut self, mut message: Message, sync: bool) -> u64 {
        let bytes = (message.payload.len() + message.headers.as_ref().map_or(0, |headers| headers.len())) as u64;
        if self.block.1 > 0 && self.block.1 + bytes > BLOCK_BYTES {
            self.block = (self.block.0 + 1, 0);
        }
        self.block.1 += bytes;
        let (sequence, last_time) = (self.store.last + 1, self.store.last_time);
        (message.sequence, message.block) = (sequence, self.block.0);
        self.store.insert(Arc::new(message));
        self.changed(self.block.0, Undo::Stored { sequence, last_time }, sync);
        sequence
    }

    /// Takes a message away. Overwritten is gone, and what lies in the same block is synced with it.
    pub(crate) fn remove(&mut self, sequence: u64, overwrite: bool, sync: bool) -> bool {
        let Some(message) = self.store.remove(sequence) else { return false };
        if overwrite {
            self.unsynced.retain(|change| change.block != message.block);
        } else {
            self.changed(message.block, Undo::Removed(message), sync);
        }
        true
    }

    fn changed(&mut self, block: u64, undo: Undo, synced: bool) {
        if synced || self.store.in_memory {
            return;
        }
        if self.unsynced.len() >= UNSYNCED_MOST {
            self.unsynced.pop_front();
        }
        self.unsynced.push_back(Change { block, undo });
    }

    /// Undoes what was not synced, the last first; says whether the stream is still there.
    fn lose_unsynced(&mut self) -> bool {
        while let Some(change) = self.unsynced.pop_back() {
            match change.undo {
                Undo::Created => return false,
                Undo::Configured(before) => self.config = *before,
                Undo::Stored { sequence, last_time } => {
                    self.store.remove(sequence);
                    if self.store.last == sequence {
                        (self.store.last, self.store.last_time) = (sequence - 1, last_time);
                    }
                }
                Undo::Removed(message) => self.store.insert(message),
            }
        }
        !self.store.in_memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(subject: &str, payload: &[u8]) -> Message {
        let payload = Bytes::copy_from_slice(payload);
        Message { sequence: 0, subject: subject.into(), headers: None, payload, time: 7, block: 0 }
    }

    fn disk(sync: bool) -> Disk {
        let disk = Disk::new();
        let stream = StreamFile::create(StreamConfig::named("S"), 1, sync);
        disk.files().streams.insert((String::new(), "S".into()), stream);
        disk
    }

    fn change<T>(disk: &Disk, change: impl FnOnce(&mut StreamFile) -> T) -> T {
        let mut files = disk.files();
        change(files.streams.values_mut().next().expect("a stream"))
    }

    #[test]
    fn what_was_synced_survives_the_power_and_nothing_else() {
        let disk = disk(true);
        change(&disk, |stream| stream.store(message("a", b"one"), true));
        change(&disk, |stream| stream.store(message("a", b"two"), false));
        change(&disk, |stream| stream.remove(1, false, false));
        assert_eq!((disk.messages(), disk.unsynced()), (1, 2));
        assert!(disk.holds(b"one"), "it may come back");
        let backup = disk.copy();
        disk.lose_unsynced();
        let sequences = |disk: &Disk| -> Vec<u64> {
            disk.files()
                .streams
                .values()
                .flat_map(|s| s.store.messages().map(|m| m.sequence).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!(sequences(&disk), [1]);
        assert_eq!(change(&disk, |stream| stream.store.last), 1);
        disk.restore(&backup);
        assert_eq!(sequences(&disk), [2]);
        disk.lose_unsynced();
        assert_eq!(sequences(&disk), [1]);
    }

    #[test]
    fn a_stream_that_was_never_synced_was_never_there() {
        let disk = disk(false);
        change(&disk, |stream| stream.store(message("a", b"one"), false));
        disk.lose_unsynced();
        assert_eq!((disk.messages(), disk.files().streams.len()), (0, 0));
    }

    #[test]
    fn what_was_overwritten_is_gone_and_syncs_its_block() {
        let disk = disk(true);
        change(&disk, |stream| stream.store(message("a", b"secret"), false));
        change(&disk, |stream| stream.store(message("a", &vec![1; BLOCK_BYTES as usize]), false));
        change(&disk, |stream| stream.remove(1, true, false));
        assert!(!disk.holds(b"secret"));
        disk.lose_unsynced();
        assert!(!disk.holds(b"secret"));
        // The second message is in another block.
        assert_eq!(disk.messages(), 0);
    }
}
