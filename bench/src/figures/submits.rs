//! Durable submits through a whole node, and what the store and the disk beneath it can do alone.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use chamberlain_bench::cost;
use chamberlain_bench::names;
use chamberlain_core::id::{LogId, RoomId};
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_net::node::Node;
use chamberlain_stores::Appended;
use hdrhistogram::Histogram;
use redb::{Database, TableDefinition};
use tokio::task::JoinSet;

use super::Run;
use crate::figure::{Axis, Figure, Found, Line, Plot};
use crate::peer::clients::Latencies;
use crate::peer::server;

const GROUP: &str = "submits";
const ROOMS: u64 = 64;
/// About a record of one message.
const RECORD_BYTES: usize = 600;

/// Submits per second in 64 rooms, and their latency.
pub(crate) fn submits(run: &Run) -> Result<Found> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let span = Duration::from_secs(if run.quick { 2 } else { 5 });
    let counts: &[u64] = if run.quick { &[1, 64] } else { &[1, 4, 16, 64] };
    let folder = run.folder()?;
    let runtime = server::runtime(workers)?;
    let (node, rooms) = runtime.block_on(async {
        let node = server::start(Some(folder.path())).await?;
        server::register(&node, 0).await?;
        let mut rooms = Vec::new();
        for nth in 0..ROOMS {
            rooms.push(server::create(&node, nth).await?);
        }
        anyhow::Ok((node, rooms))
    })?;
    let next = Arc::new(AtomicU64::new(0));
    let (mut rates, mut latencies) = (Vec::new(), Vec::new());
    let mut figures = Vec::new();
    for &at_once in counts {
        run.say(format!("{at_once} at once in each of {ROOMS} rooms"));
        let (mut rate, mut middle, mut high, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in run.rounds(3) {
            let before = cost::cpu_time();
            let begun = Instant::now();
            let histogram = runtime.block_on(submit(&node, &rooms, at_once, span, &next))?;
            let done = histogram.len();
            rate.push(done as f64 / begun.elapsed().as_secs_f64());
            cpu.push((cost::cpu_time() - before).as_secs_f64() * 1e6 / done as f64);
            let latencies = Latencies::of(&histogram);
            middle.push(latencies.at(50.0));
            high.push(latencies.at(99.0));
        }
        let name = |what: &str| format!("{what}, {at_once} at once in each of {ROOMS} rooms");
        let figure = Figure::new(GROUP, name("durable submits"), "/s", rate);
        rates.push((at_once as f64, figure.value));
        let high = Figure::new(GROUP, name("  p99"), "ms", high);
        latencies.push((at_once as f64, high.value));
        let most = Some(&at_once) == counts.last();
        let note = "through the node: prepared, decided, sealed, appended, committed with fsync, answered";
        figures.push(if most { figure.at_least(20_000.0).note(note) } else { figure });
        figures.extend([Figure::new(GROUP, name("  p50"), "ms", middle), high]);
        figures.push(Figure::new(GROUP, name("  CPU time of a submit"), "us", cpu));
    }
    drop(node);
    runtime.shutdown_timeout(Duration::from_secs(5));
    figures.extend(beneath(run)?);
    let plot = |title: &str, unit: &str, points| Plot {
        group: GROUP,
        title: title.into(),
        x: Axis::log("submits at once in each of 64 rooms"),
        y: Axis::linear(unit),
        lines: vec![Line::new(title, points)],
    };
    let plots = vec![
        plot("Durable submits per second", "/s", rates),
        plot("Latency of a durable submit, p99", "ms", latencies),
    ];
    Ok(Found { figures, plots })
}

/// Submits for so long; how long each took in microseconds.
pub(super) async fn submit(
    node: &Node,
    rooms: &[RoomId],
    at_once: u64,
    span: Duration,
    next: &Arc<AtomicU64>,
) -> Result<Histogram<u64>> {
    let end = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for &room in rooms {
        for _ in 0..at_once {
            let (node, next) = (node.clone(), next.clone());
            tasks.spawn(async move {
                let who = server::identity(names::owner());
                // A list, for there are thousands of tasks, and a histogram is large.
                let mut took = Vec::new();
                while Instant::now() < end {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let begun = Instant::now();
                    let said = node.command(&who, names::request(nth), server::submit(room, nth)).await;
                    said.map_err(|refused| anyhow!("saying something: {refused}"))?;
                    took.push(begun.elapsed().as_micros() as u64);
                }
                anyhow::Ok(took)
            });
        }
    }
    let mut all = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    while let Some(task) = tasks.join_next().await {
        task??.into_iter().try_for_each(|took| all.record(took))?;
    }
    Ok(all)
}

/// The disk, the database and the store, alone.
fn beneath(run: &Run) -> Result<Vec<Figure>> {
    let span = Duration::from_secs(if run.quick { 1 } else { 3 });
    let folder = run.folder()?;
    let [mut syncs, mut transactions, mut appends] = [const { Vec::new() }; 3];
    for nth in run.rounds(3) {
        syncs.push(sync(&folder.path().join(format!("sync-{nth}")), span)?);
        transactions.push(transact(&folder.path().join(format!("redb-{nth}")), span)?);
        let runtime = server::runtime(std::thread::available_parallelism().map_or(1, usize::from))?;
        appends.push(runtime.block_on(append(&folder.path().join(format!("store-{nth}")), span))?);
    }
    Ok(vec![
        Figure::new(GROUP, "disk: 4 KiB appended and fdatasync", "/s", syncs),
        Figure::new(GROUP, "redb: transactions of one small record", "/s", transactions)
            .note("durable, without quick repair"),
        Figure::new(GROUP, "store: appends to 1,024 logs at once", "/s", appends)
            .note("records of one message, made before; the embedded store's group commit and nothing above it"),
    ])
}

fn sync(path: &Path, span: Duration) -> Result<f64> {
    let mut file = File::create(path)?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < span {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn transact(path: &Path, span: Duration) -> Result<f64> {
    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
    let database = Database::create(path)?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < span {
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?.insert(count, [7; RECORD_BYTES].as_slice())?;
        transaction.commit()?;
        count += 1;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Appends to as many logs as there are submits at once in the largest run but one: a log takes one record at a time.
async fn append(folder: &Path, span: Duration) -> Result<f64> {
    const LOGS: u64 = 1_024;
    let store = server::open(folder).await?;
    let logs = store.stores().logs;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for nth in 0..LOGS {
        let logs = logs.clone();
        tasks.spawn(async move {
            let log = LogId::Room(names::room(nth));
            let (mut head, mut count) = (Head::EMPTY, 0_u64);
            while begun.elapsed() < span {
                let revision = head.revision.next();
                let record = RecordBytes { first: revision, last: revision, bytes: vec![7; RECORD_BYTES].into() };
                let mut after = Head { revision, digest: head.digest };
                after.digest.0[..8].copy_from_slice(&revision.0.to_be_bytes());
                match logs.append(&log, head, record, after).await? {
                    Appended::Done(now) => head = now,
                    Appended::Conflict(_) => return Err(anyhow!("somebody else appends")),
                }
                count += 1;
            }
            Ok(count)
        });
    }
    let mut count = 0;
    while let Some(task) = tasks.join_next().await {
        count += task??;
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    store.close().await;
    Ok(rate)
}
