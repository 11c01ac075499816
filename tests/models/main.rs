//! The simulated servers held against the real ones: what is told of them is what the simulator believes.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod nats;
