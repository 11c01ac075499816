//! What a node counts: OpenMetrics, read at `/metrics`.
//!
//! Every label has few values, all known at the start, and its counter is looked up then: counting costs an atomic add, or
//! for a span of time a handful. Nothing here names an account or a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use chamberlain_core::room::{Code, Outcome, Reason, Refused};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The figures of a node. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Figures>);

type Labels = Vec<(&'static str, &'static str)>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;
type Level = Gauge<i64, AtomicI64>;

struct Figures {
    registry: Registry,
    /// One per command, in the order of [`COMMANDS`].
    commands: Vec<CommandFigures>,
    queries: [Counter; 2],
    query_seconds: Histogram,
    records: Counter,
    revisions: Counter,
    quarantined: Counter,
    mended: Counter,
    stepped_back: Counter,
    rooms_loaded: Counter,
    rooms: Level,
    effects_failed: Counter,
    nodes: Level,
    /// One per way it ended, in the order of [`Forwarded`].
    forwarded: Vec<Counter>,
    followed: Counter,
    bus_gaps: Counter,
    letters_refused: Counter,
    sockets: Level,
    sockets_opened: Counter,
    /// One per close code, in the order of [`CLOSE_CODES`].
    sockets_closed: Vec<Counter>,
    frames_in: Counter,
    frames_out: Counter,
    bytes_out: Counter,
    delivered: Counter,
    /// One per reason, in the order of [`Reason::ALL`].
    refused_frames: Vec<Counter>,
    positions_ahead: Counter,
    connections: Level,
    /// One per class of status, 1xx to 5xx.
    requests: Vec<Counter>,
    request_seconds: Histogram,
    #[cfg(feature = "nats")]
    subjects: crate::subjects::Figures,
}

/// What became of a command that another node was asked to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// It answered.
    Answered,
    /// It did not look at it; it was carried out here.
    Declined,
    /// Nobody was there; it was carried out here.
    Nobody,
    /// No answer came in time, or the node is gone; it was carried out here.
    Late,
}

/// In the order of [`Forwarded`].
const FORWARDED: [&str; 4] = ["answered", "declined", "nobody", "late"];

struct CommandFigures {
    /// One per outcome, in the order of [`OUTCOMES`].
    outcomes: Vec<Counter>,
    seconds: Histogram,
}

impl Metrics {
    /// All zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("chamberlain");
        let figures = Figures {
            commands: commands(&mut registry),
            queries: queries(&mut registry),
            query_seconds: seconds(&mut registry, "query", "From a question to its answer"),
            records: counter(&mut registry, "records_committed", "Records that became durable in logs of rooms"),
            revisions: counter(&mut registry, "revisions_committed", "Revisions in those records"),
            quarantined: counter(
                &mut registry,
                "logs_quarantined",
                "Logs whose appends were stopped; an operator is needed, unless they are mended",
            ),
            mended: counter(
                &mut registry,
                "logs_mended",
                "Logs that had lost something and are whole again, so that appends go on",
            ),
            stepped_back: counter(
                &mut registry,
                "logs_newer",
                "Logs to which a newer version wrote what this node cannot read; other nodes sequence them",
            ),
            rooms_loaded: counter(&mut registry, "rooms_loaded", "Rooms folded from their logs"),
            rooms: level(&mut registry, "rooms", "Rooms in memory"),
            effects_failed: counter(
                &mut registry,
                "effects_failed",
                "Attempts at the effects of a room that failed, and are retried",
            ),
            nodes: level(
                &mut registry,
                "nodes",
                "Nodes of the site that live, this one among them; 0 when it knows of no bus",
            ),
            forwarded: forwarded(&mut registry),
            followed: counter(&mut registry, "logs_followed", "Reads of what other nodes appended to rooms in memory"),
            bus_gaps: counter(
                &mut registry,
                "bus_gaps",
                "Times when hints of what grew may have been lost, and everything in memory was read again",
            ),
            letters_refused: counter(
                &mut registry,
                "letters_refused",
                "Letters on the bus that no node of this site wrote, or a newer one",
            ),
            sockets: level(&mut registry, "sockets", "WebSocket connections"),
            sockets_opened: counter(&mut registry, "sockets_opened", "WebSocket connections that began"),
            sockets_closed: sockets_closed(&mut registry),
            frames_in: counter(&mut registry, "frames_received", "Frames from clients"),
            frames_out: counter(&mut registry, "frames_sent", "Frames to clients"),
            bytes_out: counter(&mut registry, "frame_bytes_sent", "Bytes of those frames"),
            delivered: counter(&mut registry, "revisions_delivered", "Revisions that sockets took"),
            refused_frames: refused_frames(&mut registry),
            positions_ahead: counter(
                &mut registry,
                "positions_ahead",
                "Authentic positions of clients that are not in the log: it may have lost something",
            ),
            connections: level(&mut registry, "http_connections", "Connections, WebSocket and others"),
            requests: requests(&mut registry),
            request_seconds: seconds(&mut registry, "http_request", "From a request's header to its answer's"),
            #[cfg(feature = "nats")]
            subjects: crate::subjects::Figures::new(&mut registry),
            registry,
        };
        Self(Arc::new(figures))
    }

    /// A command was answered.
    pub fn answered(&self, command: &'static str, result: &Result<Outcome, Refused>, took: Duration) {
        let Some(at) = COMMANDS.iter().position(|name| *name == command) else {
            debug_assert!(false, "{command} is counted nowhere");
            return;
        };
        let outcome = match result {
            Ok(_) => 0,
            Err(refused) => 1 + refused.code() as usize,
        };
        self.0.commands[at].outcomes[outcome].inc();
        self.0.commands[at].seconds.observe(took.as_secs_f64());
    }

    /// A question was answered, or refused.
    pub fn queried(&self, took: Duration, ok: bool) {
        self.0.queries[usize::from(!ok)].inc();
        self.0.query_seconds.observe(took.as_secs_f64());
    }

    /// A record with so many revisions became durable.
    pub fn committed(&self, revisions: u64) {
        self.0.records.inc();
        self.0.revisions.inc_by(revisions);
    }

    /// So many nodes live.
    pub(crate) fn nodes(&self, count: usize) {
        self.0.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A command that another node was asked to carry out came to this.
    pub(crate) fn forwarded(&self, how: Forwarded) {
        self.0.forwarded[how as usize].inc();
    }

    /// Something that another node appended was read.
    pub(crate) fn followed(&self) {
        self.0.followed.inc();
    }

    /// Hints may have been lost.
    pub(crate) fn bus_gap(&self) {
        self.0.bus_gaps.inc();
    }

    /// A letter was not believed.
    pub(crate) fn letter_refused(&self) {
        self.0.letters_refused.inc();
    }

    /// A log was quarantined.
    pub fn quarantined(&self) {
        self.0.quarantined.inc();
    }

    /// A quarantined log is whole again.
    pub fn mended(&self) {
        self.0.mended.inc();
    }

    /// A log holds what only a newer version can read.
    pub fn stepped_back(&self) {
        self.0.stepped_back.inc();
    }

    /// A room was folded from its log.
    pub fn room_loaded(&self) {
        self.0.rooms_loaded.inc();
    }

    /// So many rooms are in memory.
    pub fn rooms(&self, count: usize) {
        self.0.rooms.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The effects of a room could not be carried out.
    pub fn effect_failed(&self) {
        self.0.effects_failed.inc();
    }

    /// A WebSocket connection began.
    pub fn socket_opened(&self) {
        self.0.sockets.inc();
        self.0.sockets_opened.inc();
    }

    /// A WebSocket connection ended.
    pub fn socket_closed(&self, code: u16) {
        self.0.sockets.dec();
        let at = CLOSE_CODES.iter().position(|(known, _)| *known == code).unwrap_or(CLOSE_CODES.len());
        self.0.sockets_closed[at].inc();
    }

    /// Frames came from a client.
    pub fn frames_in(&self, frames: u64) {
        self.0.frames_in.inc_by(frames);
    }

    /// Frames of so many bytes altogether were taken by a client's transport.
    pub fn frames_out(&self, frames: u64, bytes: u64) {
        self.0.frames_out.inc_by(frames);
        self.0.bytes_out.inc_by(bytes);
    }

    /// So many revisions reached a socket.
    pub fn delivered(&self, revisions: u64) {
        self.0.delivered.inc_by(revisions);
    }

    /// A frame was refused.
    pub fn refused_frame(&self, reason: Reason) {
        self.0.refused_frames[reason as usize].inc();
    }

    /// A client holds an authentic position that its log does not have.
    pub fn position_ahead(&self) {
        self.0.positions_ahead.inc();
    }

    /// A connection was accepted.
    pub(crate) fn connected(&self) {
        self.0.connections.inc();
    }

    /// A connection ended.
    pub(crate) fn disconnected(&self) {
        self.0.connections.dec();
    }

    /// An HTTP request was answered with this status.
    pub(crate) fn requested(&self, status: u16, took: Duration) {
        self.0.requests[usize::from(status / 100).clamp(1, CLASSES.len()) - 1].inc();
        self.0.request_seconds.observe(took.as_secs_f64());
    }

    /// What the surface on NATS subjects counts.
    #[cfg(feature = "nats")]
    pub(crate) fn subjects(&self) -> &crate::subjects::Figures {
        &self.0.subjects
    }

    /// All figures as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0.registry).expect("writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A counter, as other modules of figures hold it.
#[cfg(feature = "nats")]
pub(crate) type Counted = Counter;

pub(crate) fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

pub(crate) fn counters<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    labels: impl IntoIterator<Item = [(&'static str, &'static str); N]>,
) -> Vec<Counter> {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    labels.into_iter().map(|labels| family.get_or_create_owned(&labels.to_vec())).collect()
}

fn level(registry: &mut Registry, name: &str, help: &str) -> Level {
    let level = Level::default();
    registry.register(name, help, level.clone());
    level
}

/// 100 microseconds to 13 seconds, doubling.
fn spans() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = spans();
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

fn commands(registry: &mut Registry) -> Vec<CommandFigures> {
    let labels =
        COMMANDS.into_iter().flat_map(|command| OUTCOMES.map(|outcome| [("command", command), ("outcome", outcome)]));
    let answered = counters(registry, "commands", "Commands answered, by what came of them", labels);
    let family = Family::<Labels, Histogram>::new_with_constructor(spans);
    registry.register_with_unit("command", "From a command to its answer", Unit::Seconds, family.clone());
    let seconds = COMMANDS.map(|command| family.get_or_create_owned(&vec![("command", command)]));
    let outcomes = answered.chunks_exact(OUTCOMES.len()).map(<[Counter]>::to_vec);
    outcomes.zip(seconds).map(|(outcomes, seconds)| CommandFigures { outcomes, seconds }).collect()
}

fn queries(registry: &mut Registry) -> [Counter; 2] {
    let labels = ["ok", "refused"].map(|outcome| [("outcome", outcome)]);
    let queries = counters(registry, "queries", "Questions answered, by what came of them", labels);
    queries.try_into().expect("as many counters as labels")
}

fn forwarded(registry: &mut Registry) -> Vec<Counter> {
    let labels = FORWARDED.map(|outcome| [("outcome", outcome)]);
    counters(
        registry,
        "commands_forwarded",
        "Commands that other nodes were asked to carry out, by what came of it",
        labels,
    )
}

fn sockets_closed(registry: &mut Registry) -> Vec<Counter> {
    let labels = CLOSE_CODES.into_iter().map(|(_, label)| label).chain(["other"]).map(|code| [("code", code)]);
    counters(registry, "sockets_closed", "WebSocket connections that ended, by close code", labels)
}

fn refused_frames(registry: &mut Registry) -> Vec<Counter> {
    let labels = Reason::ALL.iter().map(|reason| [("reason", reason_name(*reason))]);
    counters(registry, "frames_refused", "Frames refused, by reason", labels)
}

fn requests(registry: &mut Registry) -> Vec<Counter> {
    counters(
        registry,
        "http_requests",
        "HTTP requests answered, by class of status",
        CLASSES.map(|class| [("class", class)]),
    )
}

/// The name of a reason as on the wire, for as long as the process lives: there are few, and each is made once.
fn reason_name(reason: Reason) -> &'static str {
    static NAMES: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let name = |reason: &Reason| match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::from("unknown"),
    };
    &NAMES.get_or_init(|| Reason::ALL.iter().map(name).collect())[reason as usize]
}

/// Names of commands, as `Command::name` has them.
const COMMANDS: [&str; 13] = [
    "create_channel",
    "create_dm",
    "add",
    "remove",
    "set_role",
    "rename",
    "archive",
    "rotate",
    "submit",
    "edit",
    "delete",
    "mark_read",
    "disable_account",
];

/// What comes of a command: `ok`, or the code of the refusal in the order of [`Code`].
pub(crate) const OUTCOMES: [&str; 9] = [
    "ok",
    "bad_request",
    "unauthenticated",
    "forbidden",
    "not_found",
    "conflict",
    "too_many_requests",
    "unavailable",
    "internal",
];
const _: () = assert!(Code::Internal as usize + 2 == OUTCOMES.len(), "an outcome per code, and one for success");

/// Close codes of RULES.md, "Sockets", and of a connection that was cut.
const CLOSE_CODES: [(u16, &str); 10] = [
    (1000, "1000"),
    (1001, "1001"),
    (1006, "1006"),
    (4000, "4000"),
    (4001, "4001"),
    (4003, "4003"),
    (4008, "4008"),
    (4009, "4009"),
    (4013, "4013"),
    (4029, "4029"),
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_of_the_field_and_units() {
        let metrics = Metrics::new();
        metrics.answered("submit", &Err(Reason::StaleKey.into()), Duration::from_millis(3));
        metrics.committed(5);
        metrics.socket_opened();
        metrics.socket_opened();
        metrics.socket_closed(4008);
        metrics.socket_closed(4999);
        metrics.refused_frame(Reason::RateLimited);
        metrics.requested(204, Duration::from_millis(1));
        let text = metrics.encode();
        for line in [
            r#"chamberlain_commands_total{command="submit",outcome="conflict"} 1"#,
            r#"chamberlain_command_seconds_count{command="submit"} 1"#,
            "chamberlain_revisions_committed_total 5",
            "chamberlain_sockets 0",
            r#"chamberlain_sockets_closed_total{code="4008"} 1"#,
            r#"chamberlain_sockets_closed_total{code="other"} 1"#,
            r#"chamberlain_frames_refused_total{reason="rate_limited"} 1"#,
            r#"chamberlain_http_requests_total{class="2xx"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn reasons_stand_in_the_order_of_their_list() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        assert_eq!(reason_name(Reason::StaleKey), "stale_key");
    }
}
