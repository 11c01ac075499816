//! Room keys, snapshots, marks and the directory's tables in Valkey, or in Redis from 7.0 on: for a site on several machines.
//!
//! Invariant: what was answered survives the server's `kill -9`, and what the server forgot is noticed before the next call is
//! answered by it. A server that could forget (no append-only file with a sync at every write, no replicas that acknowledge)
//! is refused, unless the operator insists; so are one under another master key, one that was emptied, and one that was put
//! back to an earlier time. Secrets are sealed before they leave the process.
//!
//! What a call says when it fails: `Unavailable`, it surely did not happen; `Unknown`, the answer was lost; a server that is not
//! the one we know is `Unavailable` too, since the right one may come back, and what is in the logs is not wrong.
//!
//! What this does not do. It follows no redirections: every call touches one slot, so that a proxy or a cluster of one can
//! serve, but the vault is looked after as one server. What happens to a server while connections to it last (`FLUSHALL`, `CONFIG
//! SET`) is noticed when they are vouched for again, not before. A destroyed secret (sealed as it is) stays in the server's
//! append-only file until that is rewritten.
//!
//! Rights of the user, where there is one: `~chamberlain:* +get +set +del +mget +incr +hget +hset +hmget +hlen +zadd
//! +zcard +zrange +eval +info +config|get +waitaof +hello +auth +select +client|setinfo +ping`, with the prefix configured.

mod address;
mod directory;
mod failures;
mod keys;
mod link;
mod marks;
mod script;
mod snapshots;
mod vault;
mod vouch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{LogId, SiteId};
use chamberlain_core::site::MasterKey;

pub use address::Address;
use keys::Keys;
use link::Link;
use vouch::Voucher;

use crate::directory::LoggedDirectory;
use crate::sealed::VaultCipher;
use crate::{LogStore, StoreError, Stores};

/// How the server is used, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// What every key begins with: 1 to 64 letters, digits and `-_./`.
    pub prefix: String,
    /// Connections, at most; each carries many calls at once. Where replicas acknowledge, calls on one wait for each other.
    pub connections: usize,
    /// Calls under way, at most; callers beyond wait for their turn.
    pub in_flight: usize,
    /// How long a call takes, at most, connecting included.
    pub deadline: Duration,
    /// How long it takes, at most, to connect and to find out whether the server may be used.
    pub connect_deadline: Duration,
    /// How long after a failure to connect nobody tries again.
    pub reconnect_after: Duration,
    /// How long after the server was found good it is asked again.
    pub vouch_again_after: Duration,
    /// Replicas that must have a write on their disks before it is acknowledged. Zero: the server's own disk alone, which it
    /// then has to sync at every write. Replicas tell of their disks about once a second, and calls take as long.
    pub replicas: u64,
    /// Use a server that may forget what it acknowledged: the operator insists. Secrets may be lost with it.
    pub lax: bool,
    /// Whether a server that holds nothing of this site becomes its vault. False where there are logs already: their secrets
    /// were somewhere, and are not here.
    pub found: bool,
    /// Bytes of a snapshot, at most.
    pub snapshot_bytes: usize,
    /// Bytes of a record of the directory's log, at most.
    pub record_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefix: "chamberlain".into(),
            connections: 4,
            in_flight: 4_096,
            deadline: Duration::from_secs(4),
            connect_deadline: Duration::from_secs(3),
            reconnect_after: Duration::from_millis(200),
            vouch_again_after: Duration::from_secs(30),
            replicas: 0,
            lax: false,
            found: true,
            snapshot_bytes: 32 * 1024 * 1024,
            record_bytes: 512 * 1024,
        }
    }
}

/// Why a server is not used. The words are for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What was configured makes no sense.
    #[error("{0}")]
    Options(String),
    /// It does not answer, or not yet.
    #[error("{at}: {why}")]
    Unreachable {
        /// Where it is.
        at: String,
        /// What went wrong.
        why: String,
    },
    /// The user may not ask what has to be known.
    #[error(
        "{at}: the user may not run {command}, which tells whether the server could forget: grant it {grant} (ACL SETUSER)"
    )]
    Forbidden {
        /// Where it is.
        at: String,
        /// What it may not run.
        command: &'static str,
        /// What to grant.
        grant: &'static str,
    },
    /// It may forget what it acknowledged.
    #[error(
        "{at} could forget secrets of which it holds the only copy: {why}; set {set}, or insist on using it as it is"
    )]
    Forgetful {
        /// Where it is.
        at: String,
        /// By what.
        why: String,
        /// What to set there.
        set: String,
    },
    /// It cannot do what is asked of it.
    #[error("{at} cannot be the vault: {why}")]
    Unfit {
        /// Where it is.
        at: String,
        /// Why not.
        why: String,
    },
    /// Its secrets are sealed under another master key.
    #[error("{0} belongs to another master key: give the key it was made with")]
    WrongMasterKey(String),
    /// A newer program wrote it.
    #[error("{at} is of format {format}, which is newer than this program")]
    NewerFormat {
        /// Where it is.
        at: String,
        /// Its format.
        format: u64,
    },
    /// It holds no vault of this site, and there should be one.
    #[error(
        "{0} holds no vault of this site, whose logs need one: give the address of the one that does, or put back its files"
    )]
    Missing(String),
    /// It is not the vault that was there before.
    #[error("{at} is not the vault that was in use: {why}; put back its latest files, or the right server")]
    Replaced {
        /// Where it is.
        at: String,
        /// How that was noticed.
        why: String,
    },
    /// What it holds cannot be right.
    #[error("{at} cannot be read: {why}")]
    Corrupt {
        /// Where it is.
        at: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The scripts that a server is sent, each with what it is for: for whoever stands in for one.
pub fn scripts() -> Vec<(&'static str, String)> {
    let accounts = directory::SCRIPTS.map(|(what, text)| (what, text.to_owned()));
    [("snapshots", snapshots::SCRIPT.concat()), ("marks", marks::SCRIPT.concat())].into_iter().chain(accounts).collect()
}

/// Three of the stores of one site in one server, and the tables of its directory. Clones share the connections. Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Valkey {
    shared: Arc<Shared>,
}

struct Shared {
    at: String,
    link: Link,
    keys: Keys,
    cipher: VaultCipher,
    options: Options,
}

impl Valkey {
    /// Connects, and finds out whether this server may be used. An empty one becomes the site's vault, if options say so.
    ///
    /// # Errors
    /// `Unreachable` may pass by itself; everything else needs an operator.
    pub async fn open(
        address: &Address,
        master: &MasterKey,
        site: &SiteId,
        options: Options,
    ) -> Result<Self, OpenError> {
        options.check()?;
        let at = address.to_string();
        let keys = Keys::new(&options.prefix, site.clone())
            .ok_or_else(|| OpenError::Options("the prefix of keys: 1 to 64 letters, digits and -_./".into()))?;
        let voucher = Voucher::new(at.clone(), keys.clone(), master, options.clone());
        let link = Link::open(at.clone(), address.client()?, voucher, options.clone()).await?;
        let cipher = VaultCipher::new(master, site.clone());
        Ok(Self { shared: Arc::new(Shared { at, link, keys, cipher, options }) })
    }

    /// These stores beside logs that are kept elsewhere, as a node is given them. The directory is one of these logs.
    pub fn stores(&self, logs: Arc<dyn LogStore>) -> Stores {
        let shared = Arc::new(self.clone());
        let directory = LoggedDirectory::new(logs.clone(), shared.clone(), self.options().record_bytes);
        let directory = Arc::new(directory);
        Stores { logs, vault: shared.clone(), snapshots: shared.clone(), marks: shared, directory }
    }

    fn link(&self) -> &Link {
        &self.shared.link
    }

    fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    fn cipher(&self) -> &VaultCipher {
        &self.shared.cipher
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    /// What is stored about a log cannot be right.
    fn odd(&self, log: &LogId, why: &str) -> StoreError {
        StoreError::Corrupt(format!("{}: {log}: {why}", self.shared.at))
    }
}

impl fmt::Debug for Valkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Valkey({})", self.shared.at)
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let nothing = |what: &str| Err(OpenError::Options(format!("{what} of the vault: at least one is needed")));
        if self.connections == 0 {
            return nothing("connections");
        }
        if self.in_flight == 0 {
            return nothing("calls under way");
        }
        if self.deadline.is_zero() || self.connect_deadline.is_zero() {
            return nothing("milliseconds of the deadlines");
        }
        Ok(())
    }
}
