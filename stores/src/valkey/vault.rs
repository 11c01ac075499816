//! Room secrets in the server, which sees them sealed only.
//!
//! A secret is put by one command that writes if nothing is there and answers what was: two nodes that put at once learn of
//! the same winner. A tombstone is written over whatever is there, and stays.

use chamberlain_core::id::{KeyVersion, LogId, RoomId};
use chamberlain_core::keys::RoomSecret;
use redis::cmd;

use super::Valkey;
use crate::sealed::TOMBSTONE;
use crate::{KeyVault, Pending, PutSecret};

impl KeyVault for Valkey {
    fn put_if_absent<'a>(
        &'a self,
        room: RoomId,
        version: KeyVersion,
        secret: &'a RoomSecret,
    ) -> Pending<'a, PutSecret> {
        Box::pin(async move {
            let sealed = self.cipher().seal(room, version, secret)?;
            let key = self.keys().secret(room, version);
            let mut put = cmd("SET");
            put.arg(&key).arg(sealed).arg("NX").arg("GET");
            let stored: Option<Vec<u8>> = self.link().write(&key, put).await?;
            match stored {
                None => Ok(PutSecret::Winner(secret.clone())),
                Some(stored) => {
                    let stored = self.cipher().open(room, version, &stored)?;
                    Ok(stored.map_or(PutSecret::Destroyed, PutSecret::Winner))
                }
            }
        })
    }

    fn get(&self, room: RoomId, version: KeyVersion) -> Pending<'_, Option<RoomSecret>> {
        Box::pin(async move {
            let mut get = cmd("GET");
            get.arg(self.keys().secret(room, version));
            let stored: Option<Vec<u8>> = self.link().read(&get).await?;
            stored.map_or(Ok(None), |stored| self.cipher().open(room, version, &stored))
        })
    }

    fn get_many<'a>(&'a self, room: RoomId, versions: &'a [KeyVersion]) -> Pending<'a, Vec<Option<RoomSecret>>> {
        Box::pin(async move {
            if versions.is_empty() {
                return Ok(Vec::new());
            }
            let mut get = cmd("MGET");
            for version in versions {
                get.arg(self.keys().secret(room, *version));
            }
            let stored: Vec<Option<Vec<u8>>> = self.link().read(&get).await?;
            if stored.len() != versions.len() {
                return Err(self.odd(&LogId::Room(room), "fewer secrets came than were asked for"));
            }
            let each = versions.iter().zip(stored);
            each.map(|(version, stored)| match stored {
                Some(stored) => self.cipher().open(room, *version, &stored),
                None => Ok(None),
            })
            .collect()
        })
    }

    fn destroy(&self, room: RoomId, version: KeyVersion) -> Pending<'_, ()> {
        Box::pin(async move {
            let key = self.keys().secret(room, version);
            let mut destroy = cmd("SET");
            destroy.arg(&key).arg(TOMBSTONE);
            self.link().write(&key, destroy).await
        })
    }
}
