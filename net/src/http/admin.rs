//! What administrators see and do. Of rooms they see who and when, never what was said.

use chamberlain_core::id::{AccountId, Revision, RoomId, SiteId};
use chamberlain_core::room::{Command, Reason, Refused};
use chamberlain_core::wire::Query;
use chamberlain_stores::{Account, Group};
use hyper::Response;
use serde::{Deserialize, Serialize};

use super::answer::{self, Body};
use super::call::Call;
use crate::node::{AdminRoom, LogItem};

type Answered = Result<Response<Body>, Refused>;

/// The most items of a page.
const PAGE: usize = 1_000;
/// The most rooms of a page: each is loaded to be looked at.
const ROOMS: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutAccounts {
    accounts: Vec<Entry>,
}

/// An account as an administrator names it; what is left out has a sensible value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    account: AccountId,
    site: Option<SiteId>,
    name: Option<String>,
    local_name: Option<String>,
    #[serde(default)]
    bot: bool,
    disabled: Option<bool>,
    section: Option<Group>,
    department: Option<Group>,
    #[serde(default)]
    admin: bool,
}

#[derive(Serialize)]
struct AccountPage {
    accounts: Vec<Account>,
    more: bool,
}

#[derive(Serialize)]
struct AccountsPut {
    put: usize,
}

#[derive(Serialize)]
struct RoomPage {
    rooms: Vec<AdminRoom>,
    more: bool,
}

#[derive(Serialize)]
struct LogPage {
    room: RoomId,
    head: Revision,
    items: Vec<LogItem>,
    more: bool,
}

pub(super) async fn accounts(call: Call) -> Answered {
    let page = call.app.node.accounts(call.query_id("after")?, call.page(PAGE)?).await?;
    Ok(answer::ok(&AccountPage { accounts: page.accounts, more: page.more }))
}

pub(super) async fn account(call: Call) -> Answered {
    Ok(answer::ok(&call.app.node.account_entry(&call.account()?).await?))
}

pub(super) async fn put_accounts(call: Call) -> Answered {
    let PutAccounts { accounts } = call.json()?;
    let most = call.app.node.limits().accounts_per_command as usize;
    if accounts.len() > most {
        let message = format!("accounts: {} are named, the limit is {most}", accounts.len());
        return Err(Refused::new(Reason::TooMany, message));
    }
    let names: Vec<AccountId> = accounts.iter().map(|entry| entry.account.clone()).collect();
    let known = call.app.node.account_entries(&names).await?;
    let site = call.app.node.inner().settings.keys.site();
    let entry = |(at, entry): (usize, Entry)| {
        let stored = known.get(&entry.account);
        let disabled = match (entry.disabled, stored.map(|stored| stored.disabled)) {
            (None, stored) => stored.unwrap_or(false),
            // Being shut out is more than an entry: rooms must be left and connections ended.
            (Some(true), Some(false)) => {
                let path = format!("/v1/admin/accounts/{}/disable", entry.account);
                let message = format!("accounts[{at}].disabled: an account that is in use is shut out by POST {path}");
                return Err(Refused::new(Reason::Malformed, message));
            }
            (Some(disabled), _) => disabled,
        };
        Ok(Account {
            site: entry.site.or(stored.map(|stored| stored.site.clone())).unwrap_or_else(|| site.clone()),
            name: entry.name.unwrap_or_else(|| entry.account.as_str().to_owned()),
            account: entry.account,
            local_name: entry.local_name,
            bot: entry.bot,
            disabled,
            section: entry.section,
            department: entry.department,
            admin: entry.admin,
        })
    };
    let accounts = accounts.into_iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
    call.app.node.put_accounts(&accounts).await?;
    Ok(answer::ok(&AccountsPut { put: accounts.len() }))
}

pub(super) async fn disable(call: Call) -> Answered {
    Ok(answer::ok(&call.command(Command::DisableAccount { account: call.account()? }).await?))
}

pub(super) async fn enable(call: Call) -> Answered {
    let account = call.account()?;
    call.app.node.enable(&account).await?;
    Ok(answer::ok(&call.app.node.account_entry(&account).await?))
}

pub(super) async fn rooms(call: Call) -> Answered {
    let (rooms, more) = call.app.node.all_rooms(call.query_id("after")?, call.page(ROOMS)?).await?;
    Ok(answer::ok(&RoomPage { rooms, more }))
}

pub(super) async fn room(call: Call) -> Answered {
    Ok(answer::ok(&call.app.node.any_room(call.room()?).await?))
}

pub(super) async fn members(call: Call) -> Answered {
    let room = call.app.node.any_room(call.room()?).await?.room;
    let (after, limit) = (call.query_id("after")?, call.query_small("limit")?);
    Ok(answer::ok(&call.ask(Query::Members { room, after, limit }).await?))
}

pub(super) async fn log(call: Call) -> Answered {
    let room = call.app.node.any_room(call.room()?).await?;
    let after = Revision(call.query_number("after")?.unwrap_or(0));
    let items = call.app.node.log_of(room.room, after, call.page(PAGE)?).await?;
    let last = items.last().map_or(after, |item| item.revision);
    Ok(answer::ok(&LogPage { room: room.room, head: room.head, items, more: last < room.head }))
}

/// Which state of the log is decided about; none, to be told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContinueRoom {
    #[serde(default)]
    head: Option<String>,
}

pub(super) async fn continue_room(call: Call) -> Answered {
    let ContinueRoom { head } = call.json()?;
    let (who, room) = (call.who()?, call.room()?);
    Ok(answer::ok(&call.app.node.continue_room(who, room, head).await?))
}

pub(super) async fn backup(call: Call) -> Answered {
    let Some(backup) = &call.app.backup else {
        return Err(Refused::new(Reason::NoSuchPath, "the stores of this server are backed up by their own means"));
    };
    match backup().await {
        Ok(stream) => Ok(answer::download(stream)),
        Err(error) => {
            tracing::warn!(%error, "no copy of the stores could be made");
            Err(Refused::new(Reason::StoreUnavailable, format!("no copy could be made: {error}")))
        }
    }
}
