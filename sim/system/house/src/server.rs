//! A server: the production node and gateway on a simulated machine. One that is alone has the embedded store on a simulated disk of
//! its own; one of several has the stores and the bus that they share.
//!
//! Real: everything from the listening socket down to redb, or to the clients of NATS and Valkey. Simulated: the machine, the
//! disk beneath redb, who is who (a token is a name), and that somebody starts the process again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chamberlain_core::id::LogId;
use chamberlain_core::site::MasterKey;
use chamberlain_core::time::Timestamp;
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::bus::{self, Connected};
use chamberlain_net::gateway;
use chamberlain_net::metrics::Metrics;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_net::server::{ServerConfig, bind};
use chamberlain_sim::room_model::Person;
use chamberlain_sim::story::{NodeId, Seen};
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::faulty::Disk;
use chamberlain_stores::{Account, Stores};
use madsim::runtime::Handle;
use tokio::sync::watch;

use crate::fleet::{Fleet, number};
use crate::stores::{Trouble, note_found, watched};
use crate::witness::Witness;

/// The port it listens on.
const PORT: u16 = 8_080;
/// How long until a process that ended by itself is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a node stands on.
#[derive(Clone)]
pub enum Ground {
    /// Its machine's own disk.
    Disk(Disk),
    /// What it shares with other nodes.
    Shared(Arc<Fleet>),
}

/// The stores of one life, as they are beneath the watch on them.
struct Opened {
    stores: Stores,
    embedded: Option<Embedded>,
    bus: Option<Connected>,
}

/// A machine with a server on it.
pub struct Server {
    nth: u32,
    madsim: madsim::task::NodeId,
    host: u64,
    ground: Ground,
    settings: Settings,
    master: MasterKey,
    trouble: Trouble,
    witness: Witness,
    /// Everybody whom the directory knows.
    people: Vec<Account>,
    /// The figures of this life.
    metrics: Mutex<Option<Metrics>>,
    /// Tells the process of this life to stop in an orderly way.
    stop: Mutex<watch::Sender<bool>>,
    /// Whether it is up: true from listening until it stops.
    up: watch::Sender<bool>,
}

impl Server {
    /// The `nth` machine, which is off. The directory will know `accounts` people by number, those of scripts, a bot and an
    /// administrator.
    pub fn new(
        nth: u32,
        settings: Settings,
        master: MasterKey,
        (ground, trouble): (Ground, Trouble),
        accounts: u32,
        witness: Witness,
    ) -> Arc<Self> {
        let names = (0..accounts).map(|nth| crate::house::account(nth).as_str().to_owned());
        let names = names.chain(["ada", "bob", "cay", "eve"].map(str::to_owned));
        let mut people: Vec<Account> = names.map(|name| entry(&name, false, false)).collect();
        people.extend([entry("bot", true, false), entry("root", false, true)]);
        let known =
            people.iter().map(|entry| Person { account: entry.account.clone(), bot: entry.bot, admin: entry.admin });
        witness.with_story(|story| story.people = known.collect());
        let node = Handle::current().create_node().name("server").build();
        Arc::new(Self {
            nth,
            madsim: node.id(),
            host: number(&node),
            ground,
            settings: Settings { node: format!("n{}", nth + 1), ..settings },
            master,
            trouble,
            witness,
            people,
            metrics: Mutex::new(None),
            stop: Mutex::new(watch::channel(false).0),
            up: watch::channel(false).0,
        })
    }

    /// Which one it is, from 0.
    pub fn nth(&self) -> u32 {
        self.nth
    }

    /// Its name in the story.
    pub fn id(&self) -> NodeId {
        NodeId(self.nth)
    }

    /// The machine.
    pub fn host(&self) -> u64 {
        self.host
    }

    pub(crate) fn machine(&self) -> madsim::task::NodeId {
        self.madsim
    }

    /// The disk of one that is alone.
    ///
    /// # Panics
    /// If it is one of several.
    pub fn disk(&self) -> &Disk {
        self.own_disk().expect("what several nodes stand on is not the disk of one")
    }

    fn own_disk(&self) -> Option<&Disk> {
        match &self.ground {
            Ground::Disk(disk) => Some(disk),
            Ground::Shared(_) => None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(tokio::sim::address(self.host), PORT)
    }

    /// Starts the process, and again when it ends by itself.
    pub fn start(self: &Arc<Self>) {
        let (stop, stopped) = watch::channel(false);
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
        let server = self.clone();
        let node = Handle::current().get_node(self.madsim).expect("it was made");
        drop(node.spawn(async move {
            while let Err(why) = server.live(stopped.clone()).await {
                server.witness.remark(&format!("the server did not start: {why}"));
                tokio::time::sleep(AGAIN).await;
            }
        }));
    }

    /// One life of the process, to its orderly end.
    async fn live(&self, mut stop: watch::Receiver<bool>) -> Result<(), String> {
        let Opened { stores, embedded, bus } = self.open().await?;
        // What several nodes share is read by whoever comes upon it.
        if embedded.is_some() {
            catch_up(&stores, &self.witness).await?;
        }
        let stores = watched(stores, self.own_disk().cloned(), self.trouble, self.witness.clone());
        let node = match bus {
            None => Node::start(self.settings.clone(), stores),
            Some(bus) => Node::start_among(self.settings.clone(), stores, bus),
        };
        while let Err(refused) = node.put_accounts(&self.people).await {
            if embedded.is_some() {
                return Err(refused.to_string());
            }
            // The servers may be down for a while: it waits for them, as it does later.
            tokio::time::sleep(AGAIN).await;
        }
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.metrics().clone());
        let subjects = match &self.ground {
            Ground::Disk(_) => None,
            Ground::Shared(fleet) => fleet.subjects(&node).await?,
        };
        let bound = bind(ServerConfig::new(self.address())).await.map_err(|why| why.to_string())?;
        self.witness.note(Seen::Started { node: self.id() });
        self.up.send_replace(true);
        let shutdown = async move {
            // The sender lives as long as this life.
            let _stop = stop.wait_for(|stop| *stop).await;
        };
        bound.serve(node.clone(), Arc::new(AnyName), shutdown).await;
        if let Some(subjects) = subjects {
            subjects.close().await;
        }
        if let Some(store) = embedded {
            store.close().await;
        }
        self.look_for_quarantined();
        if self.metric("chamberlain_sockets_closed_total{code=\"4008\"}") > 0 {
            self.witness.probe("closed as slow");
        }
        self.witness.note(Seen::Stopped { node: self.id(), drained: true });
        self.up.send_replace(false);
        Ok(())
    }

    /// The stores, as a node of production opens them.
    async fn open(&self) -> Result<Opened, String> {
        let site = self.settings.keys.site();
        match &self.ground {
            Ground::Disk(disk) => {
                let options = Options { cache_bytes: 1024 * 1024, ..Options::default() };
                let opened = Embedded::open_medium(disk.clone(), &self.master, site, options).await;
                let store = opened.map_err(|why| why.to_string())?;
                Ok(Opened { stores: store.stores(), embedded: Some(store), bus: None })
            }
            Ground::Shared(fleet) => {
                let (stores, logs) = fleet.open(&self.master, site).await?;
                let bus = bus::nats::connect(logs.client(), site.clone()).await.map_err(|why| why.to_string())?;
                Ok(Opened { stores, embedded: None, bus: Some(bus) })
            }
        }
    }

    /// While stores keep their promises, nothing is ever quarantined.
    fn look_for_quarantined(&self) {
        if self.metric("chamberlain_logs_quarantined_total") > 0 {
            self.witness.with_story(|story| {
                if story.stores_whole {
                    story.ending.unwell.push("a log was quarantined".into());
                }
            });
        }
    }

    /// Whether the process serves.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// A figure of this life, as `/metrics` has it.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = metrics.map(|metrics| metrics.encode()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits until it serves.
    pub async fn until_up(&self) {
        // The sender is ours.
        let mut up = self.up.subscribe();
        let _up = up.wait_for(|up| *up).await;
    }

    /// Stops the process in an orderly way, and waits.
    pub async fn drain(&self) {
        let mut up = self.up.subscribe();
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).send_replace(true);
        // The sender is ours.
        let _down = up.wait_for(|up| !*up).await;
        // The process is at its end, and what it still had running ends with it.
        tokio::sim::exit(self.host);
        Handle::current().kill(self.madsim);
    }

    /// The process is killed. What it wrote is in the machine's cache, and the machine closes its connections.
    pub fn kill(&self) {
        if let Some(disk) = self.own_disk() {
            disk.let_go();
        }
        tokio::sim::exit(self.host);
        self.end();
    }

    /// The machine loses power, if the disk has not already, and comes back by and by.
    pub fn power_off(&self) {
        if let Some(disk) = self.own_disk().filter(|disk| !disk.has_crashed()) {
            disk.crash();
        }
        tokio::sim::off(self.host);
        self.end();
    }

    fn end(&self) {
        if self.up.send_replace(false) {
            self.look_for_quarantined();
            self.witness.note(Seen::Stopped { node: self.id(), drained: false });
        }
        Handle::current().kill(self.madsim);
    }

    /// The machine is there again after it was killed or off, and its process starts.
    pub fn revive(self: &Arc<Self>) {
        if let Some(disk) = self.own_disk().filter(|disk| disk.has_crashed()) {
            disk.power_on();
        }
        tokio::sim::on(self.host);
        Handle::current().restart(self.madsim);
        self.start();
    }

    /// Reads what the stores hold, after the processes have ended.
    pub async fn read_out(&self) -> Result<(), String> {
        let Opened { stores, embedded, .. } = self.open().await?;
        catch_up(&stores, &self.witness).await?;
        let mut logs = std::collections::BTreeMap::new();
        for log in all_logs(&stores).await? {
            let records = all_records(&stores, &log).await?;
            logs.insert(log, records);
        }
        let mut vault = std::collections::BTreeMap::new();
        for (room, version) in self.witness.secrets() {
            if let Some(secret) = stores.vault.get(room, version).await.map_err(|why| why.to_string())? {
                vault.insert((room, version), secret);
            }
        }
        let names: Vec<String> = self.witness.with_story(|story| story.ending.marks.keys().cloned().collect());
        let values = stores.marks.get(&names).await.map_err(|why| why.to_string())?;
        self.witness.with_story(|story| {
            story.ending.logs = logs;
            story.ending.vault = vault;
            story.ending.marks = names.into_iter().zip(values).collect();
        });
        if let Some(store) = embedded {
            store.close().await;
        }
        Ok(())
    }
}

/// Writes down records that were appended in an earlier life, of which that life never heard.
async fn catch_up(stores: &Stores, witness: &Witness) -> Result<(), String> {
    for log in all_logs(stores).await? {
        loop {
            let head = witness.head(&log);
            let read = stores.logs.read(&log, head.revision, 1 << 20).await.map_err(|why| why.to_string())?;
            note_found(witness, &log, &read);
            if witness.head(&log) == head {
                break;
            }
        }
    }
    Ok(())
}

async fn all_logs(stores: &Stores) -> Result<Vec<LogId>, String> {
    let mut all: Vec<LogId> = Vec::new();
    loop {
        let page = stores.logs.list(all.last(), 1_000).await.map_err(|why| why.to_string())?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

async fn all_records(stores: &Stores, log: &LogId) -> Result<Vec<chamberlain_core::log::RecordBytes>, String> {
    let mut all: Vec<chamberlain_core::log::RecordBytes> = Vec::new();
    loop {
        let after = all.last().map_or(chamberlain_core::id::Revision::ZERO, |record| record.last);
        let read = stores.logs.read(log, after, 1 << 20).await.map_err(|why| why.to_string())?;
        if read.is_empty() {
            return Ok(all);
        }
        all.extend(read);
    }
}

fn entry(name: &str, bot: bool, admin: bool) -> Account {
    let entry = Account::new(name.parse().expect("a name"), "here".parse().expect("a site"), name.to_owned());
    Account { bot, admin, ..entry }
}

/// What every simulated server runs as.
pub(crate) fn settings(limits: chamberlain_core::limits::Limits, master: &MasterKey) -> Settings {
    Settings {
        keys: Arc::new(chamberlain_core::site::SiteKeys::new("here".parse().expect("a site"), master)),
        node: "n1".into(),
        limits: Arc::new(limits),
        retain: Retain::All,
        framing: gateway::frame,
    }
}

/// A token is a name, and may say until when it holds: `ada!1700000000000`.
struct AnyName;

impl Authenticate for AnyName {
    fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let (name, expires) = match token.split_once('!') {
            Some((name, until)) => {
                (name, Some(Timestamp(until.parse().map_err(|_| AuthError::Invalid("until".into()))?)))
            }
            None => (token, None),
        };
        if expires.is_some_and(|at| at <= now) {
            return Err(AuthError::Expired);
        }
        let account = name.parse().map_err(|_| AuthError::Invalid("name".into()))?;
        Ok(Identity { account, name: None, admin: false, expires })
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        true
    }
}
