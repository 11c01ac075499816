//! The other nodes of the site: who lives, commands handed to the owner of their room, and what else nodes tell each other.
//!
//! A command goes to the node that sequences its room, so that what comes in at several nodes shares records there. That is all
//! it is for: where the owner does not answer in time, declines, or is gone, the command is carried out here, and compare-and-append
//! puts both in order. It may then be done there, too, later: a success is the same one (it is found in the log by its request
//! id); but a refusal here is not the last word, and is answered as `unavailable`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chamberlain_core::codec;
use chamberlain_core::fleet::{
    Announcement, Effect, Fleet, Input, Letter, LetterSealer, Life, MOST_ACCOUNTS, Verdict, open_letter,
};
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::room::{Code, Outcome, Reason, Refused, Request};
use chamberlain_core::time::Instant;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Inner, Reply, Settings, room};
use crate::bus::{Bus, Connected, Heard};
use crate::lock::Lock;
use crate::metrics::Forwarded;

/// Letters that wait to be handed to the bus.
const POST_WAITING: usize = 4_096;
/// Commands of other nodes are brought before their rooms by so many tasks, those of one room always by the same.
const DESKS: usize = 16;
/// Commands of other nodes that wait at one desk; those beyond are declined.
const DESK_WAITING: usize = 1_024;
/// What a letter holds beside the request in it, at most, in bytes.
const LETTER_OVERHEAD: usize = 256;
/// How long letters are under way, as a rule.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// How long the last letters may take to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// What this node knows of the others, and has asked of them.
pub(super) struct Colleagues {
    life: Life,
    fleet: Lock<Fleet>,
    sealer: Lock<LetterSealer>,
    bus: Arc<dyn Bus>,
    post: mpsc::Sender<Post>,
    waiting: Lock<Waiting>,
    most_waiting: usize,
    patience: Duration,
    desks: Vec<mpsc::Sender<Asked>>,
    /// The next deadline may be nearer than it was.
    sooner: Notify,
    /// Other nodes live than before.
    pub(super) changed: Notify,
    namesake: AtomicBool,
    /// Somebody may be gone of whom something was asked.
    left: AtomicBool,
}

/// Commands that other nodes were asked to carry out. Numbers rise, so the first one is the oldest.
#[derive(Default)]
struct Waiting {
    next: u64,
    commands: BTreeMap<u64, Away>,
}

/// A command that another node was asked to carry out.
struct Away {
    to: Life,
    until: Instant,
    request: Box<Request>,
    reply: Reply,
}

/// A command that another node asks this one to carry out.
struct Asked {
    from: Life,
    id: u64,
    /// Up to where the other node was shown the room.
    shown: Revision,
    request: Box<Request>,
}

enum Post {
    Letter { to: Option<Life>, letter: Bytes, mark: u64 },
    Flush(oneshot::Sender<()>),
}

/// What comes in and is worked on by tasks of their own.
pub(super) struct Trays {
    heard: mpsc::Receiver<Heard>,
    post: mpsc::Receiver<Post>,
    desks: Vec<mpsc::Receiver<Asked>>,
}

impl Colleagues {
    pub(super) fn new(settings: &Settings, connected: Connected) -> (Self, Trays) {
        let Connected { bus, life, serves, heard } = connected;
        let me = Fleet::announcement(settings.node.clone(), life, env!("CARGO_PKG_VERSION").to_owned());
        let me = Announcement { serves, ..me };
        let limits = &settings.limits;
        let span = |ms: u32| Duration::from_millis(ms.into());
        let (post, posted) = mpsc::channel(POST_WAITING);
        let (desks, asked): (Vec<_>, Vec<_>) = (0..DESKS).map(|_| mpsc::channel(DESK_WAITING)).unzip();
        let colleagues = Self {
            life,
            fleet: Lock::new(Fleet::new(me, span(limits.announce_ms), span(limits.silent_ms))),
            sealer: Lock::new(LetterSealer::new(&settings.keys, life)),
            bus,
            post,
            waiting: Lock::default(),
            most_waiting: limits.forwards_waiting as usize,
            patience: span(limits.forward_ms),
            desks,
            sooner: Notify::new(),
            changed: Notify::new(),
            namesake: AtomicBool::new(false),
            left: AtomicBool::new(false),
        };
        (colleagues, Trays { heard, post: posted, desks: asked })
    }

    /// The other nodes that live, and whether each takes commands.
    pub(super) fn others(&self) -> Vec<Announcement> {
        self.fleet.lock().others().cloned().collect()
    }

    /// Commands that other nodes were asked to carry out and have not answered.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().commands.len()
    }

    /// Seals a letter and leaves it to be posted; one that finds no place is lost, as any letter may be.
    fn write(&self, to: Option<Life>, letter: &Letter, mark: u64) -> bool {
        let letter = Bytes::from(self.sealer.lock().seal(to, letter));
        letter.len() <= self.bus.letter_bytes() && self.post.try_send(Post::Letter { to, letter, mark }).is_ok()
    }

    /// Tells all nodes that directory entries were replaced.
    pub(super) fn tell_of_accounts(&self, accounts: Vec<AccountId>) {
        // More than fit into a letter: whatever is in memory may be old.
        let accounts = if accounts.len() > MOST_ACCOUNTS { Vec::new() } else { accounts };
        self.write(None, &Letter::Accounts { accounts }, 0);
    }

    /// The names of the nodes that could not read an event for which so many kinds must be known.
    pub(super) fn older_than(&self, kinds: u32) -> Vec<String> {
        let describe = |said: &Announcement| format!("{} ({})", said.name, said.version);
        self.fleet.lock().older_than(kinds).map(describe).collect()
    }

    /// Tells all nodes that a log seems to have lost what was seen of it.
    pub(super) fn tell_of_loss(&self, room: RoomId, revision: Revision) {
        self.write(None, &Letter::Lost { room, revision }, 0);
    }

    /// Hands a command to the owner of its room, if that is another node and it can be asked; else gives it back.
    /// Of a room whose log this node cannot read, to one that can.
    fn forward(
        &self,
        now: Instant,
        request: Box<Request>,
        reply: Reply,
        readable: bool,
        shown: Revision,
    ) -> Result<(), (Box<Request>, Reply)> {
        let to = match (self.fleet.lock(), request.room) {
            (fleet, room) if readable => fleet.owner(room),
            (fleet, room) => fleet.reader(room),
        };
        let Some(to) = to else { return Err((request, reply)) };
        let encoded = codec::encode(&*request);
        if encoded.len() + LETTER_OVERHEAD > self.bus.letter_bytes() {
            return Err((request, reply));
        }
        let id = {
            let mut waiting = self.waiting.lock();
            if waiting.commands.len() >= self.most_waiting {
                return Err((request, reply));
            }
            let id = waiting.next;
            waiting.next += 1;
            if waiting.commands.is_empty() {
                self.sooner.notify_one();
            }
            waiting.commands.insert(id, Away { to, until: now.after(self.patience), request, reply });
            id
        };
        let letter = Letter::Command { from: self.life, id, shown, request: encoded };
        if self.write(Some(to), &letter, id) {
            return Ok(());
        }
        match self.waiting.lock().commands.remove(&id) {
            Some(away) => Err((away.request, away.reply)),
            None => Ok(()),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.waiting.lock().commands.first_key_value().map(|(_, away)| away.until);
        let fleet = self.fleet.lock().next_deadline();
        [oldest, fleet].into_iter().flatten().min()
    }

    /// This node takes no more commands of others, and they know.
    pub(super) fn drain(&self, inner: &Inner) {
        self.step(inner, Input::Drain);
    }

    /// This node's life is over, and the others know. What they sent before they knew that it drains is declined first.
    pub(super) async fn leave(&self) {
        if !self.others().is_empty() {
            tokio::time::sleep(UNDER_WAY).await;
        }
        self.write(None, &Letter::Leave(self.life), 0);
        let (flushed, flush) = oneshot::channel();
        let left = async {
            if self.post.send(Post::Flush(flushed)).await.is_ok() {
                let _ended = flush.await;
            }
        };
        let _late = tokio::time::timeout(FLUSH, left).await;
    }

    fn step(&self, inner: &Inner, input: Input) {
        let mut out = Vec::new();
        let (live, kinds) = {
            let mut fleet = self.fleet.lock();
            fleet.step(inner.clock.now(), input, &mut out);
            (fleet.others().count() + 1, fleet.kinds_known_by_all())
        };
        inner.metrics.nodes(live);
        for effect in out {
            match effect {
                Effect::Announce(me) => {
                    self.write(None, &Letter::Announce(me), 0);
                }
                Effect::Changed => {
                    tracing::info!(nodes = live, kinds, "other nodes serve than before");
                    self.left.store(true, Ordering::Release);
                    self.changed.notify_one();
                }
                Effect::Namesake { life } => {
                    if !self.namesake.swap(true, Ordering::Relaxed) {
                        let node = &inner.settings.node;
                        tracing::warn!(node, %life, "another node has this one's name, or it has just begun anew; give each its own");
                    }
                }
            }
        }
    }

    /// Takes commands out that nobody will answer any more.
    fn overdue(&self, now: Instant) -> Vec<Away> {
        let mut overdue = Vec::new();
        let mut waiting = self.waiting.lock();
        // All are waited for as long: those that were sent first are overdue first.
        while let Some(oldest) = waiting.commands.first_entry().filter(|oldest| oldest.get().until <= now) {
            overdue.push(oldest.remove());
        }
        if self.left.swap(false, Ordering::AcqRel) {
            let alive: Vec<Life> = self.fleet.lock().others().map(|said| said.life).collect();
            let gone = waiting.commands.iter().filter(|(_, away)| !alive.contains(&away.to));
            let gone: Vec<u64> = gone.map(|(id, _)| *id).collect();
            overdue.extend(gone.iter().filter_map(|id| waiting.commands.remove(id)));
        }
        overdue
    }

    fn take(&self, id: u64) -> Option<Away> {
        self.waiting.lock().commands.remove(&id)
    }
}

/// Begins what this node does with others.
pub(super) fn start(inner: &Arc<Inner>, trays: Trays) {
    let Some(colleagues) = &inner.colleagues else { return };
    tokio::spawn(post(colleagues.bus.clone(), trays.post));
    tokio::spawn(listen(inner.clone(), trays.heard));
    for desk in trays.desks {
        tokio::spawn(work(inner.clone(), desk));
    }
}

/// Hands letters to the bus, in order.
async fn post(bus: Arc<dyn Bus>, mut letters: mpsc::Receiver<Post>) {
    while let Some(next) = letters.recv().await {
        let handed = match next {
            Post::Letter { to: Some(to), letter, mark } => bus.send(to, letter, mark).await,
            Post::Letter { to: None, letter, .. } => bus.broadcast(letter).await,
            Post::Flush(flushed) => {
                let handed = bus.flush().await;
                let _gone = flushed.send(());
                handed
            }
        };
        if let Err(error) = handed {
            tracing::debug!(%error, "a letter to another node is lost");
        }
    }
}

/// Takes what comes from the bus, and minds the time.
async fn listen(inner: Arc<Inner>, mut heard: mpsc::Receiver<Heard>) {
    let Some(colleagues) = &inner.colleagues else { return };
    let mut open = true;
    loop {
        colleagues.step(&inner, Input::Tick);
        for away in colleagues.overdue(inner.clock.now()) {
            inner.metrics.forwarded(Forwarded::Late);
            inner.clone().carry_out_here(away, false);
        }
        let deadline = colleagues.next_deadline().map(|at| inner.clock.to_tokio(at));
        tokio::select! {
            biased;
            heard = heard.recv(), if open => match heard {
                Some(Heard::Letter(bytes)) => inner.read_letter(colleagues, &bytes),
                Some(Heard::Nobody(id)) => {
                    if let Some(away) = colleagues.take(id) {
                        colleagues.step(&inner, Input::Gone(away.to));
                        inner.metrics.forwarded(Forwarded::Nobody);
                        inner.clone().carry_out_here(away, true);
                    }
                }
                Some(Heard::Gap) => inner.look_at_everything(),
                // The others fall silent, and this node is alone.
                None => open = false,
            },
            () = colleagues.sooner.notified() => {}
            () = room::sleep_until(deadline) => {}
        }
    }
}

/// Brings commands of other nodes before their rooms, in the order in which they came.
async fn work(inner: Arc<Inner>, mut asked: mpsc::Receiver<Asked>) {
    while let Some(Asked { from, id, shown, request }) = asked.recv().await {
        let back = inner.clone();
        let answer = move |verdict: Verdict| {
            // What was refused because it cannot be read here was not looked at.
            let verdict = match verdict {
                Verdict::Refused { reason: Reason::NewerLog, .. } => Verdict::Declined,
                verdict => verdict,
            };
            if let Some(colleagues) = &back.colleagues {
                colleagues.write(Some(from), &Letter::Answer { id, verdict }, u64::MAX);
            }
        };
        match inner.room(request.room).await {
            // Whoever asks may be able to read what this node cannot.
            Err(_) => answer(Verdict::Declined),
            Ok(room) if !inner.reads_on(&room, shown).await => answer(Verdict::Declined),
            Ok(room) => room.submit(request, Box::new(move |result| answer(result.into()))),
        }
    }
}

impl Inner {
    /// Puts a command before its room: at the node that sequences it, or here.
    pub(super) async fn place(self: &Arc<Self>, request: Box<Request>, reply: Reply) {
        let loaded = self.loaded(request.room);
        let (request, reply) = match &self.colleagues {
            // Others may not know yet that it has stopped.
            Some(_) if loaded.as_ref().is_some_and(|room| room.is_quarantined()) => (request, reply),
            Some(colleagues) => {
                let readable = loaded.as_ref().is_none_or(|room| !room.is_newer());
                let shown = loaded.map_or(Revision::ZERO, |room| room.hub.lock().state().head().revision);
                match colleagues.forward(self.clock.now(), request, reply, readable, shown) {
                    Ok(()) => return,
                    Err(back) => back,
                }
            }
            None => (request, reply),
        };
        match self.room(request.room).await {
            Err(refused) => reply(Err(refused)),
            Ok(room) => match &self.colleagues {
                // Found out just now.
                Some(colleagues) if room.is_newer() => {
                    let shown = room.hub.lock().state().head().revision;
                    if let Err((_, reply)) = colleagues.forward(self.clock.now(), request, reply, false, shown) {
                        reply(Err(Reason::NewerLog.into()));
                    }
                }
                _ => room.submit(request, reply),
            },
        }
    }

    /// Whether the room can be read up to where another node was shown it. If not, its log has lost something, and this node would
    /// append where something was.
    async fn reads_on(self: &Arc<Self>, room: &Arc<room::Room>, shown: Revision) -> bool {
        if self.show_to(room, shown).await.is_err() {
            return false;
        }
        let reached = room.hub.lock().state().head().revision >= shown;
        if !reached {
            self.suspect(room.clone(), shown);
        }
        reached
    }

    async fn submit_here(self: &Arc<Self>, request: Box<Request>, reply: Reply) {
        match self.room(request.room).await {
            Err(refused) => reply(Err(refused)),
            Ok(room) => room.submit(request, reply),
        }
    }

    /// Carries out a command that another node was asked for. Unless that one `surely` did not and will not look at it, a
    /// refusal is not the last word.
    fn carry_out_here(self: Arc<Self>, away: Away, surely: bool) {
        let Away { request, reply, .. } = away;
        let reply: Reply = match surely {
            true => reply,
            false => Box::new(move |result| {
                reply(result.map_err(|refused| match refused.code() {
                    Code::Unavailable => refused,
                    _ => Refused::new(
                        Reason::Deadline,
                        "the node that sequences the room did not answer; try again with the same request id",
                    ),
                }));
            }),
        };
        tokio::spawn(async move { self.submit_here(request, reply).await });
    }

    /// Whether this node sequences the room.
    pub(super) fn owns(&self, room: RoomId) -> bool {
        self.colleagues.as_ref().is_none_or(|colleagues| colleagues.fleet.lock().owner(room).is_none())
    }

    fn read_letter(self: &Arc<Self>, colleagues: &Colleagues, bytes: &[u8]) {
        let letter = match open_letter(&self.settings.keys, colleagues.life, bytes) {
            Ok(letter) => letter,
            Err(error) => {
                self.metrics.letter_refused();
                return tracing::debug!(%error, "from the bus");
            }
        };
        match letter {
            Letter::Announce(said) => colleagues.step(self, Input::Heard(said)),
            Letter::Leave(life) => colleagues.step(self, Input::Gone(life)),
            Letter::Accounts { accounts } => self.accounts_changed(accounts),
            Letter::Lost { room, revision } => {
                // One that is not in memory is held against snapshots and marks when it is loaded.
                match self.loaded(room) {
                    Some(room) => self.suspect(room, revision),
                    None => self.following.hear_of_loss(room, revision),
                }
            }
            Letter::Command { from, id, shown, request } => {
                let declined = || {
                    colleagues.write(Some(from), &declined(id), u64::MAX);
                };
                if self.draining.load(Ordering::Acquire) {
                    return declined();
                }
                let Ok(request) = codec::decode::<Request>(&request) else { return declined() };
                let desk = request.room.as_str().bytes().map(usize::from).sum::<usize>() % DESKS;
                if colleagues.desks[desk].try_send(Asked { from, id, shown, request: Box::new(request) }).is_err() {
                    declined();
                }
            }
            Letter::Answer { id, verdict } => {
                let Some(away) = colleagues.take(id) else { return };
                match verdict.result() {
                    Some(result) => {
                        self.metrics.forwarded(Forwarded::Answered);
                        self.clone().answer(away, result);
                    }
                    None => {
                        self.metrics.forwarded(Forwarded::Declined);
                        self.clone().carry_out_here(away, true);
                    }
                }
            }
        }
    }

    /// Answers a command that another node carried out: when it is seen here, so that who is answered finds it here.
    fn answer(self: Arc<Self>, away: Away, result: Result<Outcome, Refused>) {
        let revision = match result {
            Ok(Outcome::Sent { revision, .. } | Outcome::Done { revision }) => revision,
            _ => return (away.reply)(result),
        };
        match self.loaded(away.request.room) {
            Some(room) if room.hub.lock().state().head().revision < revision => {
                tokio::spawn(async move {
                    // What cannot be read now is followed later; the answer is true all the same.
                    if room::catch_up(&self, &room).await.is_err() {
                        self.following.push(LogId::Room(room.id));
                    }
                    (away.reply)(result);
                });
            }
            _ => (away.reply)(result),
        }
    }
}

fn declined(id: u64) -> Letter {
    Letter::Answer { id, verdict: Verdict::Declined }
}
