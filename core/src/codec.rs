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
        Err(bincode::error::DecodeError::UnexpectedVariant { found, .. }) => Err(DecodeError::UnknownKind(found)),
        Err(_) => Err(DecodeError::Malformed),
    }
}
