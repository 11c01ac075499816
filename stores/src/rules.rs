//! What a call must satisfy whichever store is asked, and what a store decides that has nothing to do with storing.
//!
//! Every implementation goes through here, so that a mistake of a caller is refused in the same words everywhere.

use chamberlain_core::directory;
use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Head, MalformedRecord, RecordBytes, erase_body};

use crate::{Account, StoreError};

/// Longest name of a mark, bytes.
pub(crate) const MARK_NAME_MAX: usize = 256;

/// Most items of one page of logs or accounts.
pub(crate) const PAGE_MAX: usize = 10_000;

/// How many logs' moves a watcher may lag behind before it is told that it lost some.
pub(crate) const WATCH_BACKLOG: usize = 4_096;

/// The record follows `expected` and leads to `after`.
pub(crate) fn check_append(expected: Head, record: &RecordBytes, after: Head) -> Result<(), StoreError> {
    let follows = record.first == expected.revision.next() && record.first <= record.last;
    if follows && after.revision == record.last {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "a record of revisions {}..={} does not lead from {} to {}",
        record.first, record.last, expected.revision, after.revision
    )))
}

/// The record with the body at `revision` erased; `None` when it was erased before.
pub(crate) fn erased(log: &LogId, record: &RecordBytes, revision: Revision) -> Result<Option<RecordBytes>, StoreError> {
    match erase_body(record, revision) {
        Ok(erased) if erased.bytes == record.bytes => Ok(None),
        Ok(erased) => Ok(Some(erased)),
        Err(MalformedRecord::NoBody(_)) => Err(no_body(log, revision)),
        Err(why) => Err(StoreError::Corrupt(format!("{log} at revision {revision}: {why}"))),
    }
}

/// Nothing stands at the revision that was to be erased.
pub(crate) fn no_body(log: &LogId, revision: Revision) -> StoreError {
    StoreError::Invalid(format!("{log} has no body at revision {revision}"))
}

/// The names are of a length that a store keeps.
pub(crate) fn check_marks(marks: &[(String, u64)]) -> Result<(), StoreError> {
    match marks.iter().find(|(name, _)| name.is_empty() || name.len() > MARK_NAME_MAX) {
        Some((name, _)) => {
            Err(StoreError::Invalid(format!("a mark's name of {} bytes; 1 to {MARK_NAME_MAX} go", name.len())))
        }
        None => Ok(()),
    }
}

/// The home site of an account never changes.
pub(crate) fn check_home(stored: &Account, given: &Account) -> Result<(), StoreError> {
    directory::check_home(stored, given).map_err(|why| StoreError::Invalid(why.to_string()))
}

/// Whether a read takes one more record of `bytes`: the first always, the others until the bytes asked for are reached.
/// `left` is what is left of them; none once they were reached.
pub(crate) fn fits(left: &mut Option<usize>, bytes: usize) -> bool {
    let fits = left.is_some();
    *left = left.and_then(|left| left.checked_sub(bytes)).filter(|left| *left > 0);
    fits
}
