//! No secret is seen in the server: not in what it is asked, not in its files.

use chamberlain_core::id::KeyVersion;
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::site::MasterKey;
use chamberlain_stores::KeyVault;
use chamberlain_stores::valkey::{Address, Options, Valkey};

use super::opening::room;
use super::server::Server;

/// Begins everything that must not be seen, in letters: what shows commands would show it as it is.
const MARKER: &[u8] = b"nobody may";

fn told(nth: u8) -> RoomSecret {
    let mut bytes = *b"nobody may see these letters 000";
    bytes[31] = nth;
    RoomSecret::from_bytes(&bytes).expect("a scalar")
}

fn holds(heard: &[u8], what: &[u8]) -> bool {
    heard.windows(what.len()).any(|window| window == what)
}

#[tokio::test]
async fn no_secret_is_in_what_the_server_is_asked_or_keeps() {
    let server = Server::strict();
    let heard = server.monitor();
    let master = MasterKey::from_bytes(*b"nobody may see this master key..");
    let address = Address::parse(&server.url()).expect("an address");
    let site = "home".parse().expect("a site");
    let valkey = Valkey::open(&address, &master, &site, Options::default()).await.expect("opened");
    for nth in 0..20 {
        let version = KeyVersion(nth.into());
        valkey.put_if_absent(room(1), version, &told(nth)).await.expect("put");
        valkey.put_if_absent(room(1), version, &told(nth + 1)).await.expect("put");
        assert_eq!(KeyVault::get(&valkey, room(1), version).await, Ok(Some(told(nth))));
    }
    valkey.destroy(room(1), KeyVersion(3)).await.expect("destroyed");
    let (heard, files) = (heard(), server.files());
    for (what, bytes) in [("asked", &heard), ("kept", &files)] {
        assert!(holds(bytes, format!("{}:", room(1)).as_bytes()) || holds(bytes, b":key:19"), "{what}: nothing of it");
        assert!(!holds(bytes, MARKER), "{what}: a secret");
    }
    assert!(!format!("{valkey:?}").contains("nobody"));
}
