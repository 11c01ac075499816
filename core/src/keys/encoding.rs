//! Byte strings on two kinds of wire: base64 where people read, the bytes themselves where only machines do.
//!
//! Base64 is the standard alphabet with padding (RFC 4648, section 4), and canonical: one string for one value, so no
//! whitespace, no missing padding, no stray bits.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte string with cheap clones: base64 in JSON, bytes in binary formats.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob(pub Bytes);

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// Tells the length only: a blob may hold what no log line should.
impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string, in base64 where the format is text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD.decode(text).map(Blob::from).map_err(not_base64)
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(bytes.into())
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Any)
        } else {
            deserializer.deserialize_byte_buf(Any)
        }
    }
}

/// Writes `bytes` as [`Blob`] does.
pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&STANDARD.encode(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

/// Reads exactly `N` bytes, written as [`Blob`] does.
pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    struct Exactly<const N: usize>;

    impl<const N: usize> Visitor<'_> for Exactly<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes, in base64 where the format is text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<[u8; N], E> {
            // Refused by its length first: a long text is not decoded to be thrown away.
            if text.len() > N.div_ceil(3) * 4 {
                return Err(E::invalid_length(text.len() / 4 * 3, &self));
            }
            let bytes = STANDARD.decode(text).map_err(not_base64)?;
            self.visit_bytes(&bytes)
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
            bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }

    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Exactly)
    } else {
        deserializer.deserialize_bytes(Exactly)
    }
}

fn not_base64<E: Error>(error: base64::DecodeError) -> E {
    E::custom(format_args!("not padded standard base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn json_is_canonical_base64_and_nothing_else() {
        let blob = Blob::from(alloc::vec![0xfb, 0xff, 0x00, 0x01]);
        assert_eq!(serde_json::to_string(&blob).expect("serializes"), r#""+/8AAQ==""#);
        assert_eq!(serde_json::from_str::<Blob>(r#""+/8AAQ==""#).expect("canonical"), blob);
        for bad in [r#""+/8AAQ""#, r#""-_8AAQ==""#, r#""+/8AAR==""#, r#""+/8A AQ==""#, "[1,2]", "7"] {
            assert!(serde_json::from_str::<Blob>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<Blob>(r#""a!==""#).expect_err("not base64").to_string();
        assert!(error.contains("not padded standard base64"), "{error}");
    }

    #[test]
    fn binary_formats_carry_the_bytes_themselves() {
        let blob = Blob::from(alloc::vec![7; 5]);
        let bytes = bincode::serde::encode_to_vec(&blob, bincode::config::standard()).expect("encodes");
        assert_eq!(bytes, [5, 7, 7, 7, 7, 7]);
        let (back, used) =
            bincode::serde::decode_from_slice::<Blob, _>(&bytes, bincode::config::standard()).expect("decodes");
        assert_eq!((back, used), (blob, 6));
    }

    #[test]
    fn debug_tells_the_length_only() {
        assert_eq!(format!("{:?}", Blob::from(alloc::vec![1, 2, 3])), "Blob(3 bytes)");
    }
}
