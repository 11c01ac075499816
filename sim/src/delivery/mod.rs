//! Delivery under arbitrary schedules: logs to deliver, sockets over hubs, and a judge beside each socket.
//!
//! The judge sees frames, decoded as a client decodes them, and the rooms' facts as they were written; it knows nothing of
//! cursors, caches or queues.

mod author;
mod oracle;
mod world;

pub use author::{Author, Deed, Fact};
pub use oracle::{Delivery, Objection, Received, Shown};
pub use world::{Act, CAST, Setting, World, acts, settings};
