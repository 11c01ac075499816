//! What other servers ask: `chat.server.request.room.{site}.`, on a NATS account of theirs.
//!
//! Whoever may publish there is believed to speak for the account it names, so no client's user ever may. No answer holds a
//! secret.

use std::sync::Arc;

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, Revision, RoomId};
use chamberlain_core::keys::RoomPublic;
use chamberlain_core::room::{Code, Command, Reason, Refused, RoomKind};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::answer::{self, Refusal, written};
use super::{Surface, names, publish, request, serve};

/// Rooms that one `info.batch` may name.
const BATCH: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateDm {
    account: AccountId,
    counterpart: AccountId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnsureKey {
    room_id: RoomId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Info {
    room_ids: Vec<RoomId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyIs {
    room_id: RoomId,
    version: KeyVersion,
    public_key: RoomPublic,
}

#[derive(Serialize)]
struct Infos {
    rooms: Vec<RoomIs>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomIs {
    room_id: RoomId,
    /// None where there is no such room, or it cannot be read.
    room_type: Option<RoomKind>,
    name: Option<String>,
    site_id: Option<String>,
    archived: bool,
    members: u32,
    revision: Revision,
    key_version: Option<KeyVersion>,
}

/// Answers until it is told to leave.
pub(super) async fn serve(
    surface: Arc<Surface>,
    client: Client,
    mut requests: Subscriber,
    mut left: watch::Receiver<bool>,
) {
    loop {
        let message = tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => break,
            message = requests.next() => message,
        };
        let Some(message) = message else { return };
        let Ok(turn) = surface.turns.clone().acquire_owned().await else { return };
        let (surface, client) = (surface.clone(), client.clone());
        tokio::spawn(async move {
            answer_one(&surface, &client, message).await;
            drop(turn);
        });
    }
    let _lost = requests.unsubscribe().await;
}

async fn answer_one(surface: &Surface, client: &Client, message: Message) {
    let figures = surface.figures();
    let reply = message.reply.as_ref().filter(|reply| {
        let allowed = names::may_answer_server(reply);
        if !allowed {
            figures.replies_ignored.inc();
        }
        allowed
    });
    let reply = reply.map(Subject::to_string);
    let Some(verb) = names::read_server(&message.subject, &surface.site) else {
        figures.unreadable.inc();
        return;
    };
    let result = carry_out(surface, verb, &message).await;
    figures.answered(result.as_ref().err().map(|refusal| refusal.code));
    if let Some(reply) = reply
        && !publish(client, reply, result.unwrap_or_else(|refusal| written(&refusal))).await
    {
        figures.unanswered.inc();
    }
}

async fn carry_out(surface: &Surface, verb: &str, message: &Message) -> Result<Bytes, Refusal> {
    let most = surface.node.limits().frame_in_bytes as usize;
    if message.payload.len() > most {
        return Err(Refused::new(Reason::TooLarge, format!("body: the limit is {most} bytes")).into());
    }
    match verb {
        "create.dm" => {
            let id = request::request_id(message.headers.as_ref())?;
            let CreateDm { account, counterpart } = request::json(&message.payload)?;
            let who = serve::admit(surface, &account).await?;
            let command = Command::CreateDm { account: counterpart };
            let outcome = surface.node.command(&who, id, command.clone()).await?;
            Ok(answer::outcome(&command, &outcome))
        }
        "key.ensure" => {
            let EnsureKey { room_id } = request::json(&message.payload)?;
            ensure_key(surface, room_id).await
        }
        "info.batch" => {
            let Info { room_ids } = request::json(&message.payload)?;
            info(surface, room_ids).await
        }
        other => {
            Err(request::malformed(format!("subject: {other} is no verb; there are create.dm, key.ensure, info.batch")))
        }
    }
}

/// A room has a key from its first record on; what is ensured is that the vault holds the secret that the log names.
async fn ensure_key(surface: &Surface, id: RoomId) -> Result<Bytes, Refusal> {
    let inner = surface.node.inner();
    let room = inner.room(id).await?;
    let current = room.hub.lock().state().current_key();
    let no_room = || Refusal::new(Code::NotFound, "no_such_room", format!("roomId: there is no room {id}"));
    let current = current.ok_or_else(no_room)?;
    room.secret(inner, current.version).await?;
    Ok(written(&KeyIs { room_id: id, version: current.version, public_key: current.public }))
}

async fn info(surface: &Surface, ids: Vec<RoomId>) -> Result<Bytes, Refusal> {
    if ids.len() > BATCH {
        let said = format!("roomIds: {} are named, the limit is {BATCH}", ids.len());
        return Err(Refused::new(Reason::TooMany, said).into());
    }
    let mut rooms = Vec::with_capacity(ids.len());
    for id in ids {
        let found = match surface.node.any_room(id).await {
            Ok(found) => Some(found),
            Err(refused) if refused.code() == Code::NotFound || refused.reason == Reason::Quarantined => None,
            Err(refused) => return Err(refused.into()),
        };
        rooms.push(RoomIs {
            room_id: id,
            room_type: found.as_ref().and_then(|room| room.kind),
            name: found.as_ref().and_then(|room| room.name.clone()),
            site_id: found.as_ref().and_then(|room| room.site.as_ref()).map(ToString::to_string),
            archived: found.as_ref().is_some_and(|room| room.archived),
            members: found.as_ref().map_or(0, |room| room.members),
            revision: found.as_ref().map_or(Revision::ZERO, |room| room.head),
            key_version: found.as_ref().and_then(|room| room.version),
        });
    }
    Ok(written(&Infos { rooms }))
}
