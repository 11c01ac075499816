//! A bus over NATS, on the connection that the logs use or on one of its own.
//!
//! `chamberlain.SITE.bus.all` is heard by every node, `chamberlain.SITE.bus.to.LIFE` by one life of one. A letter names
//! `chamberlain.SITE.bus.nobody.LIFE.MARK` as where to answer; there the server says when nobody listens to the first. What
//! was published while there was no connection is lost; that there was none is seen by how often it was made.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, Message, PublishErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use chamberlain_core::fleet::Life;
use chamberlain_core::id::SiteId;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::{Bus, BusError, Connected, Handing, Heard, LETTERS_WAITING};

/// How often it is looked whether the connection was made anew.
const LOOK: Duration = Duration::from_millis(250);

/// Why a node could not be connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the nodes' subjects on NATS cannot be listened to: {0}")]
pub struct NatsBusError(String);

struct NatsBus {
    client: Client,
    site: SiteId,
    life: Life,
}

/// Connects a life of a node of a site, drawn here. Ends when what is heard is no longer taken.
pub async fn connect(client: Client, site: SiteId) -> Result<Connected, NatsBusError> {
    let subscribe = async |subject: String| {
        let listening = client.subscribe(subject).await;
        listening.map_err(|error| NatsBusError(error.to_string()))
    };
    let life = Life(crate::entropy::fresh());
    let bus = NatsBus { client: client.clone(), site, life };
    let to_me = subscribe(bus.to(life)).await?;
    let to_all = subscribe(bus.all()).await?;
    let nobody = subscribe(format!("{}.*", bus.nobody())).await?;
    // They go out before what this node says, on the same connection: who hears that it is there can reach it.
    client.flush().await.map_err(|error| NatsBusError(error.to_string()))?;
    let (sender, heard) = mpsc::channel(LETTERS_WAITING);
    let prefix = format!("{}.", bus.nobody());
    tokio::spawn(listen(client, sender, [to_me, to_all, nobody], prefix));
    Ok(Connected { bus: Arc::new(bus), life, serves: true, heard })
}

async fn listen(client: Client, heard: mpsc::Sender<Heard>, subscribers: [Subscriber; 3], nobody: String) {
    let [mut to_me, mut to_all, mut at_nobody] = subscribers;
    let connects = || client.statistics().connects.load(Ordering::Relaxed);
    let (mut seen, mut lost) = (connects(), false);
    let mut look = interval(LOOK);
    loop {
        let next = tokio::select! {
            biased;
            _ = look.tick() => None,
            Some(message) = at_nobody.next() => mark(&message, &nobody).map(Heard::Nobody),
            Some(message) = to_me.next() => Some(Heard::Letter(message.payload)),
            Some(message) = to_all.next() => Some(Heard::Letter(message.payload)),
        };
        if let Some(next) = next
            && heard.try_send(next).is_err()
        {
            if heard.is_closed() {
                return;
            }
            // More came than is taken.
            lost = true;
        }
        let now = connects();
        lost |= now != seen;
        seen = now;
        if lost && heard.try_send(Heard::Gap).is_ok() {
            lost = false;
        }
        if heard.is_closed() {
            return;
        }
    }
}

/// The mark of a letter that nobody took.
fn mark(message: &Message, prefix: &str) -> Option<u64> {
    let mark = message.subject.strip_prefix(prefix)?.parse().ok()?;
    (message.status == Some(StatusCode::NO_RESPONDERS)).then_some(mark)
}

impl NatsBus {
    fn all(&self) -> String {
        format!("chamberlain.{}.bus.all", self.site)
    }

    fn to(&self, life: Life) -> String {
        format!("chamberlain.{}.bus.to.{life}", self.site)
    }

    fn nobody(&self) -> String {
        format!("chamberlain.{}.bus.nobody.{}", self.site, self.life)
    }

    fn why(&self, letter: usize, error: &async_nats::PublishError) -> BusError {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => BusError::TooLarge { bytes: letter, most: self.letter_bytes() },
            _ => BusError::Unreachable(error.to_string()),
        }
    }
}

impl Bus for NatsBus {
    fn send(&self, to: Life, letter: Bytes, mark: u64) -> Handing<'_> {
        Box::pin(async move {
            let bytes = letter.len();
            let nobody = format!("{}.{mark}", self.nobody());
            let published = self.client.publish_with_reply(self.to(to), nobody, letter).await;
            published.map_err(|error| self.why(bytes, &error))
        })
    }

    fn broadcast(&self, letter: Bytes) -> Handing<'_> {
        Box::pin(async move {
            let bytes = letter.len();
            let published = self.client.publish(self.all(), letter).await;
            published.map_err(|error| self.why(bytes, &error))
        })
    }

    fn flush(&self) -> Handing<'_> {
        Box::pin(async move { self.client.flush().await.map_err(|error| BusError::Unreachable(error.to_string())) })
    }

    fn letter_bytes(&self) -> usize {
        self.client.server_info().max_payload
    }
}
