//! Room secrets in the embedded store. The committer and the file see them sealed only.

use chamberlain_core::id::{KeyVersion, RoomId};
use chamberlain_core::keys::RoomSecret;
use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::committer::{Operation, Verdict};
use super::tables::{Tables, VAULT};
use crate::sealed::TOMBSTONE;
use crate::{KeyVault, Pending, PutSecret};

impl KeyVault for Embedded {
    fn put_if_absent<'a>(
        &'a self,
        room: RoomId,
        version: KeyVersion,
        secret: &'a RoomSecret,
    ) -> Pending<'a, PutSecret> {
        Box::pin(async move {
            let cipher = &self.shared.cipher;
            let sealed = cipher.seal(room, version, secret)?;
            match self.commit(Put { room, version, sealed }).await? {
                None => Ok(PutSecret::Winner(secret.clone())),
                Some(stored) => {
                    Ok(cipher.open(room, version, &stored)?.map_or(PutSecret::Destroyed, PutSecret::Winner))
                }
            }
        })
    }

    fn get(&self, room: RoomId, version: KeyVersion) -> Pending<'_, Option<RoomSecret>> {
        Box::pin(async move { Ok(self.secrets(room, vec![version]).await?.pop().flatten()) })
    }

    fn get_many<'a>(&'a self, room: RoomId, versions: &'a [KeyVersion]) -> Pending<'a, Vec<Option<RoomSecret>>> {
        Box::pin(self.secrets(room, versions.to_vec()))
    }

    fn destroy(&self, room: RoomId, version: KeyVersion) -> Pending<'_, ()> {
        Box::pin(self.commit(Destroy { room, version }))
    }
}

impl Embedded {
    async fn secrets(
        &self,
        room: RoomId,
        versions: Vec<KeyVersion>,
    ) -> Result<Vec<Option<RoomSecret>>, crate::StoreError> {
        let shared = self.shared.clone();
        self.read(move |txn| {
            let table = txn.open_table(VAULT)?;
            let mut secrets = Vec::with_capacity(versions.len());
            for version in versions {
                secrets.push(match table.get((room.as_str(), version.0))? {
                    Some(stored) => shared.cipher.open(room, version, stored.value())?,
                    None => None,
                });
            }
            Ok(secrets)
        })
        .await
    }
}

struct Put {
    room: RoomId,
    version: KeyVersion,
    sealed: Vec<u8>,
}

impl Operation for Put {
    /// What was there before, sealed or destroyed.
    type Answer = Option<Vec<u8>>;

    fn weight(&self) -> usize {
        256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<Option<Vec<u8>>>, StorageError> {
        let key = (self.room.as_str(), self.version.0);
        if let Some(stored) = tables.vault.get(key)? {
            return Ok(Verdict::Same(Some(stored.value().to_vec())));
        }
        tables.vault.insert(key, &self.sealed[..])?;
        Ok(Verdict::Changed(None))
    }
}

struct Destroy {
    room: RoomId,
    version: KeyVersion,
}

impl Operation for Destroy {
    type Answer = ();

    fn weight(&self) -> usize {
        256
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<()>, StorageError> {
        let key = (self.room.as_str(), self.version.0);
        if tables.vault.get(key)?.is_some_and(|stored| stored.value() == TOMBSTONE) {
            return Ok(Verdict::Same(()));
        }
        tables.vault.insert(key, TOMBSTONE)?;
        Ok(Verdict::Changed(()))
    }
}
