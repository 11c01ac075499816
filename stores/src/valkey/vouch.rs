//! Whether a server may be trusted with the only copy of the secrets: asked before a connection is used, and now and then.
//!
//! Three questions: is it one that can do this (version, role), does it keep what it acknowledges (the append-only file is
//! synced at every write, or replicas acknowledge; nothing is evicted), and is it the one that we know (made with our master
//! key, not emptied, not exchanged, not put back to an earlier time)?

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chamberlain_core::site::MasterKey;
use rand::TryRng;
use rand::rngs::SysRng;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, cmd};
use subtle::ConstantTimeEq;

use super::failures::{is_unknown_command, words};
use super::keys::Keys;
use super::{OpenError, Options};
use crate::sealed::check_value;

/// The format written today.
const FORMAT: u64 = 1;

/// What makes a server one that keeps what it acknowledges; each with what it must say.
const KEEPS: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];

/// What makes a server one that tells the truth about what replicas acknowledged.
const KEEPS_WITH_REPLICAS: &[(&str, &str)] = &[("appendonly", "yes")];

/// Asks a server, and remembers which one it was.
pub(super) struct Voucher {
    /// Where the server is, for people.
    at: String,
    keys: Keys,
    check: [u8; 32],
    options: Options,
    known: Mutex<Known>,
}

/// What is known of the vault from earlier connections.
#[derive(Default, Clone)]
struct Known {
    /// Drawn when the vault was made.
    id: Option<String>,
    /// How many connections were vouched for, at least.
    opened: u64,
    /// That it may forget was said.
    warned: bool,
}

impl Voucher {
    pub(super) fn new(at: String, keys: Keys, master: &MasterKey, options: Options) -> Self {
        Self { at, keys, check: check_value(master), options, known: Mutex::default() }
    }

    /// Asks the server behind a connection everything.
    pub(super) async fn vouch(&self, connection: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let info = self.info(connection).await?;
        self.is_able(&info)?;
        self.keeps(connection, &info).await?;
        self.is_ours(connection).await?;
        self.was_not_put_back(connection).await?;
        self.acknowledges(connection, &info).await
    }

    /// A recent version, not loading, and not a copy of another.
    fn is_able(&self, info: &Info) -> Result<(), OpenError> {
        let unfit = |why: String| OpenError::Unfit { at: self.at.clone(), why };
        let version = info.get("redis_version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
        if major < 7 {
            return Err(unfit(format!("its version is {version}; Valkey, or Redis from 7.0 on, is needed")));
        }
        if info.get("loading") == "1" {
            return Err(OpenError::Unreachable { at: self.at.clone(), why: "it is reading its files".into() });
        }
        match info.get("role") {
            "master" => Ok(()),
            role => Err(unfit(format!("it is a {role}; give the address of the one that replicas follow"))),
        }
    }

    /// What it acknowledges is on the disk, and is not evicted.
    async fn keeps(&self, connection: &mut MultiplexedConnection, info: &Info) -> Result<(), OpenError> {
        let wanted = if self.options.replicas == 0 { KEEPS } else { KEEPS_WITH_REPLICAS };
        let mut names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        names.push("maxmemory-policy");
        let asked: Result<BTreeMap<String, String>, RedisError> =
            cmd("CONFIG").arg("GET").arg(&names).query_async(connection).await;
        let settings = match asked {
            Ok(settings) => settings,
            Err(why) if is_withheld(&why) && self.options.lax => BTreeMap::new(),
            Err(why) if is_withheld(&why) => {
                return Err(OpenError::Forbidden { at: self.at.clone(), command: "CONFIG GET", grant: "+config|get" });
            }
            Err(why) => return Err(self.unreachable(&why)),
        };
        let policy = settings.get("maxmemory-policy").map_or(info.get("maxmemory_policy"), String::as_str);
        if policy != "noeviction" {
            let why = format!("maxmemory-policy is {policy}: under pressure it throws secrets away");
            return Err(OpenError::Forgetful { at: self.at.clone(), why, set: "maxmemory-policy noeviction".into() });
        }
        let setting = |name: &str| settings.get(name).map_or("not told", String::as_str);
        let mut wrong: Vec<String> = Vec::new();
        let mut set: Vec<String> = Vec::new();
        for (name, value) in wanted.iter().filter(|(name, value)| setting(name) != *value) {
            wrong.push(format!("{name} is {}", setting(name)));
            set.push(format!("{name} {value}"));
        }
        if wrong.is_empty() && info.get("aof_enabled") != "1" {
            wrong.push("the append-only file is off".into());
            set.push("appendonly yes".into());
        }
        if wrong.is_empty() && info.get("aof_last_write_status") == "err" {
            let why = "the last write to its append-only file failed".to_owned();
            return Err(OpenError::Unfit { at: self.at.clone(), why });
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let why = wrong.join(", ");
        if !self.options.lax {
            return Err(OpenError::Forgetful { at: self.at.clone(), why, set: set.join(", ") });
        }
        if !std::mem::replace(&mut self.known().warned, true) {
            tracing::warn!(
                at = self.at,
                why,
                "the vault may forget secrets that it acknowledged, and is used all the same"
            );
        }
        Ok(())
    }

    /// It was made with our master key, and is the one we know.
    async fn is_ours(&self, connection: &mut MultiplexedConnection) -> Result<(), OpenError> {
        let key = self.keys.identity();
        let known = self.known().id.clone();
        let stored: Option<String> = match known {
            None if self.options.found => {
                let fresh = self.fresh_identity()?;
                let put = cmd("SET").arg(&key).arg(&fresh).arg("NX").arg("GET").query_async(connection).await;
                Some(put.map_err(|why| self.unreachable(&why)).map(|stored: Option<String>| stored.unwrap_or(fresh))?)
            }
            _ => cmd("GET").arg(&key).query_async(connection).await.map_err(|why| self.unreachable(&why))?,
        };
        let replaced = |why: &str| OpenError::Replaced { at: self.at.clone(), why: why.to_owned() };
        let stored = match (stored, &known) {
            (Some(stored), _) => stored,
            (None, Some(_)) => return Err(replaced("it was emptied, or another server stands in its place")),
            (None, None) => return Err(OpenError::Missing(self.at.clone())),
        };
        let corrupt = || OpenError::Corrupt { at: self.at.clone(), why: format!("{key} is of unknown form") };
        let [format, check, id] = stored.split(' ').collect::<Vec<_>>()[..] else { return Err(corrupt()) };
        let format = format.parse::<u64>().map_err(|_| corrupt())?;
        if format > FORMAT {
            return Err(OpenError::NewerFormat { at: self.at.clone(), format });
        }
        if !bool::from(check.as_bytes().ct_eq(hexadecimal(&self.check).as_bytes())) {
            return Err(OpenError::WrongMasterKey(self.at.clone()));
        }
        if known.is_some_and(|known| known != id) {
            return Err(replaced("another vault of this site stands in its place"));
        }
        self.known().id = Some(id.to_owned());
        Ok(())
    }

    /// It remembers every connection that was vouched for. One that does not was put back to an earlier time: from a copy of
    /// its files, by a failover to a replica that lagged, or by a crash before it synced.
    async fn was_not_put_back(&self, connection: &mut MultiplexedConnection) -> Result<(), OpenError> {
        // Asked for first: what others open meanwhile only makes the stored number larger.
        let known = self.known().opened;
        let key = self.keys.opened();
        let stored: Option<u64> =
            cmd("GET").arg(&key).query_async(connection).await.map_err(|why| self.unreachable(&why))?;
        let stored = stored.unwrap_or(0);
        if stored < known {
            let why =
                format!("it was put back to an earlier time: it knows of {stored} connections, and {known} were made");
            if !self.options.lax {
                return Err(OpenError::Replaced { at: self.at.clone(), why });
            }
            tracing::warn!(at = self.at, why, "the vault has forgotten something, and is used all the same");
            self.known().opened = 0;
        }
        let opened: u64 = cmd("INCR").arg(&key).query_async(connection).await.map_err(|why| self.unreachable(&why))?;
        let mut known = self.known();
        known.opened = known.opened.max(opened);
        Ok(())
    }

    /// What was just written is acknowledged in the way that every write will be: by the disk here, and by replicas.
    async fn acknowledges(&self, connection: &mut MultiplexedConnection, info: &Info) -> Result<(), OpenError> {
        let replicas = self.options.replicas;
        if !info.can_wait() {
            return match replicas {
                0 => Ok(()),
                _ => Err(OpenError::Unfit {
                    at: self.at.clone(),
                    why: "it cannot say what replicas have on their disks (WAITAOF); Valkey, or Redis from 7.2 on, can"
                        .into(),
                }),
            };
        }
        if self.options.lax && replicas == 0 {
            return Ok(());
        }
        let waited: Result<(u64, u64), RedisError> =
            wait(replicas, self.options.connect_deadline).query_async(connection).await;
        match waited {
            Ok((local, acknowledged)) if local >= 1 && acknowledged >= replicas => Ok(()),
            Ok((0, _)) => Err(OpenError::Forgetful {
                at: self.at.clone(),
                why: "what was written did not reach its disk in time".into(),
                set: "appendonly yes, and wait until its first rewrite is done".into(),
            }),
            Ok((_, acknowledged)) => Err(OpenError::Forgetful {
                at: self.at.clone(),
                why: format!("{acknowledged} replicas acknowledged what was written, and {replicas} are asked for"),
                set: "appendonly yes on the replicas too, and see that they follow".into(),
            }),
            Err(why) if is_withheld(&why) && replicas == 0 => Ok(()),
            Err(why) if is_withheld(&why) => {
                Err(OpenError::Forbidden { at: self.at.clone(), command: "WAITAOF", grant: "+waitaof" })
            }
            Err(why) => Err(self.unreachable(&why)),
        }
    }

    async fn info(&self, connection: &mut MultiplexedConnection) -> Result<Info, OpenError> {
        let asked: Result<String, RedisError> = cmd("INFO").query_async(connection).await;
        match asked {
            Ok(text) => Ok(Info::parse(&text)),
            Err(why) if is_withheld(&why) => {
                Err(OpenError::Forbidden { at: self.at.clone(), command: "INFO", grant: "+info" })
            }
            Err(why) => Err(self.unreachable(&why)),
        }
    }

    /// What a vault that is made now says of itself: format, check of the master key, a random id.
    fn fresh_identity(&self) -> Result<String, OpenError> {
        let mut id = [0; 16];
        SysRng
            .try_fill_bytes(&mut id)
            .map_err(|why| OpenError::Unreachable { at: self.at.clone(), why: format!("no randomness: {why}") })?;
        Ok(format!("{FORMAT} {} {}", hexadecimal(&self.check), hexadecimal(&id)))
    }

    pub(super) fn unreachable(&self, why: &RedisError) -> OpenError {
        OpenError::Unreachable { at: self.at.clone(), why: words(why) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until this server and the replicas asked for have what was written on their disks, within three quarters of a
/// deadline: the answer, which says who is missing, has to come back in time.
pub(super) fn wait(replicas: u64, deadline: Duration) -> Cmd {
    let mut wait = cmd("WAITAOF");
    wait.arg(1).arg(replicas).arg((deadline.as_millis() * 3 / 4).max(1) as u64);
    wait
}

/// Whether the server has the command, and not for us.
fn is_withheld(why: &RedisError) -> bool {
    why.code() == Some("NOPERM") || why.detail().is_some_and(is_unknown_command)
}

/// What `INFO` says.
struct Info(BTreeMap<String, String>);

impl Info {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// What it says under a name; empty when it says nothing.
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether the server can wait for disks.
    fn can_wait(&self) -> bool {
        let mut numbers = self.get("redis_version").split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        version >= (7, 2)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an answer of a write says, when replicas acknowledge it.
pub(super) type Acknowledged<T> = (T, (u64, u64));

/// The answer of a write, if enough have it on their disks.
pub(super) fn enough<T: FromRedisValue>(answer: Acknowledged<T>, replicas: u64) -> Result<T, String> {
    let (answer, (local, acknowledged)) = answer;
    if local >= 1 && acknowledged >= replicas {
        return Ok(answer);
    }
    Err(format!("{acknowledged} of {replicas} replicas acknowledged in time, and this server {local} times"))
}
