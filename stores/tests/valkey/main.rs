//! The stores in Valkey, against real servers that these tests start, kill, stop, empty and exchange.
//!
//! `CHAMBERLAIN_SOAK`, set to anything, has the tape of operations be a hundred thousand long.

mod faults;
mod refused;
mod rights;
mod secrets;
mod server;
mod tape;

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{KeyVersion, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::site::MasterKey;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};
use chamberlain_stores::{KeyVault, Marks, PutSecret, Stores, conformance};
use server::{STRICT, Server, free_port};

fn master(seed: u8) -> MasterKey {
    MasterKey::from_bytes([seed; 32])
}

async fn open_as(url: &str, seed: u8, options: Options) -> Result<Valkey, OpenError> {
    let site = "home".parse().expect("a site");
    Valkey::open(&Address::parse(url)?, &master(seed), &site, options).await
}

async fn open(server: &Server, options: Options) -> Valkey {
    open_as(&server.url(), 1, options).await.expect("opened")
}

/// The four of a server, beside logs in memory.
fn stores(valkey: &Valkey) -> Stores {
    valkey.stores(Arc::new(MemoryStores::new()))
}

fn room(seed: u8) -> RoomId {
    RoomId::from_digest(&[seed; 32])
}

fn secret(seed: u64) -> RoomSecret {
    let mut bytes = [1; 32];
    bytes[8..16].copy_from_slice(&seed.to_be_bytes());
    RoomSecret::from_bytes(&bytes).expect("a scalar")
}

/// Options of tests that have servers fail.
fn impatient() -> Options {
    Options {
        deadline: Duration::from_millis(1_000),
        connect_deadline: Duration::from_millis(800),
        reconnect_after: Duration::from_millis(20),
        connections: 2,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_conforms() {
    let server = Server::strict();
    let valkey = open(&server, Options::default()).await;
    conformance::run(async || stores(&valkey)).await;
    // By itself as well, without what other cases left behind.
    for case in conformance::cases() {
        let site = case.name.replace('_', "-").chars().take(30).collect::<String>().parse().expect("a site");
        let address = Address::parse(&server.url()).expect("an address");
        let valkey = Valkey::open(&address, &master(1), &site, Options::default()).await.expect("opened");
        case.run(stores(&valkey)).await;
    }
}

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
    conformance::run(async || stores(&valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_that_put_at_once_both_learn_the_same_winner() {
    const VERSIONS: u32 = 200;
    let server = Server::strict();
    let nodes = [open(&server, Options::default()).await, open(&server, Options::default()).await];
    for first in (0..VERSIONS).step_by(20) {
        let mut puts = Vec::new();
        for version in first..first + 20 {
            for (nth, node) in nodes.iter().enumerate() {
                let (node, given) = (node.clone(), secret(u64::from(version) * 2 + nth as u64));
                puts.push(tokio::spawn(async move {
                    node.put_if_absent(room(1), KeyVersion(version), &given).await.expect("put")
                }));
            }
        }
        let mut won = Vec::new();
        for put in puts {
            won.push(put.await.expect("put"));
        }
        for (nth, pair) in won.chunks(2).enumerate() {
            assert_eq!(pair[0], pair[1]);
            let version = KeyVersion(first + nth as u32);
            let PutSecret::Winner(winner) = &pair[0] else { panic!("nobody destroyed {version}") };
            for node in &nodes {
                assert_eq!(KeyVault::get(node, room(1), version).await.expect("got").as_ref(), Some(winner));
            }
        }
    }
}

/// Says, with `--nocapture`, what calls cost where every write is synced. Figures for people, and no bar: machines are busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_are_all_answered() {
    const CALLS: u32 = 200;
    let server = Server::strict();
    let valkey = open(&server, Options::default()).await;
    let mut alone = Vec::new();
    for version in 0..CALLS {
        let began = std::time::Instant::now();
        valkey.put_if_absent(room(2), KeyVersion(version), &secret(1)).await.expect("put");
        alone.push(began.elapsed());
    }
    let mut raised = Vec::new();
    for value in 0..CALLS {
        let began = std::time::Instant::now();
        valkey.raise(&[("mark".to_owned(), value.into())]).await.expect("raised");
        raised.push(began.elapsed());
    }
    let began = std::time::Instant::now();
    let together: Vec<_> = (0..CALLS * 5)
        .map(|version| {
            let valkey = valkey.clone();
            tokio::spawn(
                async move { valkey.put_if_absent(room(3), KeyVersion(version), &secret(1)).await.expect("put") },
            )
        })
        .collect();
    for put in together {
        put.await.expect("put");
    }
    let each = began.elapsed() / (CALLS * 5);
    for (what, times) in [("put_if_absent", &mut alone), ("raise", &mut raised)] {
        times.sort();
        eprintln!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
    eprintln!("{} puts at once: {each:?} each", CALLS * 5);
    let versions: Vec<KeyVersion> = (0..CALLS * 5).map(KeyVersion).collect();
    let stored = valkey.get_many(room(3), &versions).await.expect("got");
    assert!(stored.iter().all(|stored| *stored == Some(secret(1))));
}
