//! What a room is: the fold over its log, what a command may do to it, and what that records.

mod command;
mod content;
mod decide;
mod event;
mod fold;
mod going_on;
mod refused;
mod requests;
mod state;
mod system;
#[cfg(test)]
mod tests;
mod versions;

pub use command::{Command, Content, Outcome, Submit};
pub use content::{MessageContent, SystemContent, SystemKind};
pub use decide::{Context, Decision, Draft, DraftBody, Need, Profile, Request, Target, decide};
pub use event::{EVENT_KINDS, Event, History, InvalidName, NAME_MAX, Role, RoomKind, RoomName};
pub use fold::{Fold, MalformedSnapshot};
pub use going_on::GoingOn;
pub use refused::{Code, CurrentKey, Reason, Refused};
pub use requests::{Answered, Requests};
pub use state::{Continuation, Contradiction, Membership, RoomState};
pub use system::display_name;
