//! The names of things. Each type is parsed once, at the edge, and is valid ever after.
//!
//! Forms are those of RULES.md, "Identity". All of them are written as strings on the wire and in JSON; the short ones are
//! `Copy`, the long one ([`AccountId`]) is a shared string.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a name was refused. Carries the kind of name, so that an error can point at the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {form}")]
pub struct InvalidId {
    /// What was being parsed, e.g. `account`.
    pub what: &'static str,
    /// The form it must have, in words.
    pub form: &'static str,
}

/// Longest account name, bytes.
pub const ACCOUNT_MAX: usize = 64;
/// Longest site name, bytes.
pub const SITE_MAX: usize = 32;
/// Characters of a room id.
pub const ROOM_LEN: usize = 17;

/// The 62 characters of room and message ids, in the order of their values.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes serde through `Display` and `FromStr`: an id is a string on every wire.
macro_rules! string_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($name::FORM)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// An account: a person or a bot. Unique across sites; its home site never changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Arc<str>);

impl AccountId {
    const FORM: &'static str = "1 to 64 characters of a-z 0-9 . _ @ + -, beginning with a letter or digit";

    /// The account's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let starts = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let goes_on = |b: u8| starts(b) || b"._@+-".contains(&b);
        let bytes = text.as_bytes();
        match bytes.first() {
            Some(&first) if bytes.len() <= ACCOUNT_MAX && starts(first) && bytes.iter().all(|&b| goes_on(b)) => {
                Ok(Self(text.into()))
            }
            _ => Err(InvalidId { what: "account", form: Self::FORM }),
        }
    }
}

string_serde!(AccountId);

/// A site: one installation, with its own stores and master key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(Arc<str>);

impl SiteId {
    const FORM: &'static str = "1 to 32 characters of a-z 0-9 -, beginning with a letter or digit";

    /// The site's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SiteId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let starts = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        match bytes.first() {
            Some(&first)
                if bytes.len() <= SITE_MAX && starts(first) && bytes.iter().all(|&b| starts(b) || b == b'-') =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(InvalidId { what: "site", form: Self::FORM }),
        }
    }
}

string_serde!(SiteId);

/// A room. Derived, never invented: see [`crate::site::SiteKeys`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId([u8; ROOM_LEN]);

impl RoomId {
    const FORM: &'static str = "17 characters of 0-9 A-Z a-z";

    /// Writes the first characters of `digest`, read as one big number, in base 62.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let mut id = [0; ROOM_LEN];
        write_base62(digest, &mut id);
        Self(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for RoomId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match <[u8; ROOM_LEN]>::try_from(text.as_bytes()) {
            Ok(id) if id.iter().all(u8::is_ascii_alphanumeric) => Ok(Self(id)),
            _ => Err(InvalidId { what: "room", form: Self::FORM }),
        }
    }
}

string_serde!(RoomId);

/// A message, named by its sender; unique per sender, not per room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    text: [u8; 20],
    len: u8,
}

impl MessageId {
    const FORM: &'static str = "20 (or 17) characters of 0-9 A-Z a-z";

    /// Writes the first characters of `digest` in base 62; used for system messages, so that a retry names the same one.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let mut text = [0; 20];
        write_base62(digest, &mut text);
        Self { text, len: 20 }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = text.as_bytes();
        if !matches!(bytes.len(), 17 | 20) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(InvalidId { what: "message", form: Self::FORM });
        }
        let mut id = [0; 20];
        id[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { text: id, len: bytes.len() as u8 })
    }
}

string_serde!(MessageId);

/// The idempotency key of a command, together with the account: a UUID of version 4 or 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 36]);

impl RequestId {
    const FORM: &'static str = "a UUID of version 4 or 7, in lower case with hyphens";

    /// A version 4 UUID of these sixteen random bytes.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The id as the number that its digits write: the same for the same id, and cheaper to compare.
    pub(crate) fn bits(&self) -> u128 {
        let digit = |byte: u8| if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 };
        let digits = self.0.iter().filter(|&&byte| byte != b'-');
        digits.fold(0, |bits, &byte| bits << 4 | u128::from(digit(byte)))
    }
}

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let refused = InvalidId { what: "request id", form: Self::FORM };
        let mut id = <[u8; 36]>::try_from(text.as_bytes()).map_err(|_| refused)?;
        id.make_ascii_lowercase();
        let well_formed = id.iter().enumerate().all(|(at, &b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            14 => matches!(b, b'4' | b'7'),
            19 => matches!(b, b'8' | b'9' | b'a' | b'b'),
            _ => b.is_ascii_hexdigit(),
        });
        if well_formed { Ok(Self(id)) } else { Err(refused) }
    }
}

string_serde!(RequestId);

/// A place in one log, from 1, without gaps. `Revision::ZERO` is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first revision of a log.
    pub const ZERO: Self = Self(0);

    /// The revision after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The revision before this one; `ZERO` stays.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The revision `count` after this one.
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// How many revisions lie in `(earlier, self]`; zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A version of a room's key, from 0, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyVersion(pub u32);

impl KeyVersion {
    /// The first version of every room.
    pub const FIRST: Self = Self(0);

    /// The version after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A log: everything durable about one room, or about one account, or which accounts there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LogId {
    /// The log of a room.
    Room(RoomId),
    /// The log of an account: which rooms, from when.
    Account(AccountId),
    /// The log of the site's directory: which accounts there are.
    Directory,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "room/{room}"),
            Self::Account(account) => write!(f, "account/{account}"),
            Self::Directory => f.write_str(DIRECTORY),
        }
    }
}

impl FromStr for LogId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("room", room)) => Ok(Self::Room(room.parse()?)),
            Some(("account", account)) => Ok(Self::Account(account.parse()?)),
            None if text == DIRECTORY => Ok(Self::Directory),
            _ => Err(InvalidId { what: "log", form: "room/ID, account/NAME or directory" }),
        }
    }
}

/// The name of the directory's log.
const DIRECTORY: &str = "directory";

/// An id as owned text.
impl From<&AccountId> for String {
    fn from(id: &AccountId) -> Self {
        id.as_str().into()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Divides the digest by 62 again and again; 256 bits hold 42 such digits, so 20 of them are all but uniform.
fn write_base62(digest: &[u8; 32], out: &mut [u8]) {
    let mut number = *digest;
    for slot in out {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        *slot = BASE62[rest as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn accounts_have_the_form_of_the_rules() {
        for good in ["a", "ada", "0bot", "ada.l+x@corp.example", &"a".repeat(64)] {
            assert!(good.parse::<AccountId>().is_ok(), "{good}");
        }
        for bad in ["", "Ada", "-ada", ".ada", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn request_ids_are_uuids_of_version_4_or_7() {
        let made = RequestId::from_random([0xab; 16]);
        assert_eq!(made.as_str().parse::<RequestId>(), Ok(made));
        assert!("018f4e3c-0000-7000-8000-000000000000".parse::<RequestId>().is_ok());
        assert!("018f4e3c-0000-1000-8000-000000000000".parse::<RequestId>().is_err());
        assert!("018f4e3c000070008000000000000000".parse::<RequestId>().is_err());
        let upper = "018F4E3C-0000-7000-8000-00000000000A".parse::<RequestId>().expect("case does not matter");
        assert_eq!(upper.bits(), 0x018f_4e3c_0000_7000_8000_0000_0000_000a);
        assert_eq!(upper.to_string(), "018f4e3c-0000-7000-8000-00000000000a");
    }

    #[test]
    fn message_ids_take_20_or_17_characters() {
        assert!("abcdefghijklmnopqrst".parse::<MessageId>().is_ok());
        assert!("abcdefghijklmnopq".parse::<MessageId>().is_ok());
        assert!("abcdefghijklmnopqr".parse::<MessageId>().is_err());
        assert!("abcdefghijklmnop-rst".parse::<MessageId>().is_err());
    }

    #[test]
    fn log_names_are_read_back() {
        let room = RoomId::from_digest(&[7; 32]);
        for log in [LogId::Room(room), LogId::Account("ada".parse().expect("valid")), LogId::Directory] {
            assert_eq!(log.to_string().parse::<LogId>(), Ok(log));
        }
        for none in ["", "directory/", "directory/x", "room", "account/"] {
            assert!(none.parse::<LogId>().is_err(), "{none}");
        }
    }
}
