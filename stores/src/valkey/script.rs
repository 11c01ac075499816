//! Scripts: what must happen in one step, and all of it or nothing.
//!
//! The text goes along with every call. It is short, the server keeps what it made of it, and a server that has just been
//! started needs no other treatment than one that has seen it before.

use redis::{Cmd, cmd};

/// Whether one number is larger than another, both decimal and without leading zeros: exact where a script's own are not.
pub(super) const LATER: &str = "
local function later(one, other)
  return #one > #other or (#one == #other and one > other)
end
";

/// A call of a script, made of these parts, over these keys. Its arguments are still to be added.
pub(super) fn script(parts: &[&str], keys: &[&str]) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(parts.concat()).arg(keys.len()).arg(keys);
    call
}
