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
use tokio::time::sleep;

use crate::client::Client;
use crate::house::{House, Phase};
use crate::plan::Plan;
use crate::scenarios::Scenario;
use crate::server::{self, Server};
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
        Some(scenario) => (scenario.plan)(),
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
                    house.server.start();
                    house.server.until_up().await;
                    (scenario.run)(house.clone()).await;
                }
                None => chaos(&house).await,
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
    let disk = Disk::new(witness.seed(WORLD, "disk"));
    let master = MasterKey::from_bytes(MASTER);
    let server = Server::new(settings, master, (disk, plan.trouble), plan.accounts, witness.clone());
    House::new(witness.clone(), plan, server)
}

/// Clients work and faults happen, for as long as the plan says.
async fn chaos(house: &Arc<House>) {
    house.server.start();
    let hosts = people(house);
    let faults = tokio::spawn(faults::run(house.clone(), hosts.clone()));
    sleep(Duration::from_secs(house.plan.seconds)).await;
    heal(house, &hosts, faults).await;
    quiet(house).await;
}

/// Starts the clients; their machines.
pub(crate) fn people(house: &Arc<House>) -> Vec<u64> {
    (0..house.plan.clients)
        .map(|number| {
            let node = Handle::current().create_node().name(format!("client {number}")).build();
            let client = Client::new(house.clone(), number);
            drop(node.spawn(client.run()));
            node.id().to_string().parse().expect("madsim's nodes are numbers")
        })
        .collect()
}

/// Faults stop, and everything that is broken is mended.
async fn heal(house: &Arc<House>, hosts: &[u64], faults: tokio::task::JoinHandle<()>) {
    house.witness.calm();
    // What is happening is brought to its end: a server that is down comes back.
    let _ended = faults.await;
    let disk = house.server.disk();
    if !disk.has_crashed() {
        disk.set_faults(chamberlain_stores::faulty::Faults::default());
    }
    for host in hosts {
        tokio::sim::set_link(*host, house.server.host(), house.plan.link);
        tokio::sim::set_link(house.server.host(), *host, house.plan.link);
    }
    house.witness.note(Seen::Healed);
}

/// Nobody begins anything new, and everybody is caught up in the end.
pub(crate) async fn quiet(house: &Arc<House>) {
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

/// Everybody leaves, the server drains, and what the stores hold is read.
async fn wind_up(house: &Arc<House>) {
    house.witness.calm();
    house.enter(Phase::Over);
    sleep(Duration::from_secs(4)).await;
    if house.server.is_up() {
        house.server.drain().await;
    }
    if let Err(why) = house.server.read_out().await {
        house.witness.with_story(|story| story.ending.unwell.push(format!("the stores cannot be read: {why}")));
    }
}
