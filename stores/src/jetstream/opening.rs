//! Connecting, judging the server, and making or checking the site's stream.
//!
//! Servers ignore fields of a stream's configuration that they do not know, and say so to nobody. So what a stream is made with
//! is compared with what the server says it is, field by field, and so is a stream that was there.

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{Instant, timeout_at};

use super::api::{Failed, HEADERS_MOST};
use super::append::Pauses;
use super::index::Index;
use super::names::Names;
use super::{Credentials, JetStream, Options, Shared, Storage, Syncing, Telling, syncing};
use crate::jetstream::watch as telling;
use crate::rules;

/// The first version whose compare-and-append holds on several servers, and which can sync each write.
pub(super) const SERVER_LEAST: (u64, u64, u64) = (2, 10, 19);

/// How often the server is asked whether it is there; two that go unanswered are a lost connection.
const PING: Duration = Duration::from_secs(5);

/// Waits between attempts to connect again: doubles up to the most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// How long the server knows deduplication ids. Nothing is right because of it: see `append`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// Why logs in JetStream could not be opened. The words are for an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// No server could be connected to.
    #[error("no connection to a NATS server: {0}")]
    Unreachable(String),
    /// The server is older than is asked for.
    #[error(
        "the server is nats-server {version}; 2.10.19 or newer is asked for, with `sync_interval: always`. Insist on lax \
         syncing to use it all the same, and know that it may forget what it acknowledged"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
    /// A server acknowledges what it has not synced.
    #[error(
        "the server {server} acknowledges before it syncs: set `sync_interval: always` in its jetstream section, or insist on lax \
         syncing and know that it may forget what it acknowledged"
    )]
    SyncsLate {
        /// Its name.
        server: String,
    },
    /// Servers could not be asked whether they sync.
    #[error("whether the servers sync each write could not be seen: {0}")]
    Unverified(String),
    /// The server takes no record of the size that is to be appended.
    #[error("the server's max_payload is {given}, and {needed} is needed")]
    MaxPayload {
        /// Its limit, in bytes.
        given: usize,
        /// What the largest record needs, in bytes.
        needed: usize,
    },
    /// The server has no JetStream, or does not let us use it.
    #[error("JetStream cannot be used: {0}")]
    NoJetStream(String),
    /// The stream is not as it must be.
    #[error("the stream {stream} has {field} {stored}, and it must be {wanted}")]
    Differs {
        /// Its name.
        stream: String,
        /// The field of its configuration, as the server names it.
        field: String,
        /// What it is.
        stored: String,
        /// What it must be.
        wanted: String,
    },
}

/// Connects and sees to the stream.
pub(super) async fn open(options: Options) -> Result<JetStream, OpenError> {
    check(&options)?;
    let deadline = Instant::now() + options.opening;
    let (lost, lost_seen) = watch::channel(0);
    let (gaps, gaps_seen) = watch::channel(0);
    let client = timeout_at(deadline, connect(&options, lost, gaps))
        .await
        .map_err(|_| OpenError::Unreachable("no answer came in time".into()))??;
    judge(&client, &options)?;
    if let Syncing::Asked(system) = &options.syncing {
        let system = connecting(&options, system).connect(addresses(&options)?);
        let system = timeout_at(deadline, system).await.map_err(|_| OpenError::Unverified("no connection".into()))?;
        let system = system.map_err(|why| OpenError::Unverified(why.to_string()))?;
        syncing::verify(system, options.replicas, deadline).await?;
    }
    let names = Names::of(&options.site);
    let prefix = options.domain.as_ref().map_or("$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"));
    let told = client.subscribe(names.moves()).await.map_err(|why| OpenError::Unreachable(why.to_string()))?;
    let shared = Arc::new(Shared {
        client,
        names,
        prefix,
        lost: lost_seen,
        unfit: AtomicBool::new(false),
        turns: Semaphore::new(options.requests),
        index: Mutex::new(Index::new(options.logs_remembered)),
        moved: broadcast::Sender::new(rules::WATCH_BACKLOG),
        options,
    });
    see_to_stream(&shared, deadline).await?;
    let telling = telling::start(shared.clone(), told, gaps_seen);
    Ok(JetStream { shared, _telling: Arc::new(Telling(telling)) })
}

/// Judges the server that a lost connection was followed by.
pub(super) fn judge_again(shared: &Shared) {
    let judged = judge(&shared.client, &shared.options);
    if let Err(why) = &judged {
        tracing::error!(%why, "a server that would have been refused at start; nothing is appended through it");
    }
    shared.unfit.store(judged.is_err(), Ordering::Relaxed);
}

fn check(options: &Options) -> Result<(), OpenError> {
    let wrong = |why: &str| Err(OpenError::Option(why.into()));
    if options.servers.is_empty() {
        return wrong("no address of a NATS server is given");
    }
    if options.storage == Storage::Memory && !options.syncing.is_lax() {
        return wrong("a stream in memory is lost with its servers, and nothing that they sync changes that");
    }
    if !(1..=5).contains(&options.replicas) {
        return wrong("a stream has 1 to 5 replicas");
    }
    if options.requests == 0 || options.request.is_zero() || options.operation.is_zero() || options.opening.is_zero() {
        return wrong("nothing can be done in no time, or by no request");
    }
    Ok(())
}

async fn connect(options: &Options, lost: watch::Sender<u64>, gaps: watch::Sender<u64>) -> Result<Client, OpenError> {
    let been = AtomicBool::new(false);
    let connecting = connecting(options, &options.credentials)
        // What watchers are behind, at most, before they are told that they lost some.
        .subscription_capacity(rules::WATCH_BACKLOG)
        .event_callback(move |event| {
            match event {
                Event::Disconnected => lost.send_modify(|times| *times += 1),
                Event::Connected if been.swap(true, Ordering::Relaxed) => gaps.send_modify(|times| *times += 1),
                Event::SlowConsumer(_) => gaps.send_modify(|times| *times += 1),
                Event::ServerError(why) => tracing::warn!(%why, "NATS"),
                Event::ClientError(why) => tracing::warn!(%why, "NATS"),
                other => tracing::debug!(%other, "NATS"),
            }
            ready(())
        });
    connecting.connect(addresses(options)?).await.map_err(|why| OpenError::Unreachable(why.to_string()))
}

/// How to connect under these credentials.
fn connecting(options: &Options, credentials: &Credentials) -> ConnectOptions {
    let mut connecting = ConnectOptions::new()
        .name("chamberlain")
        .connection_timeout(options.opening)
        .ping_interval(PING)
        .reconnect_delay_callback(|attempt| {
            let doublings = u32::try_from(attempt).unwrap_or(u32::MAX).min(16);
            RECONNECT.0.saturating_mul(1 << doublings).min(RECONNECT.1)
        });
    connecting = match credentials {
        Credentials::None => connecting,
        Credentials::Password { user, password } => connecting.user_and_password(user.clone(), password.clone()),
        Credentials::Token(token) => connecting.token(token.clone()),
    };
    for roots in &options.trust {
        connecting = connecting.add_root_certificates(roots.clone());
    }
    if let Some((certificate, key)) = &options.certificate {
        connecting = connecting.add_client_certificate(certificate.clone(), key.clone());
    }
    connecting
}

fn addresses(options: &Options) -> Result<Vec<ServerAddr>, OpenError> {
    let addresses = options.servers.iter().enumerate().map(|(nth, server)| {
        // It may hold a password, so it is not repeated.
        let wrong = |why: &str| OpenError::Option(format!("address {} {why}", nth + 1));
        let address: ServerAddr = server.parse().map_err(|_| wrong("is not one of a NATS server"))?;
        if address.has_user_pass() {
            return Err(wrong("names a user: credentials have an option of their own, which is never printed"));
        }
        Ok(address)
    });
    addresses.collect()
}

/// Whether the server that we are connected to is one that records may be trusted to.
fn judge(client: &Client, options: &Options) -> Result<(), OpenError> {
    let info = client.server_info();
    if !options.syncing.is_lax() && version(&info.version) < SERVER_LEAST {
        return Err(OpenError::TooOld { version: info.version });
    }
    let needed = options.record_bytes + HEADERS_MOST;
    if info.max_payload < needed {
        return Err(OpenError::MaxPayload { given: info.max_payload, needed });
    }
    Ok(())
}

/// The three numbers of a version; a number that is missing is zero.
pub(super) fn version(text: &str) -> (u64, u64, u64) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// Makes the stream unless it is there, and compares what the server says it is with what it must be.
async fn see_to_stream(shared: &Shared, deadline: Instant) -> Result<(), OpenError> {
    let wanted = configuration(&shared.names, &shared.options);
    let mut pauses = Pauses::until(deadline);
    let stored = loop {
        let found = match shared.call::<Value>("STREAM.INFO", &json!({}), deadline).await {
            Err(failed) if failed.is_no_stream() => {
                shared.call::<Value>("STREAM.CREATE", &asked(&wanted), deadline).await
            }
            found => found,
        };
        match found {
            Ok(found) => break found,
            // Of two who make it at once, the other one may have.
            Err(refused @ Failed::Refused { for_now: false, .. }) => {
                match shared.call::<Value>("STREAM.INFO", &json!({}), deadline).await {
                    Ok(found) => break found,
                    Err(_) => return Err(OpenError::NoJetStream(refused.to_string())),
                }
            }
            // Servers that were just started may not have found their streams yet, or elected who leads them.
            Err(failed) if !pauses.wait().await => return Err(OpenError::NoJetStream(failed.to_string())),
            Err(_) => {}
        }
    };
    compare(shared.names.stream(), &wanted, &stored["config"])
}

/// What the stream's configuration must be, in the server's words. What is `null` or `false` must not be set.
fn configuration(names: &Names, options: &Options) -> Value {
    let storage = match options.storage {
        Storage::Files => "file",
        Storage::Memory => "memory",
    };
    json!({
        "name": names.stream(),
        "subjects": [names.logs(), names.rewrites()],
        "storage": storage,
        "num_replicas": options.replicas,
        // Nothing goes by itself: not for age, not for room.
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        // Erasing deletes single messages; nothing else takes anything away.
        "deny_delete": false,
        "deny_purge": true,
        "allow_rollup_hdrs": false,
        "allow_direct": true,
        "republish": { "src": names.logs(), "dest": names.moves(), "headers_only": true },
        // What would change messages, add some that are not ours, take some away, or acknowledge them too early.
        "no_ack": false,
        "sealed": false,
        "mirror": null,
        "sources": null,
        "subject_transform": null,
        "allow_msg_ttl": false,
        "subject_delete_marker_ttl": null,
        "allow_msg_counter": false,
        "allow_msg_schedules": false,
        "persist_mode": null,
    })
}

/// What the server is asked for: what is to be set, and what it would choose otherwise. Older servers know less.
fn asked(wanted: &Value) -> Value {
    let mut asked = wanted.clone();
    if let Some(fields) = asked.as_object_mut() {
        fields.retain(|_, value| !is_unset(value));
        fields.insert("description".into(), "Logs of a Chamberlain site".into());
        fields.insert("max_msgs".into(), (-1).into());
        fields.insert("max_bytes".into(), (-1).into());
        fields.insert("max_consumers".into(), (-1).into());
        let window = u64::try_from(DUPLICATE_WINDOW.as_nanos()).unwrap_or(u64::MAX);
        fields.insert("duplicate_window".into(), window.into());
    }
    asked
}

/// Finds the first field that differs.
fn compare(stream: &str, wanted: &Value, stored: &Value) -> Result<(), OpenError> {
    for (field, wanted) in wanted.as_object().into_iter().flatten() {
        let stored = &stored[field.as_str()];
        if stored != wanted && !(is_unset(stored) && is_unset(wanted)) {
            let said = |value: &Value| if is_unset(value) { "unset".to_owned() } else { value.to_string() };
            return Err(OpenError::Differs {
                stream: stream.into(),
                field: field.clone(),
                stored: said(stored),
                wanted: said(wanted),
            });
        }
    }
    Ok(())
}

/// Servers leave fields out that have no value, or write the value that means none.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty() || text == "default",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options::new("home".parse().expect("a site"), "nats://localhost", Syncing::Promised)
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("2.10.27"), (2, 10, 27));
        assert_eq!(version("2.11.0-RC.3"), (2, 11, 0));
        assert_eq!(version(""), (0, 0, 0));
        assert!(version("2.9.25") < SERVER_LEAST && version("2.10.9") < SERVER_LEAST && version("3.0") > SERVER_LEAST);
    }

    #[test]
    fn the_field_that_differs_is_named() {
        let site = options().site;
        let wanted = configuration(&Names::of(&site), &options());
        let differing = |change: fn(&mut Value)| {
            let mut stored = asked(&wanted);
            change(&mut stored);
            compare("S", &wanted, &stored).err().map(|why| why.to_string())
        };
        assert_eq!(differing(|_| ()), None);
        assert_eq!(differing(|stored| stored["metadata"] = json!({ "a": "b" })), None);
        assert_eq!(
            differing(|stored| stored["discard"] = "old".into()),
            Some(r#"the stream S has discard "old", and it must be "new""#.into())
        );
        assert_eq!(
            differing(|stored| stored["republish"] = Value::Null).map(|why| why.contains("republish unset")),
            Some(true)
        );
        assert_eq!(
            differing(|stored| stored["sources"] = json!([{ "name": "other" }])).map(|why| why.contains("sources")),
            Some(true)
        );
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        assert_eq!(check(&options()), Ok(()));
        for wrong in [
            Options { servers: Vec::new(), ..options() },
            Options { storage: Storage::Memory, ..options() },
            Options { replicas: 0, ..options() },
            Options { operation: Duration::ZERO, ..options() },
        ] {
            assert!(matches!(check(&wrong), Err(OpenError::Option(_))), "{wrong:?}");
        }
    }
}
