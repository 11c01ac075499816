//! How far tables were folded, and what follows from it.

use core::fmt;
use core::str::FromStr;

use crate::id::Revision;
use crate::log::{Digest, Head};
use crate::time::Timestamp;

/// Where in the log tables stand. As text: `whole` or `part`, revision, time, digest. Stored for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// The last revision folded, and the digest there.
    pub head: Head,
    /// When that was.
    pub time: Timestamp,
    /// False while they are made anew, until they were once at the log's head: some that should be there are not yet.
    pub whole: bool,
}

/// What tables need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Nothing: they are at the log's head.
    There,
    /// What follows where they stand.
    On,
    /// To be made anew: they are empty, or of another log.
    Anew,
    /// An operator: they know of more than there is. The log lost what it had acknowledged.
    Lost,
}

impl Stand {
    /// Of tables that are made anew.
    pub const BEGINNING: Self = Self { head: Head::EMPTY, time: Timestamp(0), whole: false };

    /// Whether whoever knows that the log was at `head` may read these tables.
    pub fn covers(&self, head: Head) -> bool {
        self.whole && (self.head.revision > head.revision || self.head == head)
    }

    /// What tables that stand here need, where the log ends at `head`, read after the stand was.
    pub fn course(stand: Option<Self>, head: Head) -> Course {
        let Some(stand) = stand else { return Course::Anew };
        match stand.head.revision.cmp(&head.revision) {
            core::cmp::Ordering::Greater => Course::Lost,
            core::cmp::Ordering::Equal if stand.head != head => Course::Anew,
            core::cmp::Ordering::Equal if stand.whole => Course::There,
            core::cmp::Ordering::Equal | core::cmp::Ordering::Less => Course::On,
        }
    }
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.whole { "whole" } else { "part" };
        write!(f, "{how} {} {} {}", self.head.revision, self.time.0, self.head.digest)
    }
}

/// The text is of no stand, or of one that a newer version wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("where the tables stand cannot be read")]
pub struct MalformedStand;

impl FromStr for Stand {
    type Err = MalformedStand;

    fn from_str(text: &str) -> Result<Self, MalformedStand> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(MalformedStand);
        let whole = match word()? {
            "whole" => true,
            "part" => false,
            _ => return Err(MalformedStand),
        };
        let mut number = || word()?.parse::<u64>().map_err(|_| MalformedStand);
        let (revision, time) = (Revision(number()?), Timestamp(number()?));
        let digest = Digest::from_hex(word()?).ok_or(MalformedStand)?;
        match words.next() {
            None => Ok(Self { head: Head { revision, digest }, time, whole }),
            Some(_) => Err(MalformedStand),
        }
    }
}
