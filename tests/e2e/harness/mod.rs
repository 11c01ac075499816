//! A server under test, and clients that believe nothing.

mod client;
pub(crate) mod load;
mod patient;
mod room_log;
mod server;
mod token;

pub(crate) use client::{Client, Refusal};
pub(crate) use room_log::sealed_text;
pub(crate) use server::{Server, command};
pub(crate) use token::token;

use std::path::{Path, PathBuf};

use chamberlain_core::id::{AccountId, MessageId, RequestId};
use rand::TryRng;
use rand::rngs::SysRng;

pub(crate) fn account(name: &str) -> AccountId {
    name.parse().unwrap()
}

pub(crate) fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).unwrap();
    bytes
}

pub(crate) fn request_id() -> RequestId {
    RequestId::from_random(fresh())
}

pub(crate) fn message_id() -> MessageId {
    MessageId::from_digest(&fresh())
}

/// Every file in a folder and below, or the file itself.
pub(crate) fn files(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    std::fs::read_dir(path).unwrap().flat_map(|entry| files(&entry.unwrap().path())).collect()
}
