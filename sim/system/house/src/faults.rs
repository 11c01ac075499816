//! What goes wrong around the clients: the server's process, machine, disk and clock, and the links. One thing after another,
//! at times that the tape decides, of the kinds that the plan has armed.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_sim::tape::Actor;
use chamberlain_stores::faulty::Faults;
use madsim::runtime::Handle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sim::{Clock, Link};
use tokio::time::{sleep, timeout};

use crate::house::House;
use crate::server::Server;
use crate::witness::now;

const FAULTS: Actor = Actor::only("faults");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Power,
    Drain,
    Disk,
    Storm,
    Cut,
    Narrow,
    Clock,
    Stranger,
}

/// Has things go wrong until the witness is calm; `hosts` are the clients' machines.
pub(crate) async fn run(house: Arc<House>, hosts: Vec<u64>) {
    let armed = house.plan.armed;
    let kinds: Vec<Fault> = [
        (armed.kill, Fault::Kill),
        (armed.power, Fault::Power),
        (armed.drain, Fault::Drain),
        (armed.disk, Fault::Disk),
        (armed.storm, Fault::Storm),
        (armed.cut, Fault::Cut),
        (armed.narrow, Fault::Narrow),
        (armed.clock, Fault::Clock),
        (armed.strangers, Fault::Stranger),
    ]
    .into_iter()
    .filter_map(|(armed, fault)| armed.then_some(fault))
    .collect();
    while !kinds.is_empty() {
        sleep(Duration::from_millis(300 + house.witness.draw(FAULTS, "wait", 5_000))).await;
        if house.witness.is_calm() {
            return;
        }
        let fault = house.witness.pick(FAULTS, "kind", &kinds);
        happen(&house, fault, &hosts).await;
    }
}

async fn happen(house: &Arc<House>, fault: Fault, hosts: &[u64]) {
    let witness = &house.witness;
    match fault {
        Fault::Kill => {
            witness.fault("the server is killed");
            witness.probe("killed");
            house.server.kill();
            down(house).await;
        }
        Fault::Power => power(house).await,
        Fault::Drain => {
            if house.server.is_up() {
                witness.fault("the server is drained");
                witness.probe("drained under load");
                house.server.drain().await;
                down(house).await;
            }
        }
        Fault::Disk => {
            let disk = house.server.disk();
            let fail_at = disk.calls() + 1 + witness.draw(FAULTS, "fail_at", 30);
            disk.set_faults(Faults { fail_at: Some(fail_at), ..Faults::default() });
            sleep(Duration::from_secs(2)).await;
            if disk.calls() >= fail_at {
                witness.fault("the disk failed a call");
                witness.probe("disk failed a call");
            }
            disk.set_faults(Faults::default());
        }
        Fault::Storm => {
            witness.fault("everybody reconnects");
            witness.probe("reconnect storm");
            house.storm();
        }
        Fault::Cut | Fault::Narrow => links(house, fault, hosts),
        Fault::Clock => {
            let offset = witness.draw(FAULTS, "offset", 40_000_000) as i64 - 20_000_000;
            let drift = witness.draw(FAULTS, "drift", 2_000) as i64 - 1_000;
            witness.fault(format!("the server's clock is off by {offset} µs, and by {drift} µs more a second"));
            witness.probe("clock jumped");
            tokio::sim::set_clock(house.server.host(), Clock { offset, drift });
        }
        Fault::Stranger => stranger(house),
    }
}

/// The power fails: now, or within one of the disk's next calls.
async fn power(house: &Arc<House>) {
    let witness = &house.witness;
    let disk = house.server.disk();
    if witness.chance(FAULTS, "in_a_call", 70) {
        let crash_at = disk.calls() + 1 + witness.draw(FAULTS, "crash_at", 60);
        disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
        let until = now() + 3_000_000;
        while !disk.has_crashed() && now() < until {
            sleep(Duration::from_micros(200)).await;
        }
        if disk.has_crashed() {
            witness.probe("power failed in a commit");
        }
    }
    witness.fault("the server's machine loses power");
    witness.probe("power failed");
    house.server.power_off();
    down(house).await;
}

/// The server is down for a while, and comes back.
async fn down(house: &Arc<House>) {
    sleep(Duration::from_millis(20 + house.witness.draw(FAULTS, "down", 4_000))).await;
    house.server.revive();
    // It may find its disk in a state that takes another attempt; faults go on meanwhile.
    let _late = timeout(Duration::from_secs(3), house.server.until_up()).await;
}

/// Links of one client or of all are cut, or become slow, for a while.
fn links(house: &Arc<House>, fault: Fault, hosts: &[u64]) {
    let witness = &house.witness;
    let usual = house.plan.link;
    let server = one_of(house).host();
    let some: Vec<u64> = match witness.draw(FAULTS, "whose", hosts.len() as u64 + 1) as usize {
        0 => hosts.to_vec(),
        nth => vec![hosts[nth - 1]],
    };
    let (there, back) = *[(true, true), (true, false), (false, true)]
        .get(witness.draw(FAULTS, "direction", 3) as usize)
        .unwrap_or(&(true, true));
    let link = if fault == Fault::Cut {
        witness.probe("link cut");
        Link { cut: true, ..usual }
    } else {
        let latency = usual.latency + witness.draw(FAULTS, "latency", 400_000);
        Link { latency, bandwidth: witness.pick(FAULTS, "bandwidth", &[20_000, 3_000, 100_000]), ..usual }
    };
    let ms = 200 + witness.draw(FAULTS, "for", 12_000);
    let word = if fault == Fault::Cut { "cut" } else { "slow" };
    let hosts: Vec<String> = some.iter().map(u64::to_string).collect();
    witness.fault(format!("links of {} are {word} for {ms} ms, there {there}, back {back}", hosts.join(" ")));
    for host in &some {
        if there {
            tokio::sim::set_link(*host, server, link);
        }
        if back {
            tokio::sim::set_link(server, *host, link);
        }
    }
    let house = house.clone();
    drop(tokio::spawn(async move {
        sleep(Duration::from_millis(ms)).await;
        if !house.witness.is_calm() {
            house.witness.remark("links are as before");
            for host in some {
                tokio::sim::set_link(host, server, usual);
                tokio::sim::set_link(server, host, usual);
            }
        }
    }));
}

/// The server that it happens at.
fn one_of(house: &House) -> &Server {
    match house.servers.len() as u64 {
        1 => &house.server,
        several => &house.servers[house.witness.draw(FAULTS, "server", several) as usize],
    }
}

/// Somebody connects and says little.
fn stranger(house: &Arc<House>) {
    let kind = house.witness.draw(FAULTS, "stranger", 3);
    house.witness.fault(format!("a stranger connects, of kind {kind}"));
    let node = Handle::current().create_node().build();
    let (house, address) = (house.clone(), one_of(house).address());
    drop(node.spawn(async move {
        let Ok(mut stream) = TcpStream::connect(address).await else { return };
        let said: &[u8] = match kind {
            0 => b"",
            1 => b"GET /v1/socket HTTP/1.1\r\nHost: ",
            _ => b"\x16\x03\x01 no protocol of ours \xff\xfe\r\n\r\n",
        };
        if stream.write_all(said).await.is_err() {
            return;
        }
        let mut answer = Vec::new();
        // The server ends it, sooner or later.
        let ended = timeout(Duration::from_secs(100), stream.read_to_end(&mut answer)).await;
        if ended.is_ok() {
            house.witness.probe("stranger never said hello");
        } else if !house.witness.is_calm() {
            house.witness.with_story(|story| story.ending.unwell.push("a stranger was borne with for 100 s".into()));
        }
    }));
}
