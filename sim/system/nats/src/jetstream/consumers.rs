//! Consumers: made, asked for messages, and forgotten.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, asked};
use super::consumer::{Consumer, ConsumerConfig, Waiting};
use super::error::ApiError;
use crate::clock::rfc3339;
use crate::headers;
use crate::hub::Hub;
use crate::store::{Message, Store};
use crate::wire::Publish;

const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const NAME_LENGTH: usize = 8;

#[derive(Deserialize)]
struct CreateRequest {
    #[serde(default)]
    stream_name: String,
    #[serde(default)]
    config: Option<ConsumerConfig>,
}

#[derive(Deserialize, Default)]
struct NextRequest {
    #[serde(default)]
    batch: u64,
    #[serde(default)]
    max_bytes: u64,
    #[serde(default)]
    no_wait: bool,
    #[serde(default)]
    expires: u64,
    #[serde(default)]
    idle_heartbeat: u64,
}

impl Hub {
    pub(super) fn create_consumer(
        &mut self,
        account: usize,
        stream: &str,
        name: Option<&str>,
        payload: &[u8],
    ) -> Answer {
        Answer::new("consumer_create_response", self.try_create_consumer(account, stream, name, payload))
    }

    fn try_create_consumer(
        &mut self,
        account: usize,
        stream: &str,
        name: Option<&str>,
        payload: &[u8],
    ) -> Result<Value, ApiError> {
        let asked: CreateRequest = asked(payload, None)?;
        if asked.stream_name != stream {
            return Err(ApiError::NAME_DIFFERS);
        }
        let config = asked.config.ok_or(ApiError::BAD_REQUEST)?.completed()?;
        let drawn = self.random.word(NAME_LENGTH, ALPHABET);
        let name = name.map_or(drawn, str::to_owned);
        let now = self.config.clock.now();
        let described = self.with_stream(account, stream, |hub, file| {
            let most = hub.config.limits.consumers;
            let state = hub.accounts[account].streams.get_mut(stream).ok_or(ApiError::STREAM_NOT_FOUND)?;
            if state.consumers.contains_key(&name) {
                return Err(ApiError::not_simulated("a consumer that is there already"));
            }
            if state.consumers.len() >= most {
                return Err(ApiError::MAXIMUM_CONSUMERS);
            }
            let consumer = Consumer::new(config, &file.store, now);
            let described = described(stream, &name, &consumer, &file.store, now);
            state.consumers.insert(name, consumer);
            Ok(described)
        })?;
        self.due.notify_one();
        Ok(described)
    }

    pub(super) fn consumer_info(&mut self, account: usize, stream: &str, name: &str) -> Answer {
        let now = self.config.clock.now();
        let done = self.with_stream(account, stream, |hub, file| {
            let state = hub.accounts[account].streams.get(stream).ok_or(ApiError::STREAM_NOT_FOUND)?;
            let consumer = state.consumers.get(name).ok_or(ApiError::CONSUMER_NOT_FOUND)?;
            Ok(described(stream, name, consumer, &file.store, now))
        });
        Answer::new("consumer_info_response", done)
    }

    pub(super) fn delete_consumer(&mut self, account: usize, stream: &str, name: &str) -> Answer {
        let state = self.accounts[account].streams.get_mut(stream).ok_or(ApiError::STREAM_NOT_FOUND);
        let done = state.and_then(|state| match state.consumers.remove(name) {
            Some(_) => Ok(json!({ "success": true })),
            None => Err(ApiError::CONSUMER_NOT_FOUND),
        });
        Answer::new("consumer_delete_response", done)
    }

    /// `STREAM.CONSUMER`: somebody asks for messages. Says whether there is such a consumer.
    pub(super) fn next_messages(&mut self, account: usize, rest: &str, request: &Publish) -> bool {
        let Some((stream, name)) = rest.split_once('.') else { return false };
        let now = self.config.clock.now();
        let consumers = self.accounts[account].streams.get_mut(stream).map(|stream| &mut stream.consumers);
        let Some(consumer) = consumers.and_then(|consumers| consumers.get_mut(name)) else { return false };
        consumer.used = now;
        let Some(reply) = request.reply.clone() else { return true };
        let text = std::str::from_utf8(&request.payload).unwrap_or_default().trim();
        let asked = match text {
            "" => Ok(NextRequest::default()),
            text if text.starts_with('{') => serde_json::from_str(text).map_err(|why| why.to_string()),
            number => {
                let batch = number.parse().map_err(|_| "not a number".to_owned());
                batch.map(|batch| NextRequest { batch, ..NextRequest::default() })
            }
        };
        let refused = match asked {
            Err(why) => Some(format!("400 Bad Request - {why}")),
            Ok(asked) if asked.idle_heartbeat > 0 => Some("400 Bad Request - not simulated: idle_heartbeat".into()),
            Ok(_) if consumer.is_full() => Some("409 Exceeded MaxWaiting".into()),
            Ok(asked) => {
                consumer.waiting.push_back(Waiting {
                    reply: reply.clone(),
                    messages: asked.batch.max(1),
                    served: false,
                    bytes: Some(asked.max_bytes).filter(|bytes| *bytes > 0),
                    no_wait: asked.no_wait,
                    until: Some(now + asked.expires).filter(|_| asked.expires > 0),
                });
                None
            }
        };
        match refused {
            Some(words) => self.status(account, &reply, &words, None),
            None => {
                self.serve(account, stream, name);
                self.due.notify_one();
            }
        }
        true
    }

    /// Something was stored: whoever waits for it gets it.
    pub(crate) fn serve_all(&mut self, account: usize, stream: &str) {
        let Some(state) = self.accounts[account].streams.get(stream) else { return };
        let waited = state.consumers.iter().filter(|(_, consumer)| !consumer.waiting.is_empty());
        let names: Vec<String> = waited.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.serve(account, stream, &name);
        }
    }

    /// Serves those who wait, the first first, until nobody waits or nothing is left.
    fn serve(&mut self, account: usize, stream: &str, name: &str) {
        while let Some(step) = self.step(account, stream, name) {
            match step {
                Step::Deliver { reply, ack, message } => {
                    let headers = message.headers.as_deref();
                    self.deliver(account, &reply, &message.subject, Some(&ack), headers, &message.payload, None);
                }
                Step::Say { reply, words, pending } => self.status(account, &reply, words, pending),
            }
        }
    }

    /// The next thing to do for those who wait.
    fn step(&mut self, account: usize, stream: &str, name: &str) -> Option<Step> {
        let now = self.config.clock.now();
        let files = self.disk.files();
        let state = &mut self.accounts[account];
        let store = &files.streams.get(&(state.name.clone(), stream.to_owned()))?.store;
        let consumer = state.streams.get_mut(stream)?.consumers.get_mut(name)?;
        let waiting = consumer.waiting.front_mut()?;
        let found = store.next_of(&consumer.config.filter_subject, consumer.next).cloned();
        let pending = Some((waiting.messages, waiting.bytes.unwrap_or(0)));
        let reply = waiting.reply.clone();
        if !state.subscriptions.is_heard(&reply) {
            // Who asked is gone.
            consumer.waiting.pop_front();
            return Some(Step::Say { reply, words: "", pending: None });
        }
        if waiting.messages == 0 {
            let left = waiting.bytes.filter(|bytes| *bytes > 0);
            consumer.waiting.pop_front();
            consumer.used = now;
            return match left {
                Some(_) => Some(Step::Say { reply, words: "409 Batch Completed", pending }),
                None => Some(Step::Say { reply, words: "", pending: None }),
            };
        }
        let Some(message) = found else {
            consumer.next = consumer.next.max(store.last + 1);
            if !waiting.no_wait {
                return None;
            }
            let served = waiting.served;
            consumer.waiting.pop_front();
            let (words, pending) = if served { ("408 Request Timeout", pending) } else { ("404 No Messages", None) };
            return Some(Step::Say { reply, words, pending });
        };
        let (deliveries, sequence, time) = (consumer.delivered.0 + 1, message.sequence, message.time);
        let left = consumer.left_after(sequence, store);
        let ack = format!("$JS.ACK.{stream}.{name}.1.{sequence}.{deliveries}.{time}.{left}");
        let waiting = consumer.waiting.front_mut()?;
        if let Some(bytes) = &mut waiting.bytes {
            let headers = message.headers.as_ref().map_or(0, |block| block.len());
            let size = (message.subject.len() + ack.len() + headers + message.payload.len()) as u64;
            if size > *bytes {
                consumer.waiting.pop_front();
                return Some(Step::Say { reply, words: "409 Message Size Exceeds MaxBytes", pending });
            }
            *bytes -= size;
            if *bytes == 0 {
                waiting.messages = 1;
            }
        }
        waiting.messages -= 1;
        waiting.served = true;
        consumer.next = sequence + 1;
        consumer.delivered = (deliveries, sequence);
        consumer.last_active = Some(now);
        consumer.used = now;
        Some(Step::Deliver { reply, ack, message })
    }

    /// Says a status, with how much is left of what was asked for.
    fn status(&mut self, account: usize, reply: &str, words: &str, pending: Option<(u64, u64)>) {
        if words.is_empty() {
            return;
        }
        let lines =
            pending.map(|(messages, bytes)| [("Nats-Pending-Messages", messages), ("Nats-Pending-Bytes", bytes)]);
        let block = headers::status(words, lines.as_ref().map_or(&[], |lines| &lines[..]));
        self.deliver(account, reply, reply, None, Some(&block), &[], None);
    }

    /// Sees to those who waited long enough, and forgets consumers that nobody uses; when to look again.
    pub(crate) fn see_to_consumers(&mut self) -> Option<u64> {
        let now = self.config.clock.now();
        let mut timed_out = Vec::new();
        let mut next = u64::MAX;
        for (account, state) in self.accounts.iter_mut().enumerate() {
            for stream in state.streams.values_mut() {
                stream.consumers.retain(|_, consumer| {
                    consumer.waiting.retain(|waiting| {
                        let over = waiting.until.is_some_and(|until| until <= now);
                        if over {
                            consumer.used = now;
                            let pending = (waiting.messages, waiting.bytes.unwrap_or(0));
                            timed_out.push((account, waiting.reply.clone(), pending));
                        }
                        !over
                    });
                    consumer.forgotten() > now
                });
                next = stream.consumers.values().map(Consumer::due).fold(next, u64::min);
            }
        }
        for (account, reply, pending) in timed_out {
            self.status(account, &reply, "408 Request Timeout", Some(pending));
        }
        Some(next).filter(|next| *next < u64::MAX)
    }
}

enum Step {
    Deliver { reply: String, ack: String, message: Arc<Message> },
    Say { reply: String, words: &'static str, pending: Option<(u64, u64)> },
}

fn described(stream: &str, name: &str, consumer: &Consumer, store: &Store, now: u64) -> Value {
    let mut delivered = json!({ "consumer_seq": consumer.delivered.0, "stream_seq": consumer.next - 1 });
    if let Some(active) = consumer.last_active {
        delivered["last_active"] = rfc3339(active).into();
    }
    json!({
        "stream_name": stream,
        "name": name,
        "created": rfc3339(consumer.created),
        "config": consumer.config,
        "delivered": delivered,
        "ack_floor": { "consumer_seq": consumer.delivered.0, "stream_seq": consumer.delivered.1 },
        "num_ack_pending": 0,
        "num_redelivered": 0,
        "num_waiting": consumer.waiting.len(),
        "num_pending": store.count_of(&consumer.config.filter_subject, consumer.next),
        "ts": rfc3339(now),
    })
}
