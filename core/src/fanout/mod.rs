//! Delivery: what each socket is sent next.
//!
//! A [`Hub`] is one room on one node: its fold, its last records, frames encoded once for all. A [`Socket`] is one
//! connection: a [`Cursor`] per open room, and whatever else waits for it. A socket asks hubs for frames while it is about to
//! write, through a [`View`], so that claim, content and write are one step; only what the transport took moves a cursor. A
//! [`Registry`] says which sockets to tell that a room moved. The hub never knows sockets; a socket never knows commands.

mod cache;
mod cursor;
mod frame;
mod hub;
mod io;
mod kinds;
mod line;
mod opening;
mod pack;
mod packer;
mod past;
mod queue;
mod registry;
mod serve;
mod socket;
#[cfg(test)]
mod tests;

pub use cursor::{Budget, Claim, Cursor};
pub use hub::{Framing, Hub};
pub use io::{Effect, Frames, Input, OpeningId};
pub use kinds::{KindSet, UnknownKind};
pub use pack::{Ask, Pack, Packed, View};
pub use past::Past;
pub use registry::Registry;
pub use socket::Socket;
