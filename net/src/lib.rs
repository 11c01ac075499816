//! Drivers and transports: what runs the machines of the core over stores, sockets and clocks.
//!
//! Plain tokio, with no switch for simulation: a simulated runtime stands in for tokio itself. Knows the store traits and
//! never a concrete store.
#![forbid(unsafe_code)]

pub mod auth;
pub mod bus;
pub mod clock;
mod entropy;
pub mod gateway;
mod http;
mod lock;
pub mod metrics;
pub mod node;
pub mod server;
#[cfg(feature = "nats")]
pub mod subjects;
