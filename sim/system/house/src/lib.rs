//! The system level of the simulator: the production node, gateway and embedded store, unchanged, on a simulated runtime,
//! network, disk and clock; clients that speak the real protocol; and what goes wrong.
//!
//! Real: `chamberlain-core`, `chamberlain-net`, `chamberlain-stores`, redb, hyper, the WebSocket library, all cryptography.
//! Simulated: the executor and time (madsim), TCP and wall clocks (the crate that stands in for tokio), the disk
//! (`chamberlain_stores::faulty`), randomness, and people. A run is a pure function of the code and its tape.
//!
//! Not here yet: the other ends of the sockets that a clustered server has. A NATS server with JetStream and a Valkey server
//! of ours belong into a crate beside this one, `sim/system/servers`: each a protocol and a state, run by [`server`]'s
//! neighbours on machines of this simulation, and on real sockets by the conformance suite of `stores`, which compares them
//! with the real ones.
#![forbid(unsafe_code)]

mod checks;
mod client;
mod faults;
pub mod house;
mod person;
pub mod plan;
pub mod probes;
pub mod run;
pub mod scenarios;
pub mod server;
pub mod stores;
pub mod witness;
