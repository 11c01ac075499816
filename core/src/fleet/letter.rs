//! What nodes of a site tell each other over a bus, sealed: a bus carries nothing that it could read, and believes nobody who
//! does not hold the site's master key.
//!
//! A sealed letter is one byte of version, the writer's life, a counter (u64, big-endian), and AES-256-GCM ciphertext under a key
//! derived for that life, with the counter as nonce: a life is drawn at random when a node begins, so that no nonce is used twice.
//! A letter that is delivered again does no harm: commands are deduplicated by their request id, everything else is a hint.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Announcement, Life};
use crate::codec;
use crate::id::{AccountId, Revision, RoomId};
use crate::keys::{KeyBytes, MessageKey};
use crate::room::{CurrentKey, Outcome, Reason, Refused};
use crate::site::SiteKeys;

/// Of the form of sealed letters.
const VERSION: u8 = 1;
/// Version, life and counter.
const HEADER: usize = 1 + 16 + 8;
/// Accounts that one letter names, at most.
pub const MOST_ACCOUNTS: usize = 1_000;

/// What one node tells another, or all. New kinds go to the end: an older node takes them for a letter it cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Letter {
    /// To all: it is there.
    Announce(Announcement),
    /// To all: its life is over.
    Leave(Life),
    /// To the owner of a room: a command to carry out.
    Command {
        /// Who is to be answered.
        from: Life,
        /// Which of its commands.
        id: u64,
        /// Up to where it was shown the room: a log that ends before that is not to be appended to.
        shown: Revision,
        /// The request, encoded: one that cannot be read is still answered.
        request: Vec<u8>,
    },
    /// What came of a command.
    Answer {
        /// Which.
        id: u64,
        /// What came of it.
        verdict: Verdict,
    },
    /// To all: directory entries were replaced.
    Accounts {
        /// Of these; of all, when none is named.
        accounts: Vec<AccountId>,
    },
    /// To all: the log of a room was seen up to here, and is not that one any more.
    Lost {
        /// The room.
        room: RoomId,
        /// The last revision that was seen.
        revision: Revision,
    },
}

/// What came of a command that was sent to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was carried out.
    Done(Outcome),
    /// It was refused.
    Refused {
        /// Why, for a program.
        reason: Reason,
        /// Why, for a person.
        message: String,
        /// The key to seal under instead of a stale one.
        current: Option<CurrentKey>,
    },
    /// It was not looked at: who has it carries it out.
    Declined,
}

impl From<Result<Outcome, Refused>> for Verdict {
    fn from(result: Result<Outcome, Refused>) -> Self {
        match result {
            Ok(outcome) => Self::Done(outcome),
            Err(Refused { reason, message, current }) => {
                Self::Refused { reason, message: message.into_owned(), current }
            }
        }
    }
}

impl Verdict {
    /// What to answer; none when the command was not looked at.
    pub fn result(self) -> Option<Result<Outcome, Refused>> {
        match self {
            Self::Done(outcome) => Some(Ok(outcome)),
            Self::Refused { reason, message, current } => {
                Some(Err(Refused { reason, message: message.into(), current }))
            }
            Self::Declined => None,
        }
    }
}

/// Why a letter was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// It has not the form of one, or of a newer program's.
    #[error("no letter of this version")]
    Form,
    /// It was not written by a node of this site under this master key, or not to whom it came.
    #[error("a letter that no node of this site wrote to here")]
    Forged,
    /// It holds what this program does not know.
    #[error("a letter of a kind that is not known here")]
    Unknown,
}

/// Seals the letters of one life.
pub struct LetterSealer {
    key: MessageKey,
    life: Life,
    next: u64,
}

impl LetterSealer {
    /// For this life, which must be newly drawn.
    pub fn new(keys: &SiteKeys, life: Life) -> Self {
        Self { key: key(keys, life), life, next: 0 }
    }

    /// Seals a letter to one life, or to all.
    pub fn seal(&mut self, to: Option<Life>, letter: &Letter) -> Vec<u8> {
        let counter = self.next;
        self.next += 1;
        let plain = Zeroizing::new(codec::encode(letter));
        let sealed = self.key.seal(counter, &associated(to), &plain);
        let sealed = sealed.expect("a letter is shorter than AES-GCM allows");
        let mut bytes = Vec::with_capacity(HEADER + sealed.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.life.0);
        bytes.extend_from_slice(&counter.to_be_bytes());
        bytes.extend_from_slice(&sealed);
        bytes
    }
}

/// Opens a letter that came to `me`, or to all.
pub fn open_letter(keys: &SiteKeys, me: Life, bytes: &[u8]) -> Result<Letter, LetterError> {
    let (header, sealed) = bytes.split_at_checked(HEADER).ok_or(LetterError::Form)?;
    let (Some(life), Some(counter)) = (header[1..17].first_chunk(), header[17..].first_chunk()) else {
        return Err(LetterError::Form);
    };
    if header[0] != VERSION {
        return Err(LetterError::Form);
    }
    let (key, counter) = (key(keys, Life(*life)), u64::from_be_bytes(*counter));
    let open = |to| key.open(counter, &associated(to), sealed);
    let plain = open(Some(me)).or_else(|| open(None)).ok_or(LetterError::Forged)?;
    codec::decode(&plain).map_err(|_| LetterError::Unknown)
}

fn key(keys: &SiteKeys, life: Life) -> MessageKey {
    MessageKey::new(&KeyBytes::from(keys.letter_key(&life.0)))
}

/// To whom a letter is, which is sealed with it.
fn associated(to: Option<Life>) -> [u8; 17] {
    let mut associated = [0; 17];
    if let Some(life) = to {
        associated[0] = 1;
        associated[1..].copy_from_slice(&life.0);
    }
    associated
}
