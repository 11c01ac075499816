//! Names for benchmarks: the same on every run, as spread out as real ones.

use chamberlain_core::id::{AccountId, MessageId, RequestId, RoomId, SiteId};
use chamberlain_core::site::{MasterKey, SiteKeys};
use sha2::{Digest, Sha256};

/// Who begins rooms, and owns them.
pub const OWNER: &str = "owner";

/// The site of all benchmarks.
pub fn site() -> SiteId {
    "bench".parse().expect("the form of a site")
}

/// A master key that protects nothing.
pub fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

/// The keys of [`site`].
pub fn keys() -> SiteKeys {
    SiteKeys::new(site(), &master())
}

/// The account that owns rooms.
pub fn owner() -> AccountId {
    OWNER.parse().expect("the form of an account")
}

/// The nth member.
pub fn member(nth: usize) -> AccountId {
    format!("member.{nth:05}").parse().expect("the form of an account")
}

/// The nth room.
pub fn room(nth: u64) -> RoomId {
    RoomId::from_digest(&spread("room", nth))
}

/// The nth message.
pub fn message(nth: u64) -> MessageId {
    MessageId::from_digest(&spread("message", nth))
}

/// The nth request.
pub fn request(nth: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&spread("request", nth)[..16]);
    RequestId::from_random(bytes)
}

/// A number that looks random, from a number that does not.
pub fn scattered(nth: u64) -> u64 {
    let digest = spread("number", nth);
    u64::from_be_bytes(*digest.first_chunk().expect("a digest has more than eight bytes"))
}

fn spread(what: &str, nth: u64) -> [u8; 32] {
    Sha256::new().chain_update(what).chain_update(nth.to_be_bytes()).finalize().into()
}
