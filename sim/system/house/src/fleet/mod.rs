//! What several nodes stand on: a nats-server with JetStream and a Valkey, each on a machine and a disk of its own.
//!
//! Real: the stores, the bus between nodes, the stock clients beneath both. Simulated: the two servers, at the other end of the
//! protocols that they speak, and everything that may befall them.

pub(crate) mod faults;
pub mod nats;
mod plan;
mod vault;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chamberlain_core::id::SiteId;
use chamberlain_core::site::MasterKey;
use chamberlain_net::node::Node;
use chamberlain_net::subjects::{self, Subjects};
use chamberlain_sim_nats::Syncing as When;
use chamberlain_stores::Stores;
use chamberlain_stores::jetstream::{self, JetStream, Syncing};
use chamberlain_stores::valkey::{self, Valkey};
use madsim::runtime::NodeHandle;
use tokio::sim::Link;

pub use plan::{FleetArmed, FleetPlan};

/// How long a node may take to be on subjects.
const OPENING: Duration = Duration::from_secs(10);

/// The machines that nodes share.
pub struct Fleet {
    pub(crate) nats: nats::Machine,
    pub(crate) vault: vault::Machine,
    plan: FleetPlan,
    /// Machines to which something happens just now: one thing at a time.
    troubled: Mutex<BTreeSet<u64>>,
}

impl Fleet {
    /// Both servers, started.
    pub(crate) fn start(seed: u64, plan: FleetPlan) -> Arc<Self> {
        let nats = nats::Machine::new(seed, When::Always, plan.storing);
        let vault = vault::Machine::new(plan.sync_takes);
        nats.start();
        vault.start();
        Arc::new(Self { nats, vault, plan, troubled: Mutex::default() })
    }

    /// The stores, as a node of production opens them, and the logs among them, whose connection the bus uses too.
    pub(crate) async fn open(&self, master: &MasterKey, site: &SiteId) -> Result<(Stores, JetStream), String> {
        let options = jetstream::Options::new(site.clone(), self.nats.url(), Syncing::Promised);
        let logs = JetStream::open(options).await.map_err(|why| why.to_string())?;
        let address = valkey::Address::parse(&self.vault.url()).map_err(|why| why.to_string())?;
        let options = valkey::Options { connections: self.plan.connections, ..valkey::Options::default() };
        let vault = Valkey::open(&address, master, site, options).await.map_err(|why| why.to_string())?;
        Ok((vault.stores(Arc::new(logs.clone())), logs))
    }

    /// Has a node be on NATS subjects for clients, where the plan says so.
    pub(crate) async fn subjects(&self, node: &Node) -> Result<Option<Subjects>, String> {
        if !self.plan.subjects {
            return Ok(None);
        }
        let options = subjects::Options {
            servers: vec![self.nats.url()],
            credentials: None,
            peers: None,
            trust: Vec::new(),
            reserved: |_| false,
            opening: OPENING,
        };
        Subjects::open(node, &options).await.map(Some).map_err(|why| why.to_string())
    }

    /// The servers' machines.
    pub(crate) fn hosts(&self) -> [u64; 2] {
        [self.nats.host, self.vault.host]
    }

    /// How things go between a node and the servers, while nothing is wrong.
    pub(crate) fn backbone(&self, node: u64) {
        self.join(node, self.plan.backbone);
    }

    /// Things go well between a machine and the servers.
    pub(crate) fn near(&self, machine: u64) {
        self.join(machine, Link::default());
    }

    fn join(&self, machine: u64, link: Link) {
        for server in self.hosts() {
            tokio::sim::set_link(machine, server, link);
            tokio::sim::set_link(server, machine, link);
        }
    }

    /// Has something happen to a machine, unless something does already.
    fn trouble(self: &Arc<Self>, host: u64) -> Option<Trouble> {
        let fresh = self.troubled.lock().unwrap_or_else(PoisonError::into_inner).insert(host);
        fresh.then(|| Trouble { fleet: self.clone(), host })
    }
}

/// Something happens to a machine, until this is let go of.
struct Trouble {
    fleet: Arc<Fleet>,
    host: u64,
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.fleet.troubled.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

/// The number of a machine on the simulated network.
pub fn number(node: &NodeHandle) -> u64 {
    node.id().to_string().parse().expect("madsim's nodes are numbers")
}
