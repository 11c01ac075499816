//! Walks a whole store and says what cannot be right. For operators, after a restore and before an upgrade.
//!
//! Each record is decoded (which checks every body against its hash), must follow the one before it, and must lead to the
//! digest that the log's head has; each secret must open, each account be readable, no snapshot be ahead of its log. One
//! consistent state is walked, while the store goes on.

use std::collections::BTreeMap;

use chamberlain_core::account::AccountChange;
use chamberlain_core::directory::DirectoryChange;
use chamberlain_core::id::{KeyVersion, LogId, RoomId};
use chamberlain_core::log::{Body, Head, MalformedRecord, Record, RecordBytes};
use chamberlain_core::room::Event;
use redb::{ReadTransaction, ReadableTable};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::directory::to_account;
use super::logs::{to_head, to_record};
use super::tables::{DIRECTORY, HEADS, RECORDS, ReadError, SNAPSHOTS, VAULT};
use crate::sealed::{TOMBSTONE, VaultCipher};

/// Problems that a report describes; more are counted.
const DESCRIBED: usize = 100;

/// Records between two calls of the progress callback.
const STEP: u64 = 1_024;

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Logs finished.
    pub logs: u64,
    /// Logs in all.
    pub of_logs: u64,
    /// Records seen.
    pub records: u64,
}

/// What a walk has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Logs.
    pub logs: u64,
    /// Records.
    pub records: u64,
    /// Revisions.
    pub revisions: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Bodies that were erased.
    pub erased: u64,
    /// Secrets that open.
    pub secrets: u64,
    /// Secrets that were destroyed.
    pub destroyed: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Accounts.
    pub accounts: u64,
    /// How many problems there are.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// Something that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a log, a secret, a snapshot, an account.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Report {
    fn problem(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < DESCRIBED {
            self.problems.push(Problem { at: at.into(), what: what.into() });
        }
    }
}

/// Walks everything that `txn` sees.
pub(super) fn walk(
    txn: &ReadTransaction,
    cipher: &VaultCipher,
    mut progress: impl FnMut(Progress),
) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut heads = BTreeMap::new();
    for entry in txn.open_table(HEADS)?.iter()? {
        let (name, head) = entry?;
        heads.insert(name.value().to_owned(), to_head(head.value()));
    }
    walk_logs(txn, &heads, &mut report, &mut progress)?;
    for entry in txn.open_table(SNAPSHOTS)?.iter()? {
        let (name, snapshot) = entry?;
        let head = heads.get(name.value()).copied().unwrap_or_default();
        report.snapshots += 1;
        if snapshot.value().0 > head.revision.0 {
            report.problem(name.value(), "its snapshot is ahead of its head");
        }
    }
    for entry in txn.open_table(VAULT)?.iter()? {
        let (key, stored) = entry?;
        let (room, version) = key.value();
        match room.parse::<RoomId>().map(|room| cipher.open(room, KeyVersion(version), stored.value())) {
            Ok(Ok(_)) if stored.value() == TOMBSTONE => report.destroyed += 1,
            Ok(Ok(_)) => report.secrets += 1,
            Ok(Err(why)) => report.problem(format!("vault/{room}/{version}"), why.to_string()),
            Err(why) => report.problem(format!("vault/{room}/{version}"), why.to_string()),
        }
    }
    for entry in txn.open_table(DIRECTORY)?.iter()? {
        let (name, json) = entry?;
        report.accounts += 1;
        match to_account(name.value(), json.value()) {
            Ok(account) if account.account.as_str() == name.value() => {}
            Ok(account) => report.problem(name.value(), format!("holds the account {}", account.account)),
            Err(why) => report.problem(name.value(), why.to_string()),
        }
    }
    Ok(report)
}

/// Logs are walked by their records, so that records without a head are found; then the heads without a record are.
fn walk_logs(
    txn: &ReadTransaction,
    heads: &BTreeMap<String, Head>,
    report: &mut Report,
    progress: &mut impl FnMut(Progress),
) -> Result<(), ReadError> {
    let of_logs = heads.len() as u64;
    let mut log: Option<Walked> = None;
    let mut with_records = 0;
    for entry in txn.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        let (name, last) = key.value();
        if log.as_ref().is_none_or(|log| log.name != name) {
            if let Some(finished) = log.take() {
                with_records += u64::from(finished.end(heads, report));
            }
            log = Some(Walked { name: name.to_owned(), head: Some(Head::EMPTY) });
        }
        if let Some(log) = &mut log {
            log.record(&to_record(last, value.value()), report);
        }
        if report.records.is_multiple_of(STEP) {
            progress(Progress { logs: report.logs, of_logs, records: report.records });
        }
    }
    if let Some(finished) = log {
        with_records += u64::from(finished.end(heads, report));
    }
    if with_records != of_logs {
        report.problem("logs", format!("{of_logs} have a head, but only {with_records} of these have records"));
    }
    progress(Progress { logs: report.logs, of_logs, records: report.records });
    Ok(())
}

/// A log whose records are being walked.
struct Walked {
    name: String,
    /// The head up to here; none after a problem, which is then the only one told of this log.
    head: Option<Head>,
}

impl Walked {
    fn record(&mut self, record: &RecordBytes, report: &mut Report) {
        report.records += 1;
        report.bytes += record.bytes.len() as u64;
        report.revisions += record.last.since(record.first) + 1;
        let Some(before) = self.head else { return };
        let after = match self.name.parse() {
            Ok(LogId::Room(_)) => extend::<Event>(record, before, report),
            Ok(LogId::Account(_)) => extend::<AccountChange>(record, before, report),
            Ok(LogId::Directory) => extend::<DirectoryChange>(record, before, report),
            Err(why) => Err(why.to_string()),
        };
        self.head = after
            .map_err(|what| report.problem(&self.name, format!("revisions {}..={}: {what}", record.first, record.last)))
            .ok();
    }

    /// Compares the log with its head; says whether it has one.
    fn end(self, heads: &BTreeMap<String, Head>, report: &mut Report) -> bool {
        report.logs += 1;
        let stored = heads.get(&self.name);
        match (self.head, stored) {
            (_, None) => report.problem(&self.name, "it has records, but no head"),
            (Some(walked), Some(stored)) if walked != *stored => report.problem(
                &self.name,
                format!(
                    "its records lead to {} {}, its head is {} {}",
                    walked.revision, walked.digest, stored.revision, stored.digest
                ),
            ),
            _ => {}
        }
        stored.is_some()
    }
}

fn extend<E: Serialize + DeserializeOwned + Clone>(
    stored: &RecordBytes,
    before: Head,
    report: &mut Report,
) -> Result<Head, String> {
    let record = Record::<E>::decode(&stored.bytes).map_err(|why: MalformedRecord| why.to_string())?;
    if (record.first, record.last()) != (stored.first, stored.last) {
        return Err(format!("the bytes are those of {}..={}", record.first, record.last()));
    }
    report.erased += record.items().filter(|item| matches!(item.body, Body::Erased { .. })).count() as u64;
    record.extend(before).ok_or_else(|| format!("they do not follow revision {}", before.revision))
}
