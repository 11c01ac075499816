//! Stores in a server, opened as the tests want them.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::RoomId;
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::site::MasterKey;
use chamberlain_stores::Stores;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};

use super::server::Server;

pub(crate) fn master(seed: u8) -> MasterKey {
    MasterKey::from_bytes([seed; 32])
}

pub(crate) async fn open_as(url: &str, seed: u8, options: Options) -> Result<Valkey, OpenError> {
    let site = "home".parse().expect("a site");
    Valkey::open(&Address::parse(url)?, &master(seed), &site, options).await
}

pub(crate) async fn open(server: &Server, options: Options) -> Valkey {
    open_as(&server.url(), 1, options).await.expect("opened")
}

/// The four of a server, beside logs in memory.
pub(crate) fn stores(valkey: &Valkey) -> Stores {
    valkey.stores(Arc::new(MemoryStores::new()))
}

pub(crate) fn room(seed: u8) -> RoomId {
    RoomId::from_digest(&[seed; 32])
}

pub(crate) fn secret(seed: u64) -> RoomSecret {
    let mut bytes = [1; 32];
    bytes[8..16].copy_from_slice(&seed.to_be_bytes());
    RoomSecret::from_bytes(&bytes).expect("a scalar")
}

/// Options of tests that have servers fail.
pub(crate) fn impatient() -> Options {
    Options {
        deadline: Duration::from_millis(1_000),
        connect_deadline: Duration::from_millis(800),
        reconnect_after: Duration::from_millis(20),
        connections: 2,
        ..Options::default()
    }
}
