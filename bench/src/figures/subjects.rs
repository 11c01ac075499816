//! What a new room key costs on NATS subjects: a rotation in a room of 10,000, until the last account's event was heard, beside
//! a bare client that publishes the same bytes to the same subjects.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use chamberlain_bench::{cost, names};
use chamberlain_core::room::Command;
use chamberlain_net::subjects::{Options, Subjects};

use super::Run;
use crate::figure::{Figure, Found};
use crate::peer::server;

const GROUP: &str = "subjects";
/// Members of the large room, its owner aside.
const MEMBERS: usize = 9_999;
/// How long events may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a key event: what the bare client publishes is as long.
const EVENT_BYTES: usize = 232;
/// What every message to the listener begins with.
const MESSAGE: &[u8] = b"MSG chat.user.";

/// A rotation in a room of 10,000, on subjects.
pub(crate) fn subjects(run: &Run) -> Result<Found> {
    let members = if run.quick { 999 } else { MEMBERS };
    let accounts = members + 1;
    let folder = run.folder()?;
    let nats = Nats::start(folder.path())?;
    let listener = Listener::start(&nats, accounts)?;
    let runtime = server::runtime(std::thread::available_parallelism().map_or(1, usize::from))?;
    run.say(format!("a room of {accounts}"));
    let (node, room, bare) = runtime.block_on(async {
        let node = server::start(None).await?;
        let room = server::grow(&node, members).await?;
        let options = Options {
            servers: vec![nats.url()],
            credentials: None,
            peers: None,
            trust: Vec::new(),
            reserved: |_| false,
            opening: PATIENCE,
        };
        // Runs for as long as the node.
        let opened = Subjects::open(&node, &options).await;
        std::mem::forget(opened.map_err(|why| anyhow!("opening subjects: {why}"))?);
        let bare = async_nats::connect(nats.url()).await?;
        anyhow::Ok((node, room, bare))
    })?;
    let owner = server::identity(names::owner());
    let rotate = |nth: u64| {
        let rotated = runtime.block_on(node.command(&owner, names::request(nth), Command::Rotate { room }));
        rotated.map(drop).map_err(|refused| anyhow!("rotating: {refused}"))
    };
    let topics: Vec<String> = accounts_of(members).map(|token| topic(&token)).collect();
    let event = bytes::Bytes::from(vec![b'x'; EVENT_BYTES]);
    let publish = |_| {
        runtime.block_on(async {
            for topic in &topics {
                bare.publish(topic.clone(), event.clone()).await?;
            }
            anyhow::Ok(bare.flush().await?)
        })
    };
    // The first round makes what is made once, and settles who has heard of the room.
    listener.round(accounts, &nats, || rotate(u64::MAX / 4))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for nth in run.rounds(7) {
        ours.push(listener.round(accounts, &nats, || rotate(u64::MAX / 4 + 1 + nth as u64))?);
        theirs.push(listener.round(accounts, &nats, || publish(nth))?);
    }
    let name = |what: &str| format!("{what}, {accounts} accounts");
    let column = |rounds: &[Round], of: fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let per_event = accounts as f64;
    let cpu = |rounds: &[Round]| rounds.iter().map(|round| round.cpu * 1e6 / per_event).collect::<Vec<_>>();
    let theirs_took = cost::median(column(&theirs, |round| round.took));
    let ours_took = cost::median(column(&ours, |round| round.took));
    let figures = vec![
        Figure::new(GROUP, name("key fan-out on subjects"), "ms", column(&ours, |round| round.took * 1e3))
            .note("from the rotation's command until the last account's event was heard, over nats-server; listener on the same cores"),
        Figure::new(GROUP, name("  a bare client, the same subjects and bytes"), "ms", column(&theirs, |round| round.took * 1e3)),
        Figure::new(GROUP, "  bare to ours", "", vec![theirs_took / ours_took]),
        Figure::new(GROUP, name("  CPU time of the node per event"), "us", cpu(&ours)),
        Figure::new(GROUP, name("  CPU time of a bare client per event"), "us", cpu(&theirs)),
        Figure::new(
            GROUP,
            name("  CPU time of nats-server per event"),
            "us",
            ours.iter().map(|round| round.server * 1e6 / per_event).collect(),
        )
        .note("in steps of the kernel's ticks"),
    ];
    drop(node);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Found { figures, plots: Vec::new() })
}

/// The owner and the members, as they stand in subjects.
fn accounts_of(members: usize) -> impl Iterator<Item = String> {
    let everybody = std::iter::once(names::owner()).chain((0..members).map(names::member));
    everybody.map(|account| account.as_str().replace('.', "%2E"))
}

fn topic(token: &str) -> String {
    format!("chat.user.{token}.event.room.key")
}

/// What one fan-out took, in seconds.
struct Round {
    took: f64,
    /// CPU time of this process, the listener's aside.
    cpu: f64,
    /// CPU time of the NATS server.
    server: f64,
}

/// A thread that hears every account's events over one connection, with a subscription for each, and does nothing but count.
struct Listener {
    wanted: mpsc::SyncSender<usize>,
    heard: mpsc::Receiver<Result<(Instant, Duration)>>,
}

impl Listener {
    fn start(nats: &Nats, accounts: usize) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", nats.port)).context("connecting to nats-server")?;
        let mut hello = String::from("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
        for (nth, token) in accounts_of(accounts - 1).enumerate() {
            hello += &format!("SUB {} {nth}\r\n", topic(&token));
        }
        stream.write_all(hello.as_bytes())?;
        stream.write_all(b"PING\r\n")?;
        await_pong(&mut stream)?;
        let (wanted, asked) = mpsc::sync_channel(1);
        let (tell, heard) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            while let Ok(count) = asked.recv() {
                let begun = cost::thread_time();
                let counted = hear(&mut stream, count).map(|at| (at, cost::thread_time() - begun));
                if tell.send(counted).is_err() {
                    return;
                }
            }
        });
        Ok(Self { wanted, heard })
    }

    /// Has something published, and waits until so many events were heard.
    fn round(&self, accounts: usize, nats: &Nats, publish: impl FnOnce() -> Result<()>) -> Result<Round> {
        self.wanted.send(accounts)?;
        let (cpu, server, begun) = (cost::cpu_time(), nats.cpu_time()?, Instant::now());
        publish()?;
        let (at, listening) = self.heard.recv_timeout(PATIENCE).context("waiting for events")??;
        let cpu = cost::cpu_time().saturating_sub(cpu).saturating_sub(listening).as_secs_f64();
        Ok(Round { took: (at - begun).as_secs_f64(), cpu, server: (nats.cpu_time()? - server).as_secs_f64() })
    }
}

fn await_pong(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    while !said.windows(4).any(|four| four == b"PONG") {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "nats-server hung up: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..read]);
    }
    Ok(())
}

/// Counts messages until there were so many; when that was.
fn hear(stream: &mut TcpStream, count: usize) -> Result<Instant> {
    let (mut buffer, mut kept, mut heard) = (vec![0; 256 * 1024], 0, 0);
    while heard < count {
        let read = stream.read(&mut buffer[kept..])?;
        ensure!(read > 0, "nats-server hung up after {heard} events");
        let end = kept + read;
        let found = buffer[..end].windows(MESSAGE.len()).filter(|part| *part == MESSAGE).count();
        heard += found;
        if buffer[..end].ends_with(b"PING\r\n") {
            stream.write_all(b"PONG\r\n")?;
        }
        // A beginning that was cut stays, and no whole one does.
        kept = (MESSAGE.len() - 1).min(end);
        buffer.copy_within(end - kept..end, 0);
    }
    Ok(Instant::now())
}

/// A nats-server, ended with this.
struct Nats {
    child: Child,
    port: u16,
}

impl Nats {
    fn start(folder: &std::path::Path) -> Result<Self> {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let file = folder.join("nats.conf");
        // As long as it writes to one client, that one is not slow.
        std::fs::write(&file, format!("listen: \"127.0.0.1:{port}\"\nmax_pending: 268435456\n"))?;
        let program = program()?;
        let mut command = Process::new(&program);
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let nats = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(begun.elapsed() < PATIENCE, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nats)
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// User and system time of the process, to the tick.
    fn cpu_time(&self) -> Result<Duration> {
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let field = |nth: usize| fields.get(nth).and_then(|field| field.parse::<u32>().ok());
        let (user, system) = field(11).zip(field(12)).context("a stat without times")?;
        Ok(TICK * (user + system))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// What `cargo xtask bench` names, what its tests obtained, or one on the path.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHAMBERLAIN_NATS_SERVER") {
        return Ok(named.into());
    }
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(std::path::Path::parent).context("a program two folders below the root")?;
    let obtained = target.join("tools/servers/nats-server");
    Ok(if obtained.is_file() { obtained } else { "nats-server".into() })
}
