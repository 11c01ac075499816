//! `chamberlain room continue`: what a room lost, and the decision to go on without it.

use chamberlain_core::id::{AccountId, KeyVersion, Revision, RoomId};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::super::Failure;
use super::super::output::{json, line, shown};
use super::{LogItem, path_of_any};
use crate::client::Client;

/// What a room lost, as the API tells it.
#[derive(Debug, Serialize, Deserialize)]
struct Loss {
    room: RoomId,
    head: String,
    ended: Revision,
    known: Revision,
    effects: Revision,
    snapshot: Revision,
    nodes: Revision,
    read: Revision,
    lost: Vec<LogItem>,
    out: Vec<AccountId>,
    unreadable: Vec<KeyVersion>,
    version: KeyVersion,
    older_nodes: Vec<String>,
    lossy: bool,
    continued: Option<Revision>,
}

#[derive(Serialize)]
struct Decision {
    head: Option<String>,
}

/// Says what a room lost; with the head that was told, has it go on.
pub(super) async fn go_on(client: &Client, room: &str, head: Option<String>, as_json: bool) -> Result<(), Failure> {
    let path = path_of_any(client, room, "/continue").await?;
    let loss: Loss = client.call(Method::POST, &path, Some(&Decision { head })).await?;
    if as_json {
        return json(&loss);
    }
    if let Some(at) = loss.continued {
        return line(format!("{room} goes on at revision {at}, under key version {}", loss.version));
    }
    tell(&loss)
}

fn tell(loss: &Loss) -> Result<(), Failure> {
    let row = |label: &str, value: String| line(format!("{label:12} {}", shown(&value)));
    row("room", loss.room.to_string())?;
    row("head", loss.head.clone())?;
    if loss.known > loss.ended {
        row("lost", format!("revisions {} to {}", loss.ended.next(), loss.known))?;
        let (effects, snapshot, nodes, read) = (loss.effects, loss.snapshot, loss.nodes, loss.read);
        let seen = format!("effects {effects}, snapshot {snapshot}, nodes {nodes}, read marks {read}");
        row("seen up to", seen)?;
    }
    for item in &loss.lost {
        row("", format!("{:>6}  {:16} {}", item.revision.0, item.account, item.event.kind()))?;
    }
    if loss.known > loss.ended && loss.lost.is_empty() {
        row("", "no node holds what they were".into())?;
    }
    let list = |names: Vec<String>| names.join(", ");
    if !loss.unreadable.is_empty() {
        let versions = list(loss.unreadable.iter().map(KeyVersion::to_string).collect());
        row("unreadable", format!("what is sealed under key version {versions}: the vault lost it"))?;
    }
    if !loss.out.is_empty() {
        let out = list(loss.out.iter().map(AccountId::to_string).collect());
        row("stay out", format!("{out}: removed in what is lost, and removed again"))?;
    }
    if !loss.older_nodes.is_empty() {
        row("older nodes", format!("{}: update them first", list(loss.older_nodes.clone())))?;
    }
    if !loss.lossy {
        return line("nothing is known to be lost: there is nothing to decide about");
    }
    row("key version", format!("{} from here on", loss.version))?;
    line(format!(
        "If the right files can be put back, do that. Else: chamberlain room continue {} --yes {}",
        loss.room, loss.head
    ))
}
