//! The log of a site's directory: which accounts there are, and what is known of each.
//!
//! Whoever changes an account decides on what the directory has at the log's head, and appends what differs there; who finds
//! the head moved looks again and decides again. Tables are a fold of this log to some place in it, their [`Stand`], and can be
//! made anew from it at any time. The same entry given twice changes nothing the second time.

mod fold;
mod stand;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use fold::{Contradiction, Folding};
pub use stand::{Course, Stand};

use crate::id::{AccountId, SiteId};
use crate::log::{Body, Entry, Head, Logged, Record};
use crate::site::Fingerprint;
use crate::time::Timestamp;

/// Stands for the server itself, where an entry of a log needs somebody who asked.
const SERVER: &str = "server";

/// A section or department of an organization. Stored for ever as it is, within changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// An account as the directory knows it. RULES.md, "Identity".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub account: AccountId,
    /// Its home site; never changes.
    pub site: SiteId,
    /// Its name for people.
    pub name: String,
    /// Its name in the local script.
    #[serde(default)]
    pub local_name: Option<String>,
    /// Whether it is a program.
    #[serde(default)]
    pub bot: bool,
    /// Whether it is shut out.
    #[serde(default)]
    pub disabled: bool,
    /// Its section.
    #[serde(default)]
    pub section: Option<Group>,
    /// Its department.
    #[serde(default)]
    pub department: Option<Group>,
    /// Whether it may administer the server.
    #[serde(default)]
    pub admin: bool,
}

impl Account {
    /// Somebody of a site: a person, not shut out, without anything else.
    pub fn new(account: AccountId, site: SiteId, name: String) -> Self {
        let (bot, disabled, admin) = (false, false, false);
        Self { account, site, name, local_name: None, bot, disabled, section: None, department: None, admin }
    }
}

/// What happens to the directory. New kinds are added at the end, and none ever changes: they are what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryChange {
    /// From here on the log is the directory. What stands before it was copied from tables that had no log yet.
    Opened,
    /// An account that the directory did not have.
    Added {
        /// Its id.
        account: AccountId,
        /// Its home site.
        site: SiteId,
        /// Its name for people.
        name: String,
        /// Its name in the local script.
        local_name: Option<String>,
        /// Whether it is a program.
        bot: bool,
        /// Whether it is shut out.
        disabled: bool,
        /// Its section.
        section: Option<Group>,
        /// Its department.
        department: Option<Group>,
        /// Whether it may administer the server.
        admin: bool,
    },
    /// It has other names.
    Named {
        /// Which.
        account: AccountId,
        /// Its name for people.
        name: String,
        /// Its name in the local script.
        local_name: Option<String>,
    },
    /// It belongs elsewhere in the organization.
    Grouped {
        /// Which.
        account: AccountId,
        /// Its section.
        section: Option<Group>,
        /// Its department.
        department: Option<Group>,
    },
    /// It is shut out.
    Disabled {
        /// Which.
        account: AccountId,
    },
    /// It is let in again.
    Enabled {
        /// Which.
        account: AccountId,
    },
    /// It is a program now, or no longer.
    BotSet {
        /// Which.
        account: AccountId,
        /// Whether it is.
        bot: bool,
    },
    /// It may administer the server now, or no longer.
    AdminSet {
        /// Which.
        account: AccountId,
        /// Whether it may.
        admin: bool,
    },
}

impl DirectoryChange {
    /// The account that it is about, if it is about one.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Opened => None,
            Self::Added { account, .. }
            | Self::Named { account, .. }
            | Self::Grouped { account, .. }
            | Self::Disabled { account }
            | Self::Enabled { account }
            | Self::BotSet { account, .. }
            | Self::AdminSet { account, .. } => Some(account),
        }
    }
}

/// An account was given another home site than it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the home site of {account} is {stored} and cannot become {given}")]
pub struct OtherHome {
    /// Which.
    pub account: AccountId,
    /// The home site it has.
    pub stored: SiteId,
    /// The one it was given.
    pub given: SiteId,
}

/// The home site of an account never changes.
pub fn check_home(stored: &Account, given: &Account) -> Result<(), OtherHome> {
    if stored.site == given.site {
        return Ok(());
    }
    Err(OtherHome { account: given.account.clone(), stored: stored.site.clone(), given: given.site.clone() })
}

/// These accounts by id, the later of two entries for one; all entries of an account must name one home site.
pub fn by_id(given: &[Account]) -> Result<BTreeMap<AccountId, Account>, OtherHome> {
    let mut accounts = BTreeMap::<AccountId, Account>::new();
    for account in given {
        if let Some(earlier) = accounts.get(&account.account) {
            check_home(earlier, account)?;
        }
        accounts.insert(account.account.clone(), account.clone());
    }
    Ok(accounts)
}

/// What is to be recorded so that the directory has these accounts: an entry for each that differs from what is stored, none
/// for the others. All are refused when one would change its home site.
pub fn decide(
    stored: &BTreeMap<AccountId, Account>,
    given: &BTreeMap<AccountId, Account>,
) -> Result<Vec<Entry<DirectoryChange>>, OtherHome> {
    let mut entries = Vec::new();
    for account in given.values() {
        let changes = match stored.get(&account.account) {
            None => alloc::vec![added(account)],
            Some(stored) => {
                check_home(stored, account)?;
                differences(stored, account)
            }
        };
        if !changes.is_empty() {
            entries.push(entry(account.account.clone(), changes));
        }
    }
    Ok(entries)
}

/// The entry that makes the log the directory.
pub fn opening() -> Entry<DirectoryChange> {
    entry(SERVER.parse().expect("a name of the right form"), alloc::vec![DirectoryChange::Opened])
}

/// The next record after `head`: as many of `entries` as fit into `max_bytes`, which are taken out of it from the front; and
/// the head after it. `None` when there are none, or not even one fits.
pub fn next_record(
    head: Head,
    time: Timestamp,
    entries: &mut Vec<Entry<DirectoryChange>>,
    max_bytes: usize,
) -> Option<(Record<DirectoryChange>, Head)> {
    let record = |entries| Record { first: head.revision.next(), time, entries };
    let alone = |entry: &Entry<DirectoryChange>| record(alloc::vec![entry.clone()]).encode().bytes.len();
    let mut left = max_bytes;
    // What an entry takes by itself, a record around it included, is more than what it takes among others.
    let fit = entries.iter().take_while(|entry| {
        let fits = left.checked_sub(alone(entry));
        left = fits.unwrap_or(0);
        fits.is_some()
    });
    let fit = fit.count();
    let record = record(entries.drain(..fit).collect());
    let after = record.extend(head)?;
    Some((record, after))
}

fn entry(account: AccountId, changes: Vec<DirectoryChange>) -> Entry<DirectoryChange> {
    Entry {
        account,
        request: None,
        fingerprint: Fingerprint::default(),
        events: changes.into_iter().map(|event| Logged { event, body: Body::None }).collect(),
    }
}

fn added(given: &Account) -> DirectoryChange {
    // Named one by one: a field that is new in an account must not change what is stored of this kind.
    let Account { account, site, name, local_name, bot, disabled, section, department, admin } = given.clone();
    DirectoryChange::Added { account, site, name, local_name, bot, disabled, section, department, admin }
}

fn differences(stored: &Account, given: &Account) -> Vec<DirectoryChange> {
    let account = || given.account.clone();
    let mut changes = Vec::new();
    if (&stored.name, &stored.local_name) != (&given.name, &given.local_name) {
        let (name, local_name) = (given.name.clone(), given.local_name.clone());
        changes.push(DirectoryChange::Named { account: account(), name, local_name });
    }
    if (&stored.section, &stored.department) != (&given.section, &given.department) {
        let (section, department) = (given.section.clone(), given.department.clone());
        changes.push(DirectoryChange::Grouped { account: account(), section, department });
    }
    match (stored.disabled, given.disabled) {
        (false, true) => changes.push(DirectoryChange::Disabled { account: account() }),
        (true, false) => changes.push(DirectoryChange::Enabled { account: account() }),
        _ => {}
    }
    if stored.bot != given.bot {
        changes.push(DirectoryChange::BotSet { account: account(), bot: given.bot });
    }
    if stored.admin != given.admin {
        changes.push(DirectoryChange::AdminSet { account: account(), admin: given.admin });
    }
    changes
}
