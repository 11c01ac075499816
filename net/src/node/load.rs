//! A fold at the head of its log: from the latest snapshot and what came after it.

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision, RoomId};
use chamberlain_core::log::{Record, RecordBytes};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Event, Fold};
use chamberlain_stores::{StoreError, Stores};

/// How much is read at once while folding.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// The class of a store's failure.
pub(super) fn classify(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) => Failure::Transient,
        StoreError::Unknown(_) => Failure::Unknown,
        StoreError::Corrupt(_) | StoreError::Invalid(_) => Failure::Permanent,
    }
}

/// Folds a room to the head of its log. A record that does not follow, or contradicts, is permanent.
pub(super) async fn fold(stores: &Stores, room: RoomId, remembered: u32) -> Result<Box<Fold>, Failure> {
    let log = LogId::Room(room);
    let mut fold = from_snapshot(stores, &log).await.unwrap_or_else(|| Box::new(Fold::new(room, remembered)));
    loop {
        let after = fold.state.head().revision;
        let records = read(stores, &log, after).await?;
        if records.is_empty() {
            return Ok(fold);
        }
        for (record, _) in records {
            let head = record.extend(fold.state.head()).ok_or_else(|| {
                tracing::error!(%log, first = %record.first, "a record does not follow the one before it");
                Failure::Permanent
            })?;
            fold.apply(&record, head).map_err(|contradiction| {
                tracing::error!(%log, %contradiction, "the log contradicts itself");
                Failure::Permanent
            })?;
        }
    }
}

/// A snapshot that cannot be read costs time, nothing else.
async fn from_snapshot(stores: &Stores, log: &LogId) -> Option<Box<Fold>> {
    let snapshot = stores.snapshots.latest(log).await.inspect_err(|error| {
        tracing::warn!(%log, %error, "no snapshot; folding from the first record");
    });
    let snapshot = snapshot.ok()??;
    match Fold::from_snapshot(&snapshot.bytes) {
        Ok(fold) if fold.state.head().revision == snapshot.revision => Some(Box::new(fold)),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%log, %error, "unreadable snapshot; folding from the first record");
            None
        }
    }
}

/// The records after a revision, decoded.
pub(super) async fn read(
    stores: &Stores,
    log: &LogId,
    after: Revision,
) -> Result<Vec<(Record<Event>, RecordBytes)>, Failure> {
    let records = stores.logs.read(log, after, READ_BYTES).await.map_err(|error| {
        tracing::warn!(%log, %error, "a log cannot be read");
        classify(&error)
    })?;
    records.into_iter().map(|bytes| Ok((decode(log, &bytes.bytes)?, bytes))).collect()
}

pub(super) fn decode(log: &LogId, bytes: &Bytes) -> Result<Record<Event>, Failure> {
    Record::decode(bytes).map_err(|error| {
        tracing::error!(%log, %error, "a record cannot be read");
        Failure::Permanent
    })
}
