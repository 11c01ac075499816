//! Scripted runs, each with a name, for rows of RACES.md that want a certain order of things.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::house::House;
use crate::plan::Plan;

/// A scripted run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// What it is like.
    pub plan: fn() -> Plan,
    /// What happens. Whatever is wrong is written into the story's ending.
    pub run: fn(Arc<House>) -> BoxFuture<'static, ()>,
}

/// All of them.
pub const ALL: &[Scenario] = &[];
