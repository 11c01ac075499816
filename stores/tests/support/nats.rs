//! A real nats-server, started for one test on a free port of this machine with a data folder of its own.
//!
//! The program is `CHAMBERLAIN_NATS_SERVER` (`CHAMBERLAIN_NATS_SERVER_2_9` for the old one), or what `cargo xtask test` put into
//! `tools/servers` of the target folder, or one on the path. A missing one is a failure.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often another port is tried.
const ATTEMPTS: usize = 20;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// The one that production asks for.
    Current,
    /// The same, which syncs every two minutes.
    Lax,
    /// Debian 12's 2.9, which does not know `sync_interval`.
    Old,
}

/// A server; killed when it goes out of scope.
pub(crate) struct Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts the current one, which syncs each write.
    pub(crate) fn start() -> Self {
        Self::start_with(Version::Current, "")
    }

    /// Starts one, with further lines of configuration.
    pub(crate) fn start_with(version: Version, configuration: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::prepared(version, "test", configuration);
            // Somebody else may have taken the port meanwhile.
            if server.run() {
                return server;
            }
            eprintln!("{}", server.said());
        }
        panic!("no nats-server came up");
    }

    /// Starts three that know each other, with further lines of configuration.
    pub(crate) fn start_cluster(configuration: &str) -> [Self; 3] {
        'attempts: for _ in 0..ATTEMPTS {
            let routes = [0; 3].map(|_| free_port());
            let known = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
            let mut servers = [0, 1, 2].map(|nth: usize| {
                let listen = format!("listen: \"127.0.0.1:{}\"", routes[nth]);
                let cluster = format!("cluster {{ name: cluster\n {listen}\n routes: [{known}] }}\n{configuration}");
                Self::prepared(Version::Current, &format!("test-{nth}"), &cluster)
            });
            for server in &mut servers {
                if !server.run() {
                    eprintln!("{}", server.said());
                    continue 'attempts;
                }
            }
            return servers;
        }
        panic!("no cluster of nats-servers came up");
    }

    fn prepared(version: Version, name: &str, configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Self { program: program(version), folder, port: free_port(), child: None };
        let data = server.data().display().to_string();
        let syncing = if version == Version::Current { "sync_interval: always" } else { "" };
        let jetstream = format!("jetstream {{ store_dir: \"{data}\"\n {syncing} }}");
        let listen = format!("listen: \"127.0.0.1:{}\"\nserver_name: {name}", server.port);
        std::fs::write(server.file("server.conf"), format!("{listen}\n{jetstream}\n{configuration}\n"))
            .expect("written");
        server
    }

    /// Where clients connect to.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The folder in which it keeps everything.
    pub(crate) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// Ends it as a power cut would end a process: with no word to it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// Starts it again on the same port and folder, with the same configuration.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it is running");
        assert!(self.run(), "it did not come up again; it said:\n{}", self.said());
    }

    /// Stops it without ending it, or lets it go on.
    pub(crate) fn pause(&self, pause: bool) {
        let child = self.child.as_ref().expect("running");
        let signal = if pause { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.file("server.log")).unwrap_or_default()
    }

    /// Whether it is up and takes clients.
    fn run(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.file("server.log")).expect("a log");
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.file("server.conf")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|why| panic!("{}: {why}", self.program.display()));
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if child.try_wait().expect("asked").is_some() {
                return false;
            }
            if greets(self.port) {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().and_then(|()| child.wait()).expect("ended");
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("nats-server said:\n{}", self.said());
        }
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    free.local_addr().expect("bound").port()
}

/// A NATS server speaks first.
fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let timed = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    timed.is_ok() && BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO")
}

fn program(version: Version) -> PathBuf {
    let (variable, name) = match version {
        Version::Current | Version::Lax => ("CHAMBERLAIN_NATS_SERVER", "nats-server"),
        Version::Old => ("CHAMBERLAIN_NATS_SERVER_2_9", "nats-server-2.9"),
    };
    if let Some(named) = std::env::var_os(variable) {
        return named.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("inside the target folder");
    let installed = target.join("tools/servers").join(name);
    if installed.is_file() {
        return installed;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!("there is no {name}: `cargo xtask test --only unit` obtains one, or set {variable} to the path of one")
    })
}
