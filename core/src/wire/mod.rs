//! What goes over a socket: frames, in JSON or in bincode.
//!
//! The codec is the WebSocket subprotocol that the client asked for. A JSON frame is a text message holding an object with
//! one key, the frame's name: `{"open":{"room":"..."}}`; frames without fields are a string: `"ping"`. A binary frame is
//! [`crate::codec`]'s bincode of the same type. Byte strings are base64 in JSON.

mod frame;

pub use crate::account::AccountChange;
pub use frame::{
    Answer, ClientFrame, Hello, HistoryRange, Item, MemberView, Open, OwnRevision, Query, ResetWhy, RoomView,
    ServerFrame, VoidWhy, Welcome,
};

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;

use crate::codec;

/// How frames are written on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// `chamberlain.v1+json`, in text messages.
    Json,
    /// `chamberlain.v1+bincode`, in binary messages.
    Bincode,
}

/// Why a frame cannot be read; the words name the field where the codec knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedFrame(pub String);

impl Codec {
    /// Both, in the order in which the server prefers them.
    pub const ALL: [Self; 2] = [Self::Bincode, Self::Json];

    /// The WebSocket subprotocol.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "chamberlain.v1+json",
            Self::Bincode => "chamberlain.v1+bincode",
        }
    }

    /// The codec of a subprotocol.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }

    /// Writes a value.
    pub fn encode<T: Serialize>(self, value: &T) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("our frames have no value that JSON cannot hold"),
            Self::Bincode => codec::encode(value),
        }
    }

    /// Reads a client's frame.
    pub fn decode_client(self, bytes: &[u8]) -> Result<ClientFrame, MalformedFrame> {
        self.decode(bytes)
    }

    /// Reads a server's frame; for clients and for tests.
    pub fn decode_server(self, bytes: &[u8]) -> Result<ServerFrame, MalformedFrame> {
        self.decode(bytes)
    }

    fn decode<T: serde::de::DeserializeOwned>(self, bytes: &[u8]) -> Result<T, MalformedFrame> {
        use alloc::string::ToString;
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| MalformedFrame(error.to_string())),
            Self::Bincode => codec::decode(bytes).map_err(|error| MalformedFrame(error.to_string())),
        }
    }
}
