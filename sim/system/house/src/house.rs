//! What everybody in a run shares: the witness, the plan, the servers, and where the run stands.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chamberlain_core::id::AccountId;
use chamberlain_sim::story::LinkId;
use tokio::sync::watch;

use crate::fleet::Fleet;
use crate::person::Person;
use crate::plan::Plan;
use crate::server::Server;
use crate::witness::Witness;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients work, faults happen.
    Working,
    /// Clients begin nothing new, and catch up.
    Quiet,
    /// Clients leave.
    Over,
}

/// The account of a number.
pub(crate) fn account(nth: u32) -> AccountId {
    format!("a{nth}").parse().expect("a letter and digits are a name")
}

/// What everybody shares.
pub struct House {
    /// Sees everything.
    pub witness: Witness,
    /// What the run is like.
    pub plan: Plan,
    /// Where clients connect to: the only one, or the first.
    pub server: Arc<Server>,
    /// All of them.
    pub servers: Vec<Arc<Server>>,
    /// What they stand on, where they are several.
    pub fleet: Option<Arc<Fleet>>,
    /// Everybody there is.
    pub accounts: Vec<AccountId>,
    phase: watch::Sender<Phase>,
    /// Grows when everybody is to reconnect.
    storms: AtomicU64,
    links: AtomicU32,
    /// Clients that are caught up.
    caught_up: Mutex<BTreeSet<u32>>,
    /// Rooms that somebody was told of, for those who go where they were not asked.
    rooms: Mutex<BTreeSet<chamberlain_core::id::RoomId>>,
}

impl House {
    /// A house whose run begins. There is at least one server.
    pub fn new(witness: Witness, plan: Plan, servers: Vec<Arc<Server>>, fleet: Option<Arc<Fleet>>) -> Arc<Self> {
        Arc::new(Self {
            accounts: (0..plan.accounts).map(account).collect(),
            witness,
            plan,
            server: servers[0].clone(),
            servers,
            fleet,
            phase: watch::channel(Phase::Working).0,
            storms: AtomicU64::new(0),
            links: AtomicU32::new(0),
            caught_up: Mutex::default(),
            rooms: Mutex::default(),
        })
    }

    /// Something must be so; else the run is bad, in these words.
    pub(crate) fn must(&self, is_so: bool, words: &str) {
        if !is_so {
            self.objects(format!("not so: {words}"));
        }
    }

    /// The run is bad, in these words.
    pub(crate) fn objects(&self, words: String) {
        self.witness.remark(&words);
        self.witness.with_story(|story| story.ending.unwell.push(words));
    }

    /// Starts every server, and waits until all serve.
    pub async fn start(&self) {
        self.servers.iter().for_each(Server::start);
        for server in &self.servers {
            server.until_up().await;
        }
    }

    /// A person of a script, who must be let in.
    pub(crate) async fn guest(self: &Arc<Self>, client: u32, name: &str) -> Person {
        Person::come(self, client, name, None).await.unwrap_or_else(|| panic!("{name} is not let in"))
    }

    /// Where the run stands.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to the next phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits for a phase.
    pub async fn until(&self, phase: Phase) {
        // The sender is ours.
        let mut phases = self.phase.subscribe();
        let _there = phases.wait_for(|now| *now >= phase).await;
    }

    /// A connection nobody had before.
    pub fn link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }

    /// Has everybody reconnect.
    pub fn storm(&self) {
        self.storms.fetch_add(1, Ordering::Relaxed);
    }

    /// How many storms there were.
    pub fn storms(&self) -> u64 {
        self.storms.load(Ordering::Relaxed)
    }

    /// A client says whether it is caught up.
    pub fn set_caught_up(&self, client: u32, is: bool) {
        let mut all = self.caught_up.lock().unwrap_or_else(PoisonError::into_inner);
        if is {
            all.insert(client);
        } else {
            all.remove(&client);
        }
    }

    /// Clients that are not caught up.
    pub fn behind(&self) -> Vec<u32> {
        let all = self.caught_up.lock().unwrap_or_else(PoisonError::into_inner);
        (0..self.plan.clients).filter(|client| !all.contains(client)).collect()
    }

    /// Somebody was told of a room.
    pub fn tell_of(&self, room: chamberlain_core::id::RoomId) {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).insert(room);
    }

    /// Every room that somebody was told of.
    pub fn rooms(&self) -> Vec<chamberlain_core::id::RoomId> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}
