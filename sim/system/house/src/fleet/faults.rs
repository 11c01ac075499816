//! What goes wrong with nodes that are several and with the servers that they share: one thing after another, or some at once
//! on different machines, at times that the tape decides, of the kinds that the plan has armed.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_sim::tape::Actor;
use madsim::runtime::Handle;
use tokio::sim::{Clock, Link};
use tokio::time::{sleep, timeout};

use super::Fleet;
use super::nats::Finds;
use crate::house::House;
use crate::server::Server;
use crate::witness::now;

/// Microseconds that are waited for a certain moment, at most, and how often it is looked whether it is there.
const LONGEST_MOMENT: u64 = 1_000_000;
const LOOK: Duration = Duration::from_micros(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillNode,
    PowerNode,
    PauseNode,
    DrainNode,
    Roll,
    CutNode,
    NarrowNode,
    Clock,
    KillNats,
    PowerNats,
    PauseNats,
    KillVault,
    PowerVault,
    PauseVault,
}

/// Somebody who has things go wrong.
struct Imp {
    house: Arc<House>,
    fleet: Arc<Fleet>,
    actor: Actor,
}

/// Has things go wrong until the witness is calm; `nth` of those who do so at the same time.
pub(crate) async fn run(house: Arc<House>, fleet: Arc<Fleet>, nth: u32) {
    let armed = fleet.plan.armed;
    let kinds: Vec<Fault> = [
        (armed.kill_node, Fault::KillNode),
        (armed.power_node, Fault::PowerNode),
        (armed.pause_node, Fault::PauseNode),
        (armed.drain_node, Fault::DrainNode),
        (armed.roll, Fault::Roll),
        (armed.cut_node, Fault::CutNode),
        (armed.narrow_node, Fault::NarrowNode),
        (armed.clock, Fault::Clock),
        (armed.kill_nats, Fault::KillNats),
        (armed.power_nats, Fault::PowerNats),
        (armed.pause_nats, Fault::PauseNats),
        (armed.kill_vault, Fault::KillVault),
        (armed.power_vault, Fault::PowerVault),
        (armed.pause_vault, Fault::PauseVault),
    ]
    .into_iter()
    .filter_map(|(armed, fault)| armed.then_some(fault))
    .collect();
    let imp = Imp { house, fleet, actor: Actor::nth("fleet faults", nth) };
    while !kinds.is_empty() {
        sleep(Duration::from_millis(100 + imp.draw("wait", imp.fleet.plan.calm_ms))).await;
        if imp.house.witness.is_calm() {
            return;
        }
        let fault = imp.house.witness.pick(imp.actor, "kind", &kinds);
        imp.happen(fault).await;
    }
}

/// All that happens in a row: what real servers go through in the end-to-end tests (`tests/e2e/several`).
pub(crate) async fn schedule(house: &Arc<House>, fleet: &Arc<Fleet>) {
    let imp = Imp { house: house.clone(), fleet: fleet.clone(), actor: Actor::only("schedule") };
    let calm = Duration::from_millis(2_000 + imp.draw("calm", 900));
    let any = &house.servers[imp.draw("node", house.servers.len() as u64) as usize];
    sleep(3 * calm).await;
    imp.node(Fault::KillNode, any).await;
    sleep(calm).await;
    for fault in [Fault::KillNats, Fault::PowerNats] {
        imp.nats(fault).await;
        sleep(calm).await;
    }
    imp.say("Valkey stood still", "Valkey stands still for 10 s".to_owned());
    fleet.vault.pause(Duration::from_secs(10)).await;
    sleep(calm).await;
    imp.node(Fault::CutNode, &house.servers[1]).await;
    sleep(calm).await;
    imp.happen(Fault::Roll).await;
    sleep(calm).await;
}

impl Imp {
    fn draw(&self, kind: &'static str, below: u64) -> u64 {
        self.house.witness.draw(self.actor, kind, below)
    }

    fn span(&self, most_ms: u64) -> Duration {
        Duration::from_millis(50 + self.draw("span", most_ms))
    }

    fn say(&self, probe: &'static str, words: String) {
        self.house.witness.fault(words);
        self.house.witness.probe(probe);
    }

    /// Where the tape asks for it, waits until a message is on nats-server's disk and nobody has been told yet.
    async fn moment(&self) {
        if !self.house.witness.chance(self.actor, "moment", 50) {
            return;
        }
        let (before, late) = (self.fleet.nats.stored(), now() + LONGEST_MOMENT);
        while self.fleet.nats.stored() <= before && now() < late {
            sleep(LOOK).await;
        }
        if self.fleet.nats.stored() > before {
            self.house.witness.probe("killed between the disk and the answer");
        }
    }

    async fn happen(&self, fault: Fault) {
        match fault {
            Fault::KillNats | Fault::PowerNats | Fault::PauseNats => self.nats(fault).await,
            Fault::KillVault | Fault::PowerVault | Fault::PauseVault => self.vault(fault).await,
            Fault::Roll => {
                self.say("drained one after the other", "all nodes are drained, one after the other".to_owned());
                for server in &self.house.servers {
                    self.node(Fault::DrainNode, server).await;
                }
            }
            fault => {
                let at = self.draw("node", self.house.servers.len() as u64) as usize;
                self.node(fault, &self.house.servers[at]).await;
            }
        }
    }

    async fn nats(&self, fault: Fault) {
        let nats = &self.fleet.nats;
        let Some(_troubled) = self.fleet.trouble(nats.host) else { return };
        let span = self.span(6_000);
        match fault {
            Fault::PauseNats => {
                self.say("nats-server stood still", format!("nats-server stands still for {span:?}"));
                nats.pause(span).await;
            }
            Fault::PowerNats => {
                self.moment().await;
                self.say("nats-server lost power", format!("nats-server is without power for {span:?}"));
                nats.down(Finds::Synced, span).await;
            }
            _ => {
                self.moment().await;
                self.say("nats-server was killed", format!("nats-server is killed, for {span:?}"));
                nats.down(Finds::Everything, span).await;
            }
        }
        self.house.witness.remark("nats-server goes on");
    }

    async fn vault(&self, fault: Fault) {
        let vault = &self.fleet.vault;
        let Some(_troubled) = self.fleet.trouble(vault.host) else { return };
        let span = self.span(6_000);
        match fault {
            Fault::PauseVault => {
                self.say("Valkey stood still", format!("Valkey stands still for {span:?}"));
                vault.pause(span).await;
            }
            Fault::PowerVault => {
                self.say("Valkey lost power", format!("Valkey is without power for {span:?}"));
                vault.down(true, span).await;
            }
            _ => {
                self.say("Valkey was killed", format!("Valkey is killed, for {span:?}"));
                vault.down(false, span).await;
            }
        }
        self.house.witness.remark("Valkey goes on");
    }

    async fn node(&self, fault: Fault, server: &Arc<Server>) {
        let Some(_troubled) = self.fleet.trouble(server.host()) else { return };
        let name = server.nth();
        match fault {
            Fault::KillNode => {
                self.moment().await;
                self.say("killed", format!("node {name} is killed"));
                server.kill();
                self.back(server).await;
            }
            Fault::PowerNode => {
                self.say("power failed", format!("node {name} loses power"));
                server.power_off();
                self.back(server).await;
            }
            Fault::DrainNode if server.is_up() => {
                self.say("drained under load", format!("node {name} is drained"));
                server.drain().await;
                self.back(server).await;
            }
            Fault::PauseNode => {
                let span = self.span(9_000);
                self.say("a node stood still", format!("node {name} stands still for {span:?}"));
                server.pause(true);
                sleep(span).await;
                server.pause(false);
                self.house.witness.remark(&format!("node {name} goes on"));
            }
            Fault::CutNode | Fault::NarrowNode => self.links(fault, server).await,
            Fault::Clock => {
                let offset = self.draw("offset", 40_000_000) as i64 - 20_000_000;
                let drift = self.draw("drift", 2_000) as i64 - 1_000;
                let words = format!("the clock of node {name} is off by {offset} µs, and by {drift} µs more a second");
                self.say("clock jumped", words);
                tokio::sim::set_clock(server.host(), Clock { offset, drift });
            }
            _ => {}
        }
    }

    /// A node is down for a while, and comes back.
    async fn back(&self, server: &Arc<Server>) {
        sleep(self.span(4_000)).await;
        server.revive();
        // The servers may be down as well; faults go on meanwhile.
        let _late = timeout(Duration::from_secs(3), server.until_up()).await;
    }

    /// A node is cut off from one server or both, in one direction or both; or its links to them are slow and lose much.
    async fn links(&self, fault: Fault, server: &Server) {
        let usual = self.fleet.plan.backbone;
        let span = self.span(12_000);
        let [nats, vault] = self.fleet.hosts();
        let whom = self.house.witness.pick(self.actor, "from whom", &[vec![nats, vault], vec![nats], vec![vault]]);
        let (there, back) = self.house.witness.pick(self.actor, "way", &[(true, true), (true, false), (false, true)]);
        let (probe, word, link) = match fault {
            Fault::CutNode => ("a node was cut off", "cut off", Link { cut: true, ..usual }),
            _ => {
                let latency = usual.latency + self.draw("latency", 300_000);
                let loss = self.house.witness.pick(self.actor, "loss", &[0, 50, 200]);
                ("a node was far away", "far", Link { latency, loss, ..usual })
            }
        };
        let servers: Vec<&str> = whom.iter().map(|host| if *host == nats { "nats-server" } else { "Valkey" }).collect();
        let words = format!(
            "node {} is {word} from {} for {span:?}, there {there}, back {back}",
            server.nth(),
            servers.join(" and ")
        );
        self.say(probe, words);
        for host in &whom {
            if there {
                tokio::sim::set_link(server.host(), *host, link);
            }
            if back {
                tokio::sim::set_link(*host, server.host(), link);
            }
        }
        sleep(span).await;
        self.fleet.backbone(server.host());
        self.house.witness.remark(&format!("node {} is reached as before", server.nth()));
    }
}

impl Server {
    /// Has the process stand still, or go on. Connections stay, and bytes may wait in them.
    fn pause(&self, pause: bool) {
        match pause {
            true => Handle::current().pause(self.machine()),
            false => Handle::current().resume(self.machine()),
        }
    }
}
