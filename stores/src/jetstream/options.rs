//! How a site's stream is reached, and what is asked of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chamberlain_core::id::SiteId;

/// How a site's logs are kept in JetStream.
#[derive(Debug, Clone)]
pub struct Options {
    /// The site whose logs these are.
    pub site: SiteId,
    /// Addresses of servers, `nats://host:port` or `tls://host:port`; at least one. Without credentials.
    pub servers: Vec<String>,
    /// Who we are there.
    pub credentials: Credentials,
    /// Files of certificates to trust in place of the system's.
    pub trust: Vec<PathBuf>,
    /// Files of our own certificate and of its key, where the servers ask for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The JetStream domain, where it is another than that of the server we connect to.
    pub domain: Option<String>,
    /// Copies of each record, on as many servers.
    pub replicas: usize,
    /// Where the servers keep the stream.
    pub storage: Storage,
    /// What is known of when the servers write to their disks.
    pub syncing: Syncing,
    /// Bytes of the largest record that will be appended; a server that takes less is refused at start.
    pub record_bytes: usize,
    /// How long one request to a server may take.
    pub request: Duration,
    /// How long one operation may take, with what it repeats and reads back.
    pub operation: Duration,
    /// How long opening may take.
    pub opening: Duration,
    /// Requests under way at most; callers beyond wait for their turn.
    pub requests: usize,
    /// Logs of which it is remembered where their records lie, at most.
    pub logs_remembered: usize,
}

impl Options {
    /// A stream in files, one copy, on one server, by whoever may connect.
    pub fn new(site: SiteId, server: impl Into<String>, syncing: Syncing) -> Self {
        Self {
            site,
            servers: vec![server.into()],
            credentials: Credentials::None,
            trust: Vec::new(),
            certificate: None,
            domain: None,
            replicas: 1,
            storage: Storage::Files,
            syncing,
            record_bytes: 512 * 1024,
            request: Duration::from_secs(2),
            operation: Duration::from_secs(5),
            opening: Duration::from_secs(10),
            requests: 1_024,
            logs_remembered: 10_000,
        }
    }
}

/// Who we are to the servers. Never printed.
#[derive(Clone)]
pub enum Credentials {
    /// Nobody in particular, or whom the certificate names.
    None,
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// Whoever knows the token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Where servers keep a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In files.
    Files,
    /// In memory alone: nothing survives the last server's end. Goes with [`Syncing::Lax`] only.
    Memory,
}

/// What is known of when the servers write to their disks.
///
/// A server acknowledges a record before it is on the disk, unless its configuration says `sync_interval: always`. A client
/// cannot see whether it does, unless it is of the servers' system account. Servers before 2.10.19 do not know the setting, or
/// have a hole in compare-and-append on several servers.
#[derive(Debug, Clone)]
pub enum Syncing {
    /// Every server is asked at start, under these credentials of the system account. Those that sync late or are too old are
    /// refused.
    Asked(Credentials),
    /// The operator says that every server runs with `sync_interval: always`; nobody looks. Those too old are refused.
    Promised,
    /// The operator insists on servers that may forget what they acknowledged, or that are older.
    Lax,
}

impl Syncing {
    /// Whether servers that may forget will do.
    pub(super) fn is_lax(&self) -> bool {
        matches!(self, Self::Lax)
    }
}
