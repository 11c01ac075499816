//! The latest snapshot of each log in the server.

use bytes::Bytes;
use chamberlain_core::id::{LogId, Revision};
use redis::cmd;

use super::Valkey;
use super::script::{LATER, script};
use crate::{Pending, Snapshot, SnapshotStore, StoreError};

/// Keeps a snapshot unless there is a later one.
const PUT: &str = "
local stored = redis.call('HGET', KEYS[1], 'revision')
if stored and later(stored, ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'fold', ARGV[2])
return 1
";

/// What is sent.
pub(super) const SCRIPT: &[&str] = &[LATER, PUT];

impl SnapshotStore for Valkey {
    fn put<'a>(&'a self, log: &'a LogId, snapshot: Snapshot) -> Pending<'a, ()> {
        Box::pin(async move {
            let most = self.options().snapshot_bytes;
            if snapshot.bytes.len() > most {
                let bytes = snapshot.bytes.len();
                return Err(StoreError::Invalid(format!("a snapshot of {log} of {bytes} bytes; {most} go")));
            }
            let key = self.keys().snapshot(log);
            let mut put = script(SCRIPT, &[&key]);
            put.arg(snapshot.revision.0).arg(&snapshot.bytes[..]);
            let _kept: u64 = self.link().write(&key, put).await?;
            Ok(())
        })
    }

    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>> {
        Box::pin(async move {
            let mut get = cmd("HMGET");
            get.arg(self.keys().snapshot(log)).arg("revision").arg("fold");
            match self.link().read(&get).await? {
                (None::<u64>, None::<Vec<u8>>) => Ok(None),
                (Some(revision), Some(bytes)) => {
                    Ok(Some(Snapshot { revision: Revision(revision), bytes: Bytes::from(bytes) }))
                }
                _ => Err(self.odd(log, "half of a snapshot")),
            }
        })
    }
}
