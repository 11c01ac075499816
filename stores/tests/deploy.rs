//! The files of `deploy/`, read by the programs they are for: real servers start with them, and the stores accept those servers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chamberlain_core::site::MasterKey;
use chamberlain_stores::jetstream::{self, Credentials, JetStream, Syncing};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::valkey::{self, Address, Valkey};
use chamberlain_stores::{Stores, conformance};

#[expect(dead_code, reason = "only some of what other tests want of it")]
#[path = "valkey/server.rs"]
mod server;

/// How long servers may take to be there, and to agree on who leads.
const PATIENCE: Duration = Duration::from_secs(40);

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").join("deploy").join(file)
}

fn password(user: &str) -> Credentials {
    Credentials::Password { user: user.into(), password: format!("{user}-of-a-test") }
}

/// A nats-server with one of the files.
struct Nats {
    child: Child,
    folder: tempfile::TempDir,
}

impl Nats {
    /// The program with a file and what an operator gives beside it; ports of this machine in place of the file's.
    fn command(file: &str, name: &str, routes: &str) -> Command {
        let program = std::env::var_os("CHAMBERLAIN_NATS_SERVER").map(PathBuf::from).unwrap_or_else(|| {
            let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("inside the target folder");
            let installed = target.join("tools/servers/nats-server");
            assert!(installed.is_file(), "there is no nats-server: set CHAMBERLAIN_NATS_SERVER to the path of one");
            installed
        });
        let mut command = Command::new(program);
        command.arg("--config").arg(deploy(file)).env("NATS_NAME", name).env("NATS_ROUTES", routes);
        command.env("NATS_PASSWORD", "chamberlain-of-a-test").env("NATS_SYSTEM_PASSWORD", "system-of-a-test");
        command.env("NATS_ROUTE_PASSWORD", "route").stdin(Stdio::null());
        command
    }

    fn start(mut command: Command, port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        command.arg("--addr").arg("127.0.0.1").arg("--port").arg(port.to_string());
        command.arg("--http_port").arg(server::free_port().to_string());
        command.arg("--store_dir").arg(folder.path()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().expect("started"), folder }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Opens logs on these servers, which have to say that they sync each write, as soon as they are ready.
async fn open(servers: &[Nats], ports: &[u16], replicas: usize) -> JetStream {
    let began = Instant::now();
    loop {
        let site = "home".parse().expect("a site");
        let first = format!("nats://127.0.0.1:{}", ports[0]);
        let options = jetstream::Options {
            servers: ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect(),
            credentials: password("chamberlain"),
            replicas,
            ..jetstream::Options::new(site, first, Syncing::Asked(password("system")))
        };
        match JetStream::open(options).await {
            Ok(logs) => return logs,
            Err(why) if began.elapsed() < PATIENCE => eprintln!("not yet: {why}"),
            Err(why) => panic!("{why}\n{}", servers.iter().map(Nats::said).collect::<String>()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_conform_on_a_server_with_nats_conf() {
    let tested = Nats::command("nats.conf", "nats-1", "[]").arg("-t").output().expect("run");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let port = server::free_port();
    let server = [Nats::start(Nats::command("nats.conf", "nats-1", "[]"), port)];
    let logs = open(&server, &[port], 1).await;
    conformance::run(async || Stores { logs: Arc::new(logs.clone()), ..MemoryStores::new().stores() }).await;
    let stranger =
        jetstream::Options::new("home".parse().expect("a site"), format!("nats://127.0.0.1:{port}"), Syncing::Promised);
    let patience = Duration::from_secs(2);
    let refused = JetStream::open(jetstream::Options { opening: patience, ..stranger }).await;
    assert!(refused.is_err(), "somebody without a password is let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_with_nats_cluster_conf_keep_three_copies() {
    // Held until all are known, so that no port is given twice.
    let free = [0; 6].map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    let ports = free.each_ref().map(|free| free.local_addr().expect("bound").port());
    drop(free);
    let (clients, routes) = ports.split_at(3);
    let all: Vec<String> = routes.iter().map(|port| format!("nats://route:route@127.0.0.1:{port}")).collect();
    let all = format!("[{}]", all.join(", "));
    let servers = [0, 1, 2].map(|nth: usize| {
        let mut command = Nats::command("nats-cluster.conf", &format!("nats-{}", nth + 1), &all);
        command.arg("--cluster").arg(format!("nats://127.0.0.1:{}", routes[nth]));
        Nats::start(command, clients[nth])
    });
    let logs = open(&servers, clients, 3).await;
    conformance::run(async || Stores { logs: Arc::new(logs.clone()), ..MemoryStores::new().stores() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vault_conforms_on_a_server_with_valkey_conf() {
    let file = deploy("valkey.conf");
    let text = std::fs::read_to_string(&file).expect("read");
    assert!(text.contains("user chamberlain on >change-me ~chamberlain:* "), "the user of the example");
    let server = server::Server::with(&[&format!("include {}", file.to_str().expect("a path in UTF-8"))]);
    let address = Address::parse(&server.url()).expect("an address");
    let named = address.clone().with_user("chamberlain").with_password("change-me");
    let (master, site) = (MasterKey::from_bytes([1; 32]), "home".parse().expect("a site"));
    let valkey = Valkey::open(&named, &master, &site, valkey::Options::default()).await.expect("opened");
    let stores = valkey.stores(Arc::new(MemoryStores::new()));
    conformance::run(async || stores.clone()).await;
    let stranger = Valkey::open(&address, &master, &site, valkey::Options::default()).await;
    assert!(stranger.is_err(), "somebody without a password is let in");
}

/// Where there is systemd to ask. The programs it names are not installed here, so that others stand for them.
#[test]
fn systemd_understands_the_unit() {
    let unit = std::fs::read_to_string(deploy("chamberlain.service")).expect("read");
    let starts: Vec<&str> = unit.lines().filter(|line| line.starts_with("ExecStart=")).collect();
    assert_eq!(starts, ["ExecStart=/usr/local/bin/chamberlain serve --config /etc/chamberlain/production.toml"]);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("chamberlain.service");
    std::fs::write(&copy, unit.replace("/usr/local/bin/chamberlain", "/bin/true")).expect("written");
    let asked = Command::new("systemd-analyze").arg("verify").arg(&copy).output();
    let Ok(said) = asked else {
        eprintln!("there is no systemd-analyze: not asked");
        return;
    };
    let words = String::from_utf8_lossy(&said.stderr);
    let about_ours: Vec<&str> = words.lines().filter(|line| line.contains("chamberlain.service")).collect();
    assert!(said.status.success() && about_ours.is_empty(), "{words}");
}
