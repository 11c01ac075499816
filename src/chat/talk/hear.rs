//! What comes in a room: keys, and events as lines. A message is opened as what the log says it is, or shown as unreadable.

use chamberlain_core::id::{AccountId, KeyVersion, RoomId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret};
use chamberlain_core::room::{CurrentKey, Event, MessageContent};
use chamberlain_core::wire::Item;

use super::super::shown;
use super::{REMEMBERED, SEALERS, Seen, Talk};

impl Talk {
    pub(super) fn key(&mut self, room: RoomId, version: KeyVersion, secret: &[u8]) {
        let secret = secret.try_into().ok().and_then(|bytes| RoomSecret::from_bytes(bytes).ok());
        match (secret, &self.site) {
            (Some(secret), Some(site)) if Some(room) == self.room => {
                self.openers.insert(version, Opener::new(site, room, version, secret, SEALERS));
            }
            _ => self.show(format!("* the key of version {version} makes no sense")),
        }
    }

    pub(super) fn item(&mut self, item: Item) {
        let Item { revision, time, account, event, body } = item;
        match event {
            Event::Message { message, kind, version, .. } => {
                let seen = Seen { revision, message, kind, edits: 0 };
                let text = match &body {
                    None => "(taken back)".to_owned(),
                    Some(envelope) => self.text(&seen, &account, envelope, 0),
                };
                if self.seen.len() == REMEMBERED {
                    self.seen.pop_front();
                }
                self.seen.push_back(seen);
                let line = match kind {
                    BodyKind::Message => shown::said(revision, version, time, &account, &text),
                    BodyKind::System => format!("* {}", crate::cli::output::shown(&text)),
                };
                self.show(line);
            }
            Event::Edited { revision: of, edit, version } => {
                let text = match (self.seen.iter().position(|seen| seen.revision == of), &body) {
                    (Some(at), Some(envelope)) => {
                        self.seen[at].edits = edit;
                        let Seen { message, kind, .. } = self.seen[at];
                        self.text(&Seen { revision: of, message, kind, edits: edit }, &account, envelope, edit)
                    }
                    (Some(at), None) => {
                        self.seen[at].edits = edit;
                        "(taken back)".to_owned()
                    }
                    (None, _) => "(an edit of something earlier)".to_owned(),
                };
                self.show(format!("{} (edited)", shown::said(of, version, time, &account, &text)));
            }
            Event::Deleted { revision } => self.show(format!("* {account} took back #{revision}")),
            Event::KeyRotated { version, public } => {
                self.current = Some(CurrentKey { version, public });
                if version > KeyVersion::FIRST {
                    self.show(format!("* key version {version} from here on"));
                }
            }
            Event::RoleSet { account, role } => self.show(format!("* {account} is {role:?} now").to_lowercase()),
            Event::Created { .. }
            | Event::MembersAdded { .. }
            | Event::MembersRemoved { .. }
            | Event::Renamed { .. }
            | Event::Archived
            | Event::Unchanged => {}
            Event::Continued { ended, known, .. } => {
                let lost = if known > ended {
                    format!("#{} to #{known} are lost", ended.next())
                } else {
                    "keys were lost".to_owned()
                };
                self.show(format!("* {account} had the room go on: {lost}"));
            }
        }
    }

    /// What an envelope says, or why it does not.
    fn text(&mut self, seen: &Seen, sender: &AccountId, envelope: &Envelope, edit: u32) -> String {
        let (Some(room), Some(opener)) = (self.room, self.openers.get_mut(&envelope.version)) else {
            return format!("(no key of version {})", envelope.version);
        };
        let claim = Claim { room, version: envelope.version, kind: seen.kind, sender, message: seen.message, edit };
        match opener.open(&claim, envelope) {
            Ok(plain) => MessageContent::parse(&plain).map_or_else(|| "(not text)".to_owned(), |content| content.text),
            Err(why) => format!("(cannot be opened: {why})"),
        }
    }
}
