//! A fold at the head of its log: from the latest snapshot and what came after it.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision, RoomId};
use chamberlain_core::log::{Head, Record, RecordBytes};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Event, Fold};
use chamberlain_stores::{StoreError, Stores};

use super::effects::cursor_mark;

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

/// Why a room cannot be folded to the head of its log.
#[derive(Debug)]
pub(super) enum Unread {
    /// A store failed, or a record does not follow, or contradicts.
    Failed(Failure),
    /// The log ends before, or beside, what a snapshot or the room's effects have seen of it: up to here at least.
    Lost(Revision),
    /// A newer version wrote what comes after this fold.
    Newer(Box<Fold>),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Unread {
    /// The class of the failure.
    pub(super) fn failure(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Lost(_) => Failure::Permanent,
            Self::Newer(_) => Failure::Newer,
        }
    }
}

/// Folds a room to the head of its log. Before a log is said to have lost something it is looked at twice; `suspect` hears of it
/// in between, so that whoever holds what is missing can give it back meanwhile.
pub(super) async fn fold(
    stores: &Stores,
    room: RoomId,
    remembered: u32,
    suspect: impl Fn(Revision) + Send,
) -> Result<Box<Fold>, Unread> {
    let log = LogId::Room(room);
    let snapshot = from_snapshot(stores, &log).await;
    let kept = snapshot.as_ref().map(|fold| fold.state.head().revision);
    let mut fold = snapshot.unwrap_or_else(|| Box::new(Fold::new(room, remembered)));
    // Read before the head is: what is done by then is in the log.
    let done = stores.marks.get(&[cursor_mark(room)]).await.map_err(|error| classify(&error))?;
    let done = done.first().map_or(Revision::ZERO, |done| Revision(*done));
    let mut doubted = false;
    loop {
        match (read_on(stores, &log, &mut fold).await, kept) {
            (Ok(()), _) => {}
            // The snapshot may be of what the log had before an operator had it go on.
            (Err(Failure::Permanent), Some(kept)) => return without_snapshot(stores, room, remembered, kept).await,
            (Err(Failure::Newer), _) => return Err(Unread::Newer(fold)),
            (Err(failure), _) => return Err(failure.into()),
        }
        let head = fold.state.head();
        // What is done of it was in it: a log that ends before that lost it just as surely.
        let stands = if head.revision < done { Stands::Lost } else { stands(stores, &log, head).await? };
        match stands {
            Stands::There => return Ok(fold),
            Stands::Ahead => {}
            Stands::Lost if !doubted => {
                doubted = true;
                suspect(done.max(head.revision));
                doubt(stores, &log, head).await?;
            }
            Stands::Lost => {
                if let Some(kept) = kept
                    && let Ok(fold) = without_snapshot(stores, room, remembered, kept).await
                    && fold.state.head().revision >= done
                {
                    return Ok(fold);
                }
                tracing::error!(%log, head = %head.revision, %done, "the log lost what it had acknowledged");
                return Err(Unread::Lost(done.max(head.revision)));
            }
        }
    }
}

/// The fold of a log whose snapshot is of another one, if an operator gave up what the snapshot has seen.
async fn without_snapshot(stores: &Stores, room: RoomId, remembered: u32, kept: Revision) -> Result<Box<Fold>, Unread> {
    let fold = as_it_is(stores, room, remembered).await?;
    match fold.state.continued() {
        Some(continued) if continued.known >= kept => Ok(fold),
        _ => Err(Unread::Lost(kept)),
    }
}

/// The fold of a log as it is, whatever else remembers of it; from a snapshot where that is of this log.
pub(super) async fn as_it_is(stores: &Stores, room: RoomId, remembered: u32) -> Result<Box<Fold>, Failure> {
    let log = LogId::Room(room);
    if let Some(mut fold) = from_snapshot(stores, &log).await
        && read_on(stores, &log, &mut fold).await.is_ok()
        && stands(stores, &log, fold.state.head()).await? == Stands::There
    {
        return Ok(fold);
    }
    let mut fold = Box::new(Fold::new(room, remembered));
    read_on(stores, &log, &mut fold).await?;
    match stands(stores, &log, fold.state.head()).await? {
        Stands::There => Ok(fold),
        // Somebody appends, or takes away.
        Stands::Ahead | Stands::Lost => Err(Failure::Transient),
    }
}

/// Folds what the log has after a fold.
async fn read_on(stores: &Stores, log: &LogId, fold: &mut Fold) -> Result<(), Failure> {
    loop {
        let records = read(stores, log, fold.state.head().revision).await?;
        if records.is_empty() {
            return Ok(());
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

/// How a log stands to a head that was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// It ends there.
    There,
    /// It has grown since.
    Ahead,
    /// It ends earlier, or there and is another one: it lost what it had acknowledged.
    Lost,
}

/// A log that seems to have lost something is looked at again after this: a server that lost its quorum believes for so long that
/// it leads, and answers with what it had.
pub(super) const DOUBT: Duration = Duration::from_secs(11);
/// How often it is looked at meanwhile: another node may give it back what it lost.
const LOOKS: u32 = 22;

/// Waits until a log grows beyond a head, as long as it is doubted.
async fn doubt(stores: &Stores, log: &LogId, head: Head) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        tokio::time::sleep(DOUBT / LOOKS).await;
        if stores.logs.head(log).await.map_err(|error| classify(&error))?.revision > head.revision {
            break;
        }
    }
    Ok(())
}

/// How a log stands to a head that was in it, read authoritatively. DESIGN.md, "Durable means durable".
pub(super) async fn stands(stores: &Stores, log: &LogId, known: Head) -> Result<Stands, Failure> {
    let head = stores.logs.head(log).await.map_err(|error| classify(&error))?;
    Ok(match head.revision.cmp(&known.revision) {
        Ordering::Greater => Stands::Ahead,
        Ordering::Equal if head == known => Stands::There,
        Ordering::Equal | Ordering::Less => Stands::Lost,
    })
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
    let mut decoded = Vec::with_capacity(records.len());
    for bytes in records {
        match decode(log, &bytes.bytes) {
            Ok(record) => decoded.push((record, bytes)),
            // What comes before it is read first.
            Err(Failure::Newer) if !decoded.is_empty() => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(decoded)
}

pub(super) fn decode(log: &LogId, bytes: &Bytes) -> Result<Record<Event>, Failure> {
    Record::decode(bytes).map_err(|error| {
        if error.is_newer() {
            tracing::warn!(%log, %error, "a newer version wrote to the log");
            return Failure::Newer;
        }
        tracing::error!(%log, %error, "a record cannot be read");
        Failure::Permanent
    })
}
