//! A connection as its client saw it: what it asked, what came, which room was open from where to where.
//!
//! A node works on the frames of a connection in their order, and so the answers to `open` come in the order of asking;
//! what comes of a room belongs to the last `opened`, also where the client has closed the room meanwhile.

use std::collections::{BTreeMap, VecDeque};

use chamberlain_core::id::{AccountId, RequestId, Revision, RoomId};
use chamberlain_core::room::Reason;
use chamberlain_core::wire::{Answer, ClientFrame, Open, ResetWhy, ServerFrame};

use crate::story::{LinkId, Seen, Story};

/// One connection.
#[derive(Debug)]
pub(super) struct Link<'a> {
    pub(super) id: LinkId,
    pub(super) account: &'a AccountId,
    pub(super) batch: bool,
    /// Index into the story of each thing that was seen of it, in order.
    pub(super) seen: Vec<usize>,
    /// Where the welcome came, the account revision it said, and whether it is an administrator's.
    pub(super) welcome: Option<(usize, Revision, bool)>,
    pub(super) opens: Vec<Asked<'a>>,
    pub(super) openings: Vec<Opening>,
    /// Frames of rooms that were not open.
    pub(super) strays: Vec<usize>,
    /// Commands and queries sent here, by id.
    pub(super) requests: BTreeMap<RequestId, Request<'a>>,
    /// Answers to what was never asked here, or was answered before.
    pub(super) uncalled: Vec<usize>,
    /// Where it ended, and with which code.
    pub(super) ended: Option<(usize, Option<u16>)>,
    /// Of each room, what was sent and is not answered: opens, and the closes that follow them.
    pending: BTreeMap<RoomId, VecDeque<Pending>>,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Open(usize),
    Close(usize),
}

/// An `open` that was sent.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) open: &'a Open,
    pub(super) sent: usize,
    pub(super) came: Option<(usize, Came)>,
}

/// What came of an `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It was opened: an index into [`Link::openings`].
    Opened(usize),
    /// It was refused.
    Refused(Reason),
    /// The position is of another log.
    Reset(ResetWhy),
}

/// A room, open on a connection.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) room: RoomId,
    /// The `open` that it answers: an index into [`Link::opens`].
    pub(super) ask: Option<usize>,
    /// Where `opened` came.
    pub(super) opened: usize,
    pub(super) after: Revision,
    /// The head that it told.
    pub(super) head: Revision,
    /// Where each batch and each void of it came.
    pub(super) frames: Vec<usize>,
    /// Where the client sent `close`.
    pub(super) closed: Option<usize>,
    /// From where on nothing of it may come: it was reset, or closed for sure, or opened again.
    pub(super) over: Option<usize>,
    pub(super) reset: Option<(usize, ResetWhy)>,
}

/// A command or a query, on one connection.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Where and what, each time it was sent.
    pub(super) sent: Vec<(usize, &'a ClientFrame)>,
    /// Where and what was answered.
    pub(super) came: Vec<(usize, Result<&'a Answer, Reason>)>,
}

impl Opening {
    /// Up to where it was covered when the `seen`th thing came to pass.
    pub(super) fn covered(&self, story: &Story, seen: usize) -> Revision {
        let before = self.frames.partition_point(|frame| *frame < seen);
        let last = before.checked_sub(1).and_then(|last| range(&story.seen[self.frames[last]].1));
        last.map_or(self.after, |(_, to)| to)
    }

    /// Whether it is open, for all that the client knows, and was not asked to be closed.
    pub(super) fn is_open(&self, seen: usize) -> bool {
        let gone = |at: Option<usize>| at.is_some_and(|at| at <= seen);
        self.opened < seen && !gone(self.closed) && !gone(self.over)
    }
}

/// The revisions that a frame covers.
pub(super) fn range(seen: &Seen) -> Option<(Revision, Revision)> {
    match seen {
        Seen::Came { frame: ServerFrame::Batch { from, to, .. } | ServerFrame::Void { from, to, .. }, .. } => {
            Some((*from, *to))
        }
        _ => None,
    }
}

impl<'a> Link<'a> {
    pub(super) fn new(id: LinkId, account: &'a AccountId, batch: bool, at: usize) -> Self {
        Self {
            id,
            account,
            batch,
            seen: vec![at],
            welcome: None,
            opens: Vec::new(),
            openings: Vec::new(),
            strays: Vec::new(),
            requests: BTreeMap::new(),
            uncalled: Vec::new(),
            ended: None,
            pending: BTreeMap::new(),
        }
    }

    /// The opening of a room that was last opened before the `seen`th thing, whether or not it is over.
    pub(super) fn opening(&self, room: RoomId, seen: usize) -> Option<&Opening> {
        self.openings.iter().rev().find(|opening| opening.room == room && opening.opened < seen)
    }

    /// What the log of a room must have held for whoever served this connection before the `seen`th thing: the node shows
    /// nothing that it does not know.
    pub(super) fn shown(&self, story: &Story, room: RoomId, seen: usize) -> Revision {
        let openings = self.openings.iter().filter(|opening| opening.room == room && opening.opened < seen);
        openings.map(|opening| opening.head.max(opening.covered(story, seen))).max().unwrap_or_default()
    }

    /// Its client sent a frame.
    pub(super) fn sent(&mut self, at: usize, frame: &'a ClientFrame) {
        self.seen.push(at);
        match frame {
            ClientFrame::Open(open) => {
                self.pending.entry(open.room).or_default().push_back(Pending::Open(self.opens.len()));
                self.opens.push(Asked { open, sent: at, came: None });
            }
            ClientFrame::Close { room } => {
                let pending = self.pending.entry(*room).or_default();
                if pending.is_empty() {
                    self.close(*room, at);
                } else {
                    pending.push_back(Pending::Close(at));
                }
            }
            ClientFrame::Command { id, .. } | ClientFrame::Query { id, .. } => {
                let request = self.requests.entry(*id);
                request.or_insert(Request { sent: Vec::new(), came: Vec::new() }).sent.push((at, frame));
            }
            _ => {}
        }
    }

    fn close(&mut self, room: RoomId, at: usize) {
        if let Some(opening) = self.openings.iter_mut().rev().find(|opening| opening.room == room) {
            opening.closed = opening.closed.or(Some(at));
        }
    }

    /// A frame came to its client.
    pub(super) fn came(&mut self, at: usize, frame: &'a ServerFrame) {
        self.seen.push(at);
        match frame {
            ServerFrame::Welcome(welcome) => {
                self.welcome = self.welcome.or(Some((at, welcome.account_revision, welcome.admin)));
            }
            ServerFrame::Opened { room, after, head } => self.opened(at, room.room, *after, *head),
            ServerFrame::Batch { room, .. } | ServerFrame::Void { room, .. } => {
                match self.openings.iter_mut().rev().find(|opening| opening.room == *room) {
                    Some(opening) if opening.over.is_none() => opening.frames.push(at),
                    _ => self.strays.push(at),
                }
            }
            ServerFrame::Reset { room, why } => self.reset(at, *room, *why),
            ServerFrame::Error { id: None, room: Some(room), reason, .. } => {
                self.answer_open(*room, at, Came::Refused(*reason));
            }
            ServerFrame::Ok { id, answer } => self.answered(at, *id, Ok(answer)),
            ServerFrame::Error { id: Some(id), reason, .. } => self.answered(at, *id, Err(*reason)),
            _ => {}
        }
    }

    fn opened(&mut self, at: usize, room: RoomId, after: Revision, head: Revision) {
        if let Some(before) = self.openings.iter_mut().rev().find(|opening| opening.room == room) {
            before.over = before.over.or(Some(at));
        }
        let index = self.openings.len();
        let (closed, over, reset, frames) = (None, None, None, Vec::new());
        self.openings.push(Opening { room, ask: None, opened: at, after, head, frames, closed, over, reset });
        self.openings[index].ask = self.answer_open(room, at, Came::Opened(index));
    }

    /// The first `open` of the room that waits is answered; what was closed after it is closed.
    fn answer_open(&mut self, room: RoomId, at: usize, came: Came) -> Option<usize> {
        let pending = self.pending.get_mut(&room)?;
        let Some(Pending::Open(ask)) = pending.pop_front() else { return None };
        self.opens[ask].came = Some((at, came));
        let mut closed = Vec::new();
        while let Some(Pending::Close(at)) = pending.front() {
            closed.push(*at);
            pending.pop_front();
        }
        closed.into_iter().for_each(|at| self.close(room, at));
        Some(ask)
    }

    fn reset(&mut self, at: usize, room: RoomId, why: ResetWhy) {
        let waits = self.pending.get(&room).and_then(|pending| match pending.front() {
            Some(Pending::Open(ask)) => Some(self.opens[*ask].open),
            _ => None,
        });
        let current = self.openings.iter_mut().rev().find(|opening| opening.room == room);
        let current = current.filter(|opening| opening.over.is_none());
        // Said of an opening that is closed by its client, or in answer to the next `open`, where that showed a position.
        let answers = why == ResetWhy::UnknownPosition
            && waits.is_some_and(|open| open.position.is_some())
            && current.as_ref().is_none_or(|opening| opening.closed.is_some());
        match current {
            Some(opening) if !answers => {
                (opening.over, opening.reset) = (Some(at), Some((at, why)));
            }
            _ => {
                self.answer_open(room, at, Came::Reset(why));
            }
        }
    }

    fn answered(&mut self, at: usize, id: RequestId, result: Result<&'a Answer, Reason>) {
        let request = self.requests.get_mut(&id).filter(|request| request.came.len() < request.sent.len());
        let Some(request) = request else {
            self.uncalled.push(at);
            return;
        };
        let (sent, _) = request.sent[request.came.len()];
        request.came.push((at, result));
        // Frames are worked on in order: what was closed before this was asked is closed.
        for opening in &mut self.openings {
            if opening.closed.is_some_and(|closed| closed < sent) {
                opening.over = opening.over.or(Some(at));
            }
        }
    }
}
