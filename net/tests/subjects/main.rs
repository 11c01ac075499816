//! Rooms over NATS subjects, on real nats-servers: through clients that know the subjects and nothing else of the server.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod answers;
mod events;
mod harness;
#[path = "../../../stores/tests/support/nats.rs"]
#[allow(dead_code, reason = "shared with the tests of stores, which do more with a server")]
mod nats;
mod peers;
mod rights;
mod tour;
