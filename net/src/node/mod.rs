//! A node: the machines of the core, driven over stores and clocks, behind one door for every surface.
//!
//! WebSocket, HTTP and whatever comes later call [`Node::begin`] and [`Node::query`]; refusals and answers are the same for
//! all. Rooms are loaded when somebody needs them and dropped when nobody does; nothing durable lives here.

mod accounts;
mod admin;
mod colleagues;
mod continued;
mod effects;
mod follow;
mod load;
mod mark;
mod mend;
mod observer;
mod prepare;
mod query;
mod room;
mod sockets;
mod startup;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chamberlain_core::fanout::Framing;
use chamberlain_core::fleet::Announcement;
use chamberlain_core::id::{AccountId, RequestId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Command, Outcome, Reason, Refused, display_name};
use chamberlain_core::site::SiteKeys;
use chamberlain_core::wire::{Answer, Query};
use chamberlain_stores::{Account, StoreError, Stores};
use tokio::sync::{OnceCell, Semaphore};

use crate::auth::Identity;
use crate::bus::Connected;
use crate::clock::Clock;
use crate::lock::Lock;
use crate::metrics::Metrics;
use accounts::AccountLog;
pub use admin::{AdminRoom, BodyState, LogItem};
use colleagues::Colleagues;
pub use continued::Loss;
pub(crate) use observer::Observer;
pub(crate) use room::Room;
pub(crate) use sockets::{Handle, Notes, Sockets};

/// How long old key versions are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// For ever.
    All,
    /// Until this many milliseconds after they were replaced.
    Grace {
        /// The span.
        ms: u64,
    },
}

/// What a node is started with.
#[derive(Clone)]
pub struct Settings {
    /// The site's derived keys.
    pub keys: Arc<SiteKeys>,
    /// The node's name.
    pub node: String,
    /// Limits, already checked.
    pub limits: Arc<Limits>,
    /// How long old key versions are handed out.
    pub retain: Retain,
    /// How a payload becomes a frame of the transport.
    pub framing: Framing,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) stores: Stores,
    pub(crate) clock: Clock,
    pub(crate) sockets: Sockets,
    pub(crate) metrics: Metrics,
    rooms: Lock<BTreeMap<RoomId, Arc<OnceCell<Arc<Room>>>>>,
    accounts: Lock<BTreeMap<AccountId, Arc<AccountLog>>>,
    profiles: Lock<Profiles>,
    effects: effects::Queue,
    following: follow::Following,
    /// None when this node is the only one.
    colleagues: Option<Colleagues>,
    observer: std::sync::OnceLock<Arc<dyn Observer>>,
    draining: AtomicBool,
    /// Bounds what one node loads at once, so that a storm of cold rooms does not read everything at the same time.
    loads: Semaphore,
}

/// Directory entries in memory.
#[derive(Default)]
struct Profiles {
    entries: BTreeMap<AccountId, Account>,
    /// How often entries were changed: what was read before a change is not kept after it.
    changes: u64,
}

/// Accounts whose directory entries are kept in memory.
const PROFILES_KEPT: usize = 100_000;
/// Rooms and accounts that are loaded at the same time.
const LOADS_AT_ONCE: usize = 64;

/// Takes the answer to a command, exactly once.
pub type Reply = Box<dyn FnOnce(Result<Outcome, Refused>) + Send>;

impl Node {
    /// Starts a node over these stores, and resumes the effects that an earlier run left unfinished.
    pub fn start(settings: Settings, stores: Stores) -> Self {
        Self::start_with(settings, stores, None)
    }

    /// Starts one of several nodes over the same stores, which speak to each other over this bus.
    pub fn start_among(settings: Settings, stores: Stores, bus: Connected) -> Self {
        Self::start_with(settings, stores, Some(bus))
    }

    fn start_with(settings: Settings, stores: Stores, bus: Option<Connected>) -> Self {
        let (colleagues, trays) = bus.map(|bus| Colleagues::new(&settings, bus)).unzip();
        // From before the first log is read, so that nothing falls between the two.
        let moved = colleagues.is_some().then(|| stores.logs.watch());
        let inner = Arc::new(Inner {
            metrics: Metrics::new(),
            sockets: Sockets::new(),
            clock: Clock::start(),
            rooms: Lock::new(BTreeMap::new()),
            accounts: Lock::new(BTreeMap::new()),
            profiles: Lock::new(Profiles::default()),
            effects: effects::Queue::new(),
            following: follow::Following::new(),
            colleagues,
            observer: std::sync::OnceLock::new(),
            draining: AtomicBool::new(false),
            loads: Semaphore::new(LOADS_AT_ONCE),
            settings,
            stores,
        });
        tokio::spawn(effects::run(inner.clone()));
        tokio::spawn(follow::run(inner.clone()));
        if let (Some(trays), Some(moved)) = (trays, moved) {
            tokio::spawn(follow::watch(inner.clone(), moved));
            tokio::spawn(follow::see_to_others(inner.clone()));
            colleagues::start(&inner, trays);
        }
        tokio::spawn(startup::resume(inner.clone()));
        tokio::spawn(room::sweep(inner.clone()));
        Self(inner)
    }

    /// The node of these insides.
    pub(crate) fn of(inner: &Arc<Inner>) -> Self {
        Self(inner.clone())
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Limits of this node.
    pub fn limits(&self) -> &Limits {
        &self.0.settings.limits
    }

    /// Figures of this node.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The stores it runs over.
    pub fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// Wall and monotone time.
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Carries out a command and waits for the answer.
    pub async fn command(&self, who: &Identity, id: RequestId, command: Command) -> Result<Outcome, Refused> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let reply: Reply = Box::new(move |result| {
            // Whoever asked may have gone away; the command was carried out all the same.
            let _gone = answer.send(result);
        });
        self.begin(who, id, command, reply).await;
        answered.await.unwrap_or_else(|_| Err(Reason::Deadline.into()))
    }

    /// Hands a command in, and returns when it stands in its room's queue, or is on its way to the node that sequences the
    /// room: commands handed in one after the other are decided in that order, as long as the same node decides them. `reply` is called once, when what was recorded is durable, or when it was refused.
    pub async fn begin(&self, who: &Identity, id: RequestId, command: Command, reply: Reply) {
        let name = command.name();
        let metrics = self.0.metrics.clone();
        let begun = self.0.clock.now();
        let clock = self.0.clock;
        let reply: Reply = Box::new(move |result| {
            metrics.answered(name, &result, clock.now().since(begun));
            reply(result);
        });
        if self.0.draining.load(Ordering::Acquire) {
            return reply(Err(Reason::Draining.into()));
        }
        match command {
            Command::MarkRead { room, revision } => reply(self.0.mark_read(who, room, revision).await),
            Command::DisableAccount { account } => reply(self.0.disable(who, id, &account).await),
            command => match self.0.prepare(who, id, command).await {
                Err(refused) => reply(Err(refused)),
                Ok(request) => self.0.place(request, reply).await,
            },
        }
    }

    /// Answers a question.
    pub async fn query(&self, who: &Identity, query: Query) -> Result<Answer, Refused> {
        let begun = self.0.clock.now();
        let answer = self.0.query(who, query).await;
        self.0.metrics.queried(self.0.clock.now().since(begun), answer.is_ok());
        answer
    }

    /// The directory entry of somebody who signs in; added when the directory does not know it and `provision` is set.
    pub async fn sign_in(&self, who: &Identity, provision: bool) -> Result<Account, Refused> {
        if self.0.colleagues.is_some() {
            // Another node may have shut it out.
            self.0.forget_profiles(std::slice::from_ref(&who.account));
        }
        let known = self.0.account(&who.account).await?;
        let mut entry = match known {
            Some(entry) => entry,
            None if provision => {
                let name = who.name.clone().unwrap_or_else(|| who.account.as_str().to_owned());
                let entry = Account::new(who.account.clone(), self.0.settings.keys.site().clone(), name);
                self.put_accounts(std::slice::from_ref(&entry)).await?;
                entry
            }
            None => return Err(Reason::UnknownAccount.into()),
        };
        if entry.disabled {
            return Err(Reason::AccountDisabled.into());
        }
        entry.admin |= who.admin;
        Ok(entry)
    }

    /// Adds or replaces directory entries.
    pub async fn put_accounts(&self, accounts: &[Account]) -> Result<(), Refused> {
        self.0.put_accounts(accounts).await
    }

    /// Lets an account in again that was shut out. It is in no room until it is added.
    pub async fn enable(&self, account: &AccountId) -> Result<(), Refused> {
        let mut entry = self.0.account(account).await?.ok_or(Reason::UnknownAccount)?;
        entry.disabled = false;
        self.put_accounts(&[entry]).await
    }

    /// Whether it is being stopped.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// Stops taking commands, asks every connection to leave over the drain window, and returns when all have left and all
    /// that was begun is durable and answered, or when the window has passed twice.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        if let Some(colleagues) = &self.0.colleagues {
            colleagues.drain(&self.0);
        }
        let window = std::time::Duration::from_millis(self.0.settings.limits.drain_ms.into());
        self.0.sockets.say_goodbye(window);
        let finished = async {
            while self.0.sockets.count() > 0 || self.0.backlog() > 0 || !self.0.effects.is_idle() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let most = window * 2 + std::time::Duration::from_millis(500);
        if tokio::time::timeout(most, finished).await.is_err() {
            tracing::warn!(
                sockets = self.0.sockets.count(),
                commands = self.0.backlog(),
                "drained for twice the window; what is left resumes from the log at the next start"
            );
        }
        self.0.write_cursors().await;
        if let Some(colleagues) = &self.0.colleagues {
            colleagues.leave().await;
        }
    }

    /// The other nodes of the site that live, as this one knows them.
    pub fn others(&self) -> Vec<Announcement> {
        self.0.colleagues.as_ref().map(Colleagues::others).unwrap_or_default()
    }
}

impl Inner {
    fn backlog(&self) -> usize {
        let rooms: Vec<_> = self.rooms.lock().values().cloned().collect();
        let here: usize = rooms.iter().filter_map(|cell| cell.get()).map(|room| room.backlog()).sum();
        here + self.colleagues.as_ref().map_or(0, Colleagues::waiting)
    }

    /// Drops what is in memory of these directory entries; of all, when none is named.
    fn forget_profiles(&self, accounts: &[AccountId]) {
        let mut profiles = self.profiles.lock();
        profiles.changes += 1;
        if accounts.is_empty() {
            profiles.entries.clear();
        }
        for account in accounts {
            profiles.entries.remove(account);
        }
    }

    /// Adds or replaces directory entries. What is in memory of them goes, even where it is not known whether they were
    /// replaced.
    async fn put_accounts(&self, accounts: &[Account]) -> Result<(), Refused> {
        let put = self.stores.directory.put(accounts).await;
        let names: Vec<AccountId> = accounts.iter().map(|account| account.account.clone()).collect();
        if !names.is_empty() {
            self.forget_profiles(&names);
            if let Some(colleagues) = &self.colleagues {
                colleagues.tell_of_accounts(names);
            }
        }
        put.map_err(refuse_store)
    }

    /// Directory entries of these accounts, those that exist; from memory where they are there.
    async fn directory(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Account>, Refused> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        let changes = {
            let profiles = self.profiles.lock();
            for account in accounts {
                match profiles.entries.get(account) {
                    Some(entry) => drop(found.insert(account.clone(), entry.clone())),
                    None => missing.push(account.clone()),
                }
            }
            profiles.changes
        };
        if !missing.is_empty() {
            let read = self.stores.directory.get(&missing).await.map_err(refuse_store)?;
            let mut profiles = self.profiles.lock();
            if profiles.changes == changes {
                if profiles.entries.len() + read.len() > PROFILES_KEPT {
                    profiles.entries.clear();
                }
                profiles.entries.extend(read.iter().map(|(account, entry)| (account.clone(), entry.clone())));
            }
            found.extend(read);
        }
        Ok(found)
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>, Refused> {
        Ok(self.directory(std::slice::from_ref(account)).await?.remove(account))
    }

    /// Whether the directory says that the account is shut out.
    pub(crate) async fn is_disabled(&self, account: &AccountId) -> Result<bool, Refused> {
        Ok(self.account(account).await?.is_some_and(|entry| entry.disabled))
    }

    /// The name of an account for people.
    fn name_of(entries: &BTreeMap<AccountId, Account>, account: &AccountId) -> String {
        entries.get(account).map_or_else(
            || account.as_str().to_owned(),
            |entry| display_name(account, &entry.name, entry.local_name.as_deref()),
        )
    }
}

/// What a store's failure means to whoever asked.
pub(crate) fn refuse_store(error: StoreError) -> Refused {
    tracing::warn!(%error, "a store did not answer");
    match error {
        StoreError::Unavailable(_) | StoreError::Unknown(_) => Reason::StoreUnavailable.into(),
        StoreError::Corrupt(_) => Reason::Quarantined.into(),
        StoreError::Invalid(what) => Refused::new(Reason::Malformed, what),
    }
}
