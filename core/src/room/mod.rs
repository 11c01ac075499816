//! What a room is: the fold over its log, what a command may do to it, and what that records.

mod command;
mod content;
mod event;
mod refused;

pub use command::{Command, Content, Outcome, Submit};
pub use content::{MessageContent, SystemContent, SystemKind};
pub use event::{Event, History, Role, RoomKind, RoomName};
pub use refused::{Code, CurrentKey, Reason, Refused};
