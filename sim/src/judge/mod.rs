//! Oracles: one per invariant of DESIGN.md, each written from the document and not from the code. An oracle reads a
//! [`Story`] and objects, or not.

use crate::story::Story;

/// What an oracle objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The oracle's short name: `S1`, `K2`. What a shrunk tape keeps.
    pub oracle: &'static str,
    /// The invariant in words.
    pub invariant: &'static str,
    /// What breaks it, in words, with the revisions, accounts and times it is about.
    pub what: String,
    /// Index into [`Story::seen`] of the moment at which it is broken, where there is one.
    pub at: Option<usize>,
}

/// What every oracle objects to.
pub fn judge(_story: &Story) -> Vec<Objection> {
    Vec::new()
}
