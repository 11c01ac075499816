//! The few requests to JetStream that the store makes, each with a deadline, and what came of them, classed.

use std::collections::BTreeMap;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{HeaderMap, Message, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chamberlain_core::log::RecordBytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::select;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::stamp::{HEADER, Kind, Stamp};
use crate::StoreError;

/// What a message has in headers, in bytes, at most: names of at most 64 letters, numbers, two digests.
pub(super) const HEADERS_MOST: usize = 1_024;

/// Error codes of the server: docs.nats.io and its errors.json name them.
mod code {
    pub(super) const NO_MESSAGE_FOUND: u64 = 10_037;
    pub(super) const MESSAGE_TOO_LARGE: u64 = 10_054;
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
    /// The same, where the number is not told.
    pub(super) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10_164;
    /// Writing failed, or a limit was met: whether anything is in the file is not said.
    pub(super) const STORE_FAILED: u64 = 10_077;
    pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
    /// Too few servers know of each other.
    pub(super) const NO_PEERS: u64 = 10_005;
}

/// The status that the server gives what may pass.
const SERVICE_UNAVAILABLE: u64 = 503;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failed {
    /// It was not sent, or nobody was there to take it: nothing happened.
    #[error("{0}")]
    NotTaken(String),
    /// It was sent, and no answer came.
    #[error("{0}")]
    Silence(String),
    /// The server refused it.
    #[error("the server refuses ({code}): {why}")]
    Refused {
        /// The server's number for it.
        code: u64,
        /// Its words.
        why: String,
        /// It is for now: servers have not found each other yet or elected who leads, or something is used up.
        for_now: bool,
    },
}

impl Failed {
    /// There is no such stream.
    pub(super) fn is_no_stream(&self) -> bool {
        matches!(self, Self::Refused { code: code::STREAM_NOT_FOUND, .. })
    }
}

/// What came of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is stored, at this sequence of the stream.
    Stored(u64),
    /// The server met its id before, on whichever message.
    Duplicate,
    /// The subject's last message is not the one that was expected: it was not stored.
    Overtaken,
}

/// A message of the stream.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) stamp: Stamp,
    pub(super) payload: Bytes,
}

impl Stored {
    /// The record that it holds, if it holds one.
    pub(super) fn record(&self) -> Option<RecordBytes> {
        let Stamp { kind, first, head } = self.stamp;
        let bytes = self.payload.clone();
        (kind == Kind::Record).then_some(RecordBytes { first, last: head.revision, bytes })
    }
}

/// Which message is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// The one at a sequence.
    At(u64),
    /// The last one of a subject.
    Last(&'a str),
    /// The first one of a subject at a sequence or after it.
    From(&'a str, u64),
}

/// An answer of the server: what was asked for, or an error.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Refused { error: ServerError },
    Done(T),
}

#[derive(Deserialize)]
struct ServerError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Acknowledgement {
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Deserialize)]
struct GotMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Subjects {
    #[serde(default)]
    total: usize,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    #[serde(default)]
    subjects: Option<BTreeMap<String, u64>>,
}

impl Shared {
    /// Sends a request and waits for its answer.
    async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Message, Failed> {
        let until = deadline.min(Instant::now() + self.options.request);
        let turn = timeout_at(until, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Failed::NotTaken("too many requests are under way".into())) };
        let mut lost = self.lost.clone();
        lost.mark_unchanged();
        if self.client.connection_state() != State::Connected {
            return Err(Failed::NotTaken("there is no connection to a server".into()));
        }
        let mut request = Request::new().payload(payload).timeout(None);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        select! {
            biased;
            answer = timeout_at(until, self.client.send_request(subject, request)) => match answer {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(why)) => Err(match why.kind() {
                    RequestErrorKind::NoResponders => Failed::NotTaken("no server with JetStream answers".into()),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                        Failed::NotTaken(why.to_string())
                    }
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => Failed::Silence(why.to_string()),
                }),
                Err(_) => Err(Failed::Silence("no answer came in time".into())),
            },
            _ = lost.changed() => Err(Failed::Silence("the connection was lost before the answer".into())),
        }
    }

    /// A request to JetStream's own subjects, with JSON both ways.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        question: &Value,
        deadline: Instant,
    ) -> Result<T, Failed> {
        self.ask(format!("{}.{what}.{}", self.prefix, self.names.stream()), question, deadline).await
    }

    /// The same, of something that belongs to the stream.
    pub(super) async fn call_of<T: DeserializeOwned>(
        &self,
        what: &str,
        of: &str,
        question: &Value,
        deadline: Instant,
    ) -> Result<T, Failed> {
        self.ask(format!("{}.{what}.{}.{of}", self.prefix, self.names.stream()), question, deadline).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        question: &Value,
        deadline: Instant,
    ) -> Result<T, Failed> {
        let message = self.request(subject, HeaderMap::new(), question.to_string().into(), deadline).await?;
        answer(&message.payload)
    }

    /// Publishes to a subject of the stream, if the last message there is at `expected` (zero: if there is none).
    pub(super) async fn publish(
        &self,
        subject: &str,
        expected: u64,
        id: Option<&str>,
        stamp: Stamp,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Published, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, stamp.to_string());
        headers.insert("Nats-Expected-Stream", self.names.stream());
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        if let Some(id) = id {
            headers.insert("Nats-Msg-Id", id);
        }
        let message = self.request(subject.to_owned(), headers, payload, deadline).await?;
        match answer::<Acknowledgement>(&message.payload) {
            Ok(acknowledged) if acknowledged.duplicate => Ok(Published::Duplicate),
            Ok(acknowledged) => Ok(Published::Stored(acknowledged.seq)),
            Err(Failed::Refused { code: code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT, .. }) => {
                Ok(Published::Overtaken)
            }
            Err(Failed::Refused { code: code::STORE_FAILED, why, .. }) => Err(Failed::Silence(why)),
            Err(failed) => Err(failed),
        }
    }

    /// A message of the stream. With one copy it is asked of the server that has it; with several, of the one that leads them,
    /// since another may lag: it would miss what is new, and still serve what was erased.
    pub(super) async fn get(&self, wanted: Wanted<'_>, deadline: Instant) -> Result<Option<Stored>, StoreError> {
        let question = match wanted {
            Wanted::At(sequence) => json!({ "seq": sequence }),
            Wanted::Last(subject) => json!({ "last_by_subj": subject }),
            Wanted::From(subject, sequence) => json!({ "seq": sequence.max(1), "next_by_subj": subject }),
        };
        if self.options.replicas == 1 {
            let subject = format!("{}.DIRECT.GET.{}", self.prefix, self.names.stream());
            let message = self.request(subject, HeaderMap::new(), question.to_string().into(), deadline).await?;
            return from_direct(message);
        }
        match self.call::<Got>("STREAM.MSG.GET", &question, deadline).await {
            Ok(got) => from_leader(got.message).map(Some),
            Err(Failed::Refused { code: code::NO_MESSAGE_FOUND, .. }) => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// Deletes a message and overwrites what it held; nothing when it is not there.
    pub(super) async fn delete(&self, sequence: u64, deadline: Instant) -> Result<(), StoreError> {
        let deleted = self.call::<Value>("STREAM.MSG.DELETE", &json!({ "seq": sequence }), deadline).await;
        match deleted {
            Ok(_) => Ok(()),
            Err(Failed::Refused { .. }) if self.get(Wanted::At(sequence), deadline).await?.is_none() => Ok(()),
            Err(failed) => Err(StoreError::Unknown(failed.to_string())),
        }
    }

    /// The subjects below `filter` that hold a message, from the `offset`th on in the server's order, as many as the server
    /// gives at once; and how many there are.
    pub(super) async fn subjects(
        &self,
        filter: &str,
        offset: usize,
        deadline: Instant,
    ) -> Result<(Vec<String>, usize), StoreError> {
        let question = json!({ "subjects_filter": filter, "offset": offset });
        let found: Subjects = self.call("STREAM.INFO", &question, deadline).await?;
        Ok((found.state.subjects.unwrap_or_default().into_keys().collect(), found.total))
    }

    /// Whether a message with so large a record is one that the servers take.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), StoreError> {
        let most = self.client.max_payload().saturating_sub(HEADERS_MOST);
        if bytes <= most {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "a record of {bytes} bytes; the servers' max_payload leaves room for {most} beside the headers"
        )))
    }

    /// What a publication that was refused, for whatever reason, is to the caller.
    pub(super) fn refused(failed: Failed) -> StoreError {
        match failed {
            Failed::Refused { code: code::MESSAGE_TOO_LARGE, why, .. } => StoreError::Invalid(why),
            failed => StoreError::Unavailable(failed.to_string()),
        }
    }
}

/// Reads an answer in JSON.
fn answer<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failed> {
    match serde_json::from_slice(payload) {
        Ok(Answer::Done(done)) => Ok(done),
        Ok(Answer::Refused { error }) => Err(Failed::Refused {
            code: error.err_code,
            why: error.description,
            for_now: error.code == SERVICE_UNAVAILABLE || error.err_code == code::NO_PEERS,
        }),
        Err(_) => Err(Failed::Silence("the answer was not understood".into())),
    }
}

/// A message as a server with a copy answers it: as itself, with what it is in headers.
fn from_direct(message: Message) -> Result<Option<Stored>, StoreError> {
    if let Some(status) = message.status {
        if status == async_nats::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        return Err(StoreError::Unavailable(format!("{status}: {}", message.description.unwrap_or_default())));
    }
    let header = |name: &str| message.headers.as_ref().and_then(|headers| headers.get_last(name));
    let sequence = header("Nats-Sequence").and_then(|sequence| sequence.as_str().parse().ok());
    let subject = header("Nats-Subject").map(|subject| subject.as_str().to_owned());
    let (Some(sequence), Some(subject)) = (sequence, subject) else {
        return Err(StoreError::Unavailable("the answer was not understood".into()));
    };
    let stamp = header(HEADER).and_then(|stamp| stamp.as_str().parse().ok());
    let stamp = stamp.ok_or_else(|| unstamped(sequence, &subject))?;
    Ok(Some(Stored { sequence, subject, stamp, payload: message.payload }))
}

/// A message as the leader answers it: in JSON.
fn from_leader(message: GotMessage) -> Result<Stored, StoreError> {
    let GotMessage { subject, seq: sequence, hdrs, data } = message;
    let strange = |_| StoreError::Unavailable("the answer was not understood".into());
    let headers = STANDARD.decode(hdrs).map_err(strange)?;
    let payload = STANDARD.decode(data).map_err(strange)?.into();
    let headers = String::from_utf8_lossy(&headers);
    let stamp = headers.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == HEADER);
    let stamp = stamp.and_then(|(_, stamp)| stamp.trim().parse().ok());
    let stamp = stamp.ok_or_else(|| unstamped(sequence, &subject))?;
    Ok(Stored { sequence, subject, stamp, payload })
}

fn unstamped(sequence: u64, subject: &str) -> StoreError {
    StoreError::Corrupt(format!("the message {sequence} at {subject} does not say what it is"))
}
