//! End to end: the built binary, real sockets, kill -9, a real browser.
//!
//! `CHAMBERLAIN_BIN` names the binary; without it, it is built here. Every server has its own data folder and port.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod browser;
mod cli;
mod crash;
mod drain;
mod errors;
mod harness;
#[path = "../../stores/tests/support/nats.rs"]
#[allow(dead_code, reason = "shared with the tests of stores, which do more with a server")]
mod nats;
mod rooms;
mod several;
mod subjects;
