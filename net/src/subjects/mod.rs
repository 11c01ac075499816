//! Rooms over NATS subjects: requests, answers and events for clients and back ends that already speak NATS.
//!
//! The same doors as every surface: [`Node::begin`](crate::node::Node::begin) and [`Node::query`](crate::node::Node::query).
//! The account in a request's subject is who asks; the NATS server's permissions, which [`permissions`] renders, let nobody else
//! publish there. Nothing is published where the requester may not read. Nodes of a site share the requests by a queue group.
//! Events are published by the node that committed what they tell of, at most once: each carries revision and key version, so
//! that a client can notice and ask. Every queue is bounded; what does not fit is refused or dropped, and counted.

mod answer;
mod events;
mod figures;
mod names;
mod peers;
pub mod permissions;
mod request;
mod serve;

use std::future::ready;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use chamberlain_core::id::{AccountId, SiteId};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::http::allowance::Allowance;
use crate::node::Node;
pub(crate) use figures::Figures;

/// The queue group by which nodes share requests.
const GROUP: &str = "chamberlain";
/// Requests of one subscription that wait to be looked at; more make this node a slow consumer, and are lost.
const SUBSCRIPTION_BACKLOG: usize = 8_192;
/// Messages that wait for the connection.
const PUBLISH_BACKLOG: usize = 1_024;
/// Requests under way at the same time.
const REQUESTS_AT_ONCE: usize = 1_024;
/// How long a message may wait for a place in that backlog: the connection is gone, or the server does not take anything.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);
/// How often the server is asked whether it is there; two that go unanswered are a lost connection.
const PING: Duration = Duration::from_secs(5);
/// Waits between attempts to connect again: doubles up to the most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// How long answers and events may take to leave when this surface closes.
const CLOSING: Duration = Duration::from_secs(10);

/// As whom the node connects. Never printed.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ..)", self.user)
    }
}

/// How the surface is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses of NATS servers, at least one: `nats://HOST:PORT`, `tls://HOST:PORT`, without user and password.
    pub servers: Vec<String>,
    /// The service user of the clients' NATS account.
    pub credentials: Option<Credentials>,
    /// The service user of the NATS account on which other servers ask; nobody is heard there without it.
    pub peers: Option<Credentials>,
    /// Certificates of authorities to trust beside the machine's own, in PEM.
    pub trust: Vec<PathBuf>,
    /// Accounts that nobody can be here: those of the servers themselves.
    pub reserved: fn(&AccountId) -> bool,
    /// How long connecting may take.
    pub opening: Duration,
}

/// Why there is no surface. The words are for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// No server could be connected to, or it does not take us.
    #[error("no connection to a NATS server: {0}")]
    Unreachable(String),
    /// The node has one already.
    #[error("the node is on subjects already")]
    Twice,
}

/// What everything here works with.
struct Surface {
    node: Node,
    client: Client,
    site: SiteId,
    reserved: fn(&AccountId) -> bool,
    allowance: Allowance,
    turns: Arc<Semaphore>,
    /// Refusals of what was not even begun. They are dropped where they do not fit.
    refusals: mpsc::Sender<(String, bytes::Bytes)>,
}

/// The surface, while it is open.
pub struct Subjects {
    surface: Arc<Surface>,
    leave: watch::Sender<bool>,
    listening: Vec<JoinHandle<()>>,
    events: Arc<events::Publisher>,
}

impl Subjects {
    /// Connects, and listens to the requests for this node's site. From then on events are published.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is listened to then.
    pub async fn open(node: &Node, options: &Options) -> Result<Self, OpenError> {
        let client = connect(node, options, options.credentials.as_ref()).await?;
        let site = node.inner().settings.keys.site().clone();
        let (refusals, refused) = mpsc::channel(PUBLISH_BACKLOG);
        let surface = Arc::new(Surface {
            node: node.clone(),
            client: client.clone(),
            site: site.clone(),
            reserved: options.reserved,
            allowance: Allowance::default(),
            turns: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            refusals,
        });
        let (leave, left) = watch::channel(false);
        let mut listening = Vec::new();
        if let Some(peers) = &options.peers {
            let client = connect(node, options, Some(peers)).await?;
            let asked = subscribe(&client, names::of_servers(&site)).await?;
            seen(&client).await?;
            listening.push(tokio::spawn(peers::serve(surface.clone(), client, asked, left.clone())));
        }
        let mut requests = Vec::new();
        for subject in names::listened(&site) {
            requests.push(subscribe(&client, subject).await?);
        }
        seen(&client).await?;
        let events = events::Publisher::start(node, client);
        if !node.inner().observe(events.clone()) {
            return Err(OpenError::Twice);
        }
        tokio::spawn(serve::refuse(surface.clone(), refused));
        listening.push(tokio::spawn(serve::serve(surface.clone(), requests, left)));
        Ok(Self { surface, leave, listening, events })
    }

    /// Takes no more requests: other nodes of the site get them. What was begun goes on.
    pub fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// Takes no more requests, and returns when what was begun is answered and what was shown is published, or after a while.
    pub async fn close(self) {
        self.leave();
        let ending = async {
            for task in self.listening {
                let _ended = task.await;
            }
            // All turns are back when everything was answered.
            let _all = self.surface.turns.acquire_many(REQUESTS_AT_ONCE as u32).await;
            self.events.close().await;
            self.surface.client.flush().await
        };
        if !matches!(tokio::time::timeout(CLOSING, ending).await, Ok(Ok(()))) {
            tracing::warn!("some answers and events did not leave on subjects before the end");
        }
    }
}

impl Surface {
    fn figures(&self) -> &Figures {
        self.node.metrics().subjects()
    }
}

/// Publishes; `false` when the connection did not take it in time.
async fn publish(client: &Client, subject: String, payload: bytes::Bytes) -> bool {
    let taken = tokio::time::timeout(PUBLISH_WAIT, client.publish(subject, payload)).await;
    matches!(taken, Ok(Ok(())))
}

async fn subscribe(client: &Client, subject: String) -> Result<Subscriber, OpenError> {
    let listening = client.queue_subscribe(subject, GROUP.into()).await;
    listening.map_err(|why| OpenError::Unreachable(why.to_string()))
}

/// Returns when the server has seen what was sent: who is told that we are open can ask. A flush hands it to the network alone.
async fn seen(client: &Client) -> Result<(), OpenError> {
    match client.request(client.new_inbox(), bytes::Bytes::new()).await {
        Err(why) if why.kind() == RequestErrorKind::NoResponders => Ok(()),
        Err(why) => Err(OpenError::Unreachable(format!("the service user hears no answer at its own inbox: {why}"))),
        Ok(_) => Err(OpenError::Unreachable("somebody else is at the service user's inbox".into())),
    }
}

async fn connect(node: &Node, options: &Options, credentials: Option<&Credentials>) -> Result<Client, OpenError> {
    if options.servers.is_empty() {
        return Err(OpenError::Option("no address of a NATS server is given".into()));
    }
    let addresses = options.servers.iter().enumerate().map(|(nth, server)| {
        // It may hold a password, so it is not repeated.
        let wrong = |why: &str| OpenError::Option(format!("address {} of NATS {why}", nth + 1));
        let address: ServerAddr = server.parse().map_err(|_| wrong("is not one of a NATS server"))?;
        if address.has_user_pass() { Err(wrong("holds a user: give it apart")) } else { Ok(address) }
    });
    let addresses: Vec<ServerAddr> = addresses.collect::<Result<_, _>>()?;
    let (metrics, been) = (node.metrics().clone(), AtomicBool::new(false));
    let mut connecting = ConnectOptions::new()
        .name("chamberlain subjects")
        .connection_timeout(options.opening)
        .ping_interval(PING)
        .subscription_capacity(SUBSCRIPTION_BACKLOG)
        .client_capacity(PUBLISH_BACKLOG)
        .reconnect_delay_callback(|attempt| {
            let doublings = u32::try_from(attempt).unwrap_or(u32::MAX).min(16);
            RECONNECT.0.saturating_mul(1 << doublings).min(RECONNECT.1)
        })
        .event_callback(move |event| {
            let figures = metrics.subjects();
            match event {
                Event::Connected if been.swap(true, Ordering::Relaxed) => {
                    figures.reconnected.inc();
                    tracing::info!("connected to NATS again: requests and events of the meantime are lost");
                }
                Event::SlowConsumer(_) => {
                    figures.slow.inc();
                    tracing::warn!("requests on subjects come faster than they are taken; some were lost");
                }
                Event::ServerError(why) => {
                    figures.errors.inc();
                    tracing::warn!(%why, "NATS");
                }
                Event::ClientError(why) => tracing::warn!(%why, "NATS"),
                other => tracing::debug!(%other, "NATS"),
            }
            ready(())
        });
    if let Some(Credentials { user, password }) = credentials {
        let inbox = format!("_INBOX.{}", names::encode(user));
        connecting = connecting.user_and_password(user.clone(), password.clone()).custom_inbox_prefix(inbox);
    }
    for roots in &options.trust {
        connecting = connecting.add_root_certificates(roots.clone());
    }
    let connected = tokio::time::timeout(options.opening, connecting.connect(addresses)).await;
    let connected = connected.map_err(|_| OpenError::Unreachable("no answer came in time".into()))?;
    connected.map_err(|why| OpenError::Unreachable(why.to_string()))
}
