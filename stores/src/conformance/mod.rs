//! What every store must do, as named cases that run against any implementation.
//!
//! A case is given fresh stores and panics when they do not behave; its name is the behaviour. Cases use names of their own,
//! so that they may also share one set of stores. Bounded waits aside, no clock is asked.

mod directory;
mod logs;
mod marks;
mod records;
mod snapshots;
mod vault;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use records::Writer;

use crate::Stores;

/// A behaviour, and how to see whether stores have it.
#[derive(Clone, Copy)]
pub struct Case {
    /// The behaviour.
    pub name: &'static str,
    run: fn(Stores) -> Running,
}

/// A case under way.
type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Case {
    /// Sees whether these stores have the behaviour; panics when they do not.
    pub async fn run(&self, stores: Stores) {
        (self.run)(stores).await;
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Lists async functions over `Stores` as cases under their own names.
macro_rules! list {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CASES: &[super::Case] =
            &[$(super::Case { name: stringify!($name), run: |stores| Box::pin($name(stores)) }),+];
    };
}
use list;

/// Every case.
pub fn cases() -> impl Iterator<Item = Case> {
    [logs::CASES, vault::CASES, snapshots::CASES, marks::CASES, directory::CASES].into_iter().flatten().copied()
}

/// Runs every case, each against stores that `make` gives. Names the case before it panics.
pub async fn run<F: Future<Output = Stores>>(make: impl Fn() -> F) {
    for case in cases() {
        let stores = make().await;
        let _named = Named(case.name);
        case.run(stores).await;
    }
}

/// Says, while a panic passes through, which case it was.
struct Named(&'static str);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("conformance: {} failed", self.0);
        }
    }
}
