//! What a directory's tables have to do.

use std::collections::BTreeMap;

use chamberlain_core::directory::Stand;
use chamberlain_core::id::AccountId;

use crate::{Account, DirectoryPage, Pending};

/// Rows, and where the tables stood when they were read: of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// None where nothing was folded into the tables yet, or they were emptied.
    pub stand: Option<Stand>,
    /// Those of the accounts asked for that have one.
    pub accounts: BTreeMap<AccountId, Account>,
}

/// A page of rows, and where the tables stood when it was read: of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablesPage {
    /// As in [`Rows`].
    pub stand: Option<Stand>,
    /// False where the tables contradict each other: a part of them was lost, and no row is given.
    pub sound: bool,
    /// The rows.
    pub page: DirectoryPage,
}

/// What moves tables on.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Where they stand afterwards.
    pub to: Stand,
    /// Whether every row goes first.
    pub anew: bool,
    /// Rows that are added or replaced.
    pub accounts: &'a [Account],
}

/// Tables of accounts that know how far of the directory's log is in them.
pub trait DirectoryTables: Send + Sync {
    /// The rows of these accounts.
    fn rows<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, Rows>;

    /// A page of rows after `after`, sorted by id.
    fn page<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, TablesPage>;

    /// Takes a step if the tables stand where it is `expected`, all of it or nothing, durable when it returns. Where they stand
    /// then, or stood all the same, is the answer.
    fn fold<'a>(&'a self, expected: Option<Stand>, step: Step<'a>) -> Pending<'a, Option<Stand>>;
}
