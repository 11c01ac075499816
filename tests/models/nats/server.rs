//! A simulated server on a free port of this machine, with a disk of its own.

use chamberlain_sim_nats::{Clock, Config, Disk, Server};
use chamberlain_stores::jetstream::JetStream;
use tokio::net::TcpListener;

use super::tape::Played;

/// How often a port is tried that somebody may still have.
const ATTEMPTS: usize = 200;

/// A simulated server; gone when it goes out of scope with its runtime.
pub(super) struct Simulated {
    config: Config,
    pub(super) disk: Disk,
    port: u16,
    server: Option<Server>,
    /// Of the servers before.
    deleted_ends: u64,
}

impl Simulated {
    /// One as production has it.
    pub(super) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// One that is configured otherwise.
    pub(super) async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(1, Clock::starting_at(1_795_270_775_000_000_000));
        configure(&mut config);
        let mut simulated = Self { config, disk: Disk::new(), port: 0, server: None, deleted_ends: 0 };
        simulated.start_again().await;
        simulated
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Deletions, over all lives, that the real server may answer by forgetting more.
    pub(super) fn deleted_ends(&self) -> u64 {
        self.deleted_ends + self.server().statistics().deleted_ends
    }

    pub(super) async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            self.deleted_ends += server.statistics().deleted_ends;
            server.kill().await;
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub(super) async fn start_again(&mut self) {
        assert!(self.server.is_none(), "it is running");
        for _ in 0..ATTEMPTS {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", self.port)).await {
                let server = Server::start(listener, self.config.clone(), &self.disk).unwrap();
                self.port = server.address().port();
                self.server = Some(server);
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("port {} is not free", self.port);
    }
}

impl Played for Simulated {
    async fn open(&self) -> JetStream {
        super::open(self.url()).await
    }

    async fn kill_and_start_again(&mut self) {
        self.kill().await;
        self.start_again().await;
    }
}
