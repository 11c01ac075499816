//! The stores in Valkey, with the stock client beneath them, over a simulated network: latency, a cut that heals, a server that
//! stands still, is killed, loses power, or forgets.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod story;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chamberlain_core::id::{KeyVersion, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::site::MasterKey;
use chamberlain_sim_valkey::{Loss, Server, Settings};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};
use chamberlain_stores::{KeyVault, Marks, PutSecret, StoreError, conformance};
use madsim::runtime::{Handle, NodeHandle};
use story::{Trace, twins};
use tokio::sim::{Link, Machines};
use tokio::time::sleep;

const PORT: u16 = 6379;
/// Runs something in a simulation with a server; its trace.
fn simulate<F: Future<Output = ()> + 'static>(seed: u64, run: impl FnOnce(World) -> F + Send + 'static) -> Vec<String> {
    story::simulate(seed, |trace| async move {
        let link = Link { latency: 800, jitter: 600, loss: 5, ..Link::default() };
        tokio::sim::begin(Machines { partial: 20, ..Machines::default() }, link);
        run(World::new(trace)).await;
    })
}

/// A machine with a server on it.
struct World {
    trace: Trace,
    server: Server,
    node: NodeHandle,
    host: u64,
}

fn machine() -> (NodeHandle, u64) {
    let node = Handle::current().create_node().build();
    let host = node.id().to_string().parse().unwrap();
    (node, host)
}

impl World {
    fn new(trace: Trace) -> Self {
        let settings = Settings {
            sync_takes: Duration::from_millis(2),
            loading: Duration::from_millis(300),
            ..Settings::strict()
        };
        let (node, host) = machine();
        Self { trace, server: Server::new(settings), node, host }
    }

    async fn start(&self) {
        let server = self.server.clone();
        let started = self.node.spawn(async move { server.start(SocketAddr::from(([0, 0, 0, 0], PORT))).await });
        started.await.unwrap().unwrap();
        self.trace.note(format_args!("the server runs as {}", self.server.run_id().unwrap()));
    }

    fn address(&self) -> Address {
        Address::parse(&format!("valkey://{}:{PORT}", tokio::sim::address(self.host))).unwrap()
    }

    /// Opens the stores on a machine, and tries until it can.
    async fn open(&self, node: &NodeHandle) -> Valkey {
        let address = self.address();
        node.spawn(async move {
            loop {
                match open(&address).await {
                    Ok(valkey) => return valkey,
                    Err(OpenError::Unreachable { .. }) => sleep(Duration::from_millis(50)).await,
                    Err(why) => panic!("{why}"),
                }
            }
        })
        .await
        .unwrap()
    }

    fn cut(&self, host: u64, is: bool) {
        for (from, to) in [(host, self.host), (self.host, host)] {
            tokio::sim::set_link(from, to, Link { cut: is, ..tokio::sim::link(from, to) });
        }
        self.trace.note(format_args!("host {host} is cut off: {is}"));
    }
}

async fn open(address: &Address) -> Result<Valkey, OpenError> {
    let options = Options { connections: 2, ..Options::default() };
    Valkey::open(address, &MasterKey::from_bytes([1; 32]), &"home".parse().unwrap(), options).await
}

fn room() -> RoomId {
    RoomId::from_digest(&[1; 32])
}

fn secret(version: u32, node: usize) -> RoomSecret {
    let mut bytes = [1; 32];
    bytes[8..12].copy_from_slice(&version.to_be_bytes());
    bytes[12] = node as u8;
    RoomSecret::from_bytes(&bytes).unwrap()
}

/// What two nodes were told: who won each version, and how far each one's mark was raised.
#[derive(Default)]
struct Told {
    winners: BTreeMap<u32, RoomSecret>,
    marks: [u64; 2],
    transient: u32,
}

/// A node puts the versions in turn, as the other one does, and raises its mark after each.
async fn work(valkey: Valkey, nth: usize, trace: Trace, told: Arc<Mutex<Told>>) {
    for version in 0.. {
        loop {
            match valkey.put_if_absent(room(), KeyVersion(version), &secret(version, nth)).await {
                Ok(PutSecret::Winner(won)) => {
                    let is_ours = won == secret(version, nth);
                    trace.note(format_args!("node {nth} put {version}, and won: {is_ours}"));
                    let mut told = told.lock().unwrap();
                    assert_eq!(told.winners.entry(version).or_insert_with(|| won.clone()), &won, "version {version}");
                    break;
                }
                outcome => failed(nth, &outcome, &trace, &told),
            }
            sleep(Duration::from_millis(20)).await;
        }
        let value = u64::from(version) + 1;
        match valkey.raise(&[(format!("node {nth}"), value), ("all".to_owned(), value)]).await {
            Ok(()) => told.lock().unwrap().marks[nth] = value,
            outcome => failed(nth, &outcome, &trace, &told),
        }
        sleep(Duration::from_millis(30)).await;
    }
}

fn failed<T: std::fmt::Debug>(nth: usize, outcome: &Result<T, StoreError>, trace: &Trace, told: &Mutex<Told>) {
    trace.note(format_args!("node {nth}: {outcome:?}"));
    assert!(matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Unknown(_))), "{outcome:?}");
    told.lock().unwrap().transient += 1;
}

/// Half a minute of work in which everything happens once that may happen to a server and lose nothing.
async fn troubles(world: World) {
    world.start().await;
    let told = Arc::new(Mutex::new(Told::default()));
    let nodes = [machine(), machine()];
    let mut valkeys = Vec::new();
    for (nth, (node, _)) in nodes.iter().enumerate() {
        let valkey = world.open(node).await;
        node.spawn(work(valkey.clone(), nth, world.trace.clone(), told.clone()));
        valkeys.push(valkey);
    }
    let count = || told.lock().unwrap().winners.len();
    let more_than = |before: usize, what: &str| assert!(count() > before + 10, "{what}: {before}, then {}", count());
    sleep(Duration::from_secs(2)).await;
    more_than(0, "at first");

    world.cut(nodes[0].1, true);
    sleep(Duration::from_secs(3)).await;
    world.cut(nodes[0].1, false);
    sleep(Duration::from_secs(6)).await;

    world.server.pause();
    world.trace.note("the server stands still");
    sleep(Duration::from_millis(100)).await;
    let before = count();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(count(), before, "a server that stands still answers nothing");
    world.server.resume();
    sleep(Duration::from_secs(3)).await;
    more_than(before, "after it stood still");

    for loss in [None, Some(Loss::Unsynced)] {
        world.server.kill().await;
        world.trace.note("the server is killed");
        if let Some(loss) = loss {
            world.server.lose(loss);
        }
        let before = count();
        sleep(Duration::from_secs(1)).await;
        world.start().await;
        sleep(Duration::from_secs(4)).await;
        more_than(before, "after it was killed");
    }

    let (winners, marks) = {
        let told = told.lock().unwrap();
        assert!(told.transient > 3, "{} calls failed", told.transient);
        (told.winners.clone(), told.marks)
    };
    world.trace.note(format_args!("{} versions, marks {marks:?}", winners.len()));
    for (nth, (node, _)) in nodes.into_iter().enumerate() {
        let (valkey, winners) = (valkeys[nth].clone(), winners.clone());
        let checked = node.spawn(async move {
            let versions: Vec<KeyVersion> = winners.keys().map(|version| KeyVersion(*version)).collect();
            let stored = valkey.get_many(room(), &versions).await.expect("got");
            assert!(stored.iter().eq(winners.values().map(|won| Some(won.clone())).collect::<Vec<_>>().iter()));
            let names = ["node 0", "node 1", "all"].map(str::to_owned);
            let stored = Marks::get(&valkey, &names).await.expect("got");
            assert!(
                stored[0] >= marks[0] && stored[1] >= marks[1] && stored[2] >= marks[0].max(marks[1]),
                "{stored:?}"
            );
        });
        checked.await.unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_cuts_standstills_kills_and_losses_of_power() {
    for seed in 1..=4 {
        let events = simulate(seed, troubles);
        assert!(events.len() > 200, "{} events", events.len());
    }
}

#[test]
fn a_seed_is_the_same_run_twice_and_another_is_another() {
    let name = "a_seed_is_the_same_run_twice_and_another_is_another";
    let Some([one, other]) = twins(name, [7, 8], |seed| simulate(seed, troubles)) else { return };
    assert!(one.len() > 200, "{} events", one.len());
    assert_ne!(one, other);
}

#[test]
fn the_stores_conform_over_a_simulated_network() {
    simulate(3, |world| async move {
        world.start().await;
        let (node, _) = machine();
        let valkey = world.open(&node).await;
        let conforms = async move {
            let stores = valkey.stores(Arc::new(MemoryStores::new()));
            conformance::run(async || stores.clone()).await;
        };
        node.spawn(conforms).await.unwrap();
    });
}

/// A disk that lied, or a failover to a copy that lagged: what was acknowledged in the last second is gone. Whoever made a
/// connection within it notices, and no call is answered by such a server.
#[test]
fn a_server_that_forgot_its_last_second_is_noticed_by_who_connected_within_it() {
    simulate(5, |world| async move {
        world.start().await;
        let (early, late) = (machine().0, machine().0);
        let one = world.open(&early).await;
        sleep(Duration::from_secs(5)).await;
        let other = world.open(&late).await;
        let put = other.put_if_absent(room(), KeyVersion(0), &secret(0, 1)).await;
        assert_eq!(put, Ok(PutSecret::Winner(secret(0, 1))));
        world.server.kill().await;
        world.server.lose(Loss::Last(Duration::from_secs(1)));
        world.start().await;
        sleep(Duration::from_secs(1)).await;
        let outcome = KeyVault::get(&other, room(), KeyVersion(0)).await;
        let why = outcome.expect_err("it is not answered");
        assert!(matches!(&why, StoreError::Unavailable(why) if why.contains("put back to an earlier time")), "{why}");
        // Who did not is answered what is there now.
        assert_eq!(KeyVault::get(&one, room(), KeyVersion(0)).await, Ok(None));
    });
}
