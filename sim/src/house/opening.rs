//! What the frames of a client begin: hello, opening a room, older records, keys.

use std::sync::Arc;

use chamberlain_core::fanout::{Input, KindSet, OpeningId, Past, Socket};
use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::log::{Digest, Position, Record};
use chamberlain_core::room::{Code, Event as Happened, Profile, Reason, Refused};
use chamberlain_core::wire::{ClientFrame, Codec, Hello, Open, ResetWhy, RoomView, ServerFrame, Welcome};

use super::link::{Piece, framing};
use super::session::{Session, error_frame};
use super::{Answer, House, Op};
use crate::story::LinkId;

/// How much of a log is read at once for one connection.
const FETCH_BYTES: usize = 128 * 1024;

impl House {
    /// The first frame of a connection.
    pub(super) fn hello(&mut self, node: usize, link: LinkId, codec: Codec, bytes: &[u8]) {
        let hello = match codec.decode_client(bytes) {
            Ok(ClientFrame::Hello(hello)) => hello,
            _ => return self.refuse_hello(link, codec, 4000, &Reason::Malformed.into()),
        };
        let Ok(account) = hello.token.parse::<chamberlain_core::id::AccountId>() else {
            return self.refuse_hello(link, codec, 4001, &Reason::InvalidToken.into());
        };
        self.account(node, &account.clone(), move |house, loaded| {
            if let Err(failure) = loaded {
                return house.refuse_hello(link, codec, 4013, &super::node::refusal(failure));
            }
            let op = Op::People(vec![account.clone()]);
            house.call(node, op, move |house, told| {
                let entry = match told {
                    Ok(Answer::People(mut people)) => people.remove(&account),
                    _ => return house.refuse_hello(link, codec, 4013, &Reason::StoreUnavailable.into()),
                };
                match entry {
                    None => house.refuse_hello(link, codec, 4001, &Reason::UnknownAccount.into()),
                    Some(entry) if entry.disabled || house.nodes[node].shut.contains(&account) => {
                        house.refuse_hello(link, codec, 4003, &Reason::AccountDisabled.into());
                    }
                    Some(entry) => house.welcome(node, link, codec, account, &entry, &hello),
                }
            });
        });
    }

    fn welcome(
        &mut self,
        node: usize,
        link: LinkId,
        codec: Codec,
        account: chamberlain_core::id::AccountId,
        entry: &Profile,
        hello: &Hello,
    ) {
        let (limits, now) = (self.limits(), self.instant());
        if self.nodes[node].draining {
            return self.refuse_hello(link, codec, 4013, &Reason::Draining.into());
        }
        let own = self.nodes[node].of_account.get(&account).map_or(0, std::collections::BTreeSet::len);
        if own >= limits.sockets_per_account as usize || self.nodes[node].sessions.len() >= limits.sockets as usize {
            return self.refuse_hello(link, codec, 4009, &Reason::TooManySockets.into());
        }
        if !self.links.get(&link).is_some_and(super::link::Link::is_served) {
            return;
        }
        let machine = Socket::new(account.clone(), codec, hello.batch, limits.clone(), framing, now);
        let session = Session::new(machine, account.clone(), codec, entry.admin, &limits);
        let account_revision = self.account_state(node, &account).head().revision;
        self.nodes[node].sessions.insert(link, session);
        self.nodes[node].of_account.entry(account.clone()).or_default().insert(link);
        let welcome = ServerFrame::Welcome(Welcome {
            account,
            name: entry.name.clone(),
            admin: entry.admin,
            site: self.story.keys.site().clone(),
            node: format!("node-{node}"),
            time: self.wall(node),
            account_revision,
            expires: None,
            limits: (*limits).clone(),
        });
        let frame = framing(codec, codec.encode(&welcome));
        self.step(node, link, Input::Control { frame });
        self.turn(node, link);
    }

    fn refuse_hello(&mut self, link: LinkId, codec: Codec, code: u16, refused: &Refused) {
        let bye = ServerFrame::Bye { code, reason: refused.message.clone().into_owned(), retry_after_ms: None };
        let frames = [error_frame(None, None, refused), bye];
        self.write(link, frames.map(|frame| Piece::Frame(framing(codec, codec.encode(&frame)))));
        self.server_closes(link, code);
    }

    /// Opens a room. Told of every revision from before the head is looked at: none falls between the two.
    pub(super) fn open(&mut self, node: usize, link: LinkId, open: Open) {
        let id = open.room;
        let most = self.story.limits.open_rooms as usize;
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        let refused = if session.machine.is_open(id) {
            Some(Reason::AlreadyOpen.into())
        } else if session.machine.open_rooms() >= most {
            Some(Refused::new(Reason::TooMany, format!("open: {most} rooms are open, which is the limit")))
        } else {
            None
        };
        if let Some(refused) = refused {
            return self.refuse(node, link, None, Some(id), &refused);
        }
        let kinds = match open.kinds.as_deref().map(KindSet::parse).transpose() {
            Ok(kinds) => kinds,
            Err(unknown) => {
                let refused = Refused::new(Reason::Malformed, unknown.to_string());
                return self.refuse(node, link, None, Some(id), &refused);
            }
        };
        session.busy = true;
        self.nodes[node].registry.listen(link, id);
        self.room(node, id, move |house, loaded| match loaded {
            Err(refused) => house.not_opened(node, link, id, &refused),
            Ok(()) => house.open_loaded(node, link, open, kinds),
        });
    }

    /// A node that is not alone may be behind: before it says no, it reads the log.
    fn open_loaded(&mut self, node: usize, link: LinkId, open: Open, kinds: Option<KindSet>) {
        let id = open.room;
        let Some(account) = self.nodes[node].sessions.get(&link).map(|session| session.account.clone()) else { return };
        let keys = self.story.keys.clone();
        let Some(room) = self.room_at(node, id) else { return };
        let state = room.hub.state();
        let given = open.position.as_ref().filter(|position| !position.is_empty());
        let position = given.map(|blob| Position::from_blob(blob, id, &keys));
        let ahead = matches!(position, Some(Some(found)) if found.head.revision > state.head().revision);
        if (!state.is_member(&account) || ahead) && self.nodes.len() > 1 {
            self.probe("log read before saying no");
            return self.catch_up(node, id, move |house, read| {
                if read {
                    house.look_at(node, link, open, kinds, position);
                } else {
                    house.not_opened(node, link, id, &Reason::StoreUnavailable.into());
                }
            });
        }
        self.look_at(node, link, open, kinds, position);
    }

    fn look_at(
        &mut self,
        node: usize,
        link: LinkId,
        open: Open,
        kinds: Option<KindSet>,
        position: Option<Option<Position>>,
    ) {
        let id = open.room;
        let Some(account) = self.nodes[node].sessions.get(&link).map(|session| session.account.clone()) else { return };
        self.room_view(node, id, account.clone(), move |house, view| {
            let view = match view {
                Ok(view) => view,
                Err(refused) => return house.not_opened(node, link, id, &refused),
            };
            house.account(node, &account.clone(), move |house, loaded| {
                if let Err(failure) = loaded {
                    return house.not_opened(node, link, id, &super::node::refusal(failure));
                }
                let told_until = house.account_state(node, &account).told_until(id);
                house.open_at(node, link, &open, kinds, position, view, told_until);
            });
        });
    }

    #[expect(clippy::too_many_arguments, reason = "what an opening consists of")]
    fn open_at(
        &mut self,
        node: usize,
        link: LinkId,
        open: &Open,
        kinds: Option<KindSet>,
        position: Option<Option<Position>>,
        view: RoomView,
        told_until: Revision,
    ) {
        let id = open.room;
        let Some(account) = self.nodes[node].sessions.get(&link).map(|session| session.account.clone()) else { return };
        let Some(room) = self.room_at(node, id) else {
            return self.not_opened(node, link, id, &Reason::StoreUnavailable.into());
        };
        let head = room.hub.state().head();
        if !room.hub.state().is_member(&account) {
            // Removed while names and marks were looked up: from the head on, nothing would come that says so.
            return self.not_opened(node, link, id, &Reason::NotAMember.into());
        }
        let (after, chain) = match position {
            // Whether its digest is one of this log, the hub finds out where the chain meets its own.
            Some(Some(found)) if found.head.revision < head.revision || found.head == head => {
                self.probe("resumed with a position");
                (found.head.revision, Some(found.head.digest))
            }
            Some(found) => {
                self.probe(if found.is_some() { "position beyond the log" } else { "invented position" });
                self.probe("resume refused");
                return self.opened_not(
                    node,
                    link,
                    id,
                    &ServerFrame::Reset { room: id, why: ResetWhy::UnknownPosition },
                );
            }
            None => match (open.from, open.limit) {
                (Some(from), _) => begin_at(from.previous().min(head.revision)),
                (None, Some(limit)) => begin_at(Revision(head.revision.0.saturating_sub(limit.into()))),
                (None, None) => (head.revision, Some(head.digest)),
            },
        };
        let opened = ServerFrame::Opened { room: view, after, head: head.revision };
        let found = &mut self.nodes[node];
        let Some(session) = found.sessions.get_mut(&link) else { return };
        let opened = framing(session.codec, session.codec.encode(&opened));
        // Notes first: an account event that tells of the room comes before the room's key.
        self.read_notes(node, link);
        if let Some(session) = self.nodes[node].sessions.get_mut(&link) {
            session.open.insert(id);
            let head = head.revision;
            let input = Input::Open { room: id, after, head, chain, kinds, opened, told_until };
            self.request_done(node, link, Some(input));
            self.step_moved(node, link, id);
        }
    }

    fn not_opened(&mut self, node: usize, link: LinkId, room: RoomId, refused: &Refused) {
        self.opened_not(node, link, room, &error_frame(None, Some(room), refused));
    }

    fn opened_not(&mut self, node: usize, link: LinkId, room: RoomId, frame: &ServerFrame) {
        self.nodes[node].registry.unlisten(link, room);
        let Some(session) = self.nodes[node].sessions.get(&link) else { return };
        let frame = framing(session.codec, session.codec.encode(frame));
        self.request_done(node, link, Some(Input::Control { frame }));
    }

    /// Reads what a hub no longer holds.
    pub(super) fn fetch(&mut self, node: usize, link: LinkId, room: RoomId, opening: OpeningId, after: Revision) {
        let op = Op::Read { log: LogId::Room(room), after, bytes: FETCH_BYTES };
        self.call(node, op, move |house, told| {
            let input = match told {
                Ok(Answer::Records(stored)) => {
                    let records: Result<Vec<Record<Happened>>, _> =
                        stored.iter().map(|stored| Record::decode(&stored.bytes)).collect();
                    match records.map(Past::new) {
                        Ok(Some(past)) => Input::Fetched { room, opening, past: Arc::new(past) },
                        Ok(None) => Input::FetchFailed { room, opening },
                        Err(_) => Input::Reset { room, why: ResetWhy::Quarantined },
                    }
                }
                _ => Input::FetchFailed { room, opening },
            };
            house.step(node, link, input);
            house.turn(node, link);
        });
    }

    /// The key of a version as a frame, if the fold says that the account may hold it.
    pub(super) fn give_key(&mut self, node: usize, link: LinkId, id: RoomId, opening: OpeningId, version: KeyVersion) {
        let Some(session) = self.nodes[node].sessions.get(&link) else { return };
        let (account, codec) = (session.account.clone(), session.codec);
        let kept = self.is_kept(node, id, version);
        let state = self.room_at(node, id).map(|room| room.hub.state()).filter(|_| kept);
        let public = state.filter(|state| state.may_hold(&account, version)).and_then(|state| state.public(version));
        let Some(public) = public else {
            self.probe("key refused");
            // Not within the step that asks for it.
            return self.resume_in(node, 0, move |house| {
                house.step(node, link, Input::Key { room: id, opening, version, frame: None });
                house.turn(node, link);
            });
        };
        self.resume_in(node, 0, move |house| {
            house.secret(node, id, version, move |house, secret| {
                let input = match secret {
                    Ok(secret) => {
                        let secret = Blob(bytes::Bytes::copy_from_slice(&secret.to_bytes()[..]));
                        let frame = ServerFrame::Key { room: id, version, public, secret };
                        let frame = Some(framing(codec, codec.encode(&frame)));
                        Input::Key { room: id, opening, version, frame }
                    }
                    // The key is there, and cannot be reached: the ciphertext waits for it.
                    Err(refused) if refused.code() == Code::Unavailable && refused.reason != Reason::Quarantined => {
                        Input::KeyFailed { room: id, opening, version }
                    }
                    Err(_) => Input::Reset { room: id, why: ResetWhy::Quarantined },
                };
                house.step(node, link, input);
                house.turn(node, link);
            });
        });
    }
}

/// Begins after a revision; before the first one, the chain of digests is known.
fn begin_at(after: Revision) -> (Revision, Option<Digest>) {
    (after, (after == Revision::ZERO).then_some(Digest::ZERO))
}
