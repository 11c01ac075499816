//! Logs in the embedded store: compare-and-append, reads by range, erasure.

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Digest, Head, RecordBytes};
use redb::{ReadableTable, StorageError};
use tokio::sync::broadcast;

use super::Embedded;
use super::committer::{Operation, Verdict};
use super::tables::{HEADS, RECORDS, Tables};
use crate::{Appended, Conflict, LogStore, Moved, Pending, StoreError, rules};

impl LogStore for Embedded {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        Box::pin(async move {
            rules::check_append(expected, &record, after)?;
            let moved = self.shared.moved.clone();
            self.commit(Append { name: log.to_string(), log: log.clone(), expected, record, after, moved }).await
        })
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        let name = log.to_string();
        Box::pin(Embedded::read(self, move |txn| {
            let table = txn.open_table(RECORDS)?;
            let mut left = Some(max_bytes);
            let mut records = Vec::new();
            for entry in table.range((name.as_str(), after.next().0)..=(name.as_str(), u64::MAX))? {
                let (key, value) = entry?;
                let record = to_record(key.value().1, value.value());
                if !rules::fits(&mut left, record.bytes.len()) {
                    break;
                }
                records.push(record);
            }
            Ok(records)
        }))
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        let name = log.to_string();
        Box::pin(Embedded::read(self, move |txn| Ok(head_of(&txn.open_table(HEADS)?, &name)?)))
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        Box::pin(self.commit(Erase { name: log.to_string(), log: log.clone(), revision }))
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.shared.moved.subscribe()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        let after = after.map(LogId::to_string).unwrap_or_default();
        Box::pin(Embedded::read(self, move |txn| {
            let table = txn.open_table(HEADS)?;
            let mut logs = Vec::new();
            for entry in table.range(after.as_str()..)? {
                if logs.len() == limit.min(rules::PAGE_MAX) {
                    break;
                }
                let (key, _) = entry?;
                let name = key.value();
                if name > after.as_str() {
                    logs.push(name.parse().map_err(|_| StoreError::Corrupt(format!("{name} names no log")))?);
                }
            }
            Ok(logs)
        }))
    }
}

/// A record as it lies in the table.
pub(super) fn to_record(last: u64, (first, bytes): (u64, &[u8])) -> RecordBytes {
    RecordBytes { first: Revision(first), last: Revision(last), bytes: Bytes::copy_from_slice(bytes) }
}

/// A head as it lies in the table.
pub(super) fn to_head((revision, digest): (u64, [u8; 32])) -> Head {
    Head { revision: Revision(revision), digest: Digest(digest) }
}

fn head_of(heads: &impl ReadableTable<&'static str, (u64, [u8; 32])>, name: &str) -> Result<Head, StorageError> {
    Ok(heads.get(name)?.map_or(Head::EMPTY, |stored| to_head(stored.value())))
}

struct Append {
    name: String,
    log: LogId,
    expected: Head,
    record: RecordBytes,
    after: Head,
    moved: broadcast::Sender<Moved>,
}

impl Operation for Append {
    type Answer = Appended;

    fn weight(&self) -> usize {
        self.record.bytes.len() + 256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<Appended>, StorageError> {
        let head = head_of(&tables.heads, &self.name)?;
        if head != self.expected {
            return Ok(Verdict::Same(Appended::Conflict(Conflict { head })));
        }
        let record = &self.record;
        tables.records.insert((self.name.as_str(), record.last.0), (record.first.0, &record.bytes[..]))?;
        tables.heads.insert(self.name.as_str(), (self.after.revision.0, self.after.digest.0))?;
        Ok(Verdict::Changed(Appended::Done(self.after)))
    }

    fn committed(self, _answer: &Appended) {
        // Nobody may be watching.
        let _ = self.moved.send(Moved { log: self.log, head: self.after });
    }
}

struct Erase {
    name: String,
    log: LogId,
    revision: Revision,
}

impl Operation for Erase {
    type Answer = ();

    fn weight(&self) -> usize {
        256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<()>, StorageError> {
        let name = self.name.as_str();
        let holding = tables.records.range((name, self.revision.0)..=(name, u64::MAX))?.next().transpose()?;
        let Some(record) = holding.map(|(key, value)| to_record(key.value().1, value.value())) else {
            return Ok(Verdict::Refused(rules::no_body(&self.log, self.revision)));
        };
        let erased = match rules::erased(&self.log, &record, self.revision) {
            Ok(Some(erased)) => erased,
            Ok(None) => return Ok(Verdict::Same(())),
            Err(why) => return Ok(Verdict::Refused(why)),
        };
        tables.records.insert((name, erased.last.0), (erased.first.0, &erased.bytes[..]))?;
        Ok(Verdict::Changed(()))
    }
}
