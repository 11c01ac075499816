//! Events as lines: revision, key version, time, who, what.

use chamberlain_core::id::{AccountId, KeyVersion, Revision};
use chamberlain_core::room::Role;
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{MemberView, RoomView};

use crate::cli::output::{shown, time};

/// What `/help` says.
pub(super) const HELP: &str = "\
* a line is said as it is; one that begins with / is a command, with // it is said with one of them
* /members             who is in the room
* /edit REVISION TEXT  say something else instead
* /delete REVISION     take it back
* /help                this
* /quit                leave (so does the end of the input)";

/// A message, or what it reads after an edit.
pub(super) fn said(at: Revision, version: KeyVersion, when: Timestamp, who: &AccountId, text: &str) -> String {
    // The hour and minute of the full form.
    let when: String = time(when).chars().skip(11).take(5).collect();
    let mut lines = text.lines().map(shown);
    let first = lines.next().unwrap_or_default();
    let head = format!("#{at} k{version} {when} {who}: ");
    let rest: String = lines.map(|line| format!("\n{:indent$}{line}", "", indent = head.chars().count())).collect();
    format!("{head}{first}{rest}")
}

/// The room, when it is opened.
pub(super) fn opened(room: &RoomView) -> String {
    let members = if room.members == 1 { "1 member".to_owned() } else { format!("{} members", room.members) };
    let archived = if room.archived { ", archived" } else { "" };
    format!(
        "* {} ({}), {members}, key version {}{archived}; /help says what there is",
        shown(&room.name),
        room.room,
        room.key.version
    )
}

/// The members of a page.
pub(super) fn members(members: &[MemberView], total: u32, more: bool) -> String {
    let mut text = format!("* {total} in the room:");
    for member in members {
        let role = if member.role == Role::Owner { " (owner)" } else { "" };
        let bot = if member.bot { " (bot)" } else { "" };
        text.push_str(&format!("\n*   {}{role}{bot}  {}", member.account, shown(&member.name)));
    }
    if more {
        text.push_str("\n*   and more");
    }
    text
}
