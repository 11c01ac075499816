//! The stores in Valkey, against real servers that these tests start, kill, stop, empty and exchange.
//!
//! `CHAMBERLAIN_SOAK`, set to anything, has the tape of operations be a hundred thousand long. Most of these files are played to
//! the simulated server as well, by `tests/models/valkey.rs`.

mod conforms;
mod directory;
mod faults;
mod opening;
mod refused;
mod rights;
mod secrets;
mod server;
mod tape;
mod tls;

use std::time::Duration;

use chamberlain_stores::conformance;
use chamberlain_stores::valkey::Options;
use opening::{open, stores};
use server::{STRICT, Server, free_port};

/// A cluster refuses calls that touch two slots, and scripts that touch keys they do not name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_conforms() {
    let bus = format!("cluster-port {}", free_port());
    let server = Server::with(&[STRICT, &["cluster-enabled yes", &bus]].concat());
    assert_eq!(server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK");
    while !server.ask(&["SET", "ready", "1"]).starts_with("+OK") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let valkey = open(&server, Options::default()).await;
    let stores = stores(&valkey);
    conformance::run(async || stores.clone()).await;
}
