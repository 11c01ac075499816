//! What administrators and the HTTP API ask beyond what members may: accounts and rooms by the page, logs without bodies.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion, LogId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::log::{Body, Item};
use chamberlain_core::room::{Event, Reason, Refused, RoomKind};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::RoomView;
use chamberlain_stores::{Account, DirectoryPage};
use serde::Serialize;

use super::{Node, refuse_store};
use crate::auth::Identity;

/// A room, without what was said in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdminRoom {
    /// Its id.
    pub room: RoomId,
    /// Why it takes no commands; what follows is empty where it cannot be loaded, and else as far as it can be read.
    pub problem: Option<Reason>,
    /// What it is for.
    pub kind: Option<RoomKind>,
    /// Its origin site.
    pub site: Option<SiteId>,
    /// The channel's name.
    pub name: Option<String>,
    /// Whether it is archived.
    pub archived: bool,
    /// How many members it has.
    pub members: u32,
    /// How many of them are owners.
    pub owners: u32,
    /// Last revision.
    pub head: Revision,
    /// When that was.
    pub time: Timestamp,
    /// How many messages of members it has.
    pub messages: u64,
    /// The current key version.
    pub version: Option<KeyVersion>,
}

/// One revision of a log, without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogItem {
    /// The revision.
    pub revision: Revision,
    /// When.
    pub time: Timestamp,
    /// Who asked for it.
    pub account: AccountId,
    /// The request it answers.
    pub request: Option<RequestId>,
    /// What happened.
    pub event: Event,
    /// Whether it has a body.
    pub body: BodyState,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyState {
    /// The event has none.
    None,
    /// It is there.
    Present,
    /// It was taken back.
    Erased,
}

impl Node {
    /// A room as this member sees it.
    pub async fn room_of(&self, who: &Identity, room: RoomId) -> Result<RoomView, Refused> {
        let room = self.0.room_for(&who.account, room).await?;
        self.0.room_view(who, &room).await
    }

    /// A page of accounts after `after`, sorted by id.
    pub async fn accounts(&self, after: Option<AccountId>, limit: usize) -> Result<DirectoryPage, Refused> {
        self.0.stores.directory.list(after.as_ref(), limit).await.map_err(refuse_store)
    }

    /// One account.
    pub async fn account_entry(&self, account: &AccountId) -> Result<Account, Refused> {
        let unknown = || Refused::new(Reason::UnknownAccount, format!("account: there is no account {account}"));
        self.0.account(account).await?.ok_or_else(unknown)
    }

    /// Those of these accounts that exist.
    pub async fn account_entries(&self, accounts: &[AccountId]) -> Result<BTreeMap<AccountId, Account>, Refused> {
        self.0.directory(accounts).await
    }

    /// A page of all rooms after `after`, sorted by id, and whether there are more.
    pub async fn all_rooms(&self, after: Option<RoomId>, limit: usize) -> Result<(Vec<AdminRoom>, bool), Refused> {
        let before_all = || "0".repeat(chamberlain_core::id::ROOM_LEN).parse::<RoomId>().ok();
        // Logs are listed by name, and those of accounts come before those of rooms.
        let after = after.or_else(before_all).map(LogId::Room);
        let logs = self.0.stores.logs.list(after.as_ref(), limit + 1).await.map_err(refuse_store)?;
        let ids = logs.iter().map_while(|log| match log {
            LogId::Room(room) => Some(*room),
            LogId::Account(_) | LogId::Directory => None,
        });
        let ids: Vec<RoomId> = ids.collect();
        let mut rooms = Vec::with_capacity(ids.len().min(limit));
        for room in ids.iter().take(limit) {
            rooms.push(
                self.look_at(*room)
                    .await
                    .unwrap_or_else(|refused| AdminRoom { problem: Some(refused.reason), ..nothing_of(*room) }),
            );
        }
        Ok((rooms, ids.len() > limit))
    }

    /// One room.
    pub async fn any_room(&self, room: RoomId) -> Result<AdminRoom, Refused> {
        let found = self.look_at(room).await?;
        match found.kind {
            Some(_) => Ok(found),
            None => Err(Refused::new(Reason::NotAMember, format!("room: there is no room {room}"))),
        }
    }

    async fn look_at(&self, id: RoomId) -> Result<AdminRoom, Refused> {
        let room = self.0.room(id).await?;
        let hub = room.hub.lock();
        let state = hub.state();
        Ok(AdminRoom {
            kind: state.kind(),
            site: state.site().cloned(),
            name: state.name().map(|name| name.as_str().to_owned()),
            archived: state.is_archived(),
            members: state.member_count(),
            owners: state.owner_count(),
            head: state.head().revision,
            time: state.time(),
            messages: state.messages(),
            version: state.current_key().map(|key| key.version),
            problem: room.problem(),
            ..nothing_of(id)
        })
    }

    /// Revisions of a room's log after `after`, at most `limit`.
    pub async fn log_of(&self, room: RoomId, after: Revision, limit: usize) -> Result<Vec<LogItem>, Refused> {
        let to = Revision(after.0.saturating_add(limit as u64));
        let records = self.0.records(room, after, to).await?;
        let items = records.iter().flat_map(chamberlain_core::log::Record::items);
        let wanted = items.filter(|item| item.revision > after && item.revision <= to);
        Ok(wanted.map(|item| LogItem::of(&item)).collect())
    }

    /// Asks the stores for something small each.
    pub async fn stores_answer(&self) -> Result<(), Refused> {
        let stores = &self.0.stores;
        stores.logs.list(None, 1).await.map_err(refuse_store)?;
        stores.directory.list(None, 1).await.map_err(refuse_store)?;
        stores.marks.get(&["ready".to_owned()]).await.map_err(refuse_store)?;
        Ok(())
    }
}

impl LogItem {
    pub(super) fn of(item: &Item<'_, Event>) -> Self {
        Self {
            revision: item.revision,
            time: item.time,
            account: item.account.clone(),
            request: item.request,
            event: item.event.clone(),
            body: match item.body {
                Body::None => BodyState::None,
                Body::Present(_) => BodyState::Present,
                Body::Erased { .. } => BodyState::Erased,
            },
        }
    }
}

/// A room of which nothing is known.
fn nothing_of(room: RoomId) -> AdminRoom {
    AdminRoom {
        room,
        problem: None,
        kind: None,
        site: None,
        name: None,
        archived: false,
        members: 0,
        owners: 0,
        head: Revision::ZERO,
        time: Timestamp(0),
        messages: 0,
        version: None,
    }
}
