//! Snapshots: the latest is kept, whatever the order in which they come.

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision};

use super::records::{account, room};
use crate::{Snapshot, Stores};

super::list![the_latest_snapshot_is_kept, of_concurrent_snapshots_the_latest_is_kept, snapshots_may_be_large];

fn snapshot(revision: u64, bytes: usize) -> Snapshot {
    Snapshot { revision: Revision(revision), bytes: Bytes::from(vec![revision as u8; bytes]) }
}

async fn the_latest_snapshot_is_kept(stores: Stores) {
    let (log, other) = (LogId::Room(room("snapshots")), LogId::Account(account("snapshots")));
    assert_eq!(stores.snapshots.latest(&log).await, Ok(None));
    for (revision, latest) in [(5, 5), (3, 5), (9, 9), (8, 9), (1, 9), (10, 10)] {
        stores.snapshots.put(&log, snapshot(revision, 40)).await.expect("put");
        assert_eq!(stores.snapshots.latest(&log).await, Ok(Some(snapshot(latest, 40))));
    }
    assert_eq!(stores.snapshots.latest(&other).await, Ok(None));
}

async fn of_concurrent_snapshots_the_latest_is_kept(stores: Stores) {
    let log = LogId::Room(room("snapshots at once"));
    let puts: Vec<_> = (0..24)
        .map(|nth| {
            let (stores, log) = (stores.clone(), log.clone());
            tokio::spawn(async move { stores.snapshots.put(&log, snapshot(1 + nth * 7 % 24, 40)).await.expect("put") })
        })
        .collect();
    for put in puts {
        put.await.expect("put");
    }
    assert_eq!(stores.snapshots.latest(&log).await, Ok(Some(snapshot(24, 40))));
}

async fn snapshots_may_be_large(stores: Stores) {
    let log = LogId::Room(room("snapshots large"));
    let large = snapshot(7, 3 * 1024 * 1024);
    stores.snapshots.put(&log, large.clone()).await.expect("put");
    assert_eq!(stores.snapshots.latest(&log).await, Ok(Some(large)));
}
