//! A machine with a simulated Valkey on it, and what may happen to it.

use std::net::SocketAddr;
use std::time::Duration;

use chamberlain_sim_valkey::{Loss, Server, Settings};
use madsim::runtime::Handle;
use tokio::sim;
use tokio::time::sleep;

use super::number;

const PORT: u16 = 6_379;

/// A machine with a simulated server, which syncs every write.
pub(crate) struct Machine {
    node: madsim::task::NodeId,
    pub(crate) host: u64,
    server: Server,
}

impl Machine {
    /// One whose server does not run yet.
    pub(super) fn new(sync_takes: Duration) -> Self {
        let node = Handle::current().create_node().name("valkey").build();
        let server = Server::new(Settings { sync_takes, ..Settings::strict() });
        Self { node: node.id(), host: number(&node), server }
    }

    pub(super) fn url(&self) -> String {
        format!("valkey://{}:{PORT}", sim::address(self.host))
    }

    pub(super) fn start(&self) {
        let server = self.server.clone();
        let node = Handle::current().get_node(self.node).expect("it was made");
        drop(node.spawn(async move {
            server.start(SocketAddr::from(([0, 0, 0, 0], PORT))).await.expect("the port is free");
        }));
    }

    /// Ends the process, or takes the machine's power with what was not synced, for a while.
    pub(super) async fn down(&self, without_power: bool, span: Duration) {
        if without_power {
            sim::off(self.host);
        } else {
            sim::exit(self.host);
        }
        self.server.kill().await;
        if without_power {
            self.server.lose(Loss::Unsynced);
        }
        Handle::current().kill(self.node);
        sleep(span).await;
        sim::on(self.host);
        Handle::current().restart(self.node);
        self.start();
    }

    /// Has the process stand still for a while.
    pub(super) async fn pause(&self, span: Duration) {
        self.server.pause();
        sleep(span).await;
        self.server.resume();
    }
}
