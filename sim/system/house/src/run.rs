//! One run: from a tape to a story and what the oracles say of it. A run is a thread of its own, and should be the only one of
//! its process, so that nothing of an earlier one is left in it.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::site::MasterKey;
use chamberlain_sim::judge::{Objection, judge};
use chamberlain_sim::story::{Seen, Story};
use chamberlain_sim::tape::{Actor, Tape};
use chamberlain_stores::faulty::Disk;
use madsim::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::Client;
use crate::fleet::{self, Fleet, number};
use crate::house::{House, Phase};
use crate::plan::Plan;
use crate::scenarios::Scenario;
use crate::server::{self, Ground, Server};
use crate::witness::{Seal, Witness, now};
use crate::{checks, faults};

const WORLD: Actor = Actor::only("world");
/// Microseconds from the end of faults within which everybody is caught up.
pub const PATIENCE: u64 = 150_000_000;
/// Every simulated installation has this one.
pub(crate) const MASTER: [u8; 32] = [9; 32];

/// What came of a run.
pub struct Report {
    /// What it was like.
    pub plan: String,
    /// What was seen.
    pub seal: Seal,
    /// What is wrong with it.
    pub objections: Vec<Objection>,
    /// Simulated seconds.
    pub simulated: f64,
}

/// How a run is watched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    /// Keeps the whole trace.
    pub traced: bool,
    /// Prints the production code's logs on standard error.
    pub logged: bool,
}

/// Runs a tape: a scenario, or without one whatever the tape makes of it.
pub fn run(mut tape: Tape, scenario: Option<Scenario>, watch: Watch) -> Report {
    let plan = match &scenario {
        Some(scenario) => (scenario.plan)(&mut tape),
        None => Plan::of(&mut tape),
    };
    let seed = tape.seed(WORLD, "schedule");
    let settings = server::settings(plan.limits.clone(), &MasterKey::from_bytes(MASTER));
    let story = Story::new(settings.keys.clone(), settings.limits.clone(), PATIENCE);
    let witness = Witness::new(story, tape, watch.traced);
    let words = plan.to_string();
    let seen = witness.clone();
    // A thread in which nothing was hashed and nothing drawn before: both are deterministic from its first moment on.
    let thread = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        let run = async move {
            if watch.logged {
                log();
            }
            let house = set_up(&seen, plan, settings);
            match scenario {
                Some(scenario) => {
                    house.start().await;
                    (scenario.run)(house.clone()).await;
                }
                None => {
                    house.server.start();
                    chaos(&house).await;
                }
            }
            wind_up(&house).await;
            now()
        };
        runtime.block_on(run)
    });
    let ended = thread.map(std::thread::JoinHandle::join);
    let seal = witness.seal();
    let mut objections = checks::object(&seal.story);
    let simulated = match ended {
        Ok(Ok(micros)) => {
            objections.extend(judge(&seal.story));
            micros as f64 / 1e6
        }
        Ok(Err(panic)) => {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            objections.push(Objection {
                oracle: "panic",
                invariant: "nothing panics",
                what: what.unwrap_or_else(|| "a panic without words".into()),
                at: None,
            });
            seal.story.seen.last().map_or(0.0, |(at, _)| *at as f64 / 1e6)
        }
        Err(error) => panic!("no thread: {error}"),
    };
    Report { plan: words, seal, objections, simulated }
}

fn log() {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false);
    // Set once a process, which runs once.
    let _set = subscriber.with_max_level(tracing::Level::DEBUG).try_init();
}

/// The network, the server's machine, and nobody yet.
fn set_up(witness: &Witness, plan: Plan, settings: chamberlain_net::node::Settings) -> Arc<House> {
    tokio::sim::begin(plan.machines, plan.link);
    let fleet = plan.fleet.clone().map(|plan| Fleet::start(witness.seed(WORLD, "nats"), plan));
    let server = |nth| {
        let ground = match &fleet {
            None => Ground::Disk(Disk::new(witness.seed(WORLD, "disk"))),
            Some(fleet) => Ground::Shared(fleet.clone()),
        };
        let master = MasterKey::from_bytes(MASTER);
        Server::new(nth, settings.clone(), master, (ground, plan.trouble), plan.accounts, witness.clone())
    };
    let servers: Vec<Arc<Server>> = (0..plan.nodes()).map(server).collect();
    if let Some(fleet) = &fleet {
        servers.iter().for_each(|server| fleet.backbone(server.host()));
    }
    House::new(witness.clone(), plan, servers, fleet)
}

/// Clients work and faults happen, for as long as the plan says.
pub(crate) async fn chaos(house: &Arc<House>) {
    let hosts = people(house);
    let mut faults = vec![tokio::spawn(faults::run(house.clone(), hosts.clone()))];
    if let Some(fleet) = &house.fleet {
        let at_once = house.plan.fleet.as_ref().map_or(0, |plan| plan.at_once);
        let imp = |nth| tokio::spawn(fleet::faults::run(house.clone(), fleet.clone(), nth));
        faults.extend((0..at_once).map(imp));
    }
    sleep(Duration::from_secs(house.plan.seconds)).await;
    end(house, &hosts, faults).await;
}

/// Faults end, and everybody is caught up in the end.
pub(crate) async fn end(house: &Arc<House>, hosts: &[u64], faults: Vec<JoinHandle<()>>) {
    heal(house, hosts, faults).await;
    quiet(house).await;
}

/// Starts the clients; their machines.
pub(crate) fn people(house: &Arc<House>) -> Vec<u64> {
    (0..house.plan.clients)
        .map(|nth| {
            let node = Handle::current().create_node().name(format!("client {nth}")).build();
            let client = Client::new(house.clone(), nth);
            drop(node.spawn(client.run()));
            number(&node)
        })
        .collect()
}

/// Faults stop, and everything that is broken is mended.
async fn heal(house: &Arc<House>, hosts: &[u64], faults: Vec<JoinHandle<()>>) {
    house.witness.calm();
    // What is happening is brought to its end: a server that is down comes back.
    for faults in faults {
        let _ended = faults.await;
    }
    if house.fleet.is_none() && !house.server.disk().has_crashed() {
        house.server.disk().set_faults(chamberlain_stores::faulty::Faults::default());
    }
    for server in house.servers.iter().map(|server| server.host()) {
        for host in hosts {
            tokio::sim::set_link(*host, server, house.plan.link);
            tokio::sim::set_link(server, *host, house.plan.link);
        }
    }
    house.witness.note(Seen::Healed);
}

/// Nobody begins anything new, and everybody is caught up in the end.
async fn quiet(house: &Arc<House>) {
    let begun = now();
    house.witness.note(Seen::Quiet);
    house.enter(Phase::Quiet);
    // Somebody who is caught up may fall behind again by what another retries: all at once, for a while.
    let mut calm = 0;
    while now() < begun + PATIENCE && calm < 4 {
        sleep(Duration::from_millis(500)).await;
        calm = if house.behind().is_empty() { calm + 1 } else { 0 };
    }
    for client in house.behind() {
        let seconds = PATIENCE / 1_000_000;
        let what = format!("client {client} is not caught up {seconds} s after the last fault");
        house.witness.with_story(|story| story.ending.unwell.push(what));
    }
}

/// Everybody leaves, the servers drain, and what the stores hold is read.
async fn wind_up(house: &Arc<House>) {
    house.witness.calm();
    house.enter(Phase::Over);
    sleep(Duration::from_secs(4)).await;
    for server in house.servers.iter().filter(|server| server.is_up()) {
        server.drain().await;
    }
    let read = match &house.fleet {
        None => house.server.read_out().await,
        Some(fleet) => {
            let (server, machine) = (house.server.clone(), Handle::current().create_node().name("auditor").build());
            fleet.near(number(&machine));
            let read = machine.spawn(async move { server.read_out().await });
            read.await.unwrap_or_else(|why| Err(why.to_string()))
        }
    };
    if let Err(why) = read {
        house.witness.with_story(|story| story.ending.unwell.push(format!("the stores cannot be read: {why}")));
    }
}
