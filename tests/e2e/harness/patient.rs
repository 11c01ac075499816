//! A client where servers come and go: what does not succeed is told, and not taken for an error of the server.

use std::net::SocketAddr;
use std::time::Duration;

use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Hello, Open, Query};
use tokio::time::{Instant, timeout, timeout_at};

use super::Client;

/// How long a server may take to let somebody in, or to open a room.
const WAITS: Duration = Duration::from_secs(8);

impl Client {
    /// Connects, says hello and learns which rooms there are, if the server does its part.
    pub(crate) async fn try_connect(address: SocketAddr, name: &str, codec: Codec) -> Option<Self> {
        let mut client = timeout(WAITS, Self::try_dial(address, name, codec)).await.ok()??;
        client.send(&ClientFrame::Hello(Hello { token: name.into(), batch: true })).await;
        client.came(|client| client.welcome.is_some()).await.then_some(())?;
        let id = super::request_id();
        client.send(&ClientFrame::Query { id, query: Query::Rooms }).await;
        client.came(|client| client.answers.contains_key(&id)).await.then_some(())?;
        match client.answers.remove(&id) {
            Some(Ok(Answer::Rooms { rooms, .. })) => {
                client.joined.extend(rooms.iter().map(|room| room.room));
                Some(client)
            }
            _ => None,
        }
    }

    /// Opens a room from where it was; whether it came to that.
    pub(crate) async fn try_open(&mut self, room: RoomId) -> bool {
        let position = self.rooms.get(&room).and_then(|log| log.position.clone());
        let from = if position.is_some() { None } else { Some(Revision(1)) };
        if let Some(log) = self.rooms.get_mut(&room) {
            log.reset = None;
            log.resumes = position.as_ref().map(|(revision, _)| *revision);
        }
        let position = position.map(|(_, position)| position);
        let refused = self.refusals.len();
        self.send(&ClientFrame::Open(Open { room, position, from, kinds: None, limit: None })).await;
        let ended = |client: &Self| {
            let log = client.rooms.get(&room);
            client.refusals.len() > refused || log.is_some_and(|log| log.open || log.reset.is_some())
        };
        self.came(ended).await && self.rooms.get(&room).is_some_and(|log| log.open)
    }

    /// Reads until `done`; false when the connection ended or it took too long.
    async fn came(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + WAITS;
        while !done(self) {
            if self.closed.is_some() || self.bye.is_some() || timeout_at(deadline, self.read()).await.is_err() {
                return false;
            }
        }
        true
    }
}
