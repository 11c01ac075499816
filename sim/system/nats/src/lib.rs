//! A simulated NATS server with JetStream: one server, that speaks the wire protocol, so that the stock client and our own
//! store run against it unmodified, over real sockets and over simulated ones.
//!
//! Written in plain tokio, so that the same source runs on tokio and on what stands in for it in the simulator. Time is tokio's
//! clock and a date to count from ([`Clock`]); what is random comes from [`Config::seed`]; everything is bounded ([`Limits`]).
//! A [`Disk`] keeps apart what was written and what was synced, and outlives the [`Server`].
//!
//! Answers, their order and their words are those of nats-server 2.10.27, as far as a store of logs can tell. Not simulated:
//! clusters (nor replicas, elections, lagging copies), domains, TLS, permissions, push consumers and acknowledged ones, streams with an
//! age, mirrors, sources, work queues; who asks for those is refused with "not simulated".
#![forbid(unsafe_code)]

mod clock;
mod config;
mod connection;
mod disk;
mod headers;
mod hub;
mod jetstream;
mod outbox;
mod random;
mod server;
mod store;
mod subject;
mod subscriptions;
mod system;
mod wire;

pub use clock::Clock;
pub use config::{Account, Config, Credentials, Limits, Syncing, User};
pub use disk::Disk;
pub use server::{Server, Statistics};
