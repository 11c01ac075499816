//! Events, as they are written.

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, Envelope};
use chamberlain_core::room::{RoomKind, RoomName};
use serde::Serialize;

/// As whom the sender's part of an event is sealed. No account has a message of this name.
pub(super) const HEADER_SENDER: &str = "chamberlain-subjects";
pub(super) const HEADER_MESSAGE: &str = "00000000000000000000";

/// What a reader must know to open an event's envelope, and nobody else may: it is sealed under the room's key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    pub(super) revision: Revision,
    pub(super) kind: BodyKind,
    pub(super) sender: AccountId,
    /// None of an edit: the message's own event told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<MessageId>,
    pub(super) edit: u32,
}

/// A room's event, as anybody may see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomEvent<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) room_id: RoomId,
    pub(super) revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_version: Option<KeyVersion>,
    pub(super) timestamp: u64,
    pub(super) site_id: &'a str,
    /// The revision of the message that was edited or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encrypted_message: Option<Envelope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encrypted_header: Option<Envelope>,
}

/// What an account hears of a membership of its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) room_id: RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room_type: Option<RoomKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) counterpart: Option<&'a AccountId>,
    /// In the account's own log.
    pub(super) revision: Revision,
    /// In the room's.
    pub(super) room_revision: Revision,
    pub(super) timestamp: u64,
    pub(super) site_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_of_a_header_can_be_made() {
        assert!(HEADER_SENDER.parse::<AccountId>().is_ok() && HEADER_MESSAGE.parse::<MessageId>().is_ok());
    }
}
