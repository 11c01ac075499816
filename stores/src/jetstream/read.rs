//! Reads from any revision, and the list of logs.
//!
//! A record is found by halving the stretch of the stream in which it may lie, since revisions of a log grow with sequences;
//! what is passed on the way is remembered. From there on the log's messages are walked in order. Where the next one begins
//! too late, the record between was rewritten, and lies under a subject that names its first revision.

use std::collections::VecDeque;

use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::RecordBytes;
use tokio::time::Instant;

use super::Shared;
use super::api::{Stored, Wanted};
use super::stamp::Kind;
use crate::{StoreError, rules};

/// As many revisions are rather walked than searched through.
const NEAR: u64 = 24;

/// So many messages are fetched one by one before a batch is asked for, which takes three waits.
const SINGLY: u32 = 6;

/// A way through the records of a log, in order.
pub(super) struct Walk<'a> {
    shared: &'a Shared,
    log: &'a LogId,
    subject: String,
    /// The revision with which the next record begins.
    next: Revision,
    /// Where the search for it begins.
    from: u64,
    /// Messages from there on that were fetched already.
    ahead: VecDeque<Stored>,
    /// How many were fetched one by one since the last batch.
    singly: u32,
    deadline: Instant,
}

impl Shared {
    /// The records that hold revisions after `after`.
    pub(super) async fn read(
        &self,
        log: &LogId,
        after: Revision,
        max_bytes: usize,
    ) -> Result<Vec<RecordBytes>, StoreError> {
        let deadline = self.deadline();
        let mut records = Vec::new();
        let Some(mut walk) = self.walk(log, after.next(), deadline).await? else { return Ok(records) };
        let mut left = Some(max_bytes);
        loop {
            let record = match walk.next().await {
                Ok(found) => found.and_then(|stored| stored.record()),
                // What was read is true; the rest is read by the next call.
                Err(StoreError::Unavailable(_)) if !records.is_empty() => None,
                Err(why) => return Err(why),
            };
            let Some(record) = record else { return Ok(records) };
            if record.last <= after {
                continue;
            }
            if !rules::fits(&mut left, record.bytes.len()) {
                return Ok(records);
            }
            records.push(record);
            if left.is_none() {
                return Ok(records);
            }
        }
    }

    /// The message with the record that holds `revision`, if the log has it.
    pub(super) async fn holding(
        &self,
        log: &LogId,
        revision: Revision,
        deadline: Instant,
    ) -> Result<Option<Stored>, StoreError> {
        let Some(mut walk) = self.walk(log, revision, deadline).await? else { return Ok(None) };
        while let Some(stored) = walk.next().await? {
            if stored.stamp.head.revision >= revision {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// A walk that begins with a record at or shortly before `wanted`; none when the log ends before it.
    async fn walk<'a>(
        &'a self,
        log: &'a LogId,
        wanted: Revision,
        deadline: Instant,
    ) -> Result<Option<Walk<'a>>, StoreError> {
        let known = self.index().last(log).filter(|place| place.head.revision >= wanted);
        let end = match known {
            Some(place) => place,
            None => self.end(log, deadline).await?,
        };
        if end.head.revision < wanted {
            return Ok(None);
        }
        let subject = self.names.log(log);
        let (mut next, mut from) = self.index().before(log, wanted);
        // The first message of the log at this sequence or after it leads to `wanted` or further.
        let mut until = end.sequence;
        while from < until && wanted.since(next) > NEAR {
            let middle = from + (until - from) / 2;
            match self.get(Wanted::From(&subject, middle), deadline).await? {
                Some(stored) if stored.sequence < until && stored.stamp.head.revision < wanted => {
                    self.remember(log, &stored);
                    next = stored.stamp.head.revision.next();
                    from = stored.sequence + 1;
                }
                _ => until = middle,
            }
        }
        Ok(Some(Walk { shared: self, log, subject, next, from, ahead: VecDeque::new(), singly: 0, deadline }))
    }

    fn remember(&self, log: &LogId, stored: &Stored) {
        if stored.stamp.kind == Kind::Record {
            self.index().lies(log, stored.stamp.first, stored.sequence);
        }
    }

    /// Ids of logs after `after`, in the order of their names.
    pub(super) async fn list(&self, after: Option<&LogId>, limit: usize) -> Result<Vec<LogId>, StoreError> {
        let deadline = self.deadline();
        let after = after.map(LogId::to_string).unwrap_or_default();
        let filter = self.names.logs();
        let mut names = Vec::new();
        let mut seen = 0;
        loop {
            let (subjects, total) = self.subjects(&filter, seen, deadline).await?;
            seen += subjects.len();
            let more = !subjects.is_empty() && seen < total;
            for subject in subjects {
                let log = self.names.log_of(&subject);
                let log = log.ok_or_else(|| StoreError::Corrupt(format!("{subject} names no log")))?;
                names.push((log.to_string(), log));
            }
            if !more {
                break;
            }
        }
        names.retain(|(name, _)| *name > after);
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        names.truncate(limit.min(rules::PAGE_MAX));
        Ok(names.into_iter().map(|(_, log)| log).collect())
    }
}

impl Walk<'_> {
    /// The next record's message; none at the end of the log.
    pub(super) async fn next(&mut self) -> Result<Option<Stored>, StoreError> {
        loop {
            let Some(ahead) = self.message().await? else { return Ok(None) };
            self.from = ahead.sequence;
            if ahead.stamp.head.revision < self.next {
                // It only says where the log ends, or was read in its rewritten form already.
                self.from += 1;
                continue;
            }
            if ahead.stamp.kind == Kind::Record && ahead.stamp.first <= self.next {
                if ahead.stamp.first < self.next {
                    return Err(self.corrupt("is covered twice"));
                }
                self.shared.remember(self.log, &ahead);
                self.from += 1;
                self.next = ahead.stamp.head.revision.next();
                return Ok(Some(ahead));
            }
            let rewritten = self.shared.names.rewritten(self.log, self.next);
            let Some(stored) = self.shared.get(Wanted::Last(&rewritten), self.deadline).await? else {
                return Err(self.corrupt("is missing"));
            };
            if stored.stamp.first != self.next || stored.stamp.kind != Kind::Record {
                return Err(self.corrupt("was rewritten as something else"));
            }
            self.next = stored.stamp.head.revision.next();
            self.ahead.push_front(ahead);
            return Ok(Some(stored));
        }
    }

    /// The next message of the log's subject, whatever it is.
    async fn message(&mut self) -> Result<Option<Stored>, StoreError> {
        if self.ahead.is_empty() && self.singly >= SINGLY && self.shared.options.replicas == 1 {
            self.ahead = self.shared.batch(&self.subject, self.from, self.deadline).await.unwrap_or_default();
            // Another batch follows one that held something.
            self.singly = if self.ahead.is_empty() { 0 } else { SINGLY };
        }
        if let Some(ahead) = self.ahead.pop_front() {
            return Ok(Some(ahead));
        }
        self.singly += 1;
        self.shared.get(Wanted::From(&self.subject, self.from), self.deadline).await
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt(format!("{}: revision {} {what}", self.log, self.next))
    }
}
