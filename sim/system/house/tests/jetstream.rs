//! Our store of logs in JetStream, with the stock client, on a simulated network with a simulated server: cut off, killed,
//! without power and paused in the middle of it all. The same seed gives the same trace.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod story;

use std::time::Duration;

use chamberlain_core::id::Revision;
use chamberlain_core::log::{RecordBytes, erase_body};
use chamberlain_sim_nats::Syncing as When;
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::jetstream::{JetStream, Options, Syncing};
use chamberlain_stores::{Appended, LogStore, Pending, StoreError};
use house::fleet::nats::{Finds, Machine};
use house::fleet::number;
use madsim::runtime::Handle;
use story::{Trace, simulate, twins};
use tokio::sim::{self, Link, Machines};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

const MILLIS: Duration = Duration::from_millis(1);
/// How long a message takes to be stored, at least and at most.
const STORING: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(3));

fn options(url: String) -> Options {
    Options::new("home".parse().unwrap(), url, Syncing::Promised)
}

/// Opens a store, however long it takes.
async fn open(url: String) -> JetStream {
    loop {
        if let Ok(logs) = JetStream::open(options(url.clone())).await {
            return logs;
        }
        sleep(100 * MILLIS).await;
    }
}

/// The answer, once there is one.
async fn until_it_answers<'a, T>(trace: &Trace, ask: impl Fn() -> Pending<'a, T>) -> T {
    loop {
        match ask().await {
            Err(StoreError::Unavailable(why) | StoreError::Unknown(why)) => {
                trace.note(format_args!("not yet: {why}"));
                sleep(50 * MILLIS).await;
            }
            answered => return answered.unwrap(),
        }
    }
}

/// Appends a record after whatever is there, and reads back what is not known.
async fn append(trace: &Trace, logs: &JetStream, writer: &mut Writer, events: usize) -> RecordBytes {
    loop {
        let (record, after) = writer.next(events, 200);
        let appended =
            until_it_answers(trace, || logs.append(writer.log(), writer.head(), record.clone(), after)).await;
        let Appended::Conflict(conflict) = appended else {
            trace.note(format_args!("{} to {}", writer.log(), after.revision));
            writer.set_head(after);
            return record;
        };
        let before = Revision(record.first.0 - 1);
        let there = until_it_answers(trace, || logs.read(writer.log(), before, 1)).await;
        trace.note(format_args!("{} is at {}", writer.log(), conflict.head.revision));
        writer.set_head(conflict.head);
        if there.first() == Some(&record) {
            return record;
        }
    }
}

/// Writes a room of its own and one that others write too, erases, and counts what it is told. What it wrote, in each.
async fn work(trace: Trace, url: String, tag: u64, shared: String) -> [Vec<RecordBytes>; 2] {
    let logs = open(url).await;
    let mut watcher = logs.watch();
    let told = trace.clone();
    let watching = tokio::spawn(async move {
        loop {
            match watcher.recv().await {
                Ok(moved) => told.note(format_args!("{tag} is told: {} is at {}", moved.log, moved.head.revision)),
                Err(RecvError::Lagged(_)) => told.note(format_args!("{tag} may have lost some")),
                Err(RecvError::Closed) => return,
            }
        }
    });
    let (mut own, mut other) = (Writer::of_room(&format!("own {tag}"), tag), Writer::of_room(&shared, tag));
    let mut written = [Vec::new(), Vec::new()];
    for nth in 0..60 {
        let record = append(&trace, &logs, &mut own, 1 + nth % 3).await;
        if nth % 5 == 2 {
            let erased = record.last;
            until_it_answers(&trace, || logs.erase(own.log(), erased)).await;
            trace.note(format_args!("{} without {erased}", own.log()));
            written[0].push(erase_body(&record, erased).unwrap());
        } else {
            written[0].push(record);
        }
        written[1].push(append(&trace, &logs, &mut other, 1).await);
        let read = until_it_answers(&trace, || logs.read(own.log(), Revision(nth as u64), 2_000)).await;
        trace.note(format_args!("{tag} reads {}", read.len()));
        sleep(Duration::from_millis(150 + 13 * tag)).await;
    }
    drop(logs);
    let _ended = timeout(60_000 * MILLIS, watching).await;
    written
}

/// Two nodes at work, and all that happens to them and to the server.
async fn story(seed: u64, trace: Trace) {
    sim::begin(Machines { partial: 10, segment: 1_400, ..Machines::default() }, Link { loss: 5, ..Link::default() });
    let machine = Machine::new(seed, When::Always, STORING);
    machine.start();
    let nodes = [1, 2].map(|_| Handle::current().create_node().build());
    let working = [1_u64, 2].map(|tag| {
        let (trace, url) = (trace.clone(), machine.url());
        nodes[tag as usize - 1].spawn(work(trace, url, tag, "shared".into()))
    });
    sleep(2_000 * MILLIS).await;
    trace.note("the first node is cut off");
    machine.cut(number(&nodes[0]), 4_000 * MILLIS).await;
    sleep(3_000 * MILLIS).await;
    trace.note("the server is killed");
    machine.down(Finds::Everything, 700 * MILLIS).await;
    sleep(3_000 * MILLIS).await;
    trace.note("the server is paused");
    machine.pause(1_500 * MILLIS).await;
    sleep(2_000 * MILLIS).await;
    trace.note("the power fails");
    machine.down(Finds::Synced, 2_000 * MILLIS).await;
    let mut written = Vec::new();
    for working in working {
        written.push(working.await.unwrap());
    }
    let read_out = nodes[0].spawn(read_out(trace.clone(), machine.url(), written));
    read_out.await.unwrap();
    let statistics = machine.server.lock().unwrap().as_ref().unwrap().statistics();
    assert_eq!(statistics.deleted_ends, 0);
    trace.note(format_args!("{statistics:?}"));
}

async fn all(trace: &Trace, logs: &JetStream, writer: &Writer) -> Vec<RecordBytes> {
    until_it_answers(trace, || logs.read(writer.log(), Revision::ZERO, usize::MAX)).await
}

/// What is there in the end is what was said to be written, and nothing else.
async fn read_out(trace: Trace, url: String, written: Vec<[Vec<RecordBytes>; 2]>) {
    let logs = open(url).await;
    for (tag, [own, _]) in (1_u64..).zip(&written) {
        let writer = Writer::of_room(&format!("own {tag}"), tag);
        let read = all(&trace, &logs, &writer).await;
        assert_eq!(&read, own);
        assert_eq!(writer.verify(&read), logs.head(writer.log()).await.ok());
    }
    let shared = Writer::of_room("shared", 0);
    let read = all(&trace, &logs, &shared).await;
    let mut expected: Vec<_> = written.into_iter().flat_map(|[_, shared]| shared).collect();
    expected.sort_by_key(|record| record.first);
    assert_eq!(read, expected);
    assert_eq!(shared.verify(&read), logs.head(shared.log()).await.ok());
    assert_eq!(logs.list(None, 10).await.map(|logs| logs.len()), Ok(3));
}

#[test]
fn two_nodes_write_through_cuts_kills_pauses_and_power_failures() {
    for seed in 0..6 {
        let trace = simulate(seed, move |trace| story(seed, trace));
        let mentions = |words: &str| trace.iter().filter(|line| line.contains(words)).count();
        eprintln!("{}", trace.last().unwrap());
        assert!(mentions("not yet") > 4, "{trace:#?}");
        assert!(mentions("may have lost some") >= 2 && mentions("is told") > 100, "{trace:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let name = "the_same_seed_gives_the_same_trace_in_another_process";
    let Some([one, other, third]) = twins(name, [7, 8, 9], |seed| simulate(seed, move |trace| story(seed, trace)))
    else {
        return;
    };
    for trace in [&one, &other, &third] {
        assert!(trace.len() > 500, "{} lines", trace.len());
    }
    assert_ne!(one, other);
}

#[test]
fn inboxes_that_the_client_draws_are_the_seeds() {
    let draws = async |trace: Trace| {
        sim::begin(Machines::default(), Link::default());
        let machine = Machine::new(1, When::Always, STORING);
        machine.start();
        let url = machine.url();
        let asking = Handle::current().create_node().build().spawn(async move {
            sleep(10 * MILLIS).await;
            let client = async_nats::connect(url).await.unwrap();
            for _ in 0..3 {
                trace.note(client.new_inbox());
            }
        });
        asking.await.unwrap();
    };
    let first = simulate(1, draws);
    assert_eq!(first, simulate(1, draws));
    assert_ne!(first, simulate(2, draws));
}

#[test]
fn a_lazy_server_forgets_with_the_power_and_an_older_disk_brings_back_an_older_head() {
    let forget = async |seed: u64, trace: Trace| {
        sim::begin(Machines::default(), Link::default());
        let machine = Machine::new(seed, When::Every(1_000 * MILLIS), STORING);
        machine.start();
        let (node, url) = (Handle::current().create_node().build(), machine.url());
        let begun = trace.clone();
        let writing = node.spawn(async move {
            let logs = open(url).await;
            let mut writer = Writer::of_room("lazy", 1);
            append(&begun, &logs, &mut writer, 2).await;
            // A sync comes in between.
            sleep(1_500 * MILLIS).await;
            let synced = writer.head();
            append(&begun, &logs, &mut writer, 1).await;
            (logs, writer, synced)
        });
        let (logs, mut writer, synced) = writing.await.unwrap();
        let backup = machine.disk.copy();
        assert!(machine.disk.unsynced() > 0);
        machine.down(Finds::Synced, 100 * MILLIS).await;
        let (head, log) = (writer.head(), writer.log().clone());
        let reading = node.spawn(async move {
            let found = until_it_answers(&trace, || logs.head(&log)).await;
            assert_eq!(found, synced);
            writer.set_head(found);
            append(&trace, &logs, &mut writer, 5).await;
            (logs, trace)
        });
        let (logs, trace) = reading.await.unwrap();
        machine.disk.restore(&backup);
        machine.down(Finds::Everything, 100 * MILLIS).await;
        let log = Writer::of_room("lazy", 1).log().clone();
        let reading = node.spawn(async move {
            assert_eq!(until_it_answers(&trace, || logs.head(&log)).await, head);
        });
        reading.await.unwrap();
    };
    for seed in 0..5 {
        simulate(seed, move |trace| forget(seed, trace));
    }
}
