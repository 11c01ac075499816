//! Tables in this process's memory, for tests: what the others have to agree with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chamberlain_core::directory::Stand;
use chamberlain_core::id::AccountId;

use super::{DirectoryTables, Rows, Step, TablesPage};
use crate::{Account, DirectoryPage, Pending};

/// Tables in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables {
    kept: Arc<Mutex<Kept>>,
}

/// What is in such tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Where they stand.
    pub stand: Option<Stand>,
    /// The rows.
    pub accounts: BTreeMap<AccountId, Account>,
}

impl MemoryTables {
    /// Empty ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of what is in them.
    pub fn kept(&self) -> Kept {
        self.lock().clone()
    }

    /// Puts a copy in the place of what is in them.
    pub fn put_back(&self, kept: Kept) {
        *self.lock() = kept;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirectoryTables for MemoryTables {
    fn rows<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, Rows> {
        Box::pin(async move {
            let kept = self.lock();
            let found = accounts.iter().filter_map(|id| kept.accounts.get(id));
            let accounts = found.map(|account| (account.account.clone(), account.clone())).collect();
            Ok(Rows { stand: kept.stand, accounts })
        })
    }

    fn page<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, TablesPage> {
        Box::pin(async move {
            let kept = self.lock();
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut rest = kept.accounts.range::<AccountId, _>((from, Bound::Unbounded)).map(|(_, account)| account);
            let accounts = rest.by_ref().take(limit).cloned().collect();
            let page = DirectoryPage { accounts, more: rest.next().is_some() };
            Ok(TablesPage { stand: kept.stand, sound: true, page })
        })
    }

    fn fold<'a>(&'a self, expected: Option<Stand>, step: Step<'a>) -> Pending<'a, Option<Stand>> {
        Box::pin(async move {
            let mut kept = self.lock();
            if kept.stand == expected {
                if step.anew {
                    kept.accounts.clear();
                }
                kept.accounts.extend(step.accounts.iter().map(|account| (account.account.clone(), account.clone())));
                kept.stand = Some(step.to);
            }
            Ok(kept.stand)
        })
    }
}
