//! What the frames of a client begin.

use std::sync::Arc;

use chamberlain_core::fanout::{Input, KindSet, OpeningId, Past};
use chamberlain_core::id::{KeyVersion, LogId, RequestId, Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::log::{Digest, Position, Record};
use chamberlain_core::room::{Code, Command, EVENT_KINDS, Event, Outcome, Reason, Refused};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Open, ResetWhy, ServerFrame};
use futures_util::future::{BoxFuture, FutureExt};

use super::session::{Done, Session};
use crate::auth::Identity;
use crate::node::{Handle, Inner, Node, Room};

/// How much of a log is read at once for one connection: about what one write takes, for one that does not read
/// holds it.
const FETCH_BYTES: usize = 128 * 1024;

impl Session {
    /// Begins what a frame asks for; `None` when it was done at once.
    pub(super) fn begin_request(&mut self, bytes: &[u8]) -> Option<BoxFuture<'static, Done>> {
        let frame = match self.handle.codec.decode_client(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.refuse(None, None, &Refused::new(Reason::Malformed, error.0));
                return None;
            }
        };
        match frame {
            ClientFrame::Ping => self.send(&ServerFrame::Pong),
            ClientFrame::Close { room } => self.close(room),
            ClientFrame::Hello(_) => {
                self.refuse(None, None, &Refused::new(Reason::Malformed, "hello was said already"));
            }
            ClientFrame::Watch { kinds } => self.watch(&kinds),
            ClientFrame::Refresh { token } => return Some(self.refresh(token)),
            ClientFrame::Open(open) => return self.open(open),
            ClientFrame::Command { id, command } => return self.command(id, command),
            ClientFrame::Query { id, query } => {
                let (node, who, handle) = (Node::of(&self.inner), self.who.clone(), self.handle.clone());
                return Some(
                    async move {
                        let result = node.query(&who, query).await;
                        Done::Told(reply(&handle, node.inner(), Some(id), None, result, None))
                    }
                    .boxed(),
                );
            }
        }
        None
    }

    /// Answers with a refusal.
    pub(super) fn refuse(&mut self, id: Option<RequestId>, room: Option<RoomId>, refused: &Refused) {
        self.inner.metrics.refused_frame(refused.reason);
        self.send(&error_frame(id, room, refused));
    }

    fn watch(&mut self, kinds: &[String]) {
        match known_kinds(kinds) {
            Ok(known) => self.inner.sockets.watch(&self.handle, known),
            Err(refused) => self.refuse(None, None, &refused),
        }
    }

    fn refresh(&self, token: String) -> BoxFuture<'static, Done> {
        let (auth, who, inner) = (self.auth.clone(), self.who.clone(), self.inner.clone());
        async move {
            match super::verify(&auth, &token, inner.clock) {
                Ok(newer) if newer.account == who.account => Done::Refreshed(Identity { admin: who.admin, ..newer }),
                Ok(_) => Done::End {
                    code: 4001,
                    refused: Refused::new(Reason::InvalidToken, "token: it is another account's"),
                },
                Err(refused) => Done::End { code: 4001, refused },
            }
        }
        .boxed()
    }

    fn command(&mut self, id: RequestId, command: Command) -> Option<BoxFuture<'static, Done>> {
        let room = command.room();
        if !self.rate.take(self.inner.clock.now()) {
            let limits = &self.inner.settings.limits;
            let message = format!(
                "{} commands a second, {} at once, is the limit of a connection",
                limits.submits_per_second, limits.submits_burst
            );
            self.refuse(Some(id), room, &Refused::new(Reason::RateLimited, message));
            return None;
        }
        self.step(Input::Asked { request: id });
        let (node, who, handle) = (Node::of(&self.inner), self.who.clone(), self.handle.clone());
        let inner = self.inner.clone();
        let answer: crate::node::Reply = Box::new(move |result| {
            // An answer follows the revision it tells of: the client sees its own message before it is told of it.
            let follows = match (&result, room) {
                (Ok(Outcome::Sent { revision, .. } | Outcome::Done { revision }), Some(room)) => {
                    Some((room, *revision))
                }
                _ => None,
            };
            let result = result.map(Answer::Outcome);
            handle.push(reply(&handle, &inner, Some(id), room, result, follows));
        });
        Some(
            async move {
                node.begin(&who, id, command, answer).await;
                Done::Nothing
            }
            .boxed(),
        )
    }

    fn open(&mut self, open: Open) -> Option<BoxFuture<'static, Done>> {
        let room = open.room;
        let most = self.inner.settings.limits.open_rooms as usize;
        let refused = if self.is_open(room) {
            Some(Reason::AlreadyOpen.into())
        } else if self.open_rooms() >= most {
            Some(Refused::new(Reason::TooMany, format!("open: {most} rooms are open, which is the limit")))
        } else {
            None
        };
        if let Some(refused) = refused {
            self.refuse(None, Some(room), &refused);
            return None;
        }
        let (inner, who, handle) = (self.inner.clone(), self.who.clone(), self.handle.clone());
        Some(
            async move {
                // Told of every revision from before the head is looked at: none falls between the two.
                inner.sockets.listen(&handle, room);
                match open_room(&inner, &who, &handle, open).await {
                    Ok(done) => done,
                    Err(refused) => {
                        inner.sockets.unlisten(&handle, room);
                        inner.metrics.refused_frame(refused.reason);
                        Done::Told(Input::Control {
                            frame: framed(&inner, handle.codec, &error_frame(None, Some(room), &refused)),
                        })
                    }
                }
            }
            .boxed(),
        )
    }
}

async fn open_room(inner: &Arc<Inner>, who: &Identity, handle: &Arc<Handle>, open: Open) -> Result<Done, Refused> {
    let kinds = open.kinds.as_deref().map(known_kinds).transpose()?;
    let room = inner.room_for(&who.account, open.room).await?;
    // What it shows may not be so any more. A log that only newer nodes can read to its end is shown as far as it goes.
    if room.is_quarantined() {
        return Err(Reason::Quarantined.into());
    }
    let resumes = open.position.as_ref().filter(|position| !position.is_empty());
    let resumes = resumes.map(|position| Position::from_blob(position, open.room, &inner.settings.keys));
    let reached = match (&resumes, open.from) {
        (Some(position), _) => position.as_ref().map_or(Revision::ZERO, |position| position.head.revision),
        (None, from) => from.map_or(Revision::ZERO, Revision::previous),
    };
    // Another node may have sent what this one was not shown yet.
    inner.reaches(&room, reached).await?;
    let view = inner.room_view(who, &room).await?;
    let head = {
        let hub = room.hub.lock();
        // Removed while names and marks were looked up: from the head on, nothing would come that says so.
        if !hub.state().is_member(&who.account) {
            return Err(Reason::NotAMember.into());
        }
        hub.state().head()
    };
    let (after, chain) = match resumes {
        // Whether its digest is one of this log, the hub finds out where the socket's chain meets its own. At the head nothing
        // follows that could meet it, and it is looked at here.
        Some(Some(position)) if position.head.revision < head.revision || position.head == head => {
            (position.head.revision, Some(position.head.digest))
        }
        Some(found) => {
            if found.is_some() {
                tracing::error!(room = %room.id, "a client holds a position that is not in the log: it lost something");
                inner.metrics.position_ahead();
            }
            inner.sockets.unlisten(handle, room.id);
            let reset = ServerFrame::Reset { room: room.id, why: ResetWhy::UnknownPosition };
            return Ok(Done::Told(Input::Control { frame: framed(inner, handle.codec, &reset) }));
        }
        None => match (open.from, open.limit) {
            (Some(from), _) => begin_at(from.previous().min(head.revision)),
            (None, Some(limit)) => begin_at(Revision(head.revision.0.saturating_sub(limit.into()))),
            (None, None) => (head.revision, Some(head.digest)),
        },
    };
    let told_until = inner.have_told(&who.account, &room).await?;
    let opened = ServerFrame::Opened { room: view, after, head: head.revision };
    let input = Input::Open {
        room: room.id,
        after,
        head: head.revision,
        chain,
        kinds,
        opened: framed(inner, handle.codec, &opened),
        told_until,
    };
    Ok(Done::Opened { room, input: Box::new(input) })
}

/// Begins after a revision; before the first one, the chain of digests is known.
fn begin_at(after: Revision) -> (Revision, Option<Digest>) {
    (after, (after == Revision::ZERO).then_some(Digest::ZERO))
}

/// Reads what a hub no longer holds.
pub(super) async fn fetch(inner: Arc<Inner>, room: RoomId, opening: OpeningId, after: Revision) -> Input {
    let read = match inner.stores.logs.read(&LogId::Room(room), after, FETCH_BYTES).await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%room, %error, "older revisions cannot be read; they are read again");
            return Input::FetchFailed { room, opening };
        }
    };
    let mut records: Result<Vec<Record<Event>>, _> = Ok(Vec::new());
    for bytes in &read {
        match (Record::decode(&bytes.bytes), &mut records) {
            (Ok(record), Ok(records)) => records.push(record),
            // What this node cannot read comes after all that it shows.
            (Err(error), Ok(so_far)) if error.is_newer() && !so_far.is_empty() => break,
            (Err(error), records) => *records = Err(error),
            (Ok(_), Err(_)) => break,
        }
    }
    let records = match records {
        Ok(records) => records,
        Err(error) => {
            tracing::error!(%room, %error, "a record cannot be read");
            return Input::Reset { room, why: ResetWhy::Quarantined };
        }
    };
    match Past::new(records) {
        Some(past) => Input::Fetched { room, opening, past: Arc::new(past) },
        None => Input::FetchFailed { room, opening },
    }
}

/// The key of a version as a frame, if the account may hold it.
pub(super) async fn key(
    inner: Arc<Inner>,
    handle: Arc<Handle>,
    room: Option<Arc<Room>>,
    id: RoomId,
    opening: OpeningId,
    version: KeyVersion,
) -> Input {
    let Some(room) = room else { return Input::Key { room: id, opening, version, frame: None } };
    match make_key_frame(&inner, &handle, &room, version).await {
        Ok(frame) => Input::Key { room: id, opening, version, frame },
        // The key is there, and cannot be reached: the ciphertext waits for it, and the rest of the connection goes on.
        Err(refused) if refused.code() == Code::Unavailable && refused.reason != Reason::Quarantined => {
            Input::KeyFailed { room: id, opening, version }
        }
        Err(refused) => {
            tracing::error!(room = %id, %version, %refused, "the log names a key that the vault does not have");
            Input::Reset { room: id, why: ResetWhy::Quarantined }
        }
    }
}

/// `None` when the account may not hold the version, or its grace is over.
async fn make_key_frame(
    inner: &Inner,
    handle: &Handle,
    room: &Room,
    version: KeyVersion,
) -> Result<Option<bytes::Bytes>, Refused> {
    let (public, may_be_lost) = {
        let hub = room.hub.lock();
        let state = hub.state();
        if !state.may_hold(&handle.account, version) || inner.is_expired(state, version) {
            return Ok(None);
        }
        (state.public(version).ok_or(Reason::NoSuchKey)?, state.may_be_lost(version))
    };
    let secret = match room.secret(inner, version).await {
        // An operator knows of it: what follows can be read.
        Err(refused) if may_be_lost && matches!(refused.reason, Reason::NoSuchKey | Reason::Quarantined) => {
            return Ok(None);
        }
        secret => secret?,
    };
    let secret = Blob(bytes::Bytes::copy_from_slice(&secret.to_bytes()[..]));
    let frame = ServerFrame::Key { room: room.id, version, public, secret };
    Ok(Some(framed(inner, handle.codec, &frame)))
}

fn known_kinds(kinds: &[String]) -> Result<KindSet, Refused> {
    KindSet::parse(kinds).map_err(|unknown| {
        let message = format!("{unknown}; the kinds are {}", EVENT_KINDS.join(", "));
        Refused::new(Reason::Malformed, message)
    })
}

/// The answer to a request, as a note to its connection.
fn reply(
    handle: &Handle,
    inner: &Inner,
    id: Option<RequestId>,
    room: Option<RoomId>,
    result: Result<Answer, Refused>,
    follows: Option<(RoomId, Revision)>,
) -> Input {
    let frame = match (result, id) {
        (Ok(answer), Some(id)) => ServerFrame::Ok { id, answer },
        (Ok(_), None) => ServerFrame::Pong,
        (Err(refused), id) => error_frame(id, room, &refused),
    };
    Input::Reply { request: id, frame: framed(inner, handle.codec, &frame), follows }
}

fn framed(inner: &Inner, codec: Codec, frame: &ServerFrame) -> bytes::Bytes {
    (inner.settings.framing)(codec, codec.encode(frame))
}

fn error_frame(id: Option<RequestId>, room: Option<RoomId>, refused: &Refused) -> ServerFrame {
    ServerFrame::Error {
        id,
        room,
        code: refused.code(),
        reason: refused.reason,
        message: refused.message.clone().into_owned(),
        current: refused.current,
    }
}
