//! What a client may do, by name: drawn from the tape, or named by a script.

use chamberlain_core::id::RoomId;

/// One thing that a client does. Accounts are indexes into [`NAMES`](crate::plan::NAMES).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Begins a channel.
    Create {
        /// Who else is in it.
        others: Vec<u8>,
    },
    /// Begins a room of two; with `both`, a client of the other does the same at once.
    Dm {
        /// The other one.
        other: u8,
        /// Whether both ends ask.
        both: bool,
    },
    /// Adds members; they may read what came before, or nothing of it.
    Add {
        /// Where.
        room: RoomId,
        /// Whom.
        accounts: Vec<u8>,
        /// Whether they read only what follows.
        none: bool,
    },
    /// Removes members.
    Remove {
        /// Where.
        room: RoomId,
        /// Whom.
        accounts: Vec<u8>,
    },
    /// Leaves.
    Leave(RoomId),
    /// Makes a member an owner, or an owner a member.
    Role {
        /// Where.
        room: RoomId,
        /// Whom.
        account: u8,
        /// Whether it is made an owner.
        owner: bool,
    },
    /// Gives a channel another name.
    Rename(RoomId),
    /// Ends a channel.
    Archive(RoomId),
    /// Moves to the next key.
    Rotate(RoomId),
    /// Says something: in the clear, or sealed under the version so many before the last one received.
    Say {
        /// Where.
        room: RoomId,
        /// How late the version is.
        sealed: Option<u8>,
        /// Under the name of the message before.
        same_name: bool,
    },
    /// Edits one of the messages that came, with a number so much beside the right one.
    Edit {
        /// Where.
        room: RoomId,
        /// Which.
        which: u64,
        /// How wrong.
        beside: u32,
    },
    /// Edits a message that was deleted.
    EditDeleted(RoomId),
    /// Takes one of the messages back.
    Delete {
        /// Where.
        room: RoomId,
        /// Which.
        which: u64,
    },
    /// Shuts an account out.
    Disable(u8),
    /// Opens a room.
    Open {
        /// Which.
        room: RoomId,
        /// From where.
        how: How,
        /// Messages alone.
        kinds: bool,
    },
    /// Closes a room.
    Close(RoomId),
    /// Watches every kind of event, or none.
    Watch(bool),
    /// Everything up to here was read; or up to far beyond.
    MarkRead {
        /// Where.
        room: RoomId,
        /// Far beyond the head.
        beyond: bool,
    },
    /// Asks for a key: this version, or the current one.
    Key {
        /// Where.
        room: RoomId,
        /// Which.
        version: Option<u32>,
    },
    /// Asks for a page of history.
    History(RoomId),
    /// Asks for the members.
    Members(RoomId),
    /// Asks for its rooms.
    Rooms,
    /// Asks again what was not answered.
    Retry,
    /// Asks again what was answered.
    Repeat(u64),
    /// Asks for something else under a request id that was used.
    Reuse(u64),
    /// Ends the connection, and comes back.
    Reconnect,
    /// Says several things at once.
    Burst(RoomId, u64),
    /// Sends an envelope that is not what it says.
    Lie {
        /// Where.
        room: RoomId,
        /// In which way.
        how: Lie,
        /// Which of the envelopes that there are.
        which: u64,
    },
    /// Says something under the name that somebody else gave a message.
    Borrow {
        /// Where.
        room: RoomId,
        /// Whose.
        which: u64,
    },
    /// Makes a second owner; then both leave, or step down, at once, amid talk.
    Exodus {
        /// Where.
        room: RoomId,
        /// Whether they step down and stay.
        stay: bool,
    },
    /// All who are there add somebody at once, amid talk.
    Crowd {
        /// Where.
        room: RoomId,
        /// The first of those to be added.
        first: u8,
    },
}

/// How an envelope lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It says the current version, and is sealed to the one before.
    Relabelled,
    /// It was somebody's message before, and is sent as another one.
    Replayed,
    /// A bit of it was changed.
    Bent,
}

/// Where to begin when a room is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Where this client was.
    Resume,
    /// What comes.
    Now,
    /// The first revision.
    Start,
    /// The last so many.
    Limit(u32),
    /// A position that nobody gave it, far ahead.
    Invented,
    /// A position of this site, beyond the log: as if the log had lost something.
    Beyond,
    /// A position of this site, beside the log: as if the log had lost something and gone on.
    Beside,
}
