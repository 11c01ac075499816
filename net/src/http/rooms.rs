//! What accounts do with their rooms: each handler makes a command or a question of a request, and answers what came of it.

use chamberlain_core::id::{AccountId, MessageId, Revision, RoomId};
use chamberlain_core::keys::Envelope;
use chamberlain_core::room::{Command, Content, History, Outcome, Reason, Refused, Role, Submit, display_name};
use chamberlain_core::wire::{HistoryRange, Query};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::answer::{self, Body};
use super::call::Call;

type Answered = Result<Response<Body>, Refused>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRoom {
    name: Option<String>,
    #[serde(default)]
    accounts: Vec<AccountId>,
    #[serde(default)]
    channels: Vec<RoomId>,
    account: Option<AccountId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddMembers {
    #[serde(default)]
    accounts: Vec<AccountId>,
    #[serde(default)]
    channels: Vec<RoomId>,
    #[serde(default)]
    bots: bool,
    #[serde(default)]
    history: History,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRole {
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkRead {
    revision: Revision,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitMessage {
    message: Option<MessageId>,
    content: Option<Said>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditMessage {
    edit: u32,
    content: Option<Said>,
    text: Option<String>,
}

/// [`Content`], more strictly read.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Plain(Plain),
    Sealed(Envelope),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    text: String,
}

/// Who asks, as the directory and the token know it.
#[derive(Serialize)]
struct Me {
    account: AccountId,
    name: String,
    site: String,
    bot: bool,
    admin: bool,
    /// When the token ends, in milliseconds since the epoch.
    expires: Option<u64>,
}

pub(super) async fn me(call: Call) -> Answered {
    let who = call.who()?;
    let entry = call.app.node.account_entry(&who.account).await?;
    Ok(answer::ok(&Me {
        name: display_name(&entry.account, &entry.name, entry.local_name.as_deref()),
        account: entry.account,
        site: entry.site.as_str().to_owned(),
        bot: entry.bot,
        admin: who.admin,
        expires: who.expires.map(|at| at.0),
    }))
}

pub(super) async fn mine(call: Call) -> Answered {
    Ok(answer::ok(&call.ask(Query::Rooms).await?))
}

pub(super) async fn one(call: Call) -> Answered {
    Ok(answer::ok(&call.app.node.room_of(call.who()?, call.room()?).await?))
}

pub(super) async fn create(call: Call) -> Answered {
    let asked: CreateRoom = call.json()?;
    let command = match asked {
        CreateRoom { name: Some(name), accounts, channels, account: None } => {
            Command::CreateChannel { name, accounts, channels }
        }
        CreateRoom { name: None, accounts, channels, account: Some(account) }
            if accounts.is_empty() && channels.is_empty() =>
        {
            Command::CreateDm { account }
        }
        _ => {
            let message = "body: either `name` (with `accounts` and `channels`) for a channel, or `account` alone for a direct message room";
            return Err(Refused::new(Reason::Malformed, message));
        }
    };
    let outcome = call.command(command).await?;
    let is_new = matches!(outcome, Outcome::Created { exists: false, .. });
    Ok(answer::json(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &outcome))
}

pub(super) async fn rename(call: Call) -> Answered {
    let Rename { name } = call.json()?;
    done(&call, Command::Rename { room: call.room()?, name }).await
}

pub(super) async fn members(call: Call) -> Answered {
    let (after, limit) = (call.query_id("after")?, call.query_small("limit")?);
    Ok(answer::ok(&call.ask(Query::Members { room: call.room()?, after, limit }).await?))
}

pub(super) async fn add(call: Call) -> Answered {
    let AddMembers { accounts, channels, bots, history } = call.json()?;
    done(&call, Command::Add { room: call.room()?, accounts, channels, bots, history }).await
}

pub(super) async fn remove(call: Call) -> Answered {
    done(&call, Command::Remove { room: call.room()?, accounts: vec![call.account()?] }).await
}

pub(super) async fn set_role(call: Call) -> Answered {
    let SetRole { role } = call.json()?;
    done(&call, Command::SetRole { room: call.room()?, account: call.account()?, role }).await
}

pub(super) async fn history(call: Call) -> Answered {
    let named = [
        call.query_number("before")?.map(|at| HistoryRange::Before(Revision(at))),
        call.query_number("after")?.map(|at| HistoryRange::After(Revision(at))),
        call.query_number("around")?.map(|at| HistoryRange::Around(Revision(at))),
    ];
    let mut named = named.into_iter().flatten();
    let range = named.next().unwrap_or(HistoryRange::Latest);
    if named.next().is_some() {
        return Err(Refused::new(Reason::InvalidRange, "only one of before, after and around may be given"));
    }
    let limit = call.query_small("limit")?;
    Ok(answer::ok(&call.ask(Query::History { room: call.room()?, range, limit }).await?))
}

pub(super) async fn submit(call: Call) -> Answered {
    let SubmitMessage { message, content, text } = call.json()?;
    let content = said(content, text)?;
    let room = call.room()?;
    let message = match message {
        Some(message) => message,
        // Its sender must know the name to seal under it.
        None if matches!(content, Content::Sealed(_)) => {
            return Err(Refused::new(Reason::Malformed, "message: what is sealed is bound to the message's id"));
        }
        None => call.message_id(room)?,
    };
    let outcome = call.command(Command::Submit(Submit { room, message, content })).await?;
    Ok(answer::json(StatusCode::CREATED, &outcome))
}

pub(super) async fn edit(call: Call) -> Answered {
    let EditMessage { edit, content, text } = call.json()?;
    let content = said(content, text)?;
    done(&call, Command::Edit { room: call.room()?, revision: call.revision()?, edit, content }).await
}

pub(super) async fn delete(call: Call) -> Answered {
    done(&call, Command::Delete { room: call.room()?, revision: call.revision()? }).await
}

pub(super) async fn key(call: Call) -> Answered {
    let version = call.query_small("version")?.map(chamberlain_core::id::KeyVersion);
    Ok(answer::ok(&call.ask(Query::Key { room: call.room()?, version }).await?))
}

pub(super) async fn rotate(call: Call) -> Answered {
    done(&call, Command::Rotate { room: call.room()? }).await
}

pub(super) async fn archive(call: Call) -> Answered {
    done(&call, Command::Archive { room: call.room()? }).await
}

pub(super) async fn mark_read(call: Call) -> Answered {
    let MarkRead { revision } = call.json()?;
    done(&call, Command::MarkRead { room: call.room()?, revision }).await
}

/// The content, or the text that stands for it.
fn said(content: Option<Said>, text: Option<String>) -> Result<Content, Refused> {
    match (content, text) {
        (Some(Said::Plain(Plain { text })), None) | (None, Some(text)) => Ok(Content::Plain { text }),
        (Some(Said::Sealed(envelope)), None) => Ok(Content::Sealed(envelope)),
        _ => Err(Refused::new(Reason::Malformed, "body: either `content` or `text`")),
    }
}

async fn done(call: &Call, command: Command) -> Answered {
    Ok(answer::ok(&call.command(command).await?))
}
