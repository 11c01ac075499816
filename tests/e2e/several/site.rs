//! A site on servers: a real nats-server, a real Valkey or Redis, and nodes; one of them behind a proxy that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::valkey;
use crate::harness::Server;
use crate::nats;

/// Who may do what at the nats-server.
pub(super) const ACCOUNTS: &str = "accounts {\n SYS { users: [{ user: sys, password: sys }] }\n \
     APP { jetstream: enabled, users: [{ user: chamberlain, password: secret }] }\n}\nsystem_account: SYS";

/// Limits under which nobody is too fast and nodes miss each other soon.
const LIMITS: &str =
    "[limits]\nsubmits_per_second = 1000000\nsubmits_burst = 1000000\nsnapshot_every = 64\ndrain_ms = 1000\n";

pub(super) struct Site {
    pub(super) nats: nats::Server,
    pub(super) valkey: valkey::Server,
    pub(super) nodes: Vec<Server>,
    /// Between the last node and its servers.
    pub(super) line: Line,
}

impl Site {
    /// A site of three nodes.
    pub(super) async fn start() -> Self {
        let nats = nats::Server::start_with(nats::Version::Current, ACCOUNTS);
        let valkey = valkey::Server::strict();
        let line = Line::default();
        let (far_nats, far_valkey) = (line.to(port(&nats.url())).await, line.to(valkey.port).await);
        let near = (nats.url(), valkey.url());
        let far = (format!("nats://{far_nats}"), format!("valkey://{far_valkey}"));
        let nodes = [&near, &near, &far].into_iter().enumerate().map(|(nth, at)| node(nth, at)).collect::<Vec<_>>();
        let mut site = Self { nats, valkey, nodes, line };
        for node in &mut site.nodes {
            // The proxies of the last one run on this runtime.
            tokio::task::block_in_place(|| node.go());
        }
        site
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// What a node counts under this name, labels included.
    pub(super) fn metric(&self, node: usize, name: &str) -> u64 {
        let (_, text) = self.nodes[node].get("/metrics").expect("a node that runs shows its figures");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name}"))
    }

    /// Waits until every node knows of all others.
    pub(super) async fn settled(&self) {
        let nodes = self.nodes.len() as u64;
        for _ in 0..400 {
            if (0..self.nodes.len()).all(|node| self.metric(node, "chamberlain_nodes") == nodes) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the nodes do not know of each other");
    }
}

/// A node over these servers, not started yet.
pub(super) fn node(nth: usize, (nats, valkey): &(String, String)) -> Server {
    let config = format!(
        "node = \"node-{nth}\"\nlog = \"{nats}\"\nvault = \"{valkey}\"\n[nats]\nuser = \"chamberlain\"\nsystem_user = \"sys\"\n\
         replicas = 1\n{LIMITS}"
    );
    let mut node = Server::new(&[], &config);
    node.environment("CHAMBERLAIN_MASTER_KEY", &"5a".repeat(32));
    node.environment("CHAMBERLAIN_NATS__PASSWORD", "secret");
    node.environment("CHAMBERLAIN_NATS__SYSTEM_PASSWORD", "sys");
    node
}

fn port(url: &str) -> u16 {
    url.rsplit_once(':').expect("a port").1.parse().expect("a number")
}

/// A line that can be cut: connections stay, and nothing goes through them.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<watch::Sender<bool>>);

impl Line {
    pub(super) fn cut(&self, cut: bool) {
        self.0.send_replace(cut);
    }

    /// An address that leads to this port over the line.
    async fn to(&self, port: u16) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = self.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // A server that is down ends what is opened to it.
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                for (from, to) in [(near_in, far_out), (far_in, near_out)] {
                    let cut = line.0.subscribe();
                    tokio::spawn(carry(from, to, cut));
                }
            }
        });
        address
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if cut.wait_for(|cut| !cut).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
