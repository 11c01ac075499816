//! What is seen of a run: the story that the oracles read, the trace that people read, and the tape from which every decision
//! comes. Everybody in the simulation holds the same one; the simulation is one thread, so that nobody ever waits for it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Digest, Head};
use chamberlain_core::wire::Codec;
use chamberlain_sim::story::{Seen, Story};
use chamberlain_sim::tape::{Actor, Tape};
use sha2::{Digest as _, Sha256};

/// The witness. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Witness(Arc<Mutex<Inner>>);

struct Inner {
    story: Story,
    tape: Tape,
    digest: Sha256,
    trace: Option<String>,
    lines: u64,
    /// Whether faults may still happen.
    calm: bool,
    /// How far each log has been written down.
    heads: BTreeMap<LogId, Head>,
    /// Every head that a log was written down to have.
    landed: BTreeMap<LogId, BTreeMap<Revision, Digest>>,
    /// Whether a log took a record where it had taken another one.
    forked: bool,
    /// Every secret that was written down.
    secrets: BTreeMap<(RoomId, KeyVersion), RoomSecret>,
}

/// What is left of a run.
pub struct Seal {
    /// The story.
    pub story: Story,
    /// What was decided.
    pub tape: Tape,
    /// SHA-256 of the trace, in hexadecimal.
    pub digest: String,
    /// How many lines it has.
    pub lines: u64,
    /// The trace, where it was asked for.
    pub trace: Option<String>,
}

impl Witness {
    /// Has seen nothing yet. `traced` keeps the whole trace and not its digest alone.
    pub fn new(story: Story, tape: Tape, traced: bool) -> Self {
        let trace = traced.then(String::new);
        Self(Arc::new(Mutex::new(Inner {
            story,
            tape,
            digest: Sha256::new(),
            trace,
            lines: 0,
            calm: false,
            heads: BTreeMap::new(),
            landed: BTreeMap::new(),
            forked: false,
            secrets: BTreeMap::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what came to pass.
    pub fn note(&self, seen: Seen) {
        let line = describe(&seen);
        let mut inner = self.inner();
        let at = now();
        inner.line(at, &line);
        inner.story.note(at, seen);
    }

    /// Writes down what only people care for.
    pub fn remark(&self, words: &str) {
        self.inner().line(now(), words);
    }

    /// Writes down a fault.
    pub fn fault(&self, what: impl Into<String>) {
        self.note(Seen::Fault { what: what.into() });
    }

    /// A state that a good batch of runs must visit was visited.
    pub fn probe(&self, name: &'static str) {
        let all = [crate::probes::ALL, crate::probes::AMONG, crate::probes::SCRIPTED];
        let known = all.iter().any(|probes| probes.contains(&name));
        debug_assert!(known, "{name} is not among the probes");
        self.inner().story.probe(name);
    }

    /// A decision.
    pub fn draw(&self, actor: Actor, kind: &'static str, below: u64) -> u64 {
        self.inner().tape.draw(actor, kind, below)
    }

    /// Whether something happens that does so `percent` times of a hundred.
    pub fn chance(&self, actor: Actor, kind: &'static str, percent: u32) -> bool {
        self.inner().tape.chance(actor, kind, percent)
    }

    /// One of several; the first is the quiet choice.
    pub fn pick<T: Clone>(&self, actor: Actor, kind: &'static str, choices: &[T]) -> T {
        self.inner().tape.pick(actor, kind, choices).clone()
    }

    /// A seed for many random bits.
    pub fn seed(&self, actor: Actor, kind: &'static str) -> u64 {
        self.inner().tape.seed(actor, kind)
    }

    /// No fault happens any more.
    pub fn calm(&self) {
        self.inner().calm = true;
    }

    /// Whether faults are over.
    pub fn is_calm(&self) -> bool {
        self.inner().calm
    }

    /// Nobody promises any more that stores keep everything.
    pub fn break_stores(&self) {
        self.inner().story.stores_whole = false;
    }

    /// How far a log has been written down.
    pub fn head(&self, log: &LogId) -> Head {
        self.inner().heads.get(log).copied().unwrap_or(Head::EMPTY)
    }

    /// A log has been written down so far.
    pub fn set_head(&self, log: &LogId, head: Head) {
        let mut inner = self.inner();
        inner.heads.insert(log.clone(), head);
        let landed = inner.landed.entry(log.clone()).or_default();
        let last = landed.last_key_value().map(|(last, _)| *last);
        let is_new = last.is_none_or(|last| last < head.revision);
        let before = landed.insert(head.revision, head.digest);
        inner.forked |= !is_new && before != Some(head.digest);
    }

    /// Whether a record that leads to this head was written down before, by whoever appended or read it.
    pub fn has_landed(&self, log: &LogId, head: Head) -> bool {
        self.inner().landed.get(log).and_then(|landed| landed.get(&head.revision)) == Some(&head.digest)
    }

    /// Whether some log took another record where it had taken one.
    pub fn has_forked(&self) -> bool {
        self.inner().forked
    }

    /// Writes down the secret of a version, unless it is the one that was written down before.
    pub fn note_secret(&self, room: RoomId, version: KeyVersion, secret: &RoomSecret) {
        let before = self.inner().secrets.insert((room, version), secret.clone());
        if before.as_ref() != Some(secret) {
            self.note(Seen::Put { room, version, secret: secret.clone() });
        }
    }

    /// Versions whose secrets were written down.
    pub fn secrets(&self) -> Vec<(RoomId, KeyVersion)> {
        self.inner().secrets.keys().copied().collect()
    }

    /// Looks at the story, or adds what is known at the end.
    pub fn with_story<T>(&self, look: impl FnOnce(&mut Story) -> T) -> T {
        look(&mut self.inner().story)
    }

    /// Takes everything. Who still holds the witness holds an empty one.
    pub fn seal(&self) -> Seal {
        let mut inner = self.inner();
        let (keys, limits) = (inner.story.keys.clone(), inner.story.limits.clone());
        let story = std::mem::replace(&mut inner.story, Story::new(keys, limits, 0));
        let tape = std::mem::replace(&mut inner.tape, Tape::recorded([]));
        let digest = std::mem::take(&mut inner.digest).finalize();
        let digest = digest.iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        });
        Seal { story, tape, digest, lines: inner.lines, trace: inner.trace.take() }
    }
}

impl Inner {
    fn line(&mut self, at: u64, words: &str) {
        let line = format!("{}.{:06} {words}\n", at / 1_000_000, at % 1_000_000);
        self.digest.update(line.as_bytes());
        self.lines += 1;
        if let Some(trace) = &mut self.trace {
            trace.push_str(&line);
        }
    }
}

/// Microseconds of simulated time.
pub fn now() -> u64 {
    u64::try_from(tokio::sim::elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The line of a trace. Says everything that matters for whether two runs are the same.
fn describe(seen: &Seen) -> String {
    let json = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match seen {
        Seen::Connected { link, client, account, node, codec, batch } => {
            format!(
                "link {} client {} connects to node {} as {account}, {codec:?}, batch {batch}",
                link.0, client.0, node.0
            )
        }
        Seen::Sent { link, frame } => format!("link {} sends {}", link.0, json(Codec::Json.encode(frame))),
        Seen::Came { link, frame } => format!("link {} gets {}", link.0, json(Codec::Json.encode(frame))),
        Seen::Ended { link, code } => format!("link {} ends {code:?}", link.0),
        Seen::Holds { link, items, bytes } => format!("link {} is held {items} items, {bytes} bytes", link.0),
        Seen::Landed { log, record } => {
            let digest = Sha256::digest(&record.bytes);
            format!(
                "{log} takes {} bytes, {:02x}{:02x}{:02x}{:02x}",
                record.bytes.len(),
                digest[0],
                digest[1],
                digest[2],
                digest[3]
            )
        }
        Seen::Erased { log, revision } => format!("{log} erases {revision}"),
        Seen::Put { room, version, secret } => format!("vault takes {room} version {version}, {:?}", secret.public()),
        Seen::Kept { log, revision, bytes } => format!("{log} snapshot at {revision}, {} bytes", bytes.len()),
        Seen::Quarantined { room, what } => format!("{room} is quarantined: {what}"),
        Seen::Started { node } => format!("node {} starts", node.0),
        Seen::Stopped { node, drained } => format!("node {} stops, drained {drained}", node.0),
        Seen::Fault { what } => format!("fault: {what}"),
        Seen::Healed => "healed".to_owned(),
        Seen::Quiet => "quiet".to_owned(),
        Seen::Passed { .. } | Seen::State { .. } => format!("{seen:?}"),
    }
}
