//! A copy of a store in another file, taken from one consistent state while the store goes on.
//!
//! The copy is made of the entries, not of the pages, so that nothing erased is in it. It appears under its name only when it
//! is whole and durable. To restore is to put it where the store was.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::{Builder, Durability, Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::tables::{DIRECTORY, HEADS, MARKS, META, RECORDS, ReadError, SNAPSHOTS, VAULT};
use crate::StoreError;
use crate::master_key::sync_folder_of;

/// Bytes of memory that the copy may use.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Copies everything that `from` sees into a new file.
pub(super) fn copy(from: &ReadTransaction, to: &Path) -> Result<(), ReadError> {
    let partial = partial_name(to);
    let copied = if to.exists() {
        Err(StoreError::Invalid(format!("{} is there already", to.display())).into())
    } else {
        copy_into(from, &partial).and_then(|()| {
            let in_place = fs::rename(&partial, to).and_then(|()| sync_folder_of(to));
            in_place.map_err(|why| failed(to, &why).into())
        })
    };
    if copied.is_err() {
        // It may never have come to be.
        let _ = fs::remove_file(&partial);
    }
    copied
}

fn copy_into(from: &ReadTransaction, partial: &Path) -> Result<(), ReadError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(partial).map_err(|why| failed(partial, &why))?;
    let copy = Builder::new().set_cache_size(CACHE_BYTES).create_file(file).map_err(|why| failed(partial, &why))?;
    let mut to = copy.begin_write().map_err(|why| failed(partial, &why))?;
    to.set_durability(Durability::Immediate).map_err(|why| failed(partial, &why))?;
    to.set_quick_repair(true);
    copy_table(from, &to, partial, RECORDS)?;
    copy_table(from, &to, partial, HEADS)?;
    copy_table(from, &to, partial, VAULT)?;
    copy_table(from, &to, partial, SNAPSHOTS)?;
    copy_table(from, &to, partial, MARKS)?;
    copy_table(from, &to, partial, DIRECTORY)?;
    copy_table(from, &to, partial, META)?;
    to.commit().map_err(|why| failed(partial, &why).into())
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    partial: &Path,
    table: TableDefinition<'_, K, V>,
) -> Result<(), ReadError> {
    // Errors of the copy are answers: they say nothing about the store that is being copied.
    let mut copy = to.open_table(table).map_err(|why| failed(partial, &why))?;
    for entry in from.open_table(table)?.iter()? {
        let (key, value) = entry?;
        copy.insert(key.value(), value.value()).map_err(|why| failed(partial, &why))?;
    }
    Ok(())
}

fn partial_name(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    to.with_file_name(name)
}

fn failed(path: &Path, why: &(impl std::error::Error + 'static)) -> StoreError {
    let full = (why as &dyn std::error::Error)
        .downcast_ref::<io::Error>()
        .is_some_and(|why| why.kind() == io::ErrorKind::StorageFull);
    let hint = if full { " (the disk is full)" } else { "" };
    StoreError::Unavailable(format!("{}: {why}{hint}", path.display()))
}
