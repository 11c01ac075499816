//! The database and what became of it: open, failed, or closed.
//!
//! Invariant: nobody is answered from a database whose disk has failed. The first failure takes it out of use; the next call
//! after a pause opens the file anew, through [`Medium::open`], which vouches that what is then read is durable. All of this
//! blocks, and is called from threads where that is allowed.

use std::fmt::Display;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chamberlain_core::id::SiteId;
use chamberlain_core::site::MasterKey;
use rand::TryRng;
use rand::rngs::SysRng;
use redb::{Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageError};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::medium::{Boxed, Draft, Medium};
use super::tables::{META, ReadError, Tables};
use super::{OpenError, Options};
use crate::StoreError;
use crate::sealed::check_value;

/// The format written today.
const FORMAT: u64 = 1;

/// Whose store it is.
pub(super) struct Identity {
    site: SiteId,
    check: [u8; 32],
}

impl Identity {
    pub(super) fn new(master: &MasterKey, site: SiteId) -> Self {
        Self { site, check: check_value(master) }
    }
}

/// The database of a store, opened anew after a failure.
pub(super) struct Engine {
    medium: Box<dyn Medium>,
    identity: Identity,
    options: Options,
    state: RwLock<State>,
}

enum State {
    Open(Database),
    Failed {
        why: String,
        /// When it may be opened anew.
        again: Instant,
    },
    Closed,
}

impl Engine {
    /// Opens the store, and makes it when the medium is empty.
    pub(super) fn open(medium: Box<dyn Medium>, identity: Identity, options: Options) -> Result<Self, OpenError> {
        let database = open_database(&*medium, &identity, &options)?;
        Ok(Self { medium, identity, options, state: RwLock::new(State::Open(database)) })
    }

    /// Reads a consistent state. What was committed before the call is seen.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, ReadError>) -> Result<T, StoreError> {
        // The lock is let go of before reading, so that a long read stands in nobody's way.
        let begun = match &*self.usable()? {
            State::Open(database) => database.begin_read().map_err(redb::Error::from),
            other => return Err(other.unusable()),
        };
        let result = begun.map_err(ReadError::Broken).and_then(|txn| read(&txn));
        result.map_err(|why| match why {
            ReadError::Answer(why) => why,
            ReadError::Broken(why) if is_corruption(&why) => StoreError::Corrupt(why.to_string()),
            // It began before the store was closed or opened anew; the database of today has not failed.
            ReadError::Broken(why @ redb::Error::DatabaseClosed) => StoreError::Unavailable(why.to_string()),
            ReadError::Broken(why) => {
                self.fail(&why);
                StoreError::Unavailable(why.to_string())
            }
        })
    }

    /// Changes the tables in one durable transaction. `change` says whether it changed anything; when it did not, or when it
    /// failed, nothing is written.
    ///
    /// # Errors
    /// `Unavailable` and `Corrupt` when nothing was written, `Unknown` when it may have been.
    pub(super) fn write(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StoreError> {
        let result = match &*self.usable()? {
            State::Open(database) => write(database, self.options.quick_repair, change),
            other => return Err(other.unusable()),
        };
        result.map_err(|(why, committing)| {
            self.fail(&why);
            match why {
                why if committing => StoreError::Unknown(why.to_string()),
                why if is_corruption(&why) => StoreError::Corrupt(why.to_string()),
                why => StoreError::Unavailable(why.to_string()),
            }
        })
    }

    /// Takes the database out of use after a panic inside it.
    pub(super) fn broke_off(&self) {
        self.fail(&"it broke off");
    }

    /// Makes the file smaller.
    pub(super) fn compact(&self) -> Result<bool, StoreError> {
        drop(self.usable()?);
        let compacted = match &mut *self.state_mut() {
            State::Open(database) => database.compact(),
            other => return Err(other.unusable()),
        };
        compacted.map_err(|why| match why {
            redb::CompactionError::TransactionInProgress => StoreError::Unavailable("reads are under way".into()),
            why => {
                self.fail(&why);
                StoreError::Unavailable(why.to_string())
            }
        })
    }

    /// Lets go of the file, for good.
    pub(super) fn close(&self) {
        *self.state_mut() = State::Closed;
    }

    /// The state, after an attempt to open the file anew where one is due.
    fn usable(&self) -> Result<RwLockReadGuard<'_, State>, StoreError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if !state.is_due() {
            return Ok(state);
        }
        drop(state);
        let mut state = self.state_mut();
        // Somebody else may have been faster.
        if state.is_due() {
            match open_database(&*self.medium, &self.identity, &self.options) {
                Ok(database) => {
                    tracing::info!(at = self.medium.name(), "store opened anew");
                    *state = State::Open(database);
                }
                Err(why) => {
                    tracing::error!(at = self.medium.name(), %why, "store does not open");
                    *state = self.failed(&why);
                }
            }
        }
        drop(state);
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fail(&self, why: &dyn Display) {
        let mut state = self.state_mut();
        if let State::Open(_) = *state {
            tracing::error!(at = self.medium.name(), %why, "store failed; nothing is answered until it is opened anew");
            *state = self.failed(why);
        }
    }

    fn failed(&self, why: &dyn Display) -> State {
        State::Failed { why: why.to_string(), again: Instant::now() + self.options.reopen_after }
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_due(&self) -> bool {
        matches!(self, Self::Failed { again, .. } if *again <= Instant::now())
    }

    fn unusable(&self) -> StoreError {
        match self {
            Self::Failed { why, .. } => StoreError::Unavailable(format!("the disk failed: {why}")),
            Self::Open(_) | Self::Closed => stopped(),
        }
    }
}

/// The store was closed.
pub(super) fn stopped() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// Returns with the error whether the transaction was being committed: then it may have been.
fn write(
    database: &Database,
    quick_repair: bool,
    change: impl FnOnce(&mut Tables<'_>) -> Result<bool, StorageError>,
) -> Result<(), (redb::Error, bool)> {
    let mut txn = database.begin_write().map_err(|why| (why.into(), false))?;
    txn.set_durability(Durability::Immediate).map_err(|why| (why.into(), false))?;
    txn.set_quick_repair(quick_repair);
    let mut tables = Tables::open(&txn).map_err(|why| (why.into(), false))?;
    let changed = change(&mut tables).map_err(|why| (why.into(), false))?;
    drop(tables);
    if changed {
        txn.commit().map_err(|why| (why.into(), true))
    } else {
        txn.abort().map_err(|why| (why.into(), false))
    }
}

fn is_corruption(why: &redb::Error) -> bool {
    matches!(
        why,
        redb::Error::Corrupted(_) | redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. }
    )
}

fn open_database(medium: &dyn Medium, identity: &Identity, options: &Options) -> Result<Database, OpenError> {
    let at = medium.name();
    let io = |why: &dyn Display| OpenError::Io { at: at.clone(), why: why.to_string() };
    if medium.is_new().map_err(|why| io(&why))? {
        let contents = identity.empty_store().map_err(|why| io(&why))?;
        medium.install(&contents).map_err(|why| io(&why))?;
    }
    let backend = medium.open().map_err(|why| match why.kind() {
        std::io::ErrorKind::InvalidData => OpenError::Corrupt { at: at.clone(), why: why.to_string() },
        _ => io(&why),
    })?;
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    builder.set_repair_callback({
        let at = at.clone();
        move |repair| tracing::info!(at, progress = repair.progress(), "store was not closed; examining it")
    });
    let database = builder.create_with_backend(Boxed(backend)).map_err(|why| match why {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Held(at.clone()),
        DatabaseError::UpgradeRequired(_) | DatabaseError::Storage(StorageError::Corrupted(_)) => {
            OpenError::Corrupt { at: at.clone(), why: why.to_string() }
        }
        // What redb says of a file that is none of its own.
        DatabaseError::Storage(StorageError::Io(why)) if why.kind() == std::io::ErrorKind::InvalidData => {
            OpenError::Corrupt { at: at.clone(), why: why.to_string() }
        }
        why => io(&why),
    })?;
    identity.check(&database, &at)?;
    Ok(database)
}

impl Identity {
    /// The store is ours.
    fn check(&self, database: &Database, at: &str) -> Result<(), OpenError> {
        let failed = |why: redb::Error| match why {
            why if is_corruption(&why) => OpenError::Corrupt { at: at.to_owned(), why: why.to_string() },
            why => OpenError::Io { at: at.to_owned(), why: why.to_string() },
        };
        let corrupt = |why: &str| OpenError::Corrupt { at: at.to_owned(), why: why.to_owned() };
        let txn = database.begin_read().map_err(|why| failed(why.into()))?;
        let meta = match txn.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Err(corrupt("it is no store of chamberlain")),
            meta => meta.map_err(|why| failed(why.into()))?,
        };
        let value = |name: &str| {
            let stored = meta.get(name).map_err(|why| failed(why.into()))?;
            stored.map(|stored| stored.value().to_vec()).ok_or_else(|| corrupt(&format!("it does not say its {name}")))
        };
        let format =
            value("format")?.try_into().map(u64::from_be_bytes).map_err(|_| corrupt("its format is no number"))?;
        if format > FORMAT {
            return Err(OpenError::NewerFormat { at: at.to_owned(), format });
        }
        let site = value("site")?;
        if site != self.site.as_str().as_bytes() {
            let stored = String::from_utf8_lossy(&site).into_owned();
            return Err(OpenError::OtherSite { at: at.to_owned(), stored, given: self.site.clone() });
        }
        if !bool::from(value("master key check")?.ct_eq(&self.check)) {
            return Err(OpenError::WrongMasterKey(at.to_owned()));
        }
        Ok(())
    }

    /// The bytes of a store of this site that holds nothing.
    fn empty_store(&self) -> Result<Vec<u8>, redb::Error> {
        let mut id = [0; 16];
        SysRng.try_fill_bytes(&mut id).map_err(|why| redb::Error::Io(std::io::Error::other(why)))?;
        let draft = Draft::default();
        let database = Builder::new().create_with_backend(draft.clone())?;
        let txn = database.begin_write()?;
        Tables::open(&txn)?;
        let mut meta = txn.open_table(META)?;
        meta.insert("format", &FORMAT.to_be_bytes()[..])?;
        meta.insert("site", self.site.as_str().as_bytes())?;
        meta.insert("master key check", &self.check[..])?;
        meta.insert("store id", &id[..])?;
        drop(meta);
        txn.commit()?;
        drop(database);
        draft.contents().map_err(redb::Error::Io)
    }
}
