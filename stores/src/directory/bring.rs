//! Brings tables to the head of the directory's log: on from where they stand, or anew from the first record.
//!
//! A few records at a time, each time in one step of the tables with the stand after it: whoever dies on the way, or is overtaken
//! by another node that does the same, leaves tables that somebody goes on with. That tables belong to this log is known
//! when the fold comes to the digest that the log's head has; before, it is taken for granted, since tables of another log are
//! wrong anyway.

use chamberlain_core::directory::{
    Contradiction, Course, DirectoryChange, Folding, Stand, by_id, decide, next_record, opening,
};
use chamberlain_core::id::AccountId;
use chamberlain_core::log::{Head, Record};

use super::{LOG, LoggedDirectory, Rows, Step, TablesPage, invalid, later, wall};
use crate::{Appended, StoreError};

/// How much of the log is folded in one step, bytes; one record at least.
const READ_BYTES: usize = 256 * 1024;

/// How many rows of tables without a log are copied into it at once.
const COPIED_AT_ONCE: usize = 1_000;

/// What stopped whoever brought tables on, until something has changed.
pub(super) struct Failed {
    stand: Option<Stand>,
    head: Head,
    why: StoreError,
}

/// Why tables do not get on.
enum Stuck {
    /// What they hold is not of this log, or the log contradicts itself.
    Contradiction(Contradiction),
    Store(StoreError),
}

impl From<StoreError> for Stuck {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl LoggedDirectory {
    /// Brings the tables to the log's head. `damaged` ones are made anew wherever they say that they stand.
    pub(super) async fn bring(&self, damaged: bool) -> Result<(), StoreError> {
        let mut failed = self.bringing.lock().await;
        let mut made_anew = false;
        loop {
            // Before the head, which is then not before it unless the log lost something.
            let stand = self.tables.rows(&[]).await?.stand;
            let head = self.head().await?;
            if let Some(failed) = failed.as_ref().filter(|failed| failed.stand == stand && failed.head == head) {
                return Err(failed.why.clone());
            }
            let course = if damaged && !made_anew { Course::Anew } else { Stand::course(stand, head) };
            let stuck = match (course, stand) {
                (Course::There, _) => {
                    *failed = None;
                    return Ok(());
                }
                (Course::On, Some(stand)) => match self.go_on(stand, head).await {
                    Ok(()) => continue,
                    Err(Stuck::Contradiction(_)) if !made_anew => None,
                    Err(Stuck::Contradiction(why)) => Some(StoreError::Corrupt(format!("{LOG}: {why}"))),
                    Err(Stuck::Store(why)) => Some(why),
                },
                (Course::Lost, Some(stand)) => Some(StoreError::Corrupt(format!(
                    "the log of the directory ends at revision {}, and revision {} of it was seen: it lost what it had \
                     acknowledged",
                    head.revision, stand.head.revision
                ))),
                _ => None,
            };
            if let Some(why) = stuck {
                if matches!(why, StoreError::Corrupt(_)) {
                    tracing::error!(%why, "the directory cannot be changed; it waits for an operator");
                    *failed = Some(Failed { stand, head, why: why.clone() });
                }
                return Err(why);
            }
            if stand.is_none() {
                self.open_log().await?;
            }
            self.tables.fold(stand, Step { to: Stand::BEGINNING, anew: true, accounts: &[] }).await?;
            match stand {
                None => tracing::info!("the tables of the directory are made from its log"),
                Some(_) => {
                    tracing::warn!("the tables of the directory are not of its log, or damaged: they are made anew")
                }
            }
            made_anew = true;
        }
    }

    /// The log's head, which is then what is known of it, and what was heard since: hints of before are worth nothing against it.
    async fn head(&self) -> Result<Head, StoreError> {
        let lost = {
            let mut known = self.known();
            known.head();
            known.heard = None;
            known.lost
        };
        let head = self.logs.head(&LOG).await?;
        let mut known = self.known();
        known.head();
        let latest = known.heard.map_or(head, |heard| later(head, heard));
        known.head = (known.lost == lost).then_some(latest);
        Ok(head)
    }

    /// Folds what follows where the tables stand, as much as goes in one step.
    async fn go_on(&self, stand: Stand, head: Head) -> Result<(), Stuck> {
        let records = self.records(stand.head).await?;
        if records.is_empty() && stand.head != head {
            return Err(StoreError::Unavailable("the log of the directory cannot be read to its head".into()).into());
        }
        let mut ids: Vec<AccountId> =
            records.iter().flat_map(Record::items).filter_map(|item| item.event.account().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        let Rows { stand: still, accounts } = self.tables.rows(&ids).await?;
        if still != Some(stand) {
            return Ok(());
        }
        let mut folding = Folding { head: stand.head, time: stand.time, opened: true, accounts };
        for record in &records {
            folding.apply(record).map_err(Stuck::Contradiction)?;
            if folding.head.revision == head.revision && folding.head != head {
                return Err(Stuck::Contradiction(Contradiction::DoesNotFollow));
            }
        }
        let whole = stand.whole || folding.head.revision >= head.revision;
        let to = Stand { head: folding.head, time: folding.time, whole };
        let accounts: Vec<_> = folding.accounts.into_values().collect();
        self.tables.fold(Some(stand), Step { to, anew: false, accounts: &accounts }).await?;
        Ok(())
    }

    /// The next records, up to one that cannot be read; not even one is an error.
    async fn records(&self, after: Head) -> Result<Vec<Record<DirectoryChange>>, StoreError> {
        let mut records = Vec::new();
        for record in self.logs.read(&LOG, after.revision, READ_BYTES).await? {
            match Record::decode(&record.bytes) {
                Ok(record) => records.push(record),
                Err(_) if !records.is_empty() => break,
                Err(why) => return Err(StoreError::Corrupt(format!("{LOG}: {why}"))),
            }
        }
        Ok(records)
    }

    /// Sees to it that the log is the directory. Rows of tables that never had a log are copied into it, in the order of their
    /// ids, so that whoever is interrupted goes on after the last one; then the log says that it is whole.
    async fn open_log(&self) -> Result<(), StoreError> {
        let (mut folding, mut last, mut copied) = (Folding::default(), None::<AccountId>, 0);
        loop {
            let records = self.records(folding.head).await?;
            let caught_up = records.is_empty();
            for record in &records {
                self.pass(&mut folding, &mut last, record)?;
                if folding.opened {
                    return Ok(());
                }
            }
            if !caught_up {
                continue;
            }
            let TablesPage { stand, sound, page } = self.tables.page(last.as_ref(), COPIED_AT_ONCE).await?;
            if stand.is_some() {
                return Ok(());
            }
            if !sound {
                return Err(StoreError::Corrupt(
                    "a part of the directory's tables is gone, and they have no log".into(),
                ));
            }
            let mut entries = decide(&Default::default(), &by_id(&page.accounts).map_err(invalid)?).map_err(invalid)?;
            if !page.more {
                entries.push(opening());
            }
            let time = wall().max(folding.time);
            let Some((record, after)) = next_record(folding.head, time, &mut entries, self.record_bytes) else {
                return Err(StoreError::Invalid("an account in the directory's tables is larger than a record".into()));
            };
            match self.logs.append(&LOG, folding.head, record.encode(), after).await? {
                // Another node does the same: it is read.
                Appended::Conflict(_) => continue,
                Appended::Done(_) => copied += record.entries.len(),
            }
            self.pass(&mut folding, &mut last, &record)?;
            if folding.opened {
                // One entry says that it is whole.
                let accounts = copied - 1;
                if accounts > 0 {
                    tracing::info!(accounts, "the directory had tables and no log: its accounts were copied into one");
                }
                return Ok(());
            }
        }
    }

    /// Folds a record of a log that is not whole yet, and keeps of it only how far it is.
    fn pass(
        &self,
        folding: &mut Folding,
        last: &mut Option<AccountId>,
        record: &Record<DirectoryChange>,
    ) -> Result<(), StoreError> {
        folding.apply(record).map_err(|why| StoreError::Corrupt(format!("{LOG}: {why}")))?;
        if let Some((id, _)) = std::mem::take(&mut folding.accounts).pop_last() {
            *last = Some(id);
        }
        Ok(())
    }
}
