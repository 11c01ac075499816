//! The key versions of a room as its log tells them: which bytes' public half, from which revision, until when.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{KeyVersion, Revision};
use crate::keys::RoomPublic;
use crate::time::Timestamp;

/// Versions that are left out at a time, at most: a record that claims more makes no sense.
pub(super) const SKIPPED_MOST: u32 = 4_096;

/// Every version so far, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Versions {
    list: Vec<Version>,
    messages_under_current: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    public: RoomPublic,
    since: Revision,
    at: Timestamp,
}

impl Versions {
    pub(super) fn rotate(
        &mut self,
        version: KeyVersion,
        public: RoomPublic,
        since: Revision,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        if version != self.next() {
            return Err("a key version is skipped or used again");
        }
        self.list.push(Version { public, since, at });
        self.messages_under_current = 0;
        Ok(())
    }

    /// Leaves out the versions before `version`, which is to begin at `since`: they were never used.
    pub(super) fn skip_to(&mut self, version: KeyVersion, since: Revision, at: Timestamp) -> Result<(), &'static str> {
        let last = self.list.last().ok_or("a room without a key goes on")?.public;
        if version < self.next() || version.0 - self.next().0 > SKIPPED_MOST {
            return Err("a key version is used again, or is out of reach");
        }
        while self.next() < version {
            self.list.push(Version { public: last, since, at });
        }
        Ok(())
    }

    pub(super) fn count_message(&mut self) {
        self.messages_under_current += 1;
    }

    pub(super) fn messages_under_current(&self) -> u64 {
        self.messages_under_current
    }

    pub(super) fn next(&self) -> KeyVersion {
        KeyVersion(self.list.len() as u32)
    }

    pub(super) fn current(&self) -> Option<KeyVersion> {
        self.list.len().checked_sub(1).map(|version| KeyVersion(version as u32))
    }

    pub(super) fn public(&self, version: KeyVersion) -> Option<RoomPublic> {
        self.get(version).map(|found| found.public)
    }

    /// Revisions under a version: from, and the first no longer under it.
    pub(super) fn range(&self, version: KeyVersion) -> Option<(Revision, Option<Revision>)> {
        Some((self.get(version)?.since, self.after(version).map(|next| next.since)))
    }

    /// When the version was replaced.
    pub(super) fn retired_at(&self, version: KeyVersion) -> Option<Timestamp> {
        self.after(version).map(|next| next.at)
    }

    /// A version that was left out begins where the one after it begins, and is none.
    fn get(&self, version: KeyVersion) -> Option<&Version> {
        let found = self.list.get(version.0 as usize)?;
        self.after(version).is_none_or(|next| next.since != found.since).then_some(found)
    }

    fn after(&self, version: KeyVersion) -> Option<&Version> {
        self.list.get(version.0 as usize + 1)
    }
}
