//! Streams: made, changed, asked about, emptied; and single messages of them, for who asks in JSON.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Answer, asked};
use super::error::ApiError;
use super::{StreamConfig, StreamState};
use crate::clock::rfc3339;
use crate::disk::StreamFile;
use crate::hub::Hub;
use crate::store::{Message, Store};
use crate::subject::matches;

/// Subjects that one answer names (`JSMaxSubjectDetails` of the server).
const SUBJECTS_MOST: usize = 100_000;

/// Names of streams in one answer.
const NAMES_MOST: usize = 1_024;

#[derive(Deserialize)]
struct InfoRequest {
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    deleted_details: bool,
    #[serde(default)]
    subjects_filter: String,
}

#[derive(Deserialize)]
struct NamesRequest {
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    subject: String,
}

#[derive(Deserialize)]
struct PurgeRequest {
    #[serde(default)]
    filter: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    keep: u64,
}

#[derive(Deserialize)]
struct DeleteRequest {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    no_erase: bool,
}

/// Which message is asked for.
#[derive(Deserialize)]
pub(super) struct GetRequest {
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default)]
    pub(super) last_by_subj: String,
    #[serde(default)]
    pub(super) next_by_subj: String,
    #[serde(flatten)]
    pub(super) more: BTreeMap<String, Value>,
}

impl GetRequest {
    /// It asks for nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.seq == 0 && self.last_by_subj.is_empty() && self.next_by_subj.is_empty()
    }

    /// It asks for two things at once.
    pub(super) fn is_contradictory(&self) -> bool {
        !self.last_by_subj.is_empty() && (self.seq > 0 || !self.next_by_subj.is_empty())
    }

    /// What it asks for.
    pub(super) fn find<'a>(&self, store: &'a Store) -> Option<&'a Message> {
        let found = if !self.last_by_subj.is_empty() {
            store.last_of(&self.last_by_subj)
        } else if !self.next_by_subj.is_empty() {
            store.next_of(&self.next_by_subj, self.seq)
        } else {
            store.get(self.seq)
        };
        found.map(|message| &**message)
    }
}

#[derive(Serialize)]
struct State {
    messages: usize,
    bytes: u64,
    first_seq: u64,
    first_ts: String,
    last_seq: u64,
    last_ts: String,
    #[serde(skip_serializing_if = "is_zero")]
    num_subjects: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subjects: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    num_deleted: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deleted: Vec<u64>,
    consumer_count: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn state(store: &Store, consumers: usize) -> State {
    let span = if store.len() == 0 { 0 } else { store.last - store.first() + 1 } as usize;
    State {
        messages: store.len(),
        bytes: store.bytes,
        first_seq: store.first(),
        first_ts: rfc3339(store.first_time()),
        last_seq: store.last,
        last_ts: rfc3339(store.last_time),
        num_subjects: store.subjects().count(),
        subjects: BTreeMap::new(),
        num_deleted: span - store.len(),
        deleted: Vec::new(),
        consumer_count: consumers,
    }
}

/// What is said of a stream in every answer about it.
fn described(stream: &StreamFile, state: State, now: u64) -> Value {
    json!({ "config": stream.config, "created": rfc3339(stream.created), "state": state, "ts": rfc3339(now) })
}

impl Hub {
    pub(super) fn account_info(&mut self, account: usize) -> Value {
        let (mut memory, mut storage) = (0, 0);
        for ((of, _), stream) in &self.disk.files().streams {
            if *of == self.accounts[account].name {
                *if stream.store.in_memory { &mut memory } else { &mut storage } += stream.store.bytes;
            }
        }
        let state = &self.accounts[account];
        let consumers: usize = state.streams.values().map(|stream| stream.consumers.len()).sum();
        json!({
            "memory": memory, "storage": storage, "reserved_memory": 0, "reserved_storage": 0,
            "streams": state.streams.len(), "consumers": consumers,
            "limits": {
                "max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1, "max_ack_pending": -1,
                "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1, "max_bytes_required": false,
            },
            "api": { "total": state.api.0, "errors": state.api.1 },
        })
    }

    /// Looks at a stream that lies on the disk.
    pub(super) fn with_stream<T>(
        &mut self,
        account: usize,
        name: &str,
        look: impl FnOnce(&mut Self, &mut StreamFile) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let disk = self.disk.clone();
        let mut files = disk.files();
        let key = (self.accounts[account].name.clone(), name.to_owned());
        if !self.accounts[account].streams.contains_key(name) {
            return Err(ApiError::STREAM_NOT_FOUND);
        }
        let file = files.streams.get_mut(&key).ok_or(ApiError::STREAM_NOT_FOUND)?;
        look(self, file)
    }

    pub(super) fn create_stream(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        Answer::new("stream_create_response", self.try_create(account, name, payload))
    }

    fn try_create(&mut self, account: usize, name: &str, payload: &[u8]) -> Result<Value, ApiError> {
        let config: StreamConfig = asked(payload, None)?;
        if config.name != name {
            return Err(ApiError::NAME_DIFFERS);
        }
        let config = config.completed()?;
        let now = self.config.clock.now();
        let streams = &self.accounts[account].streams;
        if let Some(there) = streams.get(name) {
            if there.config != config {
                return Err(ApiError::NAME_IN_USE);
            }
            let consumers = there.consumers.len();
            return self.with_stream(account, name, |_, file| {
                let mut answer = described(file, state(&file.store, consumers), now);
                answer["did_create"] = true.into();
                Ok(answer)
            });
        }
        if streams.values().any(|other| other.config.overlaps(&config)) {
            return Err(ApiError::SUBJECTS_OVERLAP);
        }
        if self.accounts.iter().map(|account| account.streams.len()).sum::<usize>() >= self.config.limits.streams {
            return Err(ApiError::MAXIMUM_STREAMS);
        }
        let file = StreamFile::create(config.clone(), now, self.syncs());
        let known = StreamState::recovered(config);
        let mut answer = described(&file, state(&file.store, 0), now);
        answer["did_create"] = true.into();
        let key = (self.accounts[account].name.clone(), name.to_owned());
        self.disk.files().streams.insert(key, file);
        self.accounts[account].streams.insert(name.to_owned(), known);
        Ok(answer)
    }

    pub(super) fn update_stream(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        let done = asked::<StreamConfig>(payload, None).and_then(|config| {
            if config.name != name {
                return Err(ApiError::NAME_DIFFERS);
            }
            let config = config.completed()?;
            self.with_stream(account, name, |hub, file| {
                file.config.check_update(&config)?;
                let others = hub.accounts[account].streams.iter().filter(|(other, _)| *other != name);
                if others.into_iter().any(|(_, other)| other.config.overlaps(&config)) {
                    return Err(ApiError::SUBJECTS_OVERLAP);
                }
                file.configure(config.clone(), hub.syncs());
                let state_of = hub.accounts[account].streams.get_mut(name).ok_or(ApiError::STREAM_NOT_FOUND)?;
                state_of.config = config;
                let consumers = state_of.consumers.len();
                Ok(described(file, state(&file.store, consumers), hub.config.clock.now()))
            })
        });
        Answer::new("stream_update_response", done)
    }

    pub(super) fn stream_info(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        let mut paging = json!({ "total": 0, "offset": 0, "limit": 0 });
        let done = asked::<InfoRequest>(payload, Some("{}")).and_then(|asked| {
            let consumers = self.accounts[account].streams.get(name).map_or(0, |stream| stream.consumers.len());
            self.with_stream(account, name, |hub, file| {
                let mut told = state(&file.store, consumers);
                if asked.deleted_details && told.messages > 0 {
                    let store = &file.store;
                    told.deleted = (store.first()..=store.last).filter(|at| store.get(*at).is_none()).collect();
                }
                if !asked.subjects_filter.is_empty() {
                    let found = file.store.subjects().filter(|(subject, _)| matches(&asked.subjects_filter, subject));
                    let found: Vec<_> = found.collect();
                    if !found.is_empty() {
                        paging = json!({ "total": found.len(), "offset": asked.offset, "limit": SUBJECTS_MOST });
                    }
                    let page = found.into_iter().skip(asked.offset).take(SUBJECTS_MOST);
                    told.subjects = page.map(|(subject, count)| (subject.to_owned(), count)).collect();
                }
                let mut answer = described(file, told, hub.config.clock.now());
                answer["cluster"] = json!({ "leader": hub.config.name });
                Ok(answer)
            })
        });
        Answer::with("stream_info_response", paging, done)
    }

    pub(super) fn stream_names(&mut self, account: usize, payload: &[u8]) -> Answer {
        let done = asked::<NamesRequest>(payload, Some("{}")).map(|asked| {
            let streams = self.accounts[account].streams.iter();
            let found = streams.filter(|(_, stream)| {
                let mut subjects = stream.config.subjects.iter();
                asked.subject.is_empty() || subjects.any(|one| crate::subject::overlap(one, &asked.subject))
            });
            let names: Vec<&String> = found.map(|(name, _)| name).collect();
            let page: Vec<&&String> = names.iter().skip(asked.offset).take(NAMES_MOST).collect();
            json!({ "total": names.len(), "offset": asked.offset, "limit": NAMES_MOST, "streams": page })
        });
        Answer::new("stream_names_response", done)
    }

    pub(super) fn delete_stream(&mut self, account: usize, name: &str) -> Answer {
        let key = (self.accounts[account].name.clone(), name.to_owned());
        let there = self.accounts[account].streams.remove(name).is_some();
        let gone = there && self.disk.files().streams.remove(&key).is_some();
        let done = if gone { Ok(json!({ "success": true })) } else { Err(ApiError::STREAM_NOT_FOUND) };
        Answer::new("stream_delete_response", done)
    }

    pub(super) fn purge_stream(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        let sync = self.syncs();
        let done = self.with_stream(account, name, |_, file| {
            if file.config.deny_purge {
                return Err(ApiError::PURGE_NOT_PERMITTED);
            }
            let asked: PurgeRequest = asked(payload, Some("{}"))?;
            if asked.seq > 0 || asked.keep > 0 {
                return Err(ApiError::not_simulated("a purge up to a sequence, or that keeps some"));
            }
            let going = file
                .store
                .messages()
                .filter(|message| asked.filter.is_empty() || matches(&asked.filter, &message.subject));
            let going: Vec<u64> = going.map(|message| message.sequence).collect();
            for sequence in &going {
                file.remove(*sequence, false, sync);
            }
            Ok(going.len())
        });
        let purged = *done.as_ref().unwrap_or(&0);
        let done = done.map(|_| json!({ "success": true }));
        Answer::with("stream_purge_response", json!({ "purged": purged }), done)
    }

    pub(super) fn get_message(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        Answer::new("stream_msg_get_response", self.try_get(account, name, payload))
    }

    fn try_get(&mut self, account: usize, name: &str, payload: &[u8]) -> Result<Value, ApiError> {
        if payload.is_empty() {
            return Err(ApiError::BAD_REQUEST);
        }
        let asked: GetRequest = asked(payload, None)?;
        if asked.is_empty() || asked.is_contradictory() {
            return Err(ApiError::BAD_REQUEST);
        }
        if let Some(field) = asked.more.keys().next() {
            return Err(ApiError::not_simulated(field));
        }
        self.with_stream(account, name, |_, file| {
            let message = asked.find(&file.store).ok_or(ApiError::NO_MESSAGE)?;
            let mut fields = json!({
                "subject": message.subject, "seq": message.sequence, "time": rfc3339(message.time),
            });
            for (field, bytes) in [("hdrs", message.headers.as_deref()), ("data", Some(&message.payload[..]))] {
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    fields[field] = STANDARD.encode(bytes).into();
                }
            }
            Ok(json!({ "message": fields }))
        })
    }

    pub(super) fn delete_message(&mut self, account: usize, name: &str, payload: &[u8]) -> Answer {
        let sync = self.syncs();
        let done = if payload.is_empty() { Err(ApiError::BAD_REQUEST) } else { asked::<DeleteRequest>(payload, None) };
        let done = done.and_then(|asked| {
            self.with_stream(account, name, |hub, file| {
                let (first, last) = (file.store.first(), file.store.last);
                hub.statistics.deleted_ends += u64::from(file.store.is_last_of_several(asked.seq));
                match asked.seq {
                    sequence if file.remove(sequence, !asked.no_erase, sync) => Ok(json!({ "success": true })),
                    sequence if file.store.in_memory => Err(ApiError::sequence_not_found(sequence)),
                    sequence if sequence > last => Err(ApiError::DELETE_BEYOND),
                    sequence if sequence < first => Err(ApiError::DELETE_AT_ZERO),
                    sequence => Err(ApiError::sequence_not_found(sequence)),
                }
            })
        });
        Answer::new("stream_msg_delete_response", done)
    }
}
