//! Requests, from the subscription to the answer.
//!
//! Requests of one account go through one lane, so that on one node its commands are decided in the order in which they came.
//! A lane waits for a turn before each; a full lane refuses. Who asks is looked up for each request: an account that was shut
//! out is refused at once.

use std::sync::Arc;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use chamberlain_core::id::{AccountId, RoomId};
use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::wire::Query;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::answer::{self, Refusal, written};
use super::names::{self, Verb};
use super::request::{self, Task};
use super::{Surface, publish};
use crate::auth::Identity;

/// Lanes of a node.
const LANES: usize = 64;
/// Requests that wait in one lane.
const LANE: usize = 256;

/// A request that is to be carried out.
struct Letter {
    account: AccountId,
    verb: Verb,
    room: Option<RoomId>,
    headers: Option<HeaderMap>,
    body: Bytes,
    /// Where the answer goes, where that is allowed.
    reply: Option<String>,
}

/// Takes requests until it is told to leave, and then those that have come.
pub(super) async fn serve(surface: Arc<Surface>, subscribers: Vec<Subscriber>, mut left: watch::Receiver<bool>) {
    let mut lanes = Vec::new();
    let mut running = Vec::new();
    for _ in 0..LANES {
        let (lane, letters) = mpsc::channel(LANE);
        lanes.push(lane);
        running.push(tokio::spawn(run_lane(surface.clone(), letters)));
    }
    let mut requests = stream::select_all(subscribers);
    loop {
        tokio::select! {
            biased;
            _ = left.wait_for(|left| *left) => break,
            message = requests.next() => match message {
                Some(message) => take(&surface, &lanes, message),
                None => break,
            },
        }
    }
    let mut listening: Vec<Subscriber> = requests.into_iter().collect();
    for subscriber in &mut listening {
        let _lost = subscriber.unsubscribe().await;
    }
    // What the server had handed over before it heard of that.
    let mut rest = stream::select_all(listening);
    while let Some(message) = rest.next().await {
        take(&surface, &lanes, message);
    }
    drop(lanes);
    for lane in running {
        let _ended = lane.await;
    }
}

/// Publishes the refusals of what was not begun.
pub(super) async fn refuse(surface: Arc<Surface>, mut refused: mpsc::Receiver<(String, Bytes)>) {
    while let Some((subject, payload)) = refused.recv().await {
        if !publish(&surface.client, subject, payload).await {
            surface.figures().unanswered.inc();
        }
    }
}

/// Puts a request into its account's lane, or refuses it.
fn take(surface: &Surface, lanes: &[mpsc::Sender<Letter>], message: Message) {
    let figures = surface.figures();
    let Some(asked) = names::read(&message.subject, &surface.site) else {
        figures.unreadable.inc();
        return;
    };
    let account = asked.account;
    let reply = message.reply.as_ref().filter(|reply| {
        let allowed = names::may_answer(&account, reply);
        if !allowed {
            figures.replies_ignored.inc();
        }
        allowed
    });
    let reply = reply.map(Subject::to_string);
    let (verb, room) = match asked.what {
        Ok(what) => what,
        Err(why) => return refuse_now(surface, reply, request::malformed(why)),
    };
    let most = surface.node.limits().frame_in_bytes as usize;
    let clock = surface.node.clock();
    let refused = if message.payload.len() > most {
        Some(Refused::new(Reason::TooLarge, format!("body: the limit is {most} bytes")))
    } else if !surface.allowance.take(&account, surface.node.limits(), clock.now()) {
        Some(Reason::RateLimited.into())
    } else {
        None
    };
    let reply = answered_at(&account, verb, message.headers.as_ref(), reply);
    if let Some(refused) = refused {
        return refuse_now(surface, reply, refused.into());
    }
    let lane = &lanes[lane_of(&account)];
    let letter = Letter { account, verb, room, headers: message.headers, body: message.payload, reply };
    if let Err(full) = lane.try_send(letter) {
        refuse_now(surface, full.into_inner().reply, Reason::Busy.into());
    }
}

/// A message is answered at a place of its own, which its request id names; everything else where the request says.
fn answered_at(account: &AccountId, verb: Verb, headers: Option<&HeaderMap>, reply: Option<String>) -> Option<String> {
    match (verb, request::spelled_id(headers)) {
        (Verb::MsgSend, Ok((_, id))) => Some(names::response(account, id)),
        _ => reply,
    }
}

fn lane_of(account: &AccountId) -> usize {
    // FNV-1a: cheap, the same everywhere, and lanes are all that it chooses.
    let hash = account
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash % LANES as u64) as usize
}

fn refuse_now(surface: &Surface, reply: Option<String>, refusal: Refusal) {
    surface.figures().answered(Some(refusal.code));
    if let Some(reply) = reply
        && surface.refusals.try_send((reply, written(&refusal))).is_err()
    {
        surface.figures().unanswered.inc();
    }
}

async fn run_lane(surface: Arc<Surface>, mut letters: mpsc::Receiver<Letter>) {
    while let Some(letter) = letters.recv().await {
        let Ok(turn) = surface.turns.clone().acquire_owned().await else { return };
        begin(&surface, letter, turn).await;
    }
}

/// Begins a request, and returns when a command stands in its room's queue. The turn is given back with the answer.
async fn begin(surface: &Arc<Surface>, letter: Letter, turn: OwnedSemaphorePermit) {
    let Letter { account, verb, room, headers, body, reply } = letter;
    let keys = &surface.node.inner().settings.keys;
    let task = match admit(surface, &account).await {
        Ok(who) => request::read(&account, verb, room, headers.as_ref(), &body, keys).map(|task| (who, task)),
        Err(refused) => Err(refused.into()),
    };
    let (who, task) = match task {
        Ok(admitted) => admitted,
        Err(refusal) => return finish(surface, reply, Err(refusal), turn).await,
    };
    let surface = surface.clone();
    match task {
        Task::Change(id, command) => {
            let (answer, answered) = oneshot::channel();
            let taken = Box::new(move |result| {
                let _gone = answer.send(result);
            });
            surface.node.begin(&who, id, command.clone(), taken).await;
            tokio::spawn(async move {
                let result = answered.await.unwrap_or_else(|_| Err(Reason::Deadline.into()));
                let result = result.map(|outcome| answer::outcome(&command, &outcome)).map_err(Refusal::from);
                finish(&surface, reply, result, turn).await;
            });
        }
        // Nobody would hear it.
        Task::Ask(_) if reply.is_none() => surface.figures().answered(None),
        Task::Ask(query) => {
            tokio::spawn(async move {
                let result = ask(&surface, &who, query).await.map_err(Refusal::from);
                finish(&surface, reply, result, turn).await;
            });
        }
    }
}

/// Who asks, if it may.
pub(super) async fn admit(surface: &Surface, account: &AccountId) -> Result<Identity, Refused> {
    if (surface.reserved)(account) {
        return Err(Refused::new(Reason::InvalidToken, format!("account: {account} is a name for servers")));
    }
    let who = Identity { account: account.clone(), name: None, admin: false, expires: None };
    let entry = surface.node.sign_in(&who, false).await?;
    Ok(Identity { admin: entry.admin, ..who })
}

/// Answers a question. A page that is larger than a message may be is asked for again, half as long.
async fn ask(surface: &Surface, who: &Identity, mut query: Query) -> Result<Bytes, Refused> {
    let most = surface.client.max_payload();
    loop {
        let found = surface.node.query(who, query.clone()).await?;
        let items = match &found {
            chamberlain_core::wire::Answer::History { items, .. } => items.len(),
            chamberlain_core::wire::Answer::Members { members, .. } => members.len(),
            _ => 0,
        };
        let payload = answer::answer(found, surface.node.clock().wall().0);
        if payload.len() <= most {
            return Ok(payload);
        }
        let shorter = u32::try_from(items / 2).unwrap_or(u32::MAX);
        match &mut query {
            Query::History { limit, .. } | Query::Members { limit, .. } if shorter > 0 => *limit = Some(shorter),
            _ => {
                let said = format!("the answer has {} bytes, and the NATS server takes {most}", payload.len());
                return Err(Refused::new(Reason::TooLarge, said));
            }
        }
    }
}

/// Publishes what came of a request, and gives its turn back.
async fn finish(surface: &Surface, reply: Option<String>, result: Result<Bytes, Refusal>, turn: OwnedSemaphorePermit) {
    surface.figures().answered(result.as_ref().err().map(|refusal| refusal.code));
    if let Some(reply) = reply {
        let payload = result.unwrap_or_else(|refusal| written(&refusal));
        if !publish(&surface.client, reply, payload).await {
            surface.figures().unanswered.inc();
        }
    }
    drop(turn);
}
