//! A machine with a simulated nats-server on it, and what may happen to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chamberlain_sim_nats::{Clock, Config, Disk, Server, Syncing};
use madsim::runtime::{Handle, NodeHandle};
use tokio::net::TcpListener;
use tokio::sim::{self, Link};
use tokio::time::sleep;

const PORT: u16 = 4_222;
const MILLIS: Duration = Duration::from_millis(1);

/// A machine with a simulated server.
pub(crate) struct Machine {
    pub(crate) node: madsim::task::NodeId,
    pub(crate) host: u64,
    pub(crate) disk: Disk,
    config: Config,
    pub(crate) server: Arc<Mutex<Option<Server>>>,
}

impl Machine {
    pub(crate) fn new(seed: u64, syncing: Syncing) -> Self {
        let node = Handle::current().create_node().name("nats").build();
        let mut config = Config::new(seed, Clock::starting_at(1_795_270_775_000_000_000));
        config.syncing = syncing;
        config.storing = (MILLIS / 5, 3 * MILLIS);
        let host = number(&node);
        Self { node: node.id(), host, disk: Disk::new(), config, server: Arc::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}:{PORT}", sim::address(self.host))
    }

    pub(crate) fn start(&self) {
        let (config, disk, server) = (self.config.clone(), self.disk.clone(), self.server.clone());
        let node = Handle::current().get_node(self.node).unwrap();
        drop(node.spawn(async move {
            let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await.unwrap();
            *server.lock().unwrap() = Some(Server::start(listener, config, &disk).unwrap());
        }));
    }

    /// Ends the process, or takes the machine's power, for a while.
    pub(crate) async fn down(&self, without_power: bool, span: Duration) {
        if without_power {
            sim::off(self.host);
        } else {
            sim::exit(self.host);
        }
        Handle::current().kill(self.node);
        if without_power {
            self.disk.lose_unsynced();
        }
        sleep(span).await;
        sim::on(self.host);
        Handle::current().restart(self.node);
        self.start();
    }

    pub(crate) async fn pause(&self, span: Duration) {
        let pause = |pause| self.server.lock().unwrap().as_ref().unwrap().pause(pause);
        pause(true);
        sleep(span).await;
        pause(false);
    }

    /// Cuts a host off, in both directions, for a while.
    pub(crate) async fn cut(&self, host: u64, span: Duration) {
        let before = sim::link(host, self.host);
        for (cut, span) in [(true, span), (false, Duration::ZERO)] {
            sim::set_link(host, self.host, Link { cut, ..before });
            sim::set_link(self.host, host, Link { cut, ..before });
            sleep(span).await;
        }
    }
}

/// The number of a machine on the simulated network.
pub(crate) fn number(node: &NodeHandle) -> u64 {
    node.id().to_string().parse().unwrap()
}
