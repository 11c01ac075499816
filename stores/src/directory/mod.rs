//! A directory that is a log, and tables that are a fold of it.
//!
//! Invariant: a change is acknowledged once its record is durable in the log and folded into the tables, and no row is read
//! from tables that stand before what this process knows of the log. Tables know where they stand; the stand moves in the same
//! step as the rows, and only from where whoever moves it saw it. So a crash between log and tables, tables that are behind,
//! were emptied, put back to an earlier time or belong to another log are all the same to whoever comes next: they are brought
//! to the log's head first (`bring`).
//!
//! Changes are decided on rows at the log's head and appended by compare-and-append: of two nodes that import at once one is
//! first, and the other looks again and decides again.

mod bring;
pub mod memory;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use chamberlain_core::directory::{OtherHome, Stand, by_id, decide, next_record};
use chamberlain_core::id::{AccountId, LogId};
use chamberlain_core::log::Head;
use chamberlain_core::time::Timestamp;
use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::{Account, Appended, Directory, DirectoryPage, LogStore, Moved, Pending, StoreError, rules};
use bring::Failed;
pub use tables::{DirectoryTables, Rows, Step, TablesPage};

/// The log.
pub(crate) const LOG: LogId = LogId::Directory;

/// Most accounts put at once, and most read by one call of the tables.
pub const ACCOUNTS_MAX: usize = 10_000;

/// How often a change is decided anew because others were faster. Each time somebody else got on.
const OVERTAKEN_MAX: usize = 64;

/// How often tables are looked at again that did not stand where they have to.
const LOOKS: usize = 16;

/// The directory of a site over its log and some tables. Any number of them, on any nodes, may share both.
pub struct LoggedDirectory {
    logs: Arc<dyn LogStore>,
    tables: Arc<dyn DirectoryTables>,
    /// Bytes of a record, at most.
    record_bytes: usize,
    known: Mutex<Known>,
    /// One at a time brings the tables on; what stopped the last one.
    bringing: tokio::sync::Mutex<Option<Failed>>,
    /// One change of this process at a time: together they would only overtake each other.
    changing: tokio::sync::Mutex<()>,
}

/// What this process knows of the log.
struct Known {
    moves: broadcast::Receiver<Moved>,
    /// Where it ends, at least; none at first, and after hints were lost.
    head: Option<Head>,
    /// The furthest that was heard of since the head was last asked for.
    heard: Option<Head>,
    /// How often hints were lost.
    lost: u64,
}

impl LoggedDirectory {
    /// Over this log store and these tables. A record takes at most `record_bytes`.
    pub fn new(logs: Arc<dyn LogStore>, tables: Arc<dyn DirectoryTables>, record_bytes: usize) -> Self {
        let known = Known { moves: logs.watch(), head: None, heard: None, lost: 0 };
        Self {
            logs,
            tables,
            record_bytes,
            known: Mutex::new(known),
            bringing: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// Records what of `given` the directory does not have, as much as one record holds, and takes what is done out of it.
    /// `false` when somebody was faster. `recorded` is set once something is in the log.
    async fn put_some(
        &self,
        given: &mut BTreeMap<AccountId, Account>,
        recorded: &mut bool,
    ) -> Result<bool, StoreError> {
        let ids: Vec<AccountId> = given.keys().cloned().collect();
        let Rows { stand, accounts } = self.rows(&ids).await?;
        let Some(stand) = stand else { return Ok(false) };
        let mut entries = decide(&accounts, given).map_err(invalid)?;
        if entries.is_empty() {
            given.clear();
            return Ok(true);
        }
        let time = wall().max(stand.time);
        let Some((record, after)) = next_record(stand.head, time, &mut entries, self.record_bytes) else {
            let most = self.record_bytes;
            return Err(StoreError::Invalid(format!("an account of more than {most} bytes, which is a record")));
        };
        match self.logs.append(&LOG, stand.head, record.encode(), after).await {
            Ok(Appended::Done(_)) => {}
            Ok(Appended::Conflict(_)) => {
                self.bring(false).await?;
                return Ok(false);
            }
            Err(why) => {
                self.known().head = None;
                return Err(why);
            }
        }
        *recorded = true;
        self.known().raise(after);
        let done: Vec<Account> = record.entries.iter().filter_map(|entry| given.remove(&entry.account)).collect();
        let to = Stand { head: after, time, whole: true };
        let stands = self.tables.fold(Some(stand), Step { to, anew: false, accounts: &done }).await?;
        if stands.is_none_or(|stands| !stands.covers(after)) {
            self.bring(false).await?;
        }
        Ok(true)
    }

    /// Rows of these accounts where the log is known to end, or later.
    async fn rows(&self, ids: &[AccountId]) -> Result<Rows, StoreError> {
        for _ in 0..LOOKS {
            let known = self.known().head();
            let rows = self.tables.rows(ids).await?;
            if self.may_read(known, rows.stand, true).await? {
                return Ok(rows);
            }
        }
        Err(busy())
    }

    /// Whether what was read of tables that stand there may be used. If not, they were brought on, and are to be read again.
    async fn may_read(&self, known: Option<Head>, stand: Option<Stand>, sound: bool) -> Result<bool, StoreError> {
        if sound && known.zip(stand).is_some_and(|(known, stand)| stand.covers(known)) {
            return Ok(true);
        }
        match self.bring(!sound).await {
            Ok(()) => Ok(false),
            // Everything that was acknowledged is in them: nobody appends where the log cannot be read on.
            Err(StoreError::Corrupt(_)) if sound && stand.is_some_and(|stand| stand.whole) => Ok(true),
            Err(why) => Err(why),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing between lock and unlock leaves it half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Where the log ends, at least, after everything that was heard so far.
    fn head(&mut self) -> Option<Head> {
        loop {
            match self.moves.try_recv() {
                Ok(Moved { log: LOG, head }) => self.raise(head),
                Ok(_) => {}
                Err(TryRecvError::Lagged(_)) => {
                    self.head = None;
                    self.lost += 1;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return self.head,
            }
        }
    }

    fn raise(&mut self, head: Head) {
        self.head = self.head.map(|known| later(known, head));
        self.heard = Some(self.heard.map_or(head, |heard| later(heard, head)));
    }
}

impl Directory for LoggedDirectory {
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>> {
        Box::pin(async move {
            if accounts.len() <= ACCOUNTS_MAX {
                return Ok(self.rows(accounts).await?.accounts);
            }
            let mut found = BTreeMap::new();
            for some in accounts.chunks(ACCOUNTS_MAX) {
                found.extend(self.rows(some).await?.accounts);
            }
            Ok(found)
        })
    }

    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut given = by_id(accounts).map_err(invalid)?;
            if given.len() > ACCOUNTS_MAX {
                return Err(StoreError::Invalid(format!("{} accounts at once; {ACCOUNTS_MAX} go", given.len())));
            }
            let _alone = self.changing.lock().await;
            let (mut recorded, mut overtaken) = (false, 0);
            while !given.is_empty() {
                match self.put_some(&mut given, &mut recorded).await {
                    Ok(true) => overtaken = 0,
                    Ok(false) if overtaken < OVERTAKEN_MAX => overtaken += 1,
                    Ok(false) if recorded => return Err(StoreError::Unknown(busy().to_string())),
                    Ok(false) => return Err(busy()),
                    // Some of it happened.
                    Err(StoreError::Unavailable(why)) if recorded => return Err(StoreError::Unknown(why)),
                    Err(why) => return Err(why),
                }
            }
            Ok(())
        })
    }

    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage> {
        Box::pin(async move {
            let limit = limit.min(rules::PAGE_MAX);
            for _ in 0..LOOKS {
                let known = self.known().head();
                let TablesPage { stand, sound, page } = self.tables.page(after, limit).await?;
                if self.may_read(known, stand, sound).await? {
                    return Ok(page);
                }
            }
            Err(busy())
        })
    }
}

/// The later of two heads; the second of two at one revision.
fn later(one: Head, other: Head) -> Head {
    if one.revision > other.revision { one } else { other }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn invalid(why: OtherHome) -> StoreError {
    StoreError::Invalid(why.to_string())
}

fn busy() -> StoreError {
    StoreError::Unavailable("others keep changing the directory".into())
}
