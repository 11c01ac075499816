//! Where things lie in the server, and which of them lie together.
//!
//! Every key begins with the prefix and the site, in braces: what is in braces decides the slot of a cluster. Whatever one
//! call touches has one slot: the secrets and the snapshot of a room, all marks of a site, all its accounts.

use chamberlain_core::id::{KeyVersion, LogId, RoomId, SiteId};

/// Longest prefix, bytes.
const PREFIX_MAX: usize = 64;

/// The keys of one site.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    site: SiteId,
}

impl Keys {
    /// The keys of a site under a prefix; `None` when the prefix would leak into what it stands before.
    pub(super) fn new(prefix: &str, site: SiteId) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let fits = (1..=PREFIX_MAX).contains(&prefix.len()) && prefix.bytes().all(plain);
        fits.then(|| Self { prefix: prefix.to_owned(), site })
    }

    /// What says whose vault this is: a string.
    pub(super) fn identity(&self) -> String {
        format!("{}:{{{}}}:vault", self.prefix, self.site)
    }

    /// How often connections were vouched for: a number.
    pub(super) fn opened(&self) -> String {
        format!("{}:{{{}}}:opened", self.prefix, self.site)
    }

    /// The secret of a version, sealed, or its tombstone: a string.
    pub(super) fn secret(&self, room: RoomId, version: KeyVersion) -> String {
        format!("{}:key:{version}", self.tagged(&LogId::Room(room).to_string()))
    }

    /// The snapshot of a log: a hash of `revision` and `fold`.
    pub(super) fn snapshot(&self, log: &LogId) -> String {
        format!("{}:snapshot", self.tagged(&log.to_string()))
    }

    /// All marks: a hash of values, decimal, by name.
    pub(super) fn marks(&self) -> String {
        format!("{}:values", self.tagged("marks"))
    }

    /// All accounts: a hash of home sites and JSON, by id; and of where in the directory's log they stand.
    pub(super) fn accounts(&self) -> String {
        format!("{}:accounts", self.tagged("directory"))
    }

    /// The ids of all accounts: a sorted set, all of one score, so that it is sorted by name.
    pub(super) fn account_ids(&self) -> String {
        format!("{}:ids", self.tagged("directory"))
    }

    /// A key beside this one that every write sets, so that what is waited for includes everything before it.
    pub(super) fn fence(key: &str) -> String {
        let end = key.find('}').map_or(key.len(), |brace| brace + 1);
        format!("{}:fence", &key[..end])
    }

    fn tagged(&self, what: &str) -> String {
        format!("{}:{{{}/{what}}}", self.prefix, self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("chamberlain", "home".parse().expect("a site")).expect("a prefix")
    }

    #[test]
    fn what_one_call_touches_is_in_one_slot() {
        let tag =
            |key: &str| key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag.to_owned());
        let (keys, room) = (keys(), RoomId::from_digest(&[1; 32]));
        let secrets = [0, 1, 9].map(|version| keys.secret(room, KeyVersion(version)));
        for secret in &secrets {
            assert_eq!(tag(secret), tag(&secrets[0]));
            assert_eq!(tag(secret), tag(&Keys::fence(secret)));
        }
        assert_eq!(tag(&keys.accounts()), tag(&keys.account_ids()));
        assert_eq!(tag(&keys.identity()), tag(&keys.opened()));
        assert_ne!(tag(&keys.secret(RoomId::from_digest(&[2; 32]), KeyVersion(0))), tag(&secrets[0]));
    }

    #[test]
    fn a_prefix_cannot_move_a_key_to_another_slot() {
        let site: SiteId = "home".parse().expect("a site");
        for bad in ["", "a{b", "a}b", "a b", "a\nb", &"x".repeat(65)] {
            assert!(Keys::new(bad, site.clone()).is_none(), "{bad:?}");
        }
        assert!(Keys::new("prod.eu/chat-1", site).is_some());
    }
}
