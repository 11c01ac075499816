//! The server: the production node, gateway and embedded store on one simulated machine with one simulated disk.
//!
//! Real: everything from the listening socket down to redb. Simulated: the machine, the disk beneath redb, who is who (a token
//! is a name), and that somebody starts the process again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chamberlain_core::id::LogId;
use chamberlain_core::site::MasterKey;
use chamberlain_core::time::Timestamp;
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
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

use crate::stores::{Trouble, note_found, watched};
use crate::witness::Witness;

/// The one node there is.
pub(crate) const NODE: NodeId = NodeId(0);
/// The port it listens on.
const PORT: u16 = 8_080;
/// How long until a process that ended by itself is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// A machine with a server on it.
pub struct Server {
    madsim: madsim::task::NodeId,
    host: u64,
    disk: Disk,
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
    /// A machine that is off. `disk` is what it boots from; the directory will know `accounts` people by number, those of
    /// scripts, a bot and an administrator.
    pub fn new(
        settings: Settings,
        master: MasterKey,
        (disk, trouble): (Disk, Trouble),
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
        let host = node.id().to_string().parse().expect("madsim's nodes are numbers");
        Arc::new(Self {
            madsim: node.id(),
            host,
            disk,
            settings,
            master,
            trouble,
            witness,
            people,
            metrics: Mutex::new(None),
            stop: Mutex::new(watch::channel(false).0),
            up: watch::channel(false).0,
        })
    }

    /// The machine.
    pub fn host(&self) -> u64 {
        self.host
    }

    /// Its disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
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
        let site = self.settings.keys.site().clone();
        let options = Options { cache_bytes: 1024 * 1024, ..Options::default() };
        let opened = Embedded::open_medium(self.disk.clone(), &self.master, &site, options).await;
        let store = opened.map_err(|why| why.to_string())?;
        catch_up(&store.stores(), &self.witness).await?;
        let stores = watched(store.stores(), self.disk.clone(), self.trouble, self.witness.clone());
        let node = Node::start(self.settings.clone(), stores);
        node.put_accounts(&self.people).await.map_err(|refused| refused.to_string())?;
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.metrics().clone());
        let bound = bind(ServerConfig::new(self.address())).await.map_err(|why| why.to_string())?;
        self.witness.note(Seen::Started { node: NODE });
        self.up.send_replace(true);
        let shutdown = async move {
            // The sender lives as long as this life.
            let _stop = stop.wait_for(|stop| *stop).await;
        };
        bound.serve(node.clone(), Arc::new(AnyName), shutdown).await;
        store.close().await;
        if self.metric("chamberlain_logs_quarantined_total") > 0 {
            self.witness.with_story(|story| story.ending.unwell.push("a log was quarantined".into()));
        }
        if self.metric("chamberlain_sockets_closed_total{code=\"4008\"}") > 0 {
            self.witness.probe("closed as slow");
        }
        self.witness.note(Seen::Stopped { node: NODE, drained: true });
        self.up.send_replace(false);
        Ok(())
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
        self.disk.let_go();
        tokio::sim::exit(self.host);
        self.end();
    }

    /// The machine loses power, if the disk has not already, and comes back by and by.
    pub fn power_off(&self) {
        if !self.disk.has_crashed() {
            self.disk.crash();
        }
        tokio::sim::off(self.host);
        self.end();
    }

    fn end(&self) {
        if self.up.send_replace(false) {
            self.witness.note(Seen::Stopped { node: NODE, drained: false });
        }
        Handle::current().kill(self.madsim);
    }

    /// The machine is there again after it was killed or off, and its process starts.
    pub fn revive(self: &Arc<Self>) {
        if self.disk.has_crashed() {
            self.disk.power_on();
        }
        tokio::sim::on(self.host);
        Handle::current().restart(self.madsim);
        self.start();
    }

    /// Reads what the stores hold, after the process has ended.
    pub async fn read_out(&self) -> Result<(), String> {
        let site = self.settings.keys.site().clone();
        let options = Options { cache_bytes: 1024 * 1024, ..Options::default() };
        let opened = Embedded::open_medium(self.disk.clone(), &self.master, &site, options).await;
        let store = opened.map_err(|why| why.to_string())?;
        let stores = store.stores();
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
        store.close().await;
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
    Account {
        account: name.parse().expect("a name"),
        site: "here".parse().expect("a site"),
        name: name.to_owned(),
        local_name: None,
        bot,
        disabled: false,
        section: None,
        department: None,
        admin,
    }
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
