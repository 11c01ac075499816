//! Taking messages into a stream: first what was expected of it, in the server's order, then its limits, then the disk.
//!
//! The order matters to whoever writes: an id that is known answers "duplicate" before anybody looks at the expected sequence.

use bytes::Bytes;

use super::error::ApiError;
use crate::clock::rfc3339;
use crate::headers::{self, get};
use crate::hub::Hub;
use crate::store::{Message, Store};
use crate::subject;
use crate::wire::Publish;

/// The most bytes of headers in a stream.
const HEADERS_MOST: usize = u16::MAX as usize;

/// A message on its way into a stream.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) account: usize,
    pub(crate) stream: String,
    pub(crate) message: Publish,
}

/// What is to be said of a message that was taken, or was not.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) account: usize,
    pub(crate) stream: String,
    /// Subject, headers, payload.
    pub(crate) told: Option<(String, Vec<u8>, Bytes)>,
    /// To whom, and what.
    pub(crate) answer: Option<(String, String)>,
}

impl Hub {
    /// Takes a message into its stream, or does not.
    pub(crate) fn ingest(&mut self, inbound: Inbound) -> Stored {
        let Inbound { account, stream, message } = inbound;
        let (told, answer) = match self.append(account, &stream, &message) {
            Ok(Done::Stored { sequence, told }) => {
                self.statistics.stored += 1;
                (told, format!("{{\"stream\":\"{stream}\", \"seq\":{sequence}}}"))
            }
            Ok(Done::Duplicate { sequence }) => {
                self.statistics.duplicates += 1;
                (None, format!("{{\"stream\":\"{stream}\", \"seq\":{sequence},\"duplicate\": true}}"))
            }
            Err(error) => {
                self.statistics.refused += 1;
                let error = serde_json::to_string(&error).unwrap_or_default().replace('>', "\\u003e");
                (None, format!("{{\"error\":{error},\"stream\":\"{stream}\",\"seq\":0}}"))
            }
        };
        let acknowledged = self.accounts[account].streams.get(&stream).is_some_and(|stream| !stream.config.no_ack);
        let answer = message.reply.filter(|_| acknowledged).map(|reply| (reply, answer));
        Stored { account, stream, told, answer }
    }

    fn append(&mut self, account: usize, stream: &str, message: &Publish) -> Result<Done, ApiError> {
        let now = self.config.clock.now();
        let (most, most_ids, sync) = (self.config.limits.messages, self.config.limits.message_ids, self.syncs());
        let disk = self.disk.clone();
        let mut files = disk.files();
        let key = (self.accounts[account].name.clone(), stream.to_owned());
        let file = files.streams.get_mut(&key).ok_or(ApiError::STREAM_NOT_FOUND)?;
        let state = self.accounts[account].streams.get_mut(stream).ok_or(ApiError::STREAM_NOT_FOUND)?;
        let header = |name: &str| message.headers.as_ref().and_then(|block| get(block, name));
        let number = |name: &str| header(name).map(|value| value.parse().unwrap_or(u64::MAX));

        if header("Nats-Expected-Stream").is_some_and(|expected| expected != stream) {
            return Err(ApiError::OTHER_STREAM);
        }
        let id = header("Nats-Msg-Id");
        let window = state.config.duplicate_window;
        if let Some(sequence) = id.and_then(|id| state.ids(&file.store, now, most_ids).find(id, now, window)) {
            return Ok(Done::Duplicate { sequence });
        }
        let before = file.store.last_of(&message.subject).map_or(0, |last| last.sequence);
        if number("Nats-Expected-Last-Subject-Sequence").is_some_and(|expected| expected != before) {
            return Err(ApiError::wrong_last_sequence(before));
        }
        if number("Nats-Expected-Last-Sequence").is_some_and(|expected| expected != file.store.last) {
            return Err(ApiError::wrong_last_sequence(file.store.last));
        }
        if let Some(expected) = header("Nats-Expected-Last-Msg-Id") {
            if state.last_id.is_empty() {
                state.ids(&file.store, now, most_ids);
            }
            if expected != state.last_id {
                return Err(ApiError::wrong_last_id(&state.last_id));
            }
        }
        if header("Nats-Rollup").is_some() {
            return Err(ApiError::ROLLUP);
        }
        let header_bytes = message.headers.as_ref().map_or(0, |block| block.len());
        let most_bytes = state.config.max_msg_size;
        if most_bytes >= 0 && (header_bytes + message.payload.len()) as i64 > most_bytes {
            return Err(ApiError::MESSAGE_TOO_LARGE);
        }
        if header_bytes > HEADERS_MOST {
            return Err(ApiError::HEADERS_TOO_LARGE);
        }
        let config = &state.config;
        make_room(&file.store, config, message, most)?;

        let subject = message.subject.clone();
        let (headers, payload) = (message.headers.clone(), message.payload.clone());
        let sequence = file.store(Message { sequence: 0, subject, headers, payload, time: now, block: 0 }, sync);
        for surplus in surplus(&file.store, config, &message.subject) {
            file.remove(surplus, false, sync);
        }
        state.last_id = id.unwrap_or_default().to_owned();
        if let Some(id) = id {
            state.ids(&file.store, now, most_ids).add(id, sequence, now);
        }
        let told = told(&state.config, message, sequence, before, now);
        Ok(Done::Stored { sequence, told })
    }

    /// Says what came of it: first to those who listen to the stream, then to who sent it.
    pub(crate) fn tell(&mut self, stored: Stored) {
        let Stored { account, stream, told, answer } = stored;
        if let Some((subject, headers, payload)) = told {
            self.deliver(account, &subject, &subject, None, Some(&headers), &payload, None);
        }
        if let Some((reply, answer)) = answer {
            self.deliver(account, &reply, &reply, None, None, answer.as_bytes(), None);
        }
        self.serve_all(account, &stream);
    }
}

enum Done {
    Stored { sequence: u64, told: Option<(String, Vec<u8>, Bytes)> },
    Duplicate { sequence: u64 },
}

/// Whether there is room for one more, or will be once old ones go.
fn make_room(store: &Store, config: &super::StreamConfig, message: &Publish, most: usize) -> Result<(), ApiError> {
    if store.len() >= most {
        return Err(ApiError::store("maximum messages exceeded"));
    }
    if config.discard != "new" {
        return Ok(());
    }
    if config.max_msgs >= 0 && store.len() as i64 >= config.max_msgs {
        // Unless one of its subject goes for it.
        let of_subject = store.count_of(&message.subject, 0) as i64;
        if config.max_msgs_per_subject < 0 || of_subject < config.max_msgs_per_subject {
            return Err(ApiError::store("maximum messages exceeded"));
        }
    }
    Ok(())
}

/// Messages that go because a newer one came.
fn surplus(store: &Store, config: &super::StreamConfig, subject: &str) -> Vec<u64> {
    let mut going = Vec::new();
    let of_subject = store.count_of(subject, 0) as i64;
    if config.max_msgs_per_subject > 0 && of_subject > config.max_msgs_per_subject {
        going.extend(store.next_of(subject, 0).map(|message| message.sequence));
    } else if config.max_msgs > 0 && store.len() as i64 > config.max_msgs {
        going.push(store.first());
    }
    going
}

/// How a stored message is told to who listens.
fn told(
    config: &super::StreamConfig,
    message: &Publish,
    sequence: u64,
    before: u64,
    time: u64,
) -> Option<(String, Vec<u8>, Bytes)> {
    let republish = config.republish.as_ref()?;
    let source = if republish.src.is_empty() { ">" } else { &republish.src };
    let to = subject::moved(source, &republish.dest, &message.subject)?;
    let mut lines = vec![
        ("Nats-Stream", config.name.clone()),
        ("Nats-Subject", message.subject.clone()),
        ("Nats-Sequence", sequence.to_string()),
        ("Nats-Time-Stamp", rfc3339(time)),
        ("Nats-Last-Sequence", before.to_string()),
    ];
    let payload = if republish.headers_only {
        lines.push(("Nats-Msg-Size", message.payload.len().to_string()));
        Bytes::new()
    } else {
        message.payload.clone()
    };
    Some((to, headers::with(message.headers.as_deref(), &lines), payload))
}
