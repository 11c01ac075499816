//! The stores: logs, vault, snapshots, marks, directory. Each operation takes place at one moment, wholly or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes, erase_body};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::Profile;

use crate::story::{Lane, Seen};

/// What is asked of a store.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Append, if the head is `expected`.
    Append { log: LogId, expected: Head, record: RecordBytes, after: Head },
    /// Records that hold revisions after `after`, until so many bytes are reached.
    Read { log: LogId, after: Revision, bytes: usize },
    /// Overwrite a body.
    Erase { log: LogId, revision: Revision },
    /// Every log.
    List,
    /// Put a secret unless there is one.
    Put { room: RoomId, version: KeyVersion, secret: RoomSecret },
    /// The secret of a version.
    Get { room: RoomId, version: KeyVersion },
    /// Keep a snapshot unless there is a later one.
    Keep { log: LogId, revision: Revision, bytes: Bytes },
    /// The latest snapshot; an older one, or none, where `stale` says how many are missing.
    Latest { log: LogId, stale: usize },
    /// Raise marks.
    Raise(Vec<(String, u64)>),
    /// Read marks.
    Marks(Vec<String>),
    /// Directory entries.
    People(Vec<AccountId>),
    /// Every disabled account.
    Disabled,
    /// Shut an account out.
    Disable(AccountId),
}

/// What a store answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Whether the head was the expected one.
    Appended(bool),
    Records(Vec<RecordBytes>),
    Logs(Vec<(LogId, Revision)>),
    Secret(Option<RoomSecret>),
    Snapshot(Option<(Revision, Bytes)>),
    Numbers(Vec<u64>),
    People(BTreeMap<AccountId, Profile>),
    Done,
}

/// Everything that is durable.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub(super) logs: BTreeMap<LogId, Log>,
    pub(super) vault: BTreeMap<(RoomId, KeyVersion), RoomSecret>,
    pub(super) snapshots: BTreeMap<LogId, Vec<(Revision, Bytes)>>,
    pub(super) marks: BTreeMap<String, u64>,
    pub(super) people: BTreeMap<AccountId, Profile>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) head: Head,
    pub(super) records: Vec<RecordBytes>,
}

impl Op {
    /// Which store it is for.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Append { .. } | Self::Read { .. } | Self::Erase { .. } | Self::List => Lane::Logs,
            Self::Put { .. } | Self::Get { .. } => Lane::Vault,
            _ => Lane::Shelf,
        }
    }

    /// What it is, in a word.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Append { log: LogId::Room(_), .. } => "append",
            Self::Append { .. } => "account append",
            Self::Read { .. } => "read",
            Self::Erase { .. } => "erase",
            Self::Put { .. } => "put",
            Self::Raise(_) => "raise",
            Self::Disable(_) => "disable",
            _ => "look",
        }
    }

    /// Whether it changes anything.
    pub(super) fn writes(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Erase { .. }
                | Self::Put { .. }
                | Self::Keep { .. }
                | Self::Raise(_)
                | Self::Disable(_)
        )
    }
}

impl Stores {
    /// The operation takes place; `seen` is told what others may see of it.
    pub(super) fn act(&mut self, op: Op, seen: &mut impl FnMut(Seen)) -> Result<Answer, Failure> {
        Ok(match op {
            Op::Append { log, expected, record, after } => {
                let found = self.logs.entry(log.clone()).or_default();
                let fits = found.head == expected;
                if fits {
                    found.head = after;
                    found.records.push(record.clone());
                    seen(Seen::Landed { log, record });
                }
                Answer::Appended(fits)
            }
            Op::Read { log, after, bytes } => Answer::Records(self.read(&log, after, bytes)),
            Op::Erase { log, revision } => {
                let found = self.logs.get_mut(&log).ok_or(Failure::Permanent)?;
                let at = found.records.partition_point(|record| record.last < revision);
                let record = found.records.get_mut(at).ok_or(Failure::Permanent)?;
                *record = erase_body(record, revision).map_err(|_| Failure::Permanent)?;
                seen(Seen::Erased { log, revision });
                Answer::Done
            }
            Op::List => Answer::Logs(self.logs.iter().map(|(id, log)| (id.clone(), log.head.revision)).collect()),
            Op::Put { room, version, secret } => {
                let winner = self.vault.entry((room, version)).or_insert_with(|| {
                    seen(Seen::Put { room, version, secret: secret.clone() });
                    secret
                });
                Answer::Secret(Some(winner.clone()))
            }
            Op::Get { room, version } => Answer::Secret(self.vault.get(&(room, version)).cloned()),
            Op::Keep { log, revision, bytes } => {
                let kept = self.snapshots.entry(log.clone()).or_default();
                if kept.last().is_none_or(|(last, _)| *last < revision) {
                    kept.push((revision, bytes.clone()));
                    seen(Seen::Kept { log, revision, bytes });
                }
                Answer::Done
            }
            Op::Latest { log, stale } => {
                let kept = self.snapshots.get(&log).map_or(&[][..], Vec::as_slice);
                Answer::Snapshot(kept.iter().rev().nth(stale).cloned())
            }
            Op::Raise(marks) => {
                for (name, value) in marks {
                    let mark = self.marks.entry(name).or_default();
                    *mark = value.max(*mark);
                }
                Answer::Done
            }
            Op::Marks(names) => {
                Answer::Numbers(names.iter().map(|name| self.marks.get(name).copied().unwrap_or(0)).collect())
            }
            Op::People(names) => {
                let found = |name: AccountId| self.people.get(&name).cloned().map(|profile| (name, profile));
                Answer::People(names.into_iter().filter_map(found).collect())
            }
            Op::Disabled => {
                let disabled = self.people.iter().filter(|(_, profile)| profile.disabled);
                Answer::People(disabled.map(|(name, profile)| (name.clone(), profile.clone())).collect())
            }
            Op::Disable(account) => {
                self.people.get_mut(&account).ok_or(Failure::Permanent)?.disabled = true;
                Answer::Done
            }
        })
    }

    /// At least one record, if there is any.
    fn read(&self, log: &LogId, after: Revision, bytes: usize) -> Vec<RecordBytes> {
        let Some(log) = self.logs.get(log) else { return Vec::new() };
        let from = log.records.partition_point(|record| record.last <= after);
        let mut taken = 0;
        let within = log.records[from..].iter().take_while(|record| {
            let fits = taken < bytes.max(1);
            taken += record.bytes.len();
            fits
        });
        within.cloned().collect()
    }
}
