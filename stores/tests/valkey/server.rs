//! A real server on a free loopback port, with a data folder of its own, that is stopped when the test is done with it.
//!
//! The program is the one that `CHAMBERLAIN_VALKEY_SERVER` names, the one that the test command fetched into `tools` of the
//! target folder, or `valkey-server` or `redis-server` on the path. Where there is none, tests fail and say so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings of a server that keeps what it acknowledges.
pub(crate) const STRICT: &[&str] = &["appendonly yes", "appendfsync always"];

/// A server, running or not.
pub(crate) struct Server {
    pub(crate) port: u16,
    settings: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// One that keeps what it acknowledges.
    pub(crate) fn strict() -> Self {
        Self::with(STRICT)
    }

    /// One with these settings, each as a line of a configuration file.
    pub(crate) fn with(settings: &[&str]) -> Self {
        for _ in 0..10 {
            let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
            let folder = tempfile::tempdir().expect("a folder");
            let mut server = Self { port: free_port(), settings, folder, child: None };
            // Somebody else may have taken the port meanwhile.
            if server.start() {
                return server;
            }
        }
        panic!("no server starts");
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("valkey://127.0.0.1:{}", self.port)
    }

    /// Starts it again, on the same port and files.
    pub(crate) fn restart(&mut self) {
        assert!(self.start(), "it does not start again: {}", self.log());
    }

    fn start(&mut self) -> bool {
        assert!(self.child.is_none(), "it is running");
        let mut command = Command::new(program());
        let folder = self.folder.path().to_str().expect("a path in UTF-8");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir", folder]);
        command.args(["--daemonize", "no", "--save", "", "--logfile", "server.log"]);
        for setting in &self.settings {
            let (name, value) = setting.split_once(' ').expect("a name and a value");
            command.arg(format!("--{name}")).arg(value);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        let child = self.child.insert(child);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if child.try_wait().expect("asked").is_some() {
                self.child = None;
                return false;
            }
            if answers(self.port) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not answer: {}", self.log());
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it is running");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Lets it stand still.
    pub(crate) fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).expect("stopped");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("continued");
    }

    /// Puts files in the place of its own; it must not be running.
    pub(crate) fn replace_files(&mut self, from: Option<&Path>) -> TempDir {
        assert!(self.child.is_none(), "it is running");
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(from) = from {
            copy(from, folder.path());
        }
        std::mem::replace(&mut self.folder, folder)
    }

    /// A copy of its files as they are now.
    pub(crate) fn copy_files(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        copy(self.folder.path(), folder.path());
        folder
    }

    /// Everything in its files.
    pub(crate) fn files(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        walk(self.folder.path(), &mut |path| bytes.extend(std::fs::read(path).expect("read")));
        bytes
    }

    /// Asks it something, and returns the first line of what it says.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut stream = connect(self.port).expect("connected");
        stream.write_all(&packed(words)).expect("sent");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("answered");
        line.trim_end().to_owned()
    }

    /// Whether it can wait for disks.
    pub(crate) fn can_wait(&self) -> bool {
        !self.ask(&["WAITAOF", "0", "0", "1"]).contains("unknown command")
    }

    /// Listens to everything it is asked, until the function that is returned is called.
    pub(crate) fn monitor(&self) -> impl FnOnce() -> Vec<u8> + use<> {
        let mut stream = connect(self.port).expect("connected");
        stream.write_all(&packed(&["MONITOR"])).expect("sent");
        let mut said = [0; 5];
        stream.read_exact(&mut said).expect("answered");
        assert_eq!(&said, b"+OK\r\n");
        let mut listening = stream.try_clone().expect("cloned");
        let listener = std::thread::spawn(move || {
            let mut heard = Vec::new();
            // It ends when the other half is shut.
            let _ended = listening.read_to_end(&mut heard);
            heard
        });
        move || {
            std::thread::sleep(Duration::from_millis(200));
            stream.shutdown(std::net::Shutdown::Both).expect("shut");
            listener.join().expect("listened")
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    fn pid(&self) -> Pid {
        let id = self.child.as_ref().expect("it is running").id();
        Pid::from_raw(id.try_into().expect("a small number")).expect("a process")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already.
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("CHAMBERLAIN_VALKEY_SERVER") {
        return program.into();
    }
    let here = std::env::current_exe().expect("this program");
    let fetched = here.ancestors().flat_map(|folder| {
        [
            "valkey-server",
            "bin/valkey-server",
            "valkey/valkey-server",
            "valkey/bin/valkey-server",
            "valkey/usr/bin/valkey-server",
        ]
        .map(|file| folder.join("tools").join(file))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = ["valkey-server", "redis-server"]
        .into_iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)).collect::<Vec<_>>());
    fetched.chain(installed).find(|file| file.is_file()).expect(
        "a Valkey or Redis server: install valkey-server or redis-server, or name one in CHAMBERLAIN_VALKEY_SERVER",
    )
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Whether something that is done with its files answers; also one that asks for a password.
fn answers(port: u16) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = connect(port)?;
        stream.write_all(&packed(&["PING"]))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    asked().is_ok_and(|line| line.starts_with("+PONG") || line.starts_with("-NOAUTH"))
}

fn packed(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

fn copy(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        std::fs::copy(path, target).expect("copied");
    });
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}
