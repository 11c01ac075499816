//! Accounts in the embedded store, as JSON by id.

use std::collections::BTreeMap;

use chamberlain_core::id::AccountId;
use redb::{ReadableTable, StorageError};

use super::Embedded;
use super::committer::{Operation, Verdict};
use super::tables::{DIRECTORY, Tables};
use crate::{Account, Directory, DirectoryPage, Pending, StoreError, rules};

impl Directory for Embedded {
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>> {
        let accounts = accounts.to_vec();
        Box::pin(self.read(move |txn| {
            let table = txn.open_table(DIRECTORY)?;
            let mut known = BTreeMap::new();
            for account in accounts {
                if let Some(stored) = table.get(account.as_str())? {
                    let value = to_account(account.as_str(), stored.value())?;
                    known.insert(account, value);
                }
            }
            Ok(known)
        }))
    }

    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut given = BTreeMap::<_, (Account, Vec<u8>)>::new();
            for account in accounts {
                if let Some((earlier, _)) = given.get(&account.account) {
                    rules::check_home(earlier, account)?;
                }
                let json = serde_json::to_vec(account)
                    .map_err(|why| StoreError::Invalid(format!("{} cannot be stored: {why}", account.account)))?;
                given.insert(account.account.clone(), (account.clone(), json));
            }
            self.commit(Put { accounts: given.into_values().collect() }).await
        })
    }

    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage> {
        let after = after.map(String::from).unwrap_or_default();
        Box::pin(self.read(move |txn| {
            let table = txn.open_table(DIRECTORY)?;
            let mut page = DirectoryPage { accounts: Vec::new(), more: false };
            for entry in table.range(after.as_str()..)? {
                let (key, value) = entry?;
                if key.value() == after {
                    continue;
                }
                if page.accounts.len() == limit.min(rules::PAGE_MAX) {
                    page.more = true;
                    break;
                }
                page.accounts.push(to_account(key.value(), value.value())?);
            }
            Ok(page)
        }))
    }
}

/// An account as it lies in the table.
pub(super) fn to_account(name: &str, json: &[u8]) -> Result<Account, StoreError> {
    serde_json::from_slice(json).map_err(|why| StoreError::Corrupt(format!("account {name}: {why}")))
}

struct Put {
    /// Each with its stored form.
    accounts: Vec<(Account, Vec<u8>)>,
}

impl Operation for Put {
    type Answer = ();

    fn weight(&self) -> usize {
        self.accounts.iter().map(|(_, json)| json.len() * 2 + 256).sum()
    }

    fn apply(&mut self, tables: &mut Tables<'_>) -> Result<Verdict<()>, StorageError> {
        // All are checked before the first is written: all or none.
        let mut changed = Vec::new();
        for (account, json) in &self.accounts {
            let name = account.account.as_str();
            match tables.directory.get(name)? {
                Some(stored) if stored.value() == json => continue,
                Some(stored) => {
                    let stored = to_account(name, stored.value());
                    if let Err(why) = stored.and_then(|stored| rules::check_home(&stored, account)) {
                        return Ok(Verdict::Refused(why));
                    }
                }
                None => {}
            }
            changed.push((name, json));
        }
        for (name, json) in &changed {
            tables.directory.insert(*name, &json[..])?;
        }
        Ok(if changed.is_empty() { Verdict::Same(()) } else { Verdict::Changed(()) })
    }
}
