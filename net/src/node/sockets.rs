//! Every connection of this node, and who is to be told of what: by room, by kind of event, by account.
//!
//! Telling is leaving a note and waking: nothing here waits for a connection, so a slow one slows nobody. Notes about rooms
//! coalesce ("it moved"); everything else is bounded, and a connection whose notes overflow is ended as slow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chamberlain_core::fanout::{Framing, Input, KindSet, Registry};
use chamberlain_core::id::{AccountId, RoomId};
use chamberlain_core::keys::Envelope;
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, Reason};
use chamberlain_core::wire::{Codec, Item, ResetWhy, ServerFrame};
use tokio::sync::Notify;

use super::Room;
use crate::lock::Lock;

/// A connection, as the rest of the node sees it.
pub(crate) struct Handle {
    pub(crate) key: u64,
    pub(crate) account: AccountId,
    pub(crate) codec: Codec,
    pub(crate) admin: bool,
    notes: Lock<Notes>,
    notes_most: usize,
    pub(crate) wake: Notify,
    /// More notes came than it may hold: the connection is slow.
    pub(crate) overflowed: AtomicBool,
}

/// What a connection is to be told when it wakes.
#[derive(Default)]
pub(crate) struct Notes {
    /// Rooms that moved, each once.
    pub(crate) moved: Vec<RoomId>,
    /// Everything else, in order.
    pub(crate) inputs: VecDeque<Input>,
}

impl Handle {
    /// Leaves a note and wakes the connection.
    pub(crate) fn push(&self, input: Input) {
        let mut notes = self.notes.lock();
        if notes.inputs.len() >= self.notes_most {
            self.overflowed.store(true, Ordering::Release);
        } else {
            notes.inputs.push_back(input);
        }
        drop(notes);
        self.wake.notify_one();
    }

    fn moved(&self, room: RoomId) {
        let mut notes = self.notes.lock();
        if notes.moved.last() != Some(&room) && !notes.moved.contains(&room) {
            notes.moved.push(room);
        }
        drop(notes);
        self.wake.notify_one();
    }

    /// Drops what was noted of the account's log so far: a head that is read now covers it.
    pub(crate) fn forget_account_events(&self) {
        self.notes.lock().inputs.retain(|input| !matches!(input, Input::AccountEvent { .. }));
    }

    /// Takes all notes.
    pub(crate) fn take(&self, into: &mut Notes) {
        let mut notes = self.notes.lock();
        std::mem::swap(&mut *notes, into);
    }
}

/// All connections of a node.
pub(crate) struct Sockets(Lock<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    registry: Registry,
    handles: BTreeMap<u64, Arc<Handle>>,
    accounts: BTreeMap<AccountId, BTreeSet<u64>>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self(Lock::new(Table::default()))
    }

    /// Takes in a connection of an account, if there is room for it.
    pub(crate) fn join(
        &self,
        account: &AccountId,
        codec: Codec,
        admin: bool,
        limits: &Limits,
    ) -> Result<Arc<Handle>, Reason> {
        let mut table = self.0.lock();
        let own = table.accounts.get(account).map_or(0, BTreeSet::len);
        if own >= limits.sockets_per_account as usize || table.handles.len() >= limits.sockets as usize {
            return Err(Reason::TooManySockets);
        }
        let key = table.next;
        table.next += 1;
        let handle = Arc::new(Handle {
            key,
            account: account.clone(),
            codec,
            admin,
            notes: Lock::new(Notes::default()),
            notes_most: limits.replies_waiting as usize * 2,
            wake: Notify::new(),
            overflowed: AtomicBool::new(false),
        });
        table.handles.insert(key, handle.clone());
        table.accounts.entry(account.clone()).or_default().insert(key);
        Ok(handle)
    }

    /// Forgets a connection and everything it listened to.
    pub(crate) fn leave(&self, handle: &Handle) {
        let mut table = self.0.lock();
        table.handles.remove(&handle.key);
        table.registry.remove(handle.key);
        if let Some(own) = table.accounts.get_mut(&handle.account) {
            own.remove(&handle.key);
            if own.is_empty() {
                table.accounts.remove(&handle.account);
            }
        }
    }

    /// From now on the connection is told when the room moves.
    pub(crate) fn listen(&self, handle: &Handle, room: RoomId) {
        self.0.lock().registry.listen(handle.key, room);
    }

    /// No longer.
    pub(crate) fn unlisten(&self, handle: &Handle, room: RoomId) {
        self.0.lock().registry.unlisten(handle.key, room);
    }

    /// The connection is told of events of these kinds in every room its account is in; of none, when the list is empty.
    pub(crate) fn watch(&self, handle: &Handle, kinds: KindSet) {
        let names: Vec<&'static str> = kinds.names().collect();
        self.0.lock().registry.watch(handle.key, &names, kinds == KindSet::ALL);
    }

    /// The accounts that have connections.
    pub(super) fn accounts(&self) -> BTreeSet<AccountId> {
        self.0.lock().accounts.keys().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().handles.len()
    }

    /// Calls `tell` for every connection of an account.
    pub(super) fn of_account(&self, account: &AccountId, tell: impl Fn(&Handle)) {
        let table = self.0.lock();
        for key in table.accounts.get(account).into_iter().flatten() {
            if let Some(handle) = table.handles.get(key) {
                tell(handle);
            }
        }
    }

    /// The room has new revisions.
    pub(super) fn moved(&self, room: RoomId) {
        let table = self.0.lock();
        for key in table.registry.listeners(room) {
            if let Some(handle) = table.handles.get(&key) {
                handle.moved(room);
            }
        }
    }

    /// The room is closed to everybody, for a reason that is not in its log.
    pub(super) fn reset(&self, room: RoomId, why: ResetWhy) {
        let table = self.0.lock();
        for handle in table.registry.listeners(room).filter_map(|key| table.handles.get(&key)) {
            handle.push(Input::Reset { room, why });
        }
    }

    /// Shows the record's events to those who watch their kinds: members what they may read, administrators the rest
    /// without bodies.
    pub(super) fn watched(&self, room: &Room, record: &Record<Event>, framing: Framing) {
        let table = self.0.lock();
        if !table.registry.has_watchers() {
            return;
        }
        let hub = room.hub.lock();
        let state = hub.state();
        for item in record.items() {
            if let Event::Deleted { revision: message } = *item.event {
                let said: BTreeSet<u64> =
                    table.registry.watchers("message").chain(table.registry.watchers("edited")).collect();
                for handle in said.iter().filter_map(|key| table.handles.get(key)) {
                    handle.push(Input::TakenBack { room: room.id, message });
                }
            }
            let says = item.event.text_of(item.revision).map(|message| (room.id, message));
            let mut frames: BTreeMap<(Codec, bool), bytes::Bytes> = BTreeMap::new();
            for key in table.registry.watchers(item.event.kind()) {
                let Some(handle) = table.handles.get(&key) else { continue };
                let entitled = state.entitlement(&handle.account, item.revision, item.revision).0;
                if !entitled && !handle.admin {
                    continue;
                }
                let frame = frames.entry((handle.codec, entitled)).or_insert_with(|| {
                    let body = match item.body {
                        Body::Present(bytes) if entitled && !state.is_erased(item.revision) => {
                            Envelope::from_bytes(bytes).ok()
                        }
                        _ => None,
                    };
                    let item = Item {
                        revision: item.revision,
                        time: item.time,
                        account: item.account.clone(),
                        event: item.event.clone(),
                        body,
                    };
                    framing(handle.codec, handle.codec.encode(&ServerFrame::Watched { room: room.id, item }))
                });
                handle.push(Input::Watched { frame: frame.clone(), says });
            }
        }
    }

    /// Ends every connection of an account that is shut out.
    pub(super) fn shut_out(&self, account: &AccountId) {
        self.of_account(account, |handle| {
            handle.push(Input::Bye { code: 4003, reason: "the account is disabled".into(), retry_after_ms: None });
        });
    }

    /// Asks every connection to leave, and to come back at times spread over the window.
    pub(super) fn say_goodbye(&self, window: Duration) {
        let table = self.0.lock();
        let count = table.handles.len().max(1) as u64;
        let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        for (nth, handle) in table.handles.values().enumerate() {
            let retry_after_ms = Some(500 + window.saturating_mul(nth as u64) / count);
            handle.push(Input::Bye { code: 4013, reason: "the server is stopping".into(), retry_after_ms });
        }
    }
}
