//! How a server is set up: what its configuration file says, and what the machine beneath it is like.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rights::User;

/// What a server says its version is, and what it says of itself to clients that know Redis alone.
pub(crate) const VERSION: &str = "8.0.1";
pub(crate) const REDIS_VERSION: &str = "7.2.4";

/// When what is written to the append-only file is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before anything is answered.
    Always,
    /// About once a second.
    EverySecond,
    /// When the operating system thinks fit; here never, until power fails.
    No,
}

/// Copies of a server, as far as it tells of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replicas {
    /// How many follow it.
    pub count: u64,
    /// How long after a write each says that it is on its disk.
    pub lag: Duration,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether there is an append-only file; without one nothing survives the process.
    pub appendonly: bool,
    /// When it is synced.
    pub appendfsync: Fsync,
    /// Whether that is left out while the file is rewritten.
    pub no_appendfsync_on_rewrite: bool,
    /// Reported only: nothing is ever evicted here.
    pub maxmemory_policy: String,
    /// Bytes of keys and values from which on commands that could add to them are refused. The real server's 0, without
    /// bound, is not to be had.
    pub maxmemory: usize,
    /// Connections, at most.
    pub maxclients: usize,
    /// Who may come, besides the user `default`.
    pub users: BTreeMap<String, User>,
    /// Whom a connection speaks for that has not said. With a password, it has to be said.
    pub default: User,
    /// How long a sync takes.
    pub sync_takes: Duration,
    /// How long it reads its files when it starts.
    pub loading: Duration,
    /// Copies that follow it.
    pub replicas: Replicas,
    /// What tells the runs of this server from those of another.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            appendonly: false,
            appendfsync: Fsync::EverySecond,
            no_appendfsync_on_rewrite: false,
            maxmemory_policy: "noeviction".into(),
            maxmemory: 1 << 30,
            maxclients: 10_000,
            users: BTreeMap::new(),
            default: User::anything(None),
            sync_takes: Duration::ZERO,
            loading: Duration::ZERO,
            replicas: Replicas::default(),
            name: "valkey".into(),
        }
    }
}

impl Settings {
    /// A server that keeps what it acknowledges: `appendonly yes`, `appendfsync always`.
    pub fn strict() -> Self {
        Self { appendonly: true, appendfsync: Fsync::Always, ..Self::default() }
    }

    /// What `CONFIG GET` says, by name.
    pub(crate) fn told(&self) -> BTreeMap<&'static str, String> {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        [
            ("appendonly", yes(self.appendonly)),
            ("appendfsync", self.appendfsync.word().to_owned()),
            ("no-appendfsync-on-rewrite", yes(self.no_appendfsync_on_rewrite)),
            ("aof-load-truncated", yes(true)),
            ("databases", crate::disk::DATABASES.to_string()),
            ("maxclients", self.maxclients.to_string()),
            ("maxmemory", self.maxmemory.to_string()),
            ("maxmemory-policy", self.maxmemory_policy.clone()),
            ("save", String::new()),
            ("timeout", "0".to_owned()),
        ]
        .into()
    }

    /// Changes one of those that may be changed while the server runs; else what is wrong, in the server's words.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let one_of = |words: &str| format!("argument(s) must be one of the following: {words}");
        let yes = || match value {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("argument must be 'yes' or 'no'".to_owned()),
        };
        let wrong = match name {
            "appendfsync" => {
                Fsync::of(value).map(|fsync| self.appendfsync = fsync).ok_or(one_of("everysec, always, no"))
            }
            "no-appendfsync-on-rewrite" => yes().map(|is| self.no_appendfsync_on_rewrite = is),
            "maxmemory-policy" => {
                self.maxmemory_policy = value.to_owned();
                Ok(())
            }
            "maxmemory" => match value.parse() {
                Ok(bytes @ 1..) => {
                    self.maxmemory = bytes;
                    Ok(())
                }
                _ => Err("argument must be a memory value".to_owned()),
            },
            _ => return Err(format!("Unknown option or number of arguments for CONFIG SET - '{name}'")),
        };
        wrong.map_err(|why| format!("CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    }
}

impl Fsync {
    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
            Self::No => "no",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Always, Self::EverySecond, Self::No].into_iter().find(|fsync| fsync.word() == word)
    }
}
