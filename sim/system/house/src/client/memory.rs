//! What a client remembers, over all its connections: rooms, how far it has them, keys to seal under, and what it asked.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, RoomPublic, Sealer};
use chamberlain_core::room::{Command, Content, Event, MessageContent};
use chamberlain_core::wire::Item;
use rand_chacha::ChaCha20Rng;

/// Messages that a client remembers of a room, to edit and to delete.
const MESSAGES: usize = 40;

/// Whether a room is open on the connection there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Opening {
    #[default]
    Closed,
    Asked,
    Open,
}

/// A message, as far as its client knows.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) revision: Revision,
    pub(crate) name: MessageId,
    pub(crate) sender: AccountId,
    pub(crate) edits: u32,
    pub(crate) deleted: bool,
}

/// A room, as far as its client knows.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) opening: Opening,
    /// What to resume from, where the server gave one.
    pub(crate) position: Option<Blob>,
    /// The last revision that was covered.
    pub(crate) last: Revision,
    /// What the server said last of where the room's head is.
    pub(crate) head: Revision,
    pub(crate) is_channel: bool,
    pub(crate) key: Option<(KeyVersion, RoomPublic)>,
    pub(crate) sealer: Option<Sealer>,
    pub(crate) messages: Vec<Message>,
    pub(crate) people: BTreeSet<AccountId>,
    /// Versions whose keys came over the connection there is.
    pub(crate) keys: BTreeSet<KeyVersion>,
}

/// What a client remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) site: Option<SiteId>,
    pub(crate) rooms: BTreeMap<RoomId, Room>,
    /// What was asked and not answered, in the order of asking; and over how many connections it was sent.
    pub(crate) pending: Vec<(RequestId, Command, u32)>,
    /// What was asked and need not be asked again.
    pub(crate) queries: BTreeSet<RequestId>,
    pub(crate) asked_for_rooms: Option<RequestId>,
    /// Rooms that the server said are mine, and their heads, when it was last asked in the quiet phase.
    pub(crate) mine: Option<BTreeMap<RoomId, Revision>>,
}

impl Room {
    /// Takes what came.
    pub(crate) fn take(&mut self, items: &[Item]) {
        for item in items {
            match &item.event {
                Event::Created { kind, .. } => self.is_channel = *kind == chamberlain_core::room::RoomKind::Channel,
                Event::MembersAdded { accounts, .. } => self.people.extend(accounts.iter().cloned()),
                Event::MembersRemoved { accounts } => self.people.retain(|account| !accounts.contains(account)),
                Event::KeyRotated { version, public } => self.set_key(*version, *public),
                Event::Message { message, kind: BodyKind::Message, .. } => {
                    if self.messages.len() >= MESSAGES {
                        self.messages.remove(0);
                    }
                    self.messages.push(Message {
                        revision: item.revision,
                        name: *message,
                        sender: item.account.clone(),
                        edits: 0,
                        deleted: item.body.is_none(),
                    });
                }
                Event::Edited { revision, edit, .. } => {
                    if let Some(message) = self.message(*revision) {
                        message.edits = *edit;
                    }
                }
                Event::Deleted { revision } => {
                    if let Some(message) = self.message(*revision) {
                        message.deleted = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn message(&mut self, revision: Revision) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.revision == revision)
    }

    /// This is the key to seal under, if none is newer.
    pub(crate) fn set_key(&mut self, version: KeyVersion, public: RoomPublic) {
        if self.key.is_none_or(|(known, _)| version > known) {
            self.key = Some((version, public));
        }
    }

    /// Seals a text as the sender's message.
    pub(crate) fn seal(
        &mut self,
        site: &SiteId,
        room: RoomId,
        (sender, message, edit): (&AccountId, MessageId, u32),
        text: &str,
        rng: &mut ChaCha20Rng,
    ) -> Option<Content> {
        let (version, public) = self.key?;
        if self.sealer.as_ref().is_none_or(|sealer| sealer.version() != version) {
            self.sealer = Some(Sealer::new(site, room, version, &public, rng).ok()?);
        }
        let claim = Claim { room, version, kind: BodyKind::Message, sender, message, edit };
        let body = MessageContent { text: text.to_owned() }.to_bytes();
        self.sealer.as_mut()?.seal(&claim, &body).ok().map(Content::Sealed)
    }

    /// It is not open any more; nothing that came over its connection counts from here.
    pub(crate) fn close(&mut self) {
        self.opening = Opening::Closed;
        self.keys.clear();
    }

    /// It begins from nothing when it is opened again.
    pub(crate) fn forget(&mut self) {
        self.close();
        self.position = None;
        self.last = Revision::ZERO;
    }
}
