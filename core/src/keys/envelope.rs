//! A sealed body as it travels and as it is stored.
//!
//! The envelope tells how to open it (version, encapsulation, counter) and nothing of what is inside. Its stored form is
//! exact: every byte string is the form of at most one envelope, and every envelope has one.

use core::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::encoding::{self, Blob};
use super::public::PUBLIC_LEN;
use super::suite::TAG_LEN;
use crate::id::KeyVersion;

/// Bytes in front of the ciphertext in the stored form: version, encapsulation, counter.
const HEADER_LEN: usize = 4 + PUBLIC_LEN + 8;
/// Bytes of the shortest envelope in its stored form: an empty body and its tag.
pub const ENVELOPE_MIN: usize = HEADER_LEN + TAG_LEN;

/// Why bytes are no envelope. Refused: they will never be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an envelope has at least {ENVELOPE_MIN} bytes, of which 16 are the tag; this one lacks {missing}")]
pub struct MalformedEnvelope {
    /// How many bytes short of the shortest envelope it is.
    pub missing: usize,
}

/// What a sealer publishes for the holders of the private half to derive its message key from: an ephemeral public key.
/// Any 65 bytes until it is opened, which refuses what is not on the curve. Base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Encapsulation(pub [u8; PUBLIC_LEN]);

/// The first bytes of x: enough to tell two sealers apart in a log.
impl fmt::Debug for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encapsulation(")?;
        self.0[1..5].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

impl Serialize for Encapsulation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encoding::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Encapsulation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        encoding::deserialize(deserializer).map(Self)
    }
}

/// A sealed body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Envelope {
    /// The key version it is sealed under.
    pub version: KeyVersion,
    /// The sealer's encapsulation to that version's public half.
    pub encapsulation: Encapsulation,
    /// The sealer's count of messages before this one; less than [`super::COUNTER_END`] in what opens.
    pub counter: u64,
    /// The encrypted body and its 16 bytes of tag.
    pub ciphertext: Blob,
}

impl Envelope {
    /// The stored form: version, encapsulation, counter, ciphertext, end to end.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = alloc::vec::Vec::with_capacity(HEADER_LEN + self.ciphertext.len());
        bytes.extend_from_slice(&self.version.0.to_be_bytes());
        bytes.extend_from_slice(&self.encapsulation.0);
        bytes.extend_from_slice(&self.counter.to_be_bytes());
        bytes.extend_from_slice(&self.ciphertext);
        bytes.into()
    }

    /// Reads the stored form; every byte is accounted for.
    ///
    /// # Errors
    /// [`MalformedEnvelope`] when there are fewer bytes than [`ENVELOPE_MIN`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedEnvelope> {
        let malformed = MalformedEnvelope { missing: ENVELOPE_MIN.saturating_sub(bytes.len()) };
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or(malformed)?;
        let (encapsulation, rest) = rest.split_first_chunk::<PUBLIC_LEN>().ok_or(malformed)?;
        let (counter, ciphertext) = rest.split_first_chunk::<8>().ok_or(malformed)?;
        Unchecked {
            version: KeyVersion(u32::from_be_bytes(*version)),
            encapsulation: Encapsulation(*encapsulation),
            counter: u64::from_be_bytes(*counter),
            ciphertext: Blob(Bytes::copy_from_slice(ciphertext)),
        }
        .try_into()
    }
}

/// An envelope whose ciphertext may be too short to hold a tag.
#[derive(Deserialize)]
#[serde(rename = "Envelope")]
struct Unchecked {
    version: KeyVersion,
    encapsulation: Encapsulation,
    counter: u64,
    ciphertext: Blob,
}

impl TryFrom<Unchecked> for Envelope {
    type Error = MalformedEnvelope;

    fn try_from(read: Unchecked) -> Result<Self, MalformedEnvelope> {
        let Unchecked { version, encapsulation, counter, ciphertext } = read;
        match TAG_LEN.saturating_sub(ciphertext.len()) {
            0 => Ok(Self { version, encapsulation, counter, ciphertext }),
            missing => Err(MalformedEnvelope { missing }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn envelope() -> Envelope {
        Envelope {
            version: KeyVersion(0x0102_0304),
            encapsulation: Encapsulation([5; 65]),
            counter: 0x0607_0809_0a0b_0c0d,
            ciphertext: Blob::from(alloc::vec![0xee; 16]),
        }
    }

    #[test]
    fn the_stored_form_is_fields_end_to_end() {
        let bytes = envelope().to_bytes();
        assert_eq!(bytes.len(), ENVELOPE_MIN);
        assert_eq!(bytes[..4], [1, 2, 3, 4]);
        assert_eq!(bytes[4..69], [5; 65]);
        assert_eq!(bytes[69..77], [6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(bytes[77..], [0xee; 16]);
        assert_eq!(Envelope::from_bytes(&bytes), Ok(envelope()));
        for len in 0..ENVELOPE_MIN {
            assert_eq!(Envelope::from_bytes(&bytes[..len]), Err(MalformedEnvelope { missing: ENVELOPE_MIN - len }));
        }
    }

    #[test]
    fn json_has_the_four_fields() {
        let json = serde_json::to_string(&envelope()).expect("serializes");
        let encapsulation = "BQUF".repeat(21) + "BQU=";
        let expected = format!(
            r#"{{"version":16909060,"encapsulation":"{encapsulation}","counter":434324723980766221,"ciphertext":"7u7u7u7u7u7u7u7u7u7u7g=="}}"#,
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Envelope>(&json).expect("reads back"), envelope());

        let without_a_tag = json.replace("7u7u7u7u7u7u7u7u7u7u7g==", "7u7u7u7u7u7u7u7u7u7u");
        let error = serde_json::from_str::<Envelope>(&without_a_tag).expect_err("15 bytes").to_string();
        assert!(error.contains("lacks 1"), "{error}");
        let short = json.replace(&encapsulation, "BQUF");
        let error = serde_json::from_str::<Envelope>(&short).expect_err("3 bytes").to_string();
        assert!(error.contains("65 bytes"), "{error}");
    }

    #[test]
    fn bincode_carries_bytes() {
        let bytes = bincode::serde::encode_to_vec(envelope(), bincode::config::standard()).expect("encodes");
        assert_eq!(bytes.len(), 5 + 66 + 9 + 17);
        let (back, used) =
            bincode::serde::decode_from_slice::<Envelope, _>(&bytes, bincode::config::standard()).expect("decodes");
        assert_eq!((back, used), (envelope(), bytes.len()));
    }
}
