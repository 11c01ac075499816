//! What every server has to do: conform, answer many at once, have one winner, and agree with the model.

use chamberlain_core::id::KeyVersion;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{Address, Options, Valkey};
use chamberlain_stores::{KeyVault, Marks, PutSecret, conformance};

use super::opening::{master, open, room, secret, stores};
use super::server::Server;
use super::tape::{self, Tape};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_conforms() {
    let server = Server::strict();
    let valkey = open(&server, Options::default()).await;
    // A directory belongs to one log.
    let shared = stores(&valkey);
    conformance::run(async || shared.clone()).await;
    // By itself as well, without what other cases left behind.
    for case in conformance::cases() {
        let site = case.name.replace('_', "-").chars().take(30).collect::<String>().parse().expect("a site");
        let address = Address::parse(&server.url()).expect("an address");
        let valkey = Valkey::open(&address, &master(1), &site, Options::default()).await.expect("opened");
        case.run(stores(&valkey)).await;
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tape_of_operations_agrees_with_the_model() {
    let server = Server::strict();
    let valkey = open(&server, Options::default()).await;
    Tape::new(stores(&valkey), MemoryStores::new().stores()).play(tape::operations()).await;
}
