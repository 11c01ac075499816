//! A simulated server, in the shape that the tests of the real one want: settings as lines of a configuration file, files as
//! a folder, and functions that wait.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use chamberlain_sim_valkey::{Disk, Fsync, Replicas, Server as Simulated, Settings};
use tokio::runtime::Runtime;

pub(crate) use super::real::{STRICT, free_port};

/// Where simulated servers live: not in the runtime of a test, which may end or be blocked.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Servers by port, so that one can be told whom it follows.
static SERVERS: LazyLock<Mutex<BTreeMap<u16, Simulated>>> = LazyLock::new(Mutex::default);

/// How long after a write a copy says that it is on its disk.
const LAG: Duration = Duration::from_millis(200);

pub(crate) struct Server {
    pub(crate) port: u16,
    server: Simulated,
    follows: Option<Simulated>,
}

/// Files of a server that do not belong to one just now.
pub(crate) struct Files(Disk);

impl Files {
    pub(crate) fn path(&self) -> &Self {
        self
    }
}

/// Waits for something that happens in the servers' runtime.
fn wait<T: Send>(what: impl Future<Output = T> + Send) -> T {
    // The caller's thread may belong to a runtime, which must not be waited in.
    std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(what)).join().expect("done"))
}

impl Server {
    pub(crate) fn strict() -> Self {
        Self::with(STRICT)
    }

    pub(crate) fn with(lines: &[&str]) -> Self {
        let (mut settings, mut follows) = (Settings::default(), None);
        let yes = |value: &str| value == "yes";
        for line in lines {
            match line.split_once(' ').expect("a name and a value") {
                ("appendonly", value) => settings.appendonly = yes(value),
                ("appendfsync", "always") => settings.appendfsync = Fsync::Always,
                ("appendfsync", "everysec") => settings.appendfsync = Fsync::EverySecond,
                ("appendfsync", "no") => settings.appendfsync = Fsync::No,
                ("no-appendfsync-on-rewrite", value) => settings.no_appendfsync_on_rewrite = yes(value),
                ("maxmemory-policy", value) => settings.maxmemory_policy = value.to_owned(),
                ("requirepass", value) => settings.default = chamberlain_sim_valkey::User::anything(Some(value)),
                ("replicaof", whom) => {
                    let port = whom.split_once(' ').and_then(|(_, port)| port.parse::<u16>().ok()).expect("a port");
                    let servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
                    follows = Some(servers[&port].clone());
                }
                _ => panic!("not simulated: {line}"),
            }
        }
        let server = Simulated::new(settings);
        server.set_replica(follows.is_some());
        let at = wait(server.start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).expect("started");
        SERVERS.lock().unwrap_or_else(PoisonError::into_inner).insert(at.port(), server.clone());
        let server = Self { port: at.port(), server, follows };
        server.tell_that_it_follows(LAG);
        server
    }

    fn tell_that_it_follows(&self, lag: Duration) {
        if let Some(primary) = &self.follows {
            primary.set_replicas(Replicas { count: 1, lag });
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("valkey://127.0.0.1:{}", self.port)
    }

    pub(crate) fn restart(&mut self) {
        wait(self.server.start(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))).expect("started");
    }

    pub(crate) fn kill(&mut self) {
        wait(self.server.kill());
    }

    pub(crate) fn pause(&self) {
        self.server.pause();
        self.tell_that_it_follows(Duration::from_secs(86_400));
    }

    pub(crate) fn resume(&self) {
        self.server.resume();
        self.tell_that_it_follows(LAG);
    }

    pub(crate) fn replace_files(&mut self, from: Option<&Files>) -> Files {
        Files(self.server.replace_disk(from.map(|files| files.0.clone()).unwrap_or_default()))
    }

    pub(crate) fn copy_files(&self) -> Files {
        Files(self.server.disk())
    }

    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("connected");
        stream.write_all(&super::words::packed(words)).expect("sent");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("answered");
        line.trim_end().to_owned()
    }

    pub(crate) fn can_wait(&self) -> bool {
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        wait(self.server.kill());
        SERVERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.port);
    }
}
