//! The server without its sockets: who is connected, who subscribed to what, and where each message goes.
//!
//! Everything happens in one place and at once, under one lock; what takes time is in `server` and `connection`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Notify;

use crate::config::{Credentials, Syncing};
use crate::headers;
use crate::jetstream::{Inbound, StreamState};
use crate::outbox::{Ending, Outbox};
use crate::random::Random;
use crate::subject::{is_literal, is_valid};
use crate::subscriptions::Subscriptions;
use crate::wire::{Connect, Op, Publish};
use crate::{Config, Disk, Statistics};

/// Ids of servers are so long, in these letters, after an `N`.
const ID_LENGTH: usize = 55;
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A server.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) config: Config,
    pub(crate) id: String,
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    /// Which holder of the disk we are.
    holder: u64,
    pub(crate) accounts: Vec<AccountState>,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// On their way into streams, where that takes time.
    pub(crate) inbound: VecDeque<Inbound>,
    pub(crate) arrived: Arc<Notify>,
    /// When consumers are to be seen to has changed.
    pub(crate) due: Arc<Notify>,
    pub(crate) statistics: Statistics,
    stopped: bool,
}

/// An account.
#[derive(Debug)]
pub(crate) struct AccountState {
    pub(crate) name: String,
    pub(crate) jetstream: bool,
    pub(crate) system: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) streams: BTreeMap<String, StreamState>,
    /// Requests to JetStream, and those that failed.
    pub(crate) api: (u64, u64),
}

/// Somebody connected.
#[derive(Debug)]
struct Client {
    outbox: Arc<Outbox>,
    /// Once it said who it is.
    account: Option<usize>,
    connect: Connect,
    subscriptions: BTreeMap<String, Subscription>,
    /// Questions that it has not answered.
    pings: u32,
}

#[derive(Debug)]
struct Subscription {
    number: u64,
    delivered: u64,
    max: Option<u64>,
}

impl Hub {
    /// A server over what lies on the disk, which no other server may use from now on.
    pub(crate) fn new(config: Config, disk: Disk) -> Self {
        let mut random = Random::new(config.seed);
        let id = format!("N{}", random.word(ID_LENGTH, ID_ALPHABET));
        let mut files = disk.files();
        let holder = files.take();
        let of = |name: &str| {
            let streams = files.streams.iter().filter(|((account, _), _)| account == name);
            streams.map(|((_, stream), file)| (stream.clone(), StreamState::recovered(file.config.clone()))).collect()
        };
        let accounts = config.accounts.iter().map(|account| AccountState {
            name: account.name.clone(),
            jetstream: account.jetstream,
            system: account.system,
            subscriptions: Subscriptions::default(),
            streams: of(&account.name),
            api: (0, 0),
        });
        let accounts = accounts.collect();
        drop(files);
        Self {
            config,
            id,
            random,
            disk,
            holder,
            accounts,
            clients: BTreeMap::new(),
            next_client: 0,
            inbound: VecDeque::new(),
            arrived: Arc::default(),
            due: Arc::default(),
            statistics: Statistics::default(),
            stopped: false,
        }
    }

    /// Nothing happens any more.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.inbound.clear();
    }

    /// Whether it was stopped, or the disk is no longer ours.
    pub(crate) fn is_over(&self) -> bool {
        self.stopped || self.disk.files().holder != self.holder
    }

    /// Whether each write is synced before it is acknowledged.
    pub(crate) fn syncs(&self) -> bool {
        self.config.syncing == Syncing::Always
    }

    fn wants_credentials(&self) -> bool {
        self.config.accounts.iter().any(|account| !account.users.is_empty())
    }

    /// Somebody connects, and is greeted; where there are too many, told so and cut off.
    pub(crate) fn enter(&mut self, local: SocketAddr, remote: SocketAddr) -> (u64, Arc<Outbox>) {
        self.next_client += 1;
        let id = self.next_client;
        let outbox = Arc::new(Outbox::new(self.config.limits.pending));
        let mut info = json!({
            "server_id": self.id, "server_name": self.config.name, "version": self.config.version, "proto": 1,
            "go": "simulated", "host": local.ip().to_string(), "port": local.port(), "headers": true,
            "max_payload": self.config.limits.payload, "jetstream": true, "client_id": id,
            "client_ip": remote.ip().to_string(),
        });
        if self.wants_credentials() {
            info["auth_required"] = true.into();
        }
        outbox.put(&[format!("INFO {info} \r\n").as_bytes()]);
        if self.clients.len() >= self.config.limits.connections {
            outbox.put(&[b"-ERR 'maximum connections exceeded'\r\n"]);
            outbox.end(Ending::Written);
        }
        let client = Client {
            outbox: outbox.clone(),
            account: (!self.wants_credentials()).then_some(0),
            connect: Connect::default(),
            subscriptions: BTreeMap::new(),
            pings: 0,
        };
        self.clients.insert(id, client);
        self.statistics.connections += 1;
        (id, outbox)
    }

    /// Somebody is gone.
    pub(crate) fn leave(&mut self, id: u64) {
        let Some(client) = self.clients.remove(&id) else { return };
        let Some(account) = client.account else { return };
        for subscription in client.subscriptions.values() {
            self.accounts[account].subscriptions.remove(subscription.number);
        }
    }

    /// Somebody is told something and is cut off.
    pub(crate) fn cut_off(&mut self, id: u64, words: Option<&str>) {
        let Some(client) = self.clients.get(&id) else { return };
        if let Some(words) = words {
            client.outbox.put(&[format!("-ERR '{words}'\r\n").as_bytes()]);
        }
        client.outbox.end(Ending::Written);
    }

    /// Who has not said who they are is cut off.
    pub(crate) fn expect_introduction(&mut self, id: u64) {
        if self.clients.get(&id).is_some_and(|client| client.account.is_none()) {
            self.cut_off(id, Some("Authentication Timeout"));
        }
    }

    /// Asks whether somebody is there; who did not answer too often is cut off.
    pub(crate) fn ping(&mut self, id: u64) {
        let most = self.config.limits.pings;
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.pings += 1;
        if client.pings > most {
            return self.cut_off(id, Some("Stale Connection"));
        }
        client.outbox.put(&[b"PING\r\n"]);
    }

    /// Somebody said something.
    pub(crate) fn hear(&mut self, id: u64, op: Op) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !client.outbox.is_open() {
            return;
        }
        let verbose = client.connect.verbose;
        match (op, client.account) {
            (Op::Connect(connect), _) => self.introduce(id, *connect),
            (Op::Ping, _) => {
                client.outbox.put(&[b"PONG\r\n"]);
            }
            (Op::Pong, _) => client.pings = 0,
            (Op::Ignored, _) => {}
            (_, None) => self.cut_off(id, Some("Authorization Violation")),
            (Op::Subscribe { subject, queue, sid }, Some(account)) => {
                self.subscribe(id, account, subject, queue, sid, verbose);
            }
            (Op::Unsubscribe { sid, max }, Some(account)) => {
                let over = client.subscriptions.get_mut(&sid).is_some_and(|subscription| {
                    subscription.max = max;
                    max.is_none_or(|max| subscription.delivered >= max)
                });
                acknowledge(client, verbose);
                if over {
                    self.unsubscribe(id, account, &sid);
                }
            }
            // Who has not said that it knows headers may not send any.
            (Op::Publish(message), _) if message.headers.is_some() && !client.connect.headers => self.cut_off(id, None),
            (Op::Publish(message), Some(account)) => {
                if client.connect.pedantic && !is_literal(&message.subject) {
                    client.outbox.put(&[b"-ERR 'Invalid Publish Subject'\r\n"]);
                }
                acknowledge(client, verbose);
                self.publish(id, account, message);
            }
        }
    }

    fn introduce(&mut self, id: u64, connect: Connect) {
        let account = if self.wants_credentials() {
            let given = match (&connect.user, &connect.pass, &connect.auth_token) {
                (Some(user), pass, _) => {
                    Some(Credentials::Password { user: user.clone(), password: pass.clone().unwrap_or_default() })
                }
                (None, _, Some(token)) => Some(Credentials::Token(token.clone())),
                _ => None,
            };
            let known = |users: &[crate::User]| users.iter().any(|user| Some(&user.credentials) == given.as_ref());
            self.config.accounts.iter().position(|account| known(&account.users))
        } else {
            Some(0)
        };
        let Some(client) = self.clients.get_mut(&id) else { return };
        if account.is_none() {
            return self.cut_off(id, Some("Authorization Violation"));
        }
        // Who was somebody stays who they were: their subscriptions are there.
        client.account = client.account.or(account);
        client.connect = connect;
        acknowledge(client, client.connect.verbose);
    }

    fn subscribe(
        &mut self,
        id: u64,
        account: usize,
        subject: String,
        queue: Option<String>,
        sid: String,
        verbose: bool,
    ) {
        let most = self.config.limits.subscriptions;
        let Some(client) = self.clients.get_mut(&id) else { return };
        if !is_valid(&subject) {
            client.outbox.put(&[b"-ERR 'Invalid Subject'\r\n"]);
            return;
        }
        if client.subscriptions.len() >= most {
            client.outbox.put(&[b"-ERR 'maximum subscriptions exceeded'\r\n"]);
            return;
        }
        if let Entry::Vacant(place) = client.subscriptions.entry(sid) {
            let number = self.accounts[account].subscriptions.add(subject, queue, (id, place.key().clone()));
            place.insert(Subscription { number, delivered: 0, max: None });
        }
        acknowledge(client, verbose);
    }

    fn unsubscribe(&mut self, id: u64, account: usize, sid: &str) {
        let gone = self.clients.get_mut(&id).and_then(|client| client.subscriptions.remove(sid));
        if let Some(subscription) = gone {
            self.accounts[account].subscriptions.remove(subscription.number);
        }
    }

    /// A client publishes: to those who subscribed, to streams, to the server itself.
    fn publish(&mut self, id: u64, account: usize, message: Publish) {
        self.statistics.published += 1;
        let (subject, reply) = (message.subject.clone(), message.reply.clone());
        let mut heard = self.deliver(
            account,
            &subject,
            &subject,
            reply.as_deref(),
            message.headers.as_deref(),
            &message.payload,
            Some(id),
        );
        heard |= self.jetstream(account, &message) || self.ask_system(account, &message);
        heard |= self.take_in(account, message);
        if let Some(reply) = reply.filter(|_| !heard) {
            self.say_nobody_is_there(id, account, &reply);
        }
    }

    /// The stream that takes a message takes it, at once or when it can.
    fn take_in(&mut self, account: usize, message: Publish) -> bool {
        let mut streams = self.accounts[account].streams.iter();
        let Some((stream, _)) = streams.find(|(_, stream)| stream.config.takes(&message.subject)) else { return false };
        let inbound = Inbound { account, stream: stream.clone(), message };
        if self.config.storing.1.is_zero() {
            let stored = self.ingest(inbound);
            self.tell(stored);
        } else if self.inbound.len() < self.config.limits.inbound {
            self.inbound.push_back(inbound);
            self.arrived.notify_one();
        } else {
            // As the server does: silence.
            self.statistics.dropped += 1;
        }
        true
    }

    fn say_nobody_is_there(&mut self, id: u64, account: usize, reply: &str) {
        let Some(client) = self.clients.get(&id).filter(|client| client.connect.no_responders) else { return };
        if let Some(sid) = self.accounts[account].subscriptions.of_client(id, reply) {
            let block = headers::status("503", &[]);
            let line = format!("HMSG {reply} {sid} {0} {0}\r\n", block.len());
            client.outbox.put(&[line.as_bytes(), &block, b"\r\n"]);
        }
    }

    /// Delivers a message to whoever subscribed to `subject`, as one of `shown`; says whether anybody did. `from` is who
    /// published it, if a client did.
    #[expect(clippy::too_many_arguments, reason = "what a message consists of")]
    pub(crate) fn deliver(
        &mut self,
        account: usize,
        subject: &str,
        shown: &str,
        reply: Option<&str>,
        block: Option<&[u8]>,
        payload: &[u8],
        from: Option<u64>,
    ) -> bool {
        let mut delivered = false;
        for (id, sid) in self.accounts[account].subscriptions.receivers(subject, &mut self.random) {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if from == Some(id) && !client.connect.echo {
                continue;
            }
            let Some(subscription) = client.subscriptions.get_mut(&sid) else { continue };
            subscription.delivered += 1;
            let over = subscription.max.is_some_and(|max| subscription.delivered >= max);
            let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
            let block = block.filter(|_| client.connect.headers);
            let line = match block {
                Some(block) => {
                    format!("HMSG {shown} {sid} {reply}{} {}\r\n", block.len(), block.len() + payload.len())
                }
                None => format!("MSG {shown} {sid} {reply}{}\r\n", payload.len()),
            };
            let slow = client.outbox.put(&[line.as_bytes(), block.unwrap_or_default(), payload, b"\r\n"]);
            self.statistics.slow_consumers += u64::from(slow);
            delivered = true;
            if over {
                self.unsubscribe(id, account, &sid);
            }
        }
        delivered
    }
}

fn acknowledge(client: &Client, verbose: bool) {
    if verbose {
        client.outbox.put(&[b"+OK\r\n"]);
    }
}
