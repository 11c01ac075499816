//! Accounts as a stretch of the directory's log leaves them.
//!
//! Whoever keeps tables folds a few records at a time, over the rows that they are about; from an empty beginning and without
//! rows the same is the whole directory.

use alloc::collections::BTreeMap;

use super::{Account, DirectoryChange};
use crate::id::AccountId;
use crate::log::{Head, Record};
use crate::time::Timestamp;

/// A fold under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folding {
    /// What was folded last.
    pub head: Head,
    /// When that was.
    pub time: Timestamp,
    /// Whether the log says that it is the directory, as far as it was folded here.
    pub opened: bool,
    /// Accounts as they are at the head: those that were given, and those that the log told of since.
    pub accounts: BTreeMap<AccountId, Account>,
}

/// A record that cannot come after what was folded: the rows are not those of this log, or the log is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// It begins somewhere else than where the fold ends.
    #[error("a record does not follow the one before it")]
    DoesNotFollow,
    /// It changes an account that is not there.
    #[error("{0} is changed, and was never added")]
    NotThere(AccountId),
    /// It adds an account that is there.
    #[error("{0} is added, and was there")]
    There(AccountId),
}

impl Folding {
    /// Folds the record that follows.
    pub fn apply(&mut self, record: &Record<DirectoryChange>) -> Result<(), Contradiction> {
        let head = record.extend(self.head).ok_or(Contradiction::DoesNotFollow)?;
        for item in record.items() {
            self.change(item.event)?;
        }
        (self.head, self.time) = (head, record.time);
        Ok(())
    }

    fn change(&mut self, change: &DirectoryChange) -> Result<(), Contradiction> {
        let id = match change {
            DirectoryChange::Opened => {
                self.opened = true;
                return Ok(());
            }
            DirectoryChange::Added { account, site, name, local_name, bot, disabled, section, department, admin } => {
                let entry = Account {
                    account: account.clone(),
                    site: site.clone(),
                    name: name.clone(),
                    local_name: local_name.clone(),
                    bot: *bot,
                    disabled: *disabled,
                    section: section.clone(),
                    department: department.clone(),
                    admin: *admin,
                };
                return match self.accounts.insert(account.clone(), entry) {
                    None => Ok(()),
                    Some(_) => Err(Contradiction::There(account.clone())),
                };
            }
            DirectoryChange::Named { account, .. }
            | DirectoryChange::Grouped { account, .. }
            | DirectoryChange::Disabled { account }
            | DirectoryChange::Enabled { account }
            | DirectoryChange::BotSet { account, .. }
            | DirectoryChange::AdminSet { account, .. } => account,
        };
        let entry = self.accounts.get_mut(id).ok_or_else(|| Contradiction::NotThere(id.clone()))?;
        match change {
            DirectoryChange::Opened | DirectoryChange::Added { .. } => {}
            DirectoryChange::Named { name, local_name, .. } => {
                (entry.name, entry.local_name) = (name.clone(), local_name.clone());
            }
            DirectoryChange::Grouped { section, department, .. } => {
                (entry.section, entry.department) = (section.clone(), department.clone());
            }
            DirectoryChange::Disabled { .. } => entry.disabled = true,
            DirectoryChange::Enabled { .. } => entry.disabled = false,
            DirectoryChange::BotSet { bot, .. } => entry.bot = *bot,
            DirectoryChange::AdminSet { admin, .. } => entry.admin = *admin,
        }
        Ok(())
    }
}
