//! The one place that knows how stored bytes and binary frames are encoded.
//!
//! bincode 2.0.1 (little-endian, variable-length integers), through serde. The project ended upstream; were it replaced,
//! golden files say what must still be read, and nothing outside this module would change.

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most that one value may make the decoder allocate, in bytes. Above any record and any frame.
const DECODE_LIMIT: usize = 16 * 1024 * 1024;

/// Why bytes were not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A kind (enum variant) that this version does not know: written by a newer one.
    #[error("unknown kind {0}")]
    UnknownKind(u32),
    /// Bytes were left over.
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
    /// Anything else: too short, not UTF-8, a name of the wrong form.
    #[error("malformed")]
    Malformed,
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// Encodes a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, config()).expect("our types have no value that cannot be encoded")
}

/// Decodes a value that fills `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => Err(DecodeError::TrailingBytes(bytes.len() - read)),
        Err(bincode::error::DecodeError::OtherString(said)) => {
            Err(unknown_kind(&said).map_or(DecodeError::Malformed, DecodeError::UnknownKind))
        }
        Err(_) => Err(DecodeError::Malformed),
    }
}

/// serde's derived code says in words alone that it met a variant it does not know: "invalid value: integer `77`, expected
/// variant index 0 <= i < 11". A test sees to it that it still says so.
fn unknown_kind(said: &str) -> Option<u32> {
    let (found, expected) = said.strip_prefix("invalid value: integer `")?.split_once('`')?;
    if expected.starts_with(", expected variant index") { found.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Newer {
        One,
        Two(u32),
        Three { of: u32 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Older {
        One,
        Two(u32),
    }

    #[test]
    fn a_kind_of_a_newer_version_is_told_from_garbage() {
        assert_eq!(decode::<Older>(&encode(&Newer::Two(7))), Ok(Older::Two(7)));
        assert_eq!(decode::<Older>(&encode(&Newer::One)), Ok(Older::One));
        assert_eq!(decode::<Older>(&encode(&Newer::Three { of: 7 })), Err(DecodeError::UnknownKind(2)));
        assert_eq!(decode::<(u8, Older)>(&[7, 251, 1, 2, 0]), Err(DecodeError::UnknownKind(513)));
        assert_eq!(decode::<Older>(&[]), Err(DecodeError::Malformed));
        assert_eq!(decode::<Older>(&[0, 0]), Err(DecodeError::TrailingBytes(1)));
        assert_eq!(decode::<crate::id::AccountId>(&[1, b'A']), Err(DecodeError::Malformed));
    }
}
