//! The HTTP surface as a stranger sees it: real connections, a plain client, stores in memory. Every answer is held against the
//! OpenAPI document that the server serves.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod admin;
mod harness;
mod page;
mod refusals;
mod rooms;
mod schema;
mod server;
mod socket;
