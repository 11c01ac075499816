//! The simulated Valkey (`sim/system/valkey`) over real sockets: whatever the stores in Valkey are asked of a real server they
//! are asked of it, by the same tests; and it is asked what a real server is asked, and answers with the same bytes.

#[path = "../../../stores/tests/valkey/conforms.rs"]
mod conforms;
#[path = "../../../stores/tests/valkey/directory.rs"]
mod directory;
#[path = "../../../stores/tests/valkey/faults.rs"]
mod faults;
#[path = "../../../stores/tests/valkey/opening.rs"]
mod opening;
#[path = "../../../stores/tests/valkey/refused.rs"]
mod refused;
#[path = "../../../stores/tests/valkey/rights.rs"]
mod rights;
#[path = "../../../stores/tests/valkey/tape.rs"]
mod tape;

mod disk;
#[expect(dead_code, reason = "only some of what other tests want of it")]
#[path = "../../../stores/tests/valkey/server.rs"]
mod real;
mod server;
mod words;

use chamberlain_core::site::MasterKey;
use chamberlain_stores::Stores;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{Address, Options, Valkey, scripts};

/// The tape, played to the real server and to the simulated one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tape_of_operations_is_answered_as_by_the_real_server() {
    let (real, simulated) = (real::Server::strict(), server::Server::strict());
    let stores = async |url: &str| -> Stores {
        let address = Address::parse(url).expect("an address");
        let site = "home".parse().expect("a site");
        let master = MasterKey::from_bytes([1; 32]);
        let valkey = Valkey::open(&address, &master, &site, Options::default()).await.expect("opened");
        valkey.stores(std::sync::Arc::new(MemoryStores::new()))
    };
    let (real_stores, simulated_stores) = (stores(&real.url()).await, stores(&simulated.url()).await);
    tape::Tape::new(real_stores, simulated_stores).play(tape::operations()).await;
}

/// A script that was changed has to be read again, and `sim/system/valkey/src/scripts.rs` to follow it.
#[test]
fn every_script_of_the_stores_is_known_to_the_simulated_server() {
    let scripts = scripts();
    assert!(scripts.len() >= 3);
    for (what, text) in scripts {
        let digest = chamberlain_sim_valkey::digest(text.as_bytes());
        let is_known = chamberlain_sim_valkey::is_known(text.as_bytes());
        assert!(is_known, "the script of {what} is now {digest}: teach the simulated server what it does");
    }
}
