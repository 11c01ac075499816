//! Three nodes over a simulated nats-server and a simulated Valkey, with the stock clients and the production stores, bus and
//! gateway: killed, cut off, drained, and their servers killed and paused, while people write. Everything acknowledged is there, once.
//!
//! A person's connection to its node is a pipe that ends with the process; everything else goes over the simulated network.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, reason = "shared with the tests of the store of logs")]
mod machines;
#[path = "nodes/people.rs"]
mod people;
mod story;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chamberlain_core::limits::Limits;
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_net::bus;
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_sim_nats::Syncing as When;
use chamberlain_sim_valkey as vault;
use chamberlain_stores::jetstream::{self, JetStream, Syncing};
use chamberlain_stores::valkey::{self, Valkey};
use machines::{Machine, number};
use madsim::runtime::{Handle, NodeHandle};
use people::{Person, Phase};
use story::{Trace, simulate, twins};
use tokio::sim::{self, Link, Machines};
use tokio::sync::watch;
use tokio::time::sleep;

const VAULT_PORT: u16 = 6_379;
/// Rooms, with three people each.
const ROOMS: usize = 3;

/// Three machines with a node each, and two with the servers.
pub(crate) struct World {
    nats: Machine,
    vault: vault::Server,
    vault_node: NodeHandle,
    nodes: Vec<House>,
    pub(crate) trace: Trace,
}

/// A machine with a node on it, while it runs.
struct House {
    machine: madsim::task::NodeId,
    host: u64,
    running: Arc<Mutex<Option<Node>>>,
}

impl World {
    async fn new(seed: u64, trace: Trace) -> Arc<Self> {
        let link = Link { latency: 400, jitter: 300, loss: 2, ..Link::default() };
        sim::begin(Machines { partial: 10, ..Machines::default() }, link);
        let nats = Machine::new(seed, When::Always);
        nats.start();
        let settings = vault::Settings { sync_takes: Duration::from_millis(1), ..vault::Settings::strict() };
        let (vault, vault_node) = (vault::Server::new(settings), Handle::current().create_node().build());
        let nodes = (0..3).map(|_| {
            let machine = Handle::current().create_node().build();
            House { machine: machine.id(), host: number(&machine), running: Arc::default() }
        });
        let world = Self { nats, vault, vault_node, nodes: nodes.collect(), trace };
        world.start_vault().await;
        (0..3).for_each(|nth| world.start(nth));
        Arc::new(world)
    }

    async fn start_vault(&self) {
        let vault = self.vault.clone();
        let address = SocketAddr::from(([0, 0, 0, 0], VAULT_PORT));
        self.vault_node.spawn(async move { vault.start(address).await }).await.unwrap().unwrap();
    }

    /// Starts the process of a node.
    fn start(&self, nth: usize) {
        let house = &self.nodes[nth];
        let (running, trace) = (house.running.clone(), self.trace.clone());
        let nats = self.nats.url();
        let vault = format!("valkey://{}:{VAULT_PORT}", sim::address(number(&self.vault_node)));
        let machine = Handle::current().get_node(house.machine).unwrap();
        drop(machine.spawn(async move {
            let node = loop {
                match begin(nth, &nats, &vault).await {
                    Ok(node) => break node,
                    Err(why) => trace.note(format_args!("node {nth} does not start yet: {why}")),
                }
                sleep(Duration::from_millis(200)).await;
            };
            trace.note(format_args!("node {nth} runs"));
            *running.lock().unwrap() = Some(node);
            std::future::pending::<()>().await;
        }));
    }

    async fn kill(&self, nth: usize) {
        let house = &self.nodes[nth];
        *house.running.lock().unwrap() = None;
        sim::exit(house.host);
        Handle::current().kill(house.machine);
        sleep(Duration::from_millis(500)).await;
        sim::on(house.host);
        Handle::current().restart(house.machine);
    }

    fn cut(&self, nth: usize, cut: bool) {
        let host = self.nodes[nth].host;
        for server in [self.nats.host, number(&self.vault_node)] {
            for (from, to) in [(host, server), (server, host)] {
                sim::set_link(from, to, Link { cut, ..sim::link(from, to) });
            }
        }
    }

    /// A pipe to a node, where one runs: what serves the other end ends with its process.
    pub(crate) fn connect(&self, nth: usize) -> Option<tokio::io::DuplexStream> {
        let house = &self.nodes[nth % self.nodes.len()];
        let node = house.running.lock().unwrap().clone().filter(|node| !node.is_draining())?;
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let machine = Handle::current().get_node(house.machine)?;
        let auth = Arc::new(people::AnyName);
        drop(machine.spawn(gateway::run(theirs, chamberlain_core::wire::Codec::Bincode, node, auth)));
        Some(ours)
    }
}

async fn begin(nth: usize, nats: &str, vault: &str) -> Result<Node, String> {
    let (site, master) = ("home".parse().unwrap(), MasterKey::from_bytes([7; 32]));
    let logs = JetStream::open(jetstream::Options::new("home".parse().unwrap(), nats, Syncing::Promised));
    let logs = logs.await.map_err(|why| why.to_string())?;
    let address = valkey::Address::parse(vault).map_err(|why| why.to_string())?;
    let options = valkey::Options { connections: 2, ..valkey::Options::default() };
    let vault = Valkey::open(&address, &master, &site, options).await.map_err(|why| why.to_string())?;
    let bus = bus::nats::connect(logs.client(), site.clone()).await.map_err(|why| why.to_string())?;
    let limits = Limits { submits_per_second: 10_000, submits_burst: 10_000, drain_ms: 500, ..Limits::default() };
    let settings = Settings {
        keys: Arc::new(SiteKeys::new(site, &master)),
        node: format!("node-{nth}"),
        limits: Arc::new(limits),
        retain: Retain::All,
        framing: gateway::frame,
    };
    Ok(Node::start_among(settings, vault.stores(Arc::new(logs)), bus))
}

/// All that happens: the schedule that real servers go through in the end-to-end tests.
async fn story(seed: u64, trace: Trace) {
    let calm = Duration::from_millis(2_000 + seed * 137 % 900);
    let world = World::new(seed, trace.clone()).await;
    let (phase, looked) = watch::channel(Phase::Talk);
    let mut talking = Vec::new();
    for number in 0..ROOMS * 3 {
        let mut person = Person::new(number, world.clone(), looked.clone());
        let machine = Handle::current().create_node().build();
        talking.push(machine.spawn(async move {
            person.live().await;
            person
        }));
    }
    sleep(3 * calm).await;
    trace.note("a node is killed");
    world.kill(seed as usize % 3).await;
    sleep(calm).await;
    world.start(seed as usize % 3);
    sleep(calm).await;
    trace.note("nats-server is killed");
    world.nats.down(false, Duration::from_millis(700)).await;
    sleep(calm).await;
    trace.note("the power of nats-server fails");
    world.nats.down(true, Duration::from_millis(1_500)).await;
    sleep(calm).await;
    trace.note("Valkey stands still");
    world.vault.pause();
    sleep(Duration::from_secs(10)).await;
    world.vault.resume();
    sleep(calm).await;
    trace.note("a node is cut off");
    world.cut(1, true);
    sleep(Duration::from_secs(6)).await;
    world.cut(1, false);
    sleep(calm).await;
    for nth in 0..3 {
        trace.note(format_args!("node {nth} is drained"));
        let node = world.nodes[nth].running.lock().unwrap().clone().expect("it runs");
        let machine = Handle::current().get_node(world.nodes[nth].machine).unwrap();
        machine.spawn(async move { node.drain().await }).await.unwrap();
        world.kill(nth).await;
        world.start(nth);
        sleep(calm).await;
    }
    trace.note("people finish");
    phase.send_replace(Phase::Finish);
    let mut people = Vec::new();
    for person in talking {
        people.push(person.await.unwrap());
    }
    people::audit(&world, people).await;
}

#[test]
fn three_nodes_lose_nothing_whatever_is_killed_stopped_or_cut_off() {
    for seed in 0..4 {
        let trace = simulate(seed, move |trace| story(seed, trace));
        eprintln!("seed {seed}: {} events; {}", trace.len(), trace.last().unwrap());
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let name = "the_same_seed_gives_the_same_trace_in_another_process";
    let Some([trace]) = twins(name, [7], |seed| simulate(seed, move |trace| story(seed, trace))) else { return };
    assert!(trace.len() > 300, "{} lines", trace.len());
}
