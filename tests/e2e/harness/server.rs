//! The built binary, with a data folder and a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// Configuration that makes `root` an administrator.
const ROOT: &str = "[auth]\nadmins = [\"root\"]\n";

pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    home: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Server {
    /// A server over an empty data folder, in development sign-in.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], "")
    }

    /// With more arguments, and a configuration file.
    pub(crate) fn start_with(arguments: &[&str], config: &str) -> Self {
        let mut server = Self::new(arguments, config);
        server.go();
        server
    }

    /// With an administrator named `root`.
    pub(crate) fn start_with_root() -> Self {
        Self::start_with(&[], ROOT)
    }

    /// Not started yet.
    pub(crate) fn new(arguments: &[&str], config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        if !config.is_empty() {
            let file = home.path().join("chamberlain.toml");
            std::fs::write(&file, config).unwrap();
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        Self { child: None, address: free_address(), home, arguments, environment: Vec::new() }
    }

    /// With this in the environment, from the next start on.
    pub(crate) fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn go(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let child = command()
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .arg("--listen")
            .arg(self.address.to_string())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .env("CHAMBERLAIN_LOGGING__LEVEL", "warn")
            .spawn()
            .expect("the binary can be started");
        self.child = Some(child);
        let begun = Instant::now();
        while self.get("/readyz").is_none_or(|answer| answer.0 != 200) {
            let gone = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(gone.is_none(), "the server ended at once: {gone:?}");
            assert!(begun.elapsed() < READY, "the server was not ready within {READY:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.terminate();
        self.wait()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.child.as_ref().expect("the server runs").id();
        assert!(Command::new("kill").args(["-TERM", &id.to_string()]).status().unwrap().success());
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.take().expect("the server runs").wait().unwrap().code()
    }

    /// Puts accounts into the directory: CSV with a heading.
    pub(crate) fn accounts(&self, list: &str) {
        let file = self.beside("accounts.csv");
        std::fs::write(&file, list).unwrap();
        self.ok(&["account", "import", file.to_str().unwrap()]);
    }

    /// The handshake of a socket: the status, and the body of a refusal.
    pub(crate) fn upgrade(&self, version: &str, protocol: Option<&str>, headers: &[(&str, &str)]) -> (u16, String) {
        let mut all = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", version),
        ];
        all.extend(protocol.map(|protocol| ("Sec-WebSocket-Protocol", protocol)));
        all.extend(headers);
        self.http("GET", "/v1/socket", &all, "").expect("the server answers")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A place beside its data folder, for a test's own files.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Status and body of a GET; `None` when nobody answers.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        self.http("GET", path, &[], "")
    }

    /// A request over a connection of its own.
    pub(crate) fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<(u16, String)> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let host = self.address;
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let length = body.len();
        let usual =
            [("Host", host.to_string()), ("Connection", "close".into()), ("Content-Length", length.to_string())];
        for (name, value) in usual {
            if !headers.iter().any(|(other, _)| name.eq_ignore_ascii_case(other))
                && (name != "Content-Length" || length > 0)
            {
                head += &format!("{name}: {value}\r\n");
            }
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        // A connection that was to be upgraded may stay open.
        while !is_whole(&answer) {
            match stream.read(&mut chunk).ok()? {
                0 => break,
                read => answer.extend_from_slice(&chunk[..read]),
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some((status, if chunked { dechunk(body) } else { body.to_owned() }))
    }

    /// Runs a subcommand of the binary against this server's data folder.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        command().args(arguments).arg("--data").arg(self.data()).output().unwrap()
    }

    /// Runs a subcommand with this server's configuration and environment, to its end.
    pub(crate) fn cli_as_configured(&self, arguments: &[&str]) -> Output {
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command()
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .args(&self.arguments)
            .envs(environment)
            .output()
            .unwrap()
    }

    /// Runs a subcommand that has to succeed; what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "chamberlain {}: {}\n{printed}{said}", arguments.join(" "), output.status);
        printed.into_owned()
    }
}

/// The binary, without what the environment of the tests says about it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHAMBERLAIN_")) {
        command.env_remove(name);
    }
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// An address of this machine that nobody listens at, and that no outgoing connection is given by the system: a server that
/// was killed comes back at the same port.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 1_000) as u16 * 10;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Whether all of an answer is there, as far as its head can tell.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    head.starts_with("HTTP/1.1 101") || length.is_some_and(|length: usize| body.len() >= length)
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = std::env::var_os("CHAMBERLAIN_BIN") {
            return named.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--bin", "chamberlain", "--message-format", "json-render-diagnostics"])
            .current_dir(root)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let executable = built.stdout.split(|&byte| byte == b'\n').find_map(|line| {
            let message: serde_json::Value = serde_json::from_slice(line).ok()?;
            (message["target"]["name"] == "chamberlain").then(|| message["executable"].as_str().map(PathBuf::from))?
        });
        executable.expect("cargo names the binary it built")
    })
}
