//! Who hears what this node shows to its rooms and accounts, beside the sockets: surfaces that publish it elsewhere.

use std::sync::Arc;

use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, Revision};
use chamberlain_core::log::Record;
use chamberlain_core::room::Event;
use chamberlain_core::time::Timestamp;

use super::{Inner, Room};

/// Hears of changes as they are shown. Called where records are shown, so it leaves a note and returns.
pub(crate) trait Observer: Send + Sync {
    /// A room's record was shown to its hub. `here`: this node committed it; of such a record it may be told a second time,
    /// if the hub had it from the log before.
    fn record(&self, room: &Arc<Room>, record: &Record<Event>, here: bool);

    /// An account's log has a change. `here`: this node appended it.
    fn account(&self, account: &AccountId, revision: Revision, time: Timestamp, change: &AccountChange, here: bool);
}

impl Inner {
    /// From now on it hears what is shown. There is one, and the first stays: `false` for a second.
    #[cfg(feature = "nats")]
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(super) fn observed_record(&self, room: &Arc<Room>, record: &Record<Event>, here: bool) {
        if let Some(observer) = self.observer.get() {
            observer.record(room, record, here);
        }
    }

    pub(super) fn observed_account(
        &self,
        account: &AccountId,
        revision: Revision,
        time: Timestamp,
        change: &AccountChange,
        here: bool,
    ) {
        if let Some(observer) = self.observer.get() {
            observer.account(account, revision, time, change, here);
        }
    }
}
