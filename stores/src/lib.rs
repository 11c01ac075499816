//! Where things are kept: the five store traits, and what implements them.
//!
//! The traits are what `net` knows; which store stands behind them is decided by the root package alone. Every
//! implementation passes the [`conformance`] suite. An answer of a store is true: what [`LogStore::append`] acknowledged
//! survives the loss of everything that was not synced.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod directory;
pub mod embedded;
#[cfg(any(test, feature = "test-support"))]
pub mod faulty;
#[cfg(feature = "jetstream")]
pub mod jetstream;
pub mod master_key;
pub mod memory;
mod rules;
mod sealed;
mod traits;
#[cfg(feature = "valkey")]
pub mod valkey;

pub use traits::{
    Account, Appended, Conflict, Directory, DirectoryPage, Group, KeyVault, LogStore, Marks, Moved, Pending, PutSecret,
    Snapshot, SnapshotStore, StoreError, Stores,
};
