//! What a message says of itself in its header, so that a head is known without reading the record.
//!
//! `Chamberlain: 1 record FIRST LAST DIGEST`, where the digest is that of the log at `LAST`; or `1 head LAST LAST DIGEST` on a
//! message without a record, which stands in a log's subject for a last record that was rewritten elsewhere. Stored for ever.

use std::fmt;
use std::str::FromStr;

use chamberlain_core::id::Revision;
use chamberlain_core::log::{Digest, Head};

/// Name of the header.
pub(super) const HEADER: &str = "Chamberlain";

/// The version written today.
const VERSION: &str = "1";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It holds a record.
    Record,
    /// It only says where the log ends.
    Head,
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) kind: Kind,
    /// First revision of the record.
    pub(super) first: Revision,
    /// Where the log ended when this was its last message.
    pub(super) head: Head,
}

impl Stamp {
    /// Of a record that begins at `first` and leads to `head`.
    pub(super) fn of_record(first: Revision, head: Head) -> Self {
        Self { kind: Kind::Record, first, head }
    }

    /// Of a message that only says that the log ends at `head`.
    pub(super) fn of_head(head: Head) -> Self {
        Self { kind: Kind::Head, first: head.revision, head }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Record => "record",
            Kind::Head => "head",
        };
        write!(f, "{VERSION} {kind} {} {} {}", self.first, self.head.revision, self.head.digest)
    }
}

impl FromStr for Stamp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let [VERSION, kind, first, last, digest] = words[..] else { return Err(()) };
        let kind = match kind {
            "record" => Kind::Record,
            "head" => Kind::Head,
            _ => return Err(()),
        };
        let revision = |word: &str| word.parse().map(Revision).map_err(|_| ());
        let (first, revision) = (revision(first)?, revision(last)?);
        if first == Revision::ZERO || first > revision {
            return Err(());
        }
        Ok(Self { kind, first, head: Head { revision, digest: Digest::from_hex(digest).ok_or(())? } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        let head = Head { revision: Revision(9), digest: Digest([0xa7; 32]) };
        for stamp in [Stamp::of_record(Revision(4), head), Stamp::of_head(head)] {
            assert_eq!(stamp.to_string().parse(), Ok(stamp));
        }
        let golden = format!("1 record 4 9 {}", "a7".repeat(32));
        assert_eq!(Stamp::of_record(Revision(4), head).to_string(), golden);
        assert_eq!(Stamp::of_head(head).to_string(), format!("1 head 9 9 {}", "a7".repeat(32)));
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        let digest = "a7".repeat(32);
        for text in [
            "".into(),
            format!("2 record 4 9 {digest}"),
            format!("1 other 4 9 {digest}"),
            format!("1 record 9 4 {digest}"),
            format!("1 record 0 4 {digest}"),
            format!("1 record 4 9 {digest}a7"),
            format!("1 record 4 9 {}", "é".repeat(32)),
            format!("1 record 4 9 {digest} more"),
        ] {
            assert_eq!(text.parse::<Stamp>(), Err(()), "{text}");
        }
    }
}
