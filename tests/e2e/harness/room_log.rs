//! What a client knows of a room: what it was sent, in which frames, under which keys.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Envelope, Opener};
use chamberlain_core::room::{CurrentKey, Event};
use chamberlain_core::wire::{Item, ResetWhy, RoomView, VoidWhy};

/// What a client knows of a room.
pub(crate) struct RoomLog {
    pub(crate) view: Option<RoomView>,
    pub(crate) last: Revision,
    pub(crate) items: BTreeMap<Revision, Item>,
    /// What every frame of it covered, and why where it had no content.
    pub(crate) frames: Vec<(Revision, Revision, Option<VoidWhy>)>,
    /// What to resume from, and the revision it stands for.
    pub(crate) position: Option<(Revision, Blob)>,
    pub(crate) reset: Option<ResetWhy>,
    pub(crate) own: BTreeMap<Revision, RequestId>,
    pub(crate) current: Option<CurrentKey>,
    pub(crate) openers: BTreeMap<KeyVersion, Opener>,
    /// Versions given in this opening.
    pub(super) given: BTreeSet<KeyVersion>,
    /// Where the opening that is under way has to begin.
    pub(super) resumes: Option<Revision>,
    /// Items beyond the position that was resumed from, as they were the first time.
    pub(super) again: BTreeMap<Revision, Item>,
    pub(super) open: bool,
}

impl RoomLog {
    pub(super) fn new() -> Self {
        Self {
            view: None,
            last: Revision::ZERO,
            items: BTreeMap::new(),
            frames: Vec::new(),
            position: None,
            reset: None,
            own: BTreeMap::new(),
            current: None,
            openers: BTreeMap::new(),
            given: BTreeSet::new(),
            resumes: None,
            again: BTreeMap::new(),
            open: false,
        }
    }

    pub(super) fn covers(&mut self, from: Revision, to: Revision, void: Option<VoidWhy>, position: Blob) {
        assert!(self.open, "a room that is not open was delivered");
        assert_eq!(from, self.last.next(), "not consecutive (S1)");
        assert!(to >= from, "a frame that ends before it begins");
        self.last = to;
        self.frames.push((from, to, void));
        if !position.is_empty() {
            self.position = Some((to, position));
        }
    }
}

/// What an item says, if one of these keys opens it.
pub(crate) fn sealed_text<'a>(
    room: RoomId,
    item: &Item,
    openers: impl Iterator<Item = &'a mut Opener>,
) -> Option<String> {
    let Event::Message { message, kind, .. } = item.event else { return None };
    opened_text(room, item, (message, kind, 0), openers)
}

pub(super) fn opened_text<'a>(
    room: RoomId,
    item: &Item,
    (message, kind, edit): (MessageId, BodyKind, u32),
    openers: impl Iterator<Item = &'a mut Opener>,
) -> Option<String> {
    let body = item.body.as_ref()?;
    for opener in openers {
        // Every key is tried under its own version, and under the one the envelope names: a wrong label must not help.
        for version in [opener.version(), body.version] {
            let claim = Claim { room, version, kind, sender: &item.account, message, edit };
            let labelled = Envelope { version, ..body.clone() };
            if let Ok(plaintext) = opener.open(&claim, &labelled) {
                let content: serde_json::Value = serde_json::from_slice(&plaintext).unwrap();
                return content["text"].as_str().map(str::to_owned);
            }
        }
    }
    None
}
