//! The simulated server beside a real one: both are asked the same, and must say the same, but for times and names drawn.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::raw::Raw;
use super::real;
use super::server::Simulated;
use super::tape;

/// How long an answer may take that must come.
const PATIENCE: Duration = Duration::from_secs(10);

const INTRODUCTION: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;

/// Both servers, and a client on each.
struct Both {
    real: real::Server,
    simulated: Simulated,
    clients: [Raw; 2],
    /// Consumers that were made last, as each server calls it.
    consumers: [String; 2],
    asked: u64,
}

impl Both {
    async fn start() -> Self {
        let real = real::Server::start();
        let simulated = Simulated::start_with(|config| config.name = "test".into()).await;
        let clients = connect(&real, &simulated).await;
        Self { real, simulated, clients, consumers: Default::default(), asked: 0 }
    }

    /// Kills and starts both.
    async fn start_again(&mut self) {
        self.real.kill();
        self.real.start_again();
        self.simulated.kill().await;
        self.simulated.start_again().await;
        self.clients = connect(&self.real, &self.simulated).await;
        self.listen().await;
    }

    /// Has both clients told of what the stream stores.
    async fn listen(&mut self) {
        for client in &mut self.clients {
            client.say("SUB a.moved.> 500000\r\n").await;
        }
    }

    /// Asks both, and compares what they say until `done`; what they said.
    async fn ask(
        &mut self,
        subject: &str,
        headers: &[(&str, String)],
        payload: &str,
        done: impl Fn(&[String]) -> bool,
    ) -> String {
        self.asked += 1;
        let (nth, mut said) = (self.asked, Vec::new());
        for (which, client) in self.clients.iter_mut().enumerate() {
            let subject = subject.replace("CONSUMER!", &self.consumers[which]);
            client.say(&published(&subject, nth, headers, payload)).await;
            let mut frames = Vec::new();
            while !done(&frames) {
                let Some(frame) = client.frame(PATIENCE).await else { panic!("{subject} {payload}: only {frames:?}") };
                frames.push(frame);
            }
            client.say(&format!("UNSUB {nth}\r\n")).await;
            if let Some(name) = made(&frames) {
                self.consumers[which] = name;
            }
            said.push(frames.iter().map(|frame| normal(frame)).collect::<Vec<_>>().join("\n"));
        }
        assert_eq!(said[0], said[1], "request {nth} to {subject} with {headers:?}: {payload}");
        said.swap_remove(0)
    }

    /// Whether the message at a sequence is the last of its subject, and not the only one. Where such a one is deleted, and two or
    /// more are left, the real server (2.10.27) says that the subject has none, and lets a message follow that expects none.
    /// Ours does not, and counts whoever does it.
    async fn is_last_of_several(&mut self, sequence: u64) -> bool {
        let get = "$JS.API.DIRECT.GET.S";
        let said = self.one(get, &json!({ "seq": sequence })).await;
        let Some(subject) = value(&said, "Nats-Subject") else { return false };
        let last = self.one(get, &json!({ "last_by_subj": subject })).await;
        let first = self.one(get, &json!({ "next_by_subj": subject, "seq": 1 })).await;
        value(&last, "Nats-Sequence") == value(&said, "Nats-Sequence")
            && value(&first, "Nats-Sequence") != value(&said, "Nats-Sequence")
    }

    /// Asks both something with one answer.
    async fn one(&mut self, subject: &str, payload: &Value) -> String {
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        self.ask(subject, &[], &payload, answered).await
    }
}

/// The value of a header in what was said.
fn value<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.split('|').find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn connect(real: &real::Server, simulated: &Simulated) -> [Raw; 2] {
    [Raw::connect(&real.url(), INTRODUCTION).await, Raw::connect(&simulated.url(), INTRODUCTION).await]
}

/// The last frame is an answer: to an inbox.
fn answered(frames: &[String]) -> bool {
    frames.last().is_some_and(|last| last.split(' ').nth(1).is_some_and(|subject| subject.starts_with("_INBOX.")))
}

fn published(subject: &str, nth: u64, headers: &[(&str, String)], payload: &str) -> String {
    let inbox = format!("_INBOX.{nth}");
    let begin = format!("SUB {inbox} {nth}\r\n");
    if headers.is_empty() {
        return format!("{begin}PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len());
    }
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let block = format!("NATS/1.0\r\n{lines}\r\n");
    format!("{begin}HPUB {subject} {inbox} {} {}\r\n{block}{payload}\r\n", block.len(), block.len() + payload.len())
}

/// The name of the consumer that an answer says was made.
fn made(frames: &[String]) -> Option<String> {
    let answer: Value = serde_json::from_str(frames.first()?.split_once("\r\n")?.1).ok()?;
    let kind = answer["type"].as_str()?.ends_with("consumer_create_response");
    answer["name"].as_str().filter(|_| kind).map(str::to_owned)
}

/// A frame without what may differ: times, lengths of what holds times, names drawn.
fn normal(frame: &str) -> String {
    let Some((line, rest)) = frame.split_once("\r\n") else { return frame.to_owned() };
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let lengths = if words[0] == "HMSG" { 2 } else { 1 };
    words.truncate(words.len() - lengths);
    for word in &mut words {
        if word.starts_with("$JS.ACK.") {
            let mut tokens: Vec<&str> = word.split('.').collect();
            (tokens[3], tokens[7]) = ("CONSUMER", "TIME");
            *word = tokens.join(".");
        }
    }
    let rest = match serde_json::from_str::<Value>(rest) {
        Ok(mut answer) => {
            let drawn = answer["type"].as_str().is_some_and(|kind| kind.contains("consumer"));
            forget(&mut answer, drawn);
            answer.to_string()
        }
        Err(_) => {
            let line = |line: &str| match line.split_once(": ") {
                Some((name @ "Nats-Time-Stamp", _)) => name.to_owned(),
                _ => line.to_owned(),
            };
            rest.split("\r\n").map(line).collect::<Vec<_>>().join("|")
        }
    };
    format!("{}: {rest}", words.join(" "))
}

/// Takes out of an answer what may differ.
fn forget(value: &mut Value, drawn_name: bool) {
    match value {
        Value::Object(fields) => {
            for time in ["created", "ts", "first_ts", "last_ts", "time", "last_active", "api"] {
                fields.remove(time);
            }
            if drawn_name {
                fields.remove("name");
            }
            fields.values_mut().for_each(|value| forget(value, false));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, false)),
        _ => {}
    }
}

/// A stream like that of a site.
fn stream(name: &str) -> Value {
    json!({
        "name": name, "subjects": ["a.log.>", "a.rewritten.>"], "storage": "file", "num_replicas": 1,
        "retention": "limits", "discard": "new", "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1,
        "deny_purge": true, "allow_direct": true,
        // Longer than a test takes: the real server forgets ids some time after the window.
        "duplicate_window": 36_000_000_000_000_u64,
        "republish": { "src": "a.log.>", "dest": "a.moved.>", "headers_only": true },
    })
}

/// What both are told word by word.
const SAID: &[&str] = &[
    "PUB a..b 1\r\nx\r\n",
    "SUB a..b 1\r\n",
    "SUB a.>.b 1\r\nSUB x. 1\r\n",
    "SUB a\r\n",
    "FOO\r\n",
    "\r\n",
    "PUB a -1\r\n",
    "PUB a 99999999\r\n",
    "PUB a 5\r\nabcdefg\r\n",
    "PUB a b.c\r\n",
    "HPUB a 10 5\r\n",
    "UNSUB 77\r\n",
    "SUB x 1\r\nPUB x 1\r\na\r\nUNSUB 1 2\r\nPUB x 1\r\nb\r\nPUB x 1\r\nc\r\n",
    "SUB x 1\r\nPUB x 1\r\na\r\nUNSUB 1 1\r\nPUB x 1\r\nb\r\n",
    "SUB x 1\r\nUNSUB 1\r\nPUB x 1\r\nb\r\n",
    "SUB r 1\r\nPUB nobody r 1\r\nb\r\n",
    "SUB r.* 1\r\nSUB x 2\r\nPUB x r.1 1\r\nb\r\nPUB y r.1 1\r\nb\r\n",
    "SUB x 1\r\nsub x.> 2\r\nPUB x 1\r\nb\r\nPUB x.y 1\r\nb\r\nping\r\n",
    "SUB x q 1\r\nPUB x 1\r\na\r\nPUB x 1\r\nb\r\n",
    "SUB x 1\r\nSUB x 1\r\nPUB x 1\r\na\r\n",
    "SUB x 1\r\nHPUB x 12 13\r\nNATS/1.0\r\n\r\na\r\n",
    "SUB x 1\r\nHPUB x r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "PUB  x   1\r\na\r\n",
    "SUB\tx\t1\r\nPUB x 1\r\na\r\n",
    "+OK\r\n",
    "MSG x 1 1\r\na\r\n",
    "PUB $JS.API.FOO r 0\r\n\r\nSUB r 1\r\nPUB $JS.API.FOO r 0\r\n\r\n",
    "SUB r 1\r\nPUB $JS.API.DIRECT.GET.NONE r 0\r\n\r\n",
    "SUB r 1\r\nPUB $JS.API.CONSUMER.MSG.NEXT.NONE.NONE r 0\r\n\r\n",
    "SUB r 1\r\nPUB $SYS.REQ.SERVER.PING.JSZ r 0\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_speak_the_protocol_alike() {
    let real = real::Server::start();
    let simulated = Simulated::start().await;
    let long = format!("SUB {} 1\r\n", "a".repeat(5_000));
    for introduction in
        [INTRODUCTION, "{}", r#"{"verbose":false,"pedantic":true,"echo":false,"headers":true,"no_responders":true}"#]
    {
        for text in SAID.iter().copied().chain([long.as_str()]) {
            let mut heard = Vec::new();
            for url in [real.url(), simulated.url()] {
                let mut client = Raw::connect(&url, introduction).await;
                client.say(&format!("{text}PING\r\n")).await;
                let mut frames = Vec::new();
                while frames.last().is_none_or(|last| last != "PONG" && last != "END") {
                    frames.push(client.frame(PATIENCE).await.unwrap());
                }
                heard.push(frames);
            }
            assert_eq!(heard[0], heard[1], "{introduction} {text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_refuse_and_grant_streams_alike() {
    let mut both = Both::start().await;
    let api = "$JS.API.";
    let with = |field: &str, value: Value| {
        let mut other = stream("S");
        other[field] = value;
        other
    };
    let like = |name: &str, subjects: Value, more: Value| {
        let mut stream = json!({ "name": name, "subjects": subjects });
        stream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stream
    };
    let limited = |discard: &str, most: i64| {
        like(
            "L",
            json!(["l.>"]),
            json!({ "max_msgs": most, "discard": discard, "max_msg_size": 10, "allow_direct": true }),
        )
    };
    let none = || Value::Null;
    let requests = [
        ("STREAM.INFO.S", none()),
        ("STREAM.CREATE.S", stream("S")),
        ("STREAM.CREATE.S", stream("S")),
        ("STREAM.CREATE.S", with("discard", "old".into())),
        ("STREAM.CREATE.T", stream("S")),
        ("STREAM.CREATE.T", stream("T")),
        ("STREAM.CREATE.T", none()),
        ("STREAM.CREATE.T", json!({})),
        ("STREAM.CREATE.T", like("T", json!(["b.>"]), json!({ "republish": { "src": "b.>", "dest": "b.x" } }))),
        ("STREAM.CREATE.T", like("T", json!(["b.>"]), json!({ "num_replicas": 3 }))),
        ("STREAM.CREATE.T", like("T", json!(["b.>"]), json!({ "allow_rollup_hdrs": true, "deny_purge": true }))),
        ("STREAM.CREATE.T", like("T", json!(["b..x"]), json!({}))),
        ("STREAM.CREATE.T", like("T", json!(["$JS.API.>"]), json!({}))),
        ("STREAM.CREATE.T", like("T", json!(["b.>", "b.x"]), json!({}))),
        ("STREAM.CREATE.L", limited("new", 2)),
        ("STREAM.NAMES", none()),
        ("STREAM.NAMES", json!({ "offset": 1 })),
        ("STREAM.NAMES", json!({ "subject": "l.x" })),
        ("l.1", json!("a")),
        ("l.1", json!("0123456789")),
        ("l.2", json!("b")),
        ("l.1", json!("c")),
        ("STREAM.INFO.L", json!({ "subjects_filter": ">" })),
        ("STREAM.UPDATE.L", limited("old", 3)),
        ("l.1", json!("d")),
        ("l.1", json!("e")),
        ("STREAM.INFO.L", json!({ "subjects_filter": ">" })),
        ("STREAM.MSG.GET.L", json!({ "seq": 1 })),
        ("STREAM.UPDATE.L", like("L", json!(["l.>"]), json!({ "storage": "memory" }))),
        ("STREAM.UPDATE.NONE", like("NONE", json!(["n.>"]), json!({}))),
        ("STREAM.PURGE.L", json!({ "filter": "l.1" })),
        ("STREAM.PURGE.L", none()),
        ("STREAM.PURGE.S", none()),
        ("STREAM.PURGE.NONE", none()),
        ("STREAM.INFO.L", none()),
        ("STREAM.DELETE.L", none()),
        ("STREAM.DELETE.L", none()),
        ("l.1", json!("x")),
        ("STREAM.CREATE.M", like("M", json!(["m.>"]), json!({ "storage": "memory" }))),
        ("m.1", json!("x")),
        ("STREAM.INFO.M", none()),
        ("STREAM.MSG.DELETE.M", json!({ "seq": 1 })),
        ("STREAM.MSG.DELETE.M", json!({ "seq": 1 })),
        ("STREAM.MSG.DELETE.M", json!({ "seq": 9 })),
        ("STREAM.INFO.M", none()),
        ("DIRECT.GET.M", json!({ "seq": 1 })),
        ("CONSUMER.CREATE.S", json!({})),
        ("CONSUMER.CREATE.S", none()),
        ("CONSUMER.CREATE.S", json!({ "stream_name": "T" })),
        ("CONSUMER.INFO.S.NONE", none()),
        ("CONSUMER.DELETE.S.NONE", none()),
        ("CONSUMER.CREATE.S", json!({ "stream_name": "S", "config": { "deliver_policy": "by_start_sequence" } })),
        ("CONSUMER.CREATE.S", json!({ "stream_name": "S", "config": { "opt_start_seq": 5 } })),
        ("CONSUMER.CREATE.S", json!({ "stream_name": "S", "config": { "num_replicas": 3 } })),
    ];
    for (subject, payload) in requests {
        let api = if subject.starts_with(|letter: char| letter.is_ascii_uppercase()) { api } else { "" };
        both.one(&format!("{api}{subject}"), &payload).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_answer_a_tape_of_requests_alike() {
    let soak = std::env::var_os("CHAMBERLAIN_SOAK").is_some();
    let (requests, seed) = (if soak { 100_000 } else { 3_000 }, tape::seed());
    let mut both = Both::start().await;
    both.one("$JS.API.STREAM.CREATE.S", &stream("S")).await;
    both.listen().await;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |below: u64| rng.next_u64() % below;
    // About where the stream ends.
    let mut last = 1;
    for _ in 0..requests {
        let subject = match draw(5) {
            0..3 => format!("a.log.room.{}", draw(4)),
            3 => format!("a.log.account.{}", draw(3)),
            _ => format!("a.rewritten.room.{}.{}", draw(4), draw(3)),
        };
        let pattern = match draw(5) {
            0 => "a.log.>".into(),
            1 => "a.*.room.>".into(),
            2 => ">".into(),
            _ => subject.clone(),
        };
        let sequence = last - draw(last.min(30)) + draw(3);
        match draw(100) {
            0..45 => {
                let said = publication(&mut both, &subject, last, &mut draw).await;
                if let Some(stored) = said.split("\"seq\":").nth(1).and_then(|rest| rest.split(['}', ',']).next()) {
                    last = last.max(stored.trim().parse().unwrap());
                }
            }
            45..65 => {
                let what = if draw(2) == 0 { "DIRECT.GET" } else { "STREAM.MSG.GET" };
                let question = match draw(8) {
                    0..2 => json!({ "seq": sequence }),
                    2..4 => json!({ "last_by_subj": pattern }),
                    4..7 => json!({ "seq": sequence, "next_by_subj": pattern }),
                    _ => [
                        json!({}),
                        json!({ "next_by_subj": pattern }),
                        json!({ "seq": 0 }),
                        json!({ "seq": 1, "last_by_subj": subject }),
                        json!({ "last_by_subj": subject, "next_by_subj": subject }),
                        Value::Null,
                    ][draw(6) as usize]
                        .clone(),
                };
                both.one(&format!("$JS.API.{what}.S"), &question).await;
            }
            65..75 => {
                let sequence = if draw(20) == 0 { [0, 1, last + 5][draw(3) as usize] } else { sequence };
                if !both.is_last_of_several(sequence).await {
                    both.one("$JS.API.STREAM.MSG.DELETE.S", &json!({ "seq": sequence })).await;
                }
            }
            75..80 => {
                let question =
                    json!({ "subjects_filter": pattern, "offset": draw(9), "deleted_details": draw(2) == 0 });
                both.one("$JS.API.STREAM.INFO.S", &question).await;
            }
            80..98 => walk(&mut both, &pattern, sequence, &mut draw).await,
            98 => drop(both.one("$JS.API.STREAM.NAMES", &Value::Null).await),
            _ => {
                if draw(4) == 0 {
                    both.start_again().await;
                }
            }
        }
    }
    let statistics = both.simulated.server().statistics();
    eprintln!("{requests} requests are answered alike; since the last start: {statistics:?}");
}

/// Publishes under conditions that hold or do not.
async fn publication(both: &mut Both, subject: &str, last: u64, draw: &mut impl FnMut(u64) -> u64) -> String {
    let mut headers: Vec<(&str, String)> = Vec::new();
    if draw(3) > 0 {
        headers.push(("Chamberlain", "1 record".into()));
    }
    if draw(8) == 0 {
        headers.push(("Nats-Expected-Stream", ["S", "S", "T"][draw(3) as usize].into()));
    }
    if draw(2) == 0 {
        headers.push(("Nats-Msg-Id", format!("id {}", draw(60))));
    }
    if draw(2) == 0 {
        let expected = [last - draw(last.min(8)), 0][draw(2) as usize];
        headers.push(("Nats-Expected-Last-Subject-Sequence", expected.to_string()));
    }
    if draw(10) == 0 {
        headers.push(("Nats-Expected-Last-Sequence", (last - draw(last.min(3))).to_string()));
    }
    if draw(15) == 0 {
        headers.push(("Nats-Expected-Last-Msg-Id", format!("id {}", draw(60))));
    }
    if draw(60) == 0 {
        headers.push(("Nats-Rollup", "sub".into()));
    }
    let payload = "x".repeat(draw(300) as usize);
    both.ask(subject, &headers, &payload, answered).await
}

/// What a delivered message counts for: subject, subject for acknowledgements, headers and payload.
fn counted(frame: &str) -> usize {
    let line = frame.split("\r\n").next().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let (subject, reply, bytes) = (words[1], words[3], words[words.len() - 1]);
    if reply.starts_with("$JS.ACK.") { subject.len() + reply.len() + bytes.parse::<usize>().unwrap() } else { 0 }
}

/// Makes a consumer, asks it for messages some times, and lets go of it.
async fn walk(both: &mut Both, pattern: &str, sequence: u64, draw: &mut impl FnMut(u64) -> u64) {
    let mut config = json!({
        "deliver_policy": "by_start_sequence", "opt_start_seq": sequence.max(1), "ack_policy": "none",
        "filter_subject": pattern, "replay_policy": "instant", "mem_storage": true, "num_replicas": 1,
        "inactive_threshold": 10_000_000_000_u64,
    });
    if draw(4) == 0 {
        config["deliver_policy"] = ["all", "new"][draw(2) as usize].into();
        config.as_object_mut().unwrap().remove("opt_start_seq");
    }
    let question = json!({ "stream_name": "S", "config": config });
    both.one("$JS.API.CONSUMER.CREATE.S", &question).await;
    for _ in 0..draw(4) {
        let most = 1_500 + draw(4_000) as usize;
        let question = json!({ "batch": 1 + draw(20), "max_bytes": most, "no_wait": true });
        let next = "$JS.API.CONSUMER.MSG.NEXT.S.CONSUMER!";
        // Nothing more is said where the bytes are used up to the last.
        let done =
            |frames: &[String]| answered(frames) || frames.iter().map(|frame| counted(frame)).sum::<usize>() == most;
        both.ask(next, &[], &question.to_string(), done).await;
    }
    both.one("$JS.API.CONSUMER.DELETE.S.CONSUMER!", &Value::Null).await;
}
