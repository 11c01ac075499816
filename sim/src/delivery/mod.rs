//! Delivery under arbitrary schedules: logs to deliver, sockets over hubs, and a judge beside each socket.
//!
//! The judge sees frames, decoded as a client decodes them, and the rooms' facts as they were written; it knows nothing of
//! cursors, caches or queues.

mod author;
mod oracle;
mod schedule;
mod world;

pub use author::{Author, Deed, Fact};
pub use oracle::{Delivery, Objection, Received, Shown};
pub use schedule::{Act, CAST, Setting, acts, settings};
pub use world::World;
