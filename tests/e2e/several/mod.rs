//! Three nodes over a real nats-server and a real Valkey: they are killed, stopped, cut off and replaced while two hundred people
//! write in fifty rooms, and afterwards everything acknowledged is there, once, and readable by whom it may be read by.

mod crowd;
mod directory;
mod forgetting;
mod site;
#[path = "../../../stores/tests/valkey/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the stores")]
mod valkey;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chamberlain_core::wire::Codec;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::Client;
use crowd::{A_ROOM, Common, Person, Phase};
use site::Site;

/// Rooms; each has four people who write, and an auditor.
const ROOMS: usize = 50;
/// How long people talk undisturbed between two troubles.
const CALM: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_nothing_whatever_is_killed_stopped_or_cut_off() {
    let mut site = Site::start().await;
    site.settled().await;
    let (phase, looked) = watch::channel(Phase::Gather);
    let common =
        Common { nodes: site.addresses(), phase: looked, longest: Default::default(), answered: Default::default() };
    let begun = Instant::now();
    let (rooms, tasks) = crowd::gather(&common, ROOMS).await;
    report(&common, begun, "rooms are full");
    phase.send_replace(Phase::Talk);
    sleep(CALM).await;
    report(&common, begun, "undisturbed");

    site.nodes[1].kill();
    sleep(CALM).await;
    report(&common, begun, "a node is killed");
    tokio::task::block_in_place(|| site.nodes[1].go());
    sleep(CALM).await;
    report(&common, begun, "and is back");

    site.nats.kill();
    sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| site.nats.start_again());
    sleep(CALM).await;
    report(&common, begun, "nats-server is killed, and is back after 1 s");

    site.valkey.pause();
    sleep(Duration::from_secs(10)).await;
    site.valkey.resume();
    sleep(CALM).await;
    report(&common, begun, "Valkey stands still for 10 s");

    site.line.cut(true);
    sleep(Duration::from_secs(6)).await;
    site.line.cut(false);
    sleep(CALM).await;
    report(&common, begun, "a node is cut off for 6 s");

    for node in 0..site.nodes.len() {
        assert_eq!(tokio::task::block_in_place(|| site.nodes[node].stop()), Some(0));
        tokio::task::block_in_place(|| site.nodes[node].go());
        sleep(Duration::from_secs(1)).await;
    }
    report(&common, begun, "all nodes are restarted, one after the other");

    phase.send_replace(Phase::Finish);
    let mut people: Vec<Person> = Vec::new();
    for task in tasks {
        let person = tokio::time::timeout(Duration::from_secs(60), task).await;
        people.push(person.expect("everybody is answered in the end").unwrap());
    }
    report(&common, begun, "everybody is answered");
    site.settled().await;
    let forwarded: u64 =
        (0..3).map(|node| site.metric(node, "chamberlain_commands_forwarded_total{outcome=\"answered\"}")).sum();
    let mut auditor = Client::connect(site.nodes[2].address, "auditor", Codec::Bincode).await;
    for (nth, room) in rooms.iter().enumerate() {
        crowd::audit(&mut auditor, *room, &mut people[nth * A_ROOM..(nth + 1) * A_ROOM]).await;
    }
    eprintln!("{:>6.1?} audited; since their last starts, nodes forwarded {forwarded} commands", begun.elapsed());
}

fn report(common: &Common, begun: Instant, what: &str) {
    let (longest, answered) = (common.longest.swap(0, Ordering::Relaxed), common.answered.load(Ordering::Relaxed));
    eprintln!("{:>6.1?} {what}: {answered} answered so far, longest wait {longest} ms", begun.elapsed());
}
