//! Wiring of the Chamberlain server, and its command line.
//!
//! Chooses the store, reads the configuration, verifies tokens, and starts a node behind HTTP and WebSockets. Everything that
//! decides anything about rooms is in the core; what is here names concrete things.
#![forbid(unsafe_code)]

pub mod auth;
mod backup;
mod beacon;
mod chat;
pub mod cli;
mod client;
pub mod config;
mod keep;
mod logging;
mod page;
pub mod serve;
mod subjects;
mod tls;

pub use subjects::SubjectsError;
pub use tls::TlsError;
