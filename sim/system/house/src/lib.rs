//! The system level of the simulator: the production node, gateway and stores, unchanged, on a simulated runtime, network, disk
//! and clock; clients that speak the real protocol; and what goes wrong.
//!
//! Real: `chamberlain-core`, `chamberlain-net`, `chamberlain-stores`, redb, async-nats, redis, hyper, the WebSocket library, all
//! cryptography. Simulated: the executor and time (madsim), TCP and wall clocks (the crate that stands in for tokio), the disk
//! (`chamberlain_stores::faulty`), randomness, people, and where nodes are several, nats-server and Valkey (the crates beside this
//! one). A run is a pure function of the code and its tape.
#![forbid(unsafe_code)]

mod checks;
mod client;
mod faults;
pub mod fleet;
pub mod house;
mod person;
pub mod plan;
pub mod probes;
pub mod run;
pub mod scenarios;
pub mod server;
pub mod stores;
pub mod witness;
