//! A set of kinds of events, as `open` and `watch` name them.

use crate::room::{EVENT_KINDS, Event};

/// Kinds of events. One bit each, in the order of [`EVENT_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KindSet(u32);

/// A name that is no kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("kinds[{at}] is no kind of event")]
pub struct UnknownKind {
    /// Which of the names, from zero.
    pub at: usize,
}

impl KindSet {
    /// Every kind.
    pub const ALL: Self = Self((1 << EVENT_KINDS.len()) - 1);

    /// The kinds of these names; `*` is every kind.
    ///
    /// # Errors
    /// [`UnknownKind`] for a name that is none: Refused.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownKind> {
        names.iter().enumerate().try_fold(Self::default(), |set, (at, name)| match name.as_ref() {
            "*" => Ok(Self::ALL),
            name => bit(name).map(|bit| Self(set.0 | bit)).ok_or(UnknownKind { at }),
        })
    }

    /// Whether the event is of one of the kinds.
    pub fn contains(self, event: &Event) -> bool {
        self == Self::ALL || bit(event.kind()).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names of the kinds, in the order of [`EVENT_KINDS`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        EVENT_KINDS.into_iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(name: &str) -> Option<u32> {
    EVENT_KINDS.iter().position(|kind| *kind == name).map(|at| 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn names_are_read_and_an_unknown_one_is_pointed_at() {
        let set = KindSet::parse(&["message", "archived"]).expect("known");
        assert_eq!(set.names().collect::<Vec<_>>(), ["archived", "message"]);
        assert!(set.contains(&Event::Archived) && !set.contains(&Event::Unchanged));
        assert_eq!(KindSet::parse(&["message", "massage"]), Err(UnknownKind { at: 1 }));
        assert_eq!(KindSet::parse(&["*", "message"]), Ok(KindSet::ALL));
        assert!(KindSet::parse::<&str>(&[]).expect("none").is_empty());
    }
}
