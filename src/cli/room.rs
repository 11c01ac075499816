//! `chamberlain room`.

mod loss;

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::room::{Event, Outcome, Reason, Role, RoomKind};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::Answer;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::account::{At, in_path};
use super::door::through;
use super::output::{Table, json, line, shown, time};
use crate::client::Client;

/// Rooms of a page: each is loaded to be looked at.
const ROOMS: usize = 200;
/// Revisions of a page.
const REVISIONS: usize = 1_000;

/// The rooms, as an administrator sees them
#[derive(Subcommand, Debug)]
pub(super) enum Room {
    /// List all rooms
    List {
        /// As JSON lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Show a room, without what is said in it
    Show {
        /// Its id, or a channel's name
        room: String,
        #[command(flatten)]
        at: At,
    },
    /// List a room's members
    Members {
        /// Its id, or a channel's name
        room: String,
        #[command(flatten)]
        at: At,
    },
    /// Print a room's log without bodies: what happened, when, at whose request
    Log {
        /// Its id, or a channel's name
        room: String,
        /// Begin after this revision
        #[arg(long, default_value_t = 0, value_name = "REVISION")]
        after: u64,
        /// As JSON lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Say what a room's log, or its keys, lost; with --yes, have the room go on without it
    ///
    /// A log that came back older than it was is given back what nodes still hold. Where none does, the room stays stopped, so
    /// that the right files can be put back. Where there are none, the room goes on from where its log ends: under a key that
    /// nobody was given, and without what is said to be lost.
    Continue {
        /// Its id, or a channel's name
        room: String,
        /// Decide, about the very state that was told: the word after "head"
        #[arg(long, value_name = "HEAD")]
        yes: Option<String>,
        /// What was told, as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// End a channel: nothing can be said or changed in it any more
    Archive {
        /// Its id, or a channel's name
        room: String,
        #[command(flatten)]
        at: At,
    },
}

/// A room as the API shows it to administrators.
#[derive(Debug, Serialize, Deserialize)]
struct View {
    room: RoomId,
    problem: Option<Reason>,
    kind: Option<RoomKind>,
    site: Option<SiteId>,
    name: Option<String>,
    archived: bool,
    members: u32,
    owners: u32,
    head: Revision,
    time: Timestamp,
    messages: u64,
    version: Option<KeyVersion>,
}

#[derive(Deserialize)]
struct Page {
    rooms: Vec<View>,
    more: bool,
}

/// A revision as the API shows it to administrators.
#[derive(Debug, Serialize, Deserialize)]
struct LogItem {
    revision: Revision,
    time: Timestamp,
    account: AccountId,
    request: Option<RequestId>,
    event: Event,
    body: String,
}

#[derive(Deserialize)]
struct LogPage {
    items: Vec<LogItem>,
    more: bool,
}

impl Room {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List { json, at } => through(&at.place, &at.remote, async |client| list(&client, json).await).await,
            Self::Show { room, at } => {
                through(&at.place, &at.remote, async |client| {
                    show(&client.get(&path(&client, &room, "").await?).await?)
                })
                .await
            }
            Self::Members { room, at } => {
                through(&at.place, &at.remote, async |client| members(&client, &room).await).await
            }
            Self::Log { room, after, json, at } => {
                through(&at.place, &at.remote, async |client| log(&client, &room, after, json).await).await
            }
            Self::Continue { room, yes, json, at } => {
                through(&at.place, &at.remote, async |client| loss::go_on(&client, &room, yes, json).await).await
            }
            Self::Archive { room, at } => {
                through(&at.place, &at.remote, async |client| {
                    let _done: Outcome = client.post(&path(&client, &room, "/archive").await?).await?;
                    line(format!("{room} is archived"))
                })
                .await
            }
        }
    }
}

/// Every room there is.
async fn each(client: &Client, mut see: impl FnMut(View) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page: Page = client.get(&format!("/v1/admin/rooms?limit={ROOMS}{after}")).await?;
        let last = page.rooms.last().map(|room| room.room);
        for room in page.rooms {
            see(room)?;
        }
        match last {
            Some(last) if page.more => after = format!("&after={last}"),
            _ => return Ok(()),
        }
    }
}

/// The path of a room that may not be loaded: its id is taken as it is.
async fn path_of_any(client: &Client, named: &str, rest: &str) -> Result<String, Failure> {
    match named.parse::<RoomId>() {
        Ok(room) => Ok(format!("/v1/admin/rooms/{room}{rest}")),
        Err(_) => path(client, named, rest).await,
    }
}

/// The path of a room that is named by its id or, a channel, by its name.
async fn path(client: &Client, named: &str, rest: &str) -> Result<String, Failure> {
    let is_id = named.parse::<RoomId>().is_ok();
    let mut found = Vec::new();
    each(client, |room| {
        if room.name.as_deref() == Some(named) || (is_id && room.room.as_str() == named) {
            found.push(room.room);
        }
        Ok(())
    })
    .await?;
    match found[..] {
        [room] => Ok(format!("/v1/admin/rooms/{room}{rest}")),
        [] => Err(Failure::failed(format!("there is no room {named:?}"))),
        [..] => {
            let ids: Vec<_> = found.iter().map(RoomId::as_str).collect();
            Err(Failure::failed(format!("several channels are called {named:?}: {}", ids.join(", "))))
        }
    }
}

fn kind(room: &View) -> String {
    let kind = match (room.problem, room.kind) {
        (Some(problem), _) => return format!("cannot be loaded ({})", word(&problem)),
        (_, Some(kind)) => word(&kind),
        (_, None) => "-".into(),
    };
    if room.archived { format!("{kind}, archived") } else { kind }
}

/// A value without data as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let mut table = Table::new(&["ROOM", "KIND", "NAME", "MEMBERS", "MESSAGES", "REVISION", "LAST"]);
    each(client, |room| {
        if as_json {
            return json(&room);
        }
        table.row(vec![
            room.room.to_string(),
            kind(&room),
            room.name.clone().unwrap_or_else(|| "-".into()),
            room.members.to_string(),
            room.messages.to_string(),
            room.head.to_string(),
            time(room.time),
        ]);
        Ok(())
    })
    .await?;
    if as_json { Ok(()) } else { table.print() }
}

fn show(room: &View) -> Result<(), Failure> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    for (label, value) in [
        ("room", room.room.to_string()),
        ("kind", kind(room)),
        ("name", or_none(room.name.clone())),
        ("site", or_none(room.site.as_ref().map(SiteId::to_string))),
        ("members", format!("{} (owners: {})", room.members, room.owners)),
        ("messages", room.messages.to_string()),
        ("revision", format!("{}, {}", room.head, time(room.time))),
        ("key version", or_none(room.version.map(|version| version.to_string()))),
    ] {
        line(format!("{label:12} {}", shown(&value)))?;
    }
    Ok(())
}

async fn members(client: &Client, room: &str) -> Result<(), Failure> {
    let path = path(client, room, "/members").await?;
    let mut table = Table::new(&["ACCOUNT", "NAME", "ROLE", "SINCE", "READ"]);
    let mut after = String::new();
    loop {
        let answer: Answer = client.get(&format!("{path}{after}")).await?;
        let Answer::Members { members, more, .. } = answer else {
            return Err(Failure::failed("the server did not answer with members"));
        };
        for member in &members {
            let role = if member.role == Role::Owner { "owner" } else { "member" };
            let role = if member.bot { format!("{role}, bot") } else { role.to_owned() };
            let (since, read) = (member.since.to_string(), member.read.to_string());
            table.row(vec![member.account.to_string(), member.name.clone(), role, since, read]);
        }
        match members.last() {
            Some(last) if more => after = format!("?after={}", in_path(&last.account)),
            _ => return table.print(),
        }
    }
}

async fn log(client: &Client, room: &str, mut after: u64, as_json: bool) -> Result<(), Failure> {
    let path = path(client, room, "/log").await?;
    loop {
        let page: LogPage = client.get(&format!("{path}?limit={REVISIONS}&after={after}")).await?;
        for item in &page.items {
            if as_json {
                json(item)?;
                continue;
            }
            let event = match serde_json::to_value(&item.event) {
                Ok(serde_json::Value::Object(event)) => event.into_iter().next().map(|(_, fields)| fields.to_string()),
                _ => None,
            };
            let erased = if item.body == "erased" { " (body erased)" } else { "" };
            let (kind, event) = (item.event.kind(), event.unwrap_or_default());
            line(
                shown(&format!(
                    "{:>6}  {}  {:16} {kind}{erased} {event}",
                    item.revision.0,
                    time(item.time),
                    item.account
                ))
                .trim_end(),
            )?;
        }
        match page.items.last() {
            Some(last) if page.more => after = last.revision.0,
            _ => return Ok(()),
        }
    }
}
