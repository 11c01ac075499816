//! A running server: started on a listener over a disk, stopped, killed, paused.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::config::Syncing;
use crate::hub::Hub;
use crate::{Config, Disk, connection};

/// The wait after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(10);

/// A server. Let go of, it goes on until the tasks' runtime or machine ends; see [`Server::kill`].
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Ends when all of the server's tasks have.
    ended: mpsc::Receiver<()>,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Clients that connected.
    pub connections: u64,
    /// Messages that clients published.
    pub published: u64,
    /// Messages that streams took.
    pub stored: u64,
    /// Messages whose id a stream knew.
    pub duplicates: u64,
    /// Messages that streams did not take.
    pub refused: u64,
    /// Messages that found too many others on their way into streams.
    pub dropped: u64,
    /// Deletions of a subject's last message while it had older ones. The real server (2.10.27) may then say that the subject
    /// is empty, and let a message follow that expects so; who depends on that must never do it.
    pub deleted_ends: u64,
    /// Clients that were cut off because they took too little.
    pub slow_consumers: u64,
}

/// What a server's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    hub: Mutex<Hub>,
    stopping: watch::Sender<bool>,
    paused: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn hub(&self) -> MutexGuard<'_, Hub> {
        // A task that panics in a simulation fails it; elsewhere the next one finds what it left.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Waits while the server is paused.
    pub(crate) async fn go_on(&self) {
        if *self.paused.borrow() {
            let mut paused = self.paused.subscribe();
            // The sender is ours.
            let _goes_on = paused.wait_for(|paused| !paused).await;
        }
    }
}

impl Server {
    /// Starts a server over a disk. Another one that used the disk is as good as dead.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(listener: TcpListener, config: Config, disk: &Disk) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            hub: Mutex::new(Hub::new(config, disk.clone())),
            stopping: watch::Sender::new(false),
            paused: watch::Sender::new(false),
        });
        let (alive, ended) = mpsc::channel(1);
        for work in [Work::Sync, Work::Store, Work::Consumers] {
            let (shared, alive) = (shared.clone(), alive.clone());
            drop(tokio::spawn(async move {
                let _alive = alive;
                let mut stopping = shared.stopping();
                select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                    () = work.run(&shared) => {}
                }
            }));
        }
        drop(tokio::spawn(accept(shared.clone(), listener, alive)));
        Ok(Self { shared, address, ended })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it without a word, as `kill -9` ends a process: connections break, what was written is written.
    pub async fn kill(mut self) {
        self.shared.hub().stop();
        self.shared.stopping.send_replace(true);
        // The last of its tasks lets go of the sender.
        while self.ended.recv().await.is_some() {}
    }

    /// Ends it in order: what was written is synced first.
    pub async fn stop(self) {
        {
            let hub = self.shared.hub();
            if !hub.is_over() {
                hub.disk.files().sync();
            }
        }
        self.kill().await;
    }

    /// Stops it without ending it (`SIGSTOP`), or lets it go on. Connections stay, and bytes may wait in them.
    pub fn pause(&self, pause: bool) {
        self.shared.paused.send_replace(pause);
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        self.shared.hub().statistics
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, alive: mpsc::Sender<()>) {
    let mut stopping = shared.stopping();
    loop {
        let accepted = select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            accepted = async { shared.go_on().await; listener.accept().await } => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (shared, alive) = (shared.clone(), alive.clone());
                drop(tokio::spawn(async move {
                    let _alive = alive;
                    connection::serve(shared, stream).await;
                }));
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// What a server does by itself.
enum Work {
    /// Syncs what was written.
    Sync,
    /// Takes messages into streams, where that takes time.
    Store,
    /// Sees to those who wait for messages.
    Consumers,
}

impl Work {
    async fn run(self, shared: &Shared) {
        match self {
            Self::Sync => sync(shared).await,
            Self::Store => store(shared).await,
            Self::Consumers => see_to_consumers(shared).await,
        }
    }
}

async fn sync(shared: &Shared) {
    let Syncing::Every(interval) = shared.hub().config.syncing else { return };
    loop {
        sleep(interval).await;
        shared.go_on().await;
        let hub = shared.hub();
        if hub.is_over() {
            return;
        }
        hub.disk.files().sync();
    }
}

async fn store(shared: &Shared) {
    let arrived = shared.hub().arrived.clone();
    loop {
        let next = shared.hub().inbound.pop_front();
        let Some(inbound) = next else {
            arrived.notified().await;
            continue;
        };
        sleep(taking(shared)).await;
        shared.go_on().await;
        let stored = {
            let mut hub = shared.hub();
            if hub.is_over() {
                return;
            }
            hub.ingest(inbound)
        };
        // It is on the disk, and nobody knows.
        sleep(taking(shared)).await;
        shared.go_on().await;
        let mut hub = shared.hub();
        if hub.is_over() {
            return;
        }
        hub.tell(stored);
    }
}

/// How long half of storing takes this time.
fn taking(shared: &Shared) -> Duration {
    let mut hub = shared.hub();
    let (least, most) = hub.config.storing;
    let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
    (least + Duration::from_nanos(hub.random.below(span))) / 2
}

async fn see_to_consumers(shared: &Shared) {
    let due = shared.hub().due.clone();
    loop {
        shared.go_on().await;
        let wait = {
            let mut hub = shared.hub();
            if hub.is_over() {
                return;
            }
            let next = hub.see_to_consumers();
            next.map(|next| Duration::from_nanos(next.saturating_sub(hub.config.clock.now())))
        };
        select! {
            biased;
            () = due.notified() => {}
            () = sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
        }
    }
}
