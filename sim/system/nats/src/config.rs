//! What a server is like, and what it bears.

use std::fmt;
use std::time::Duration;

use crate::Clock;

/// A server.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it says it is called.
    pub name: String,
    /// What it says its version is.
    pub version: String,
    /// Whom it lets in. The system account is asked about the server itself.
    pub accounts: Vec<Account>,
    /// When it syncs what it writes.
    pub syncing: Syncing,
    /// How long it takes to store a message, and as long again at most until that is said: between these two. Nothing takes
    /// time where both are zero.
    pub storing: (Duration, Duration),
    /// Ids and choices are drawn from it.
    pub seed: u64,
    /// What time it is.
    pub clock: Clock,
    /// What it bears.
    pub limits: Limits,
}

impl Config {
    /// A server of the version that production asks for, which lets everybody in and syncs each write.
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self {
            name: "simulated".into(),
            version: "2.10.27".into(),
            accounts: vec![Account::open()],
            syncing: Syncing::Always,
            storing: (Duration::ZERO, Duration::ZERO),
            seed,
            clock,
            limits: Limits::default(),
        }
    }
}

/// An account: those in it see each other's messages, and nobody else's.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// It has streams.
    pub jetstream: bool,
    /// It is the system's.
    pub system: bool,
    /// Who is in it. Where no account names anybody, everybody is in the first one.
    pub users: Vec<User>,
}

impl Account {
    /// The one that everybody is in.
    pub fn open() -> Self {
        Self { name: "$G".into(), jetstream: true, system: false, users: Vec::new() }
    }

    /// One for whoever comes with a password.
    pub fn of(name: &str, user: &str, password: &str) -> Self {
        let credentials = Credentials::Password { user: user.into(), password: password.into() };
        Self { name: name.into(), jetstream: true, system: false, users: vec![User { credentials }] }
    }

    /// The system's, for whoever comes with a password.
    pub fn system(user: &str, password: &str) -> Self {
        Self { jetstream: false, system: true, ..Self::of("SYS", user, password) }
    }
}

/// Somebody.
#[derive(Debug, Clone)]
pub struct User {
    /// How they are known.
    pub credentials: Credentials,
}

/// How somebody is known. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// By a name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// By a token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// When a server syncs what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// Before it acknowledges (`sync_interval: always`).
    Always,
    /// Every so often; what it acknowledged since is lost with the power.
    Every(Duration),
}

impl Syncing {
    /// What a server does that was told nothing.
    pub const LAZY: Self = Self::Every(Duration::from_secs(120));
}

/// What a server bears. What it is told beyond is refused, as the server refuses it where it has the limit too.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a message with its headers.
    pub payload: usize,
    /// Bytes of a line of the protocol.
    pub line: usize,
    /// Bytes that wait for a client; one that is slower is cut off.
    pub pending: usize,
    /// How long a client may take nothing of what waits for it.
    pub write_deadline: Duration,
    /// Clients at once.
    pub connections: usize,
    /// Subscriptions of a client.
    pub subscriptions: usize,
    /// Streams of all accounts.
    pub streams: usize,
    /// Consumers of a stream.
    pub consumers: usize,
    /// Messages of a stream.
    pub messages: usize,
    /// Messages on their way into streams.
    pub inbound: usize,
    /// Ids by which a stream knows what it has.
    pub message_ids: usize,
    /// How long a client may take to say who it is.
    pub authentication: Duration,
    /// How often a silent client is asked whether it is there.
    pub ping: Duration,
    /// Questions that may go unanswered.
    pub pings: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 1 << 20,
            line: 4_096,
            pending: 64 << 20,
            write_deadline: Duration::from_secs(10),
            connections: 1_024,
            subscriptions: 10_000,
            streams: 256,
            consumers: 1_024,
            messages: 4_000_000,
            inbound: 10_000,
            message_ids: 1_000_000,
            authentication: Duration::from_secs(2),
            ping: Duration::from_secs(120),
            pings: 2,
        }
    }
}
