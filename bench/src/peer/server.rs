//! A production server with one large room: node, gateway and stores as the binary wires them, over loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use chamberlain_bench::{decide, names};
use chamberlain_core::id::{AccountId, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Command, Content, History, Outcome, Submit};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{Answer, Query};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_net::server::{ServerConfig, bind};
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Account, Stores};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use super::Cost;

/// Accounts that are added at once.
const AT_ONCE: usize = 1_000;

/// What the server is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where the embedded store lies; in memory without.
    pub(crate) folder: Option<PathBuf>,
    /// Members of the room beside its owner.
    pub(crate) members: usize,
    /// Threads of the runtime; 0 is one thread that does everything.
    pub(crate) workers: usize,
}

/// What the server says first.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    pub(crate) room: RoomId,
}

/// What the server is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What it has cost so far.
    Cost,
    /// That the owner says so many messages, one after the other.
    Say(u64),
}

/// Its life.
pub(super) fn live(plan: Plan) -> Result<()> {
    let runtime = runtime(plan.workers)?;
    runtime.block_on(async {
        let node = start(plan.folder.as_deref()).await?;
        let room = grow(&node, plan.members).await?;
        let bound = bind(ServerConfig::new((Ipv4Addr::LOCALHOST, 0).into())).await?;
        let ready = Ready { address: bound.address(), room };
        tokio::spawn(bound.serve(node.clone(), Arc::new(AnyName), std::future::pending()));
        super::say(&Ok(ready))?;
        let mut said = 0;
        loop {
            // Questions come seldom, and the server goes on meanwhile.
            match tokio::task::spawn_blocking(super::question).await?? {
                None => return Ok(()),
                Some(Question::Cost) => super::say(&Ok(Cost::now()?))?,
                Some(Question::Say(count)) => {
                    for nth in said..said + count {
                        say(&node, room, nth).await?;
                    }
                    said += count;
                    super::say(&Ok(Cost::now()?))?;
                }
            }
        }
    })
}

/// A runtime of so many threads, or of the caller's alone.
pub(crate) fn runtime(workers: usize) -> Result<Runtime> {
    let runtime = match workers {
        0 => Builder::new_current_thread().enable_all().build(),
        workers => Builder::new_multi_thread().worker_threads(workers).enable_all().build(),
    };
    runtime.context("starting the runtime")
}

/// A node over a store that is opened.
pub(crate) async fn start(folder: Option<&std::path::Path>) -> Result<Node> {
    let stores = match folder {
        None => MemoryStores::new().stores(),
        Some(folder) => open(folder).await?.stores(),
    };
    Ok(node(stores))
}

/// The embedded store in a folder.
pub(crate) async fn open(folder: &std::path::Path) -> Result<Embedded> {
    let opened = Embedded::open(folder, &names::master(), &names::site(), Options::default()).await;
    opened.with_context(|| format!("opening the store in {}", folder.display()))
}

/// A node over these stores.
pub(crate) fn node(stores: Stores) -> Node {
    Node::start(settings("bench"), stores)
}

/// What a node of this name is started with.
pub(crate) fn settings(name: &str) -> Settings {
    Settings {
        keys: Arc::new(names::keys()),
        node: name.into(),
        limits: Arc::new(limits()),
        retain: Retain::All,
        framing: gateway::frame,
    }
}

/// The usual limits, but for one connection that says everything, clients that answer no ping, and some that do not read.
fn limits() -> Limits {
    Limits {
        submits_per_second: 1_000_000,
        submits_burst: 1_000_000,
        replies_waiting: 16_384,
        room_queue: 65_536,
        ping_ms: 600_000,
        dead_ms: 1_200_000,
        slow_ms: 600_000,
        ..decide::limits()
    }
}

/// Who this is.
pub(crate) fn identity(account: AccountId) -> Identity {
    Identity { account, name: None, admin: false, expires: None }
}

/// Directory entries of the owner and so many members.
pub(crate) async fn register(node: &Node, members: usize) -> Result<()> {
    let everybody: Vec<Account> =
        std::iter::once(names::owner()).chain((0..members).map(names::member)).map(entry).collect();
    for some in everybody.chunks(AT_ONCE) {
        node.put_accounts(some).await.map_err(|refused| anyhow!("adding accounts: {refused}"))?;
    }
    Ok(())
}

fn entry(account: AccountId) -> Account {
    let name = account.as_str().to_owned();
    Account::new(account, names::site(), name)
}

/// A channel of the owner's.
pub(crate) async fn create(node: &Node, nth: u64) -> Result<RoomId> {
    let command = Command::CreateChannel { name: format!("room {nth}"), accounts: Vec::new(), channels: Vec::new() };
    let outcome = node.command(&identity(names::owner()), names::request(u64::MAX - nth), command).await;
    match outcome {
        Ok(Outcome::Created { room, .. }) => Ok(room),
        other => bail!("creating a channel came to {other:?}"),
    }
}

/// A channel with so many members, all of whose accounts know of it.
pub(crate) async fn grow(node: &Node, members: usize) -> Result<RoomId> {
    register(node, members).await?;
    let room = create(node, 0).await?;
    let everybody: Vec<AccountId> = (0..members).map(names::member).collect();
    for (nth, some) in everybody.chunks(AT_ONCE).enumerate() {
        let accounts = some.to_vec();
        let command = Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All };
        let id = names::request(u64::MAX / 2 + nth as u64);
        let added = node.command(&identity(names::owner()), id, command).await;
        added.map_err(|refused| anyhow!("adding members: {refused}"))?;
    }
    for member in everybody.iter().rev().step_by(97) {
        while !knows(node, member, room).await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(room)
}

async fn knows(node: &Node, member: &AccountId, room: RoomId) -> Result<bool> {
    match node.query(&identity(member.clone()), Query::Rooms).await {
        Ok(Answer::Rooms { rooms, .. }) => Ok(rooms.iter().any(|view| view.room == room)),
        other => bail!("asking for rooms came to {other:?}"),
    }
}

async fn say(node: &Node, room: RoomId, nth: u64) -> Result<()> {
    let command = submit(room, nth);
    let outcome = node.command(&identity(names::owner()), names::request(nth), command).await;
    outcome.map(drop).map_err(|refused| anyhow!("saying something: {refused}"))
}

/// The nth message, of 256 bytes.
pub(crate) fn submit(room: RoomId, nth: u64) -> Command {
    let content = Content::Plain { text: decide::text() };
    Command::Submit(Submit { room, message: names::message(nth), content })
}

/// Everybody is who they say they are, as in development.
pub(crate) struct AnyName;

impl Authenticate for AnyName {
    fn authenticate(&self, token: &str, _: Timestamp) -> Result<Identity, AuthError> {
        token.parse().map(identity).map_err(|_| AuthError::Invalid("name".into()))
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        false
    }
}
