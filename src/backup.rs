//! Copies of the store, for whoever may ask for one: made beside it, streamed, and gone.
//!
//! One at a time: a copy takes as much of the disk as the store. What a crash left behind is removed at the next start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_net::server::{Backup, BackupStream};
use chamberlain_stores::embedded::Embedded;
use futures_util::StreamExt;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Name of the copy in the data folder while it is on its way.
const FILE_NAME: &str = "outgoing-backup.redb";
/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// Makes copies of this store, in this data folder.
pub(crate) fn backups(store: Embedded, data: &Path) -> Backup {
    let path = data.join(FILE_NAME);
    remove(&path);
    let turn = Arc::new(Semaphore::new(1));
    Arc::new(move || {
        let (store, path, turn) = (store.clone(), path.clone(), turn.clone());
        Box::pin(async move {
            let turn = turn.try_acquire_owned().map_err(|_| io::Error::other("another copy is being made"))?;
            let outgoing = Outgoing { path, _turn: turn };
            store.backup(&outgoing.path).await.map_err(io::Error::other)?;
            let file = File::open(&outgoing.path).await?;
            let len = file.metadata().await?.len();
            let bytes = futures_util::stream::try_unfold((file, outgoing), async |(mut file, outgoing)| {
                let mut piece = vec![0; PIECE];
                let read = file.read(&mut piece).await?;
                piece.truncate(read);
                Ok((read > 0).then_some((Bytes::from(piece), (file, outgoing))))
            });
            Ok(BackupStream { len: Some(len), bytes: bytes.boxed() })
        })
    })
}

/// The copy, removed when this is dropped: when it was sent, and when whoever asked has gone.
struct Outgoing {
    path: PathBuf,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    let _absent = std::fs::remove_file(path);
    let _absent = std::fs::remove_file(path.with_extension("redb.partial"));
}
