//! The same work over the embedded store and over servers, in one run: submits through a node, and from a submit at one node to
//! its delivery at another.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use chamberlain_bench::names;
use chamberlain_core::id::RoomId;
use chamberlain_core::room::Outcome;
use chamberlain_core::wire::{ClientFrame, Codec, Hello, Open, ServerFrame};
use chamberlain_net::bus;
use chamberlain_net::gateway;
use chamberlain_net::node::Node;
use chamberlain_stores::jetstream::{self, JetStream, Syncing};
use chamberlain_stores::valkey::{self, Valkey};
use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Run, submits};
use crate::figure::{Figure, Found};
use crate::peer::clients::Latencies;
use crate::peer::server;

const GROUP: &str = "servers";
const ROOMS: u64 = 64;
/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server process; killed when it goes out of scope.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A nats-server and a Valkey in a folder, both of which sync each write.
struct Servers {
    nats: u16,
    valkey: u16,
    _processes: [Process; 2],
}

impl Servers {
    fn start(folder: &Path) -> Result<Self> {
        let (nats, valkey) = (free_port()?, free_port()?);
        let config = folder.join("nats.conf");
        let data = folder.join("jetstream");
        let text = format!(
            "listen: \"127.0.0.1:{nats}\"\njetstream {{ store_dir: \"{}\"\n sync_interval: always }}\n",
            data.display()
        );
        std::fs::write(&config, text)?;
        let processes = [
            begin(nats, program("CHAMBERLAIN_NATS_SERVER")?.arg("--config").arg(config))?,
            begin(
                valkey,
                program("CHAMBERLAIN_VALKEY_SERVER")?
                    .args(["--port", &valkey.to_string(), "--bind", "127.0.0.1", "--save", ""])
                    .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
                    .arg(folder),
            )?,
        ];
        Ok(Self { nats, valkey, _processes: processes })
    }

    /// Two nodes that know of each other.
    async fn nodes(&self) -> Result<[Node; 2]> {
        let mut nodes = Vec::new();
        for name in ["one", "two"] {
            let address = format!("nats://127.0.0.1:{}", self.nats);
            let logs = JetStream::open(jetstream::Options::new(names::site(), address, Syncing::Promised)).await?;
            let address = valkey::Address::parse(&format!("valkey://127.0.0.1:{}", self.valkey))?;
            let options = valkey::Options::default();
            let vault = Valkey::open(&address, &names::master(), &names::site(), options).await?;
            let connected = bus::nats::connect(logs.client(), names::site()).await?;
            nodes.push(Node::start_among(server::settings(name), vault.stores(Arc::new(logs)), connected));
        }
        let nodes: [Node; 2] = nodes.try_into().map_err(|_| anyhow!("two nodes"))?;
        let begun = Instant::now();
        while nodes.iter().any(|node| node.others().is_empty()) {
            if begun.elapsed() > PATIENCE {
                bail!("the nodes do not hear of each other");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(nodes)
    }
}

/// The program that this variable names.
fn program(variable: &str) -> Result<Command> {
    let named = std::env::var_os(variable);
    named.map(Command::new).with_context(|| format!("{variable} names no server: `cargo xtask bench` obtains one"))
}

fn begin(port: u16, command: &mut Command) -> Result<Process> {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process(silent.spawn().with_context(|| format!("starting {command:?}"))?);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > PATIENCE {
            bail!("{command:?} does not listen");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Embedded store and servers side by side.
pub(crate) fn servers(run: &Run) -> Result<Found> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = run.folder()?;
    let runtime = server::runtime(workers)?;
    let mut figures = Vec::new();

    run.say("embedded store");
    let store = folder.path().join("embedded");
    let node = runtime.block_on(server::start(Some(&store)))?;
    figures.extend(measure(run, &runtime, "embedded", &node, &node)?);
    drop(node);

    run.say("JetStream and Valkey");
    let servers = Servers::start(folder.path())?;
    let [one, two] = runtime.block_on(servers.nodes())?;
    figures.extend(measure(run, &runtime, "JetStream, two nodes", &one, &two)?);
    drop((one, two));
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(Found { figures, plots: Vec::new() })
}

fn measure(run: &Run, runtime: &tokio::runtime::Runtime, store: &str, one: &Node, two: &Node) -> Result<Vec<Figure>> {
    let span = Duration::from_secs(if run.quick { 1 } else { 4 });
    let rooms = runtime.block_on(async {
        server::register(one, 0).await?;
        let mut rooms = Vec::new();
        for nth in 0..ROOMS {
            rooms.push(server::create(one, nth).await?);
        }
        anyhow::Ok(rooms)
    })?;
    let next = Arc::new(AtomicU64::new(0));
    let mut figures = Vec::new();
    for at_once in [1, 16] {
        let (mut rate, mut middle, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for _ in run.rounds(3) {
            let begun = Instant::now();
            let histogram = runtime.block_on(submits::submit(one, &rooms, at_once, span, &next))?;
            rate.push(histogram.len() as f64 / begun.elapsed().as_secs_f64());
            let latencies = Latencies::of(&histogram);
            middle.push(latencies.at(50.0));
            high.push(latencies.at(99.0));
        }
        let name = |what: &str| format!("{store}: {what}, {at_once} at once in each of {ROOMS} rooms");
        figures.push(Figure::new(GROUP, name("durable submits"), "/s", rate));
        figures.push(Figure::new(GROUP, name("  p50"), "ms", middle));
        figures.push(Figure::new(GROUP, name("  p99"), "ms", high));
    }
    let count = if run.quick { 50 } else { 500 };
    let (answers, deliveries) = runtime.block_on(deliver(one, two, rooms[0], count, &next))?;
    for (what, histogram) in [("one submit after the other, to its answer", answers), ("to its delivery", deliveries)] {
        let latencies = Latencies::of(&histogram);
        let name = |part: &str| format!("{store}: {what}, {part}");
        figures.push(Figure::new(GROUP, name("p50"), "ms", vec![latencies.at(50.0)]));
        figures.push(Figure::new(GROUP, name("p99"), "ms", vec![latencies.at(99.0)]));
    }
    Ok(figures)
}

/// Says something at one node, again and again, and waits until it is answered there and delivered at the other: microseconds.
async fn deliver(
    one: &Node,
    two: &Node,
    room: RoomId,
    count: u64,
    next: &AtomicU64,
) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    tokio::spawn(gateway::run(theirs, Codec::Bincode, two.clone(), Arc::new(server::AnyName)));
    let mut socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let hello = ClientFrame::Hello(Hello { token: names::OWNER.into(), batch: true });
    let open = ClientFrame::Open(Open { room, position: None, from: None, kinds: None, limit: None });
    for frame in [hello, open] {
        socket.send(Message::binary(Codec::Bincode.encode(&frame))).await?;
    }
    while !matches!(read(&mut socket).await?, ServerFrame::Opened { .. }) {}
    let (mut answers, mut deliveries) =
        (Histogram::new_with_max(60_000_000, 3)?, Histogram::new_with_max(60_000_000, 3)?);
    let who = server::identity(names::owner());
    for _ in 0..count {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let said = one.command(&who, names::request(nth), server::submit(room, nth));
        // Who speaks is alone in the room: its message is the next that comes, behind a key the first time.
        let heard = async {
            loop {
                if let ServerFrame::Batch { to, .. } = read(&mut socket).await? {
                    return anyhow::Ok((to, begun.elapsed()));
                }
            }
        };
        let (said, heard) = tokio::join!(async { (said.await, begun.elapsed()) }, heard);
        let (answer, took) = said;
        match (answer, heard?) {
            (Ok(Outcome::Sent { revision, .. }), (to, heard)) if to >= revision => {
                answers.record(took.as_micros() as u64)?;
                deliveries.record(heard.as_micros() as u64)?;
            }
            (answer, (to, _)) => bail!("{answer:?}, and delivered up to {to}"),
        }
    }
    Ok((answers, deliveries))
}

async fn read(socket: &mut WebSocketStream<DuplexStream>) -> Result<ServerFrame> {
    loop {
        match socket.next().await.context("the connection ended")?? {
            Message::Binary(bytes) => {
                return Codec::Bincode.decode_server(&bytes).map_err(|error| anyhow!("{}", error.0));
            }
            _ => continue,
        }
    }
}
