//! A machine with a simulated nats-server on it, and what may happen to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chamberlain_sim_nats::{Clock, Config, Disk, Server, Syncing};
use madsim::runtime::Handle;
use tokio::net::TcpListener;
use tokio::sim::{self, Link};
use tokio::time::sleep;

use super::number;

const PORT: u16 = 4_222;
/// Nanoseconds since 1970, when the simulation begins.
const BEGAN: u64 = 1_795_270_775_000_000_000;

/// What happens to the disk while the server is down.
#[derive(Debug, Clone)]
pub enum Finds {
    /// Nothing: it finds what was written.
    Everything,
    /// What was not synced is gone with the power.
    Synced,
    /// An earlier copy was put in its place.
    Copy(Disk),
}

/// A machine with a simulated server.
pub struct Machine {
    /// For madsim.
    pub node: madsim::task::NodeId,
    /// On the network.
    pub host: u64,
    /// What survives the process.
    pub disk: Disk,
    config: Config,
    /// The process, while there is one.
    pub server: Arc<Mutex<Option<Server>>>,
}

impl Machine {
    /// One whose server does not run yet. `storing` is how long a message takes at least and at most.
    pub fn new(seed: u64, syncing: Syncing, storing: (Duration, Duration)) -> Self {
        let node = Handle::current().create_node().name("nats").build();
        let mut config = Config::new(seed, Clock::starting_at(BEGAN));
        (config.syncing, config.storing) = (syncing, storing);
        Self { node: node.id(), host: number(&node), disk: Disk::new(), config, server: Arc::default() }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://{}:{PORT}", sim::address(self.host))
    }

    /// Starts the process.
    pub fn start(&self) {
        let (config, disk, server) = (self.config.clone(), self.disk.clone(), self.server.clone());
        let node = Handle::current().get_node(self.node).expect("it was made");
        drop(node.spawn(async move {
            let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], PORT))).await.expect("the port is free");
            let started = Server::start(listener, config, &disk).expect("it has an address");
            *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        }));
    }

    /// How many messages the process that runs has stored.
    pub fn stored(&self) -> u64 {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map_or(0, |server| server.statistics().stored)
    }

    /// Ends the process, or takes the machine's power, for a while; what the next one finds on the disk.
    pub async fn down(&self, finds: Finds, span: Duration) {
        match &finds {
            Finds::Synced => sim::off(self.host),
            _ => sim::exit(self.host),
        }
        Handle::current().kill(self.node);
        match &finds {
            Finds::Everything => {}
            Finds::Synced => self.disk.lose_unsynced(),
            Finds::Copy(copy) => self.disk.restore(copy),
        }
        sleep(span).await;
        sim::on(self.host);
        Handle::current().restart(self.node);
        self.start();
    }

    /// Has the process stand still for a while.
    pub async fn pause(&self, span: Duration) {
        let pause = |pause| {
            if let Some(server) = &*self.server.lock().unwrap_or_else(PoisonError::into_inner) {
                server.pause(pause);
            }
        };
        pause(true);
        sleep(span).await;
        pause(false);
    }

    /// Cuts a host off, in both directions, for a while.
    pub async fn cut(&self, host: u64, span: Duration) {
        let before = sim::link(host, self.host);
        for (cut, span) in [(true, span), (false, Duration::ZERO)] {
            sim::set_link(host, self.host, Link { cut, ..before });
            sim::set_link(self.host, host, Link { cut, ..before });
            sleep(span).await;
        }
    }
}
