//! Read marks: beside the log, never backwards. Two marks per account and room, raised together: the revision up to which it
//! has read, and how many messages lie up to there, so that unread messages are a difference of two numbers.

use std::sync::Arc;

use chamberlain_core::id::{AccountId, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::room::{Event, Outcome, Reason, Refused};

use super::{Inner, refuse_store};
use crate::auth::Identity;

/// How far back a page of the log is searched for the last message before a mark, in revisions.
const SEARCH: u64 = 256;

pub(super) fn read_mark(room: RoomId, account: &AccountId) -> String {
    format!("read/{room}/{account}")
}

pub(super) fn count_mark(room: RoomId, account: &AccountId) -> String {
    format!("count/{room}/{account}")
}

impl Inner {
    pub(super) async fn mark_read(
        self: &Arc<Self>,
        who: &Identity,
        id: RoomId,
        revision: Revision,
    ) -> Result<Outcome, Refused> {
        let room = self.room_for(&who.account, id).await?;
        {
            let hub = room.hub.lock();
            if !hub.state().is_member(&who.account) {
                return Err(Reason::NotAMember.into());
            }
            let head = hub.state().head().revision;
            if revision > head {
                let message = format!("revision: {revision} is beyond the head of the room, {head}");
                return Err(Refused::new(Reason::BeyondHead, message));
            }
        }
        let count = self.messages_up_to(&room, revision).await?;
        let marks = [(read_mark(id, &who.account), revision.0), (count_mark(id, &who.account), count)];
        self.stores.marks.raise(&marks).await.map_err(refuse_store)?;
        // Where it stands now: another device may have read further.
        let stands = self.stores.marks.get(&[read_mark(id, &who.account)]).await.map_err(refuse_store)?;
        Ok(Outcome::Marked { revision: stands.first().map_or(revision, |stands| Revision(*stands).max(revision)) })
    }

    /// How many messages of members there are up to a revision: the ordinal of the last one.
    async fn messages_up_to(&self, room: &super::Room, revision: Revision) -> Result<u64, Refused> {
        if revision == room.hub.lock().state().head().revision {
            return Ok(room.hub.lock().state().messages());
        }
        let mut to = revision;
        while to > Revision::ZERO {
            let from = Revision(to.0.saturating_sub(SEARCH));
            let records = self.records(room.id, from, to).await?;
            let ordinal = records.iter().rev().find_map(|record| {
                let items: Vec<_> = record.items().filter(|item| item.revision <= to).collect();
                items.iter().rev().find_map(|item| match item.event {
                    Event::Message { kind: BodyKind::Message, ordinal, .. } => Some(*ordinal),
                    _ => None,
                })
            });
            if let Some(ordinal) = ordinal {
                return Ok(ordinal);
            }
            to = from;
        }
        Ok(0)
    }
}
