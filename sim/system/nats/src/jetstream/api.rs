//! Requests to JetStream: which there are, who may make them, and how answers are written.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::PREFIX;
use super::error::ApiError;
use crate::hub::Hub;
use crate::wire::Publish;

/// The kind that each answer says it is.
const KIND: &str = "io.nats.jetstream.api.v1.";

/// An answer: its kind, what it always says, and what was done or why it was not.
pub(crate) struct Answer {
    kind: &'static str,
    always: Value,
    done: Result<Value, ApiError>,
}

impl Answer {
    pub(crate) fn new<T: Serialize>(kind: &'static str, done: Result<T, ApiError>) -> Self {
        Self::with(kind, Value::Null, done)
    }

    /// One that says some things in any case.
    pub(crate) fn with<T: Serialize>(kind: &'static str, always: Value, done: Result<T, ApiError>) -> Self {
        // What is serialized here are our own structs, with text for keys.
        let done = done.map(|done| serde_json::to_value(done).unwrap_or_default());
        Self { kind, always, done }
    }

    fn written(self) -> String {
        let mut fields = Map::new();
        fields.insert("type".into(), format!("{KIND}{}", self.kind).into());
        fields.extend(object(self.always));
        match self.done {
            Ok(done) => fields.extend(object(done)),
            Err(error) => {
                fields.insert("error".into(), serde_json::to_value(error).unwrap_or_default());
            }
        }
        // As Go writes it.
        Value::Object(fields).to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Reads a request; what is empty is one without fields where that will do.
pub(crate) fn asked<T: DeserializeOwned>(payload: &[u8], empty: Option<&str>) -> Result<T, ApiError> {
    let text = if payload.is_empty() { empty.unwrap_or_default().as_bytes() } else { payload };
    serde_json::from_slice(text).map_err(|_| ApiError::INVALID_JSON)
}

impl Hub {
    /// Answers a request to JetStream; says whether there is somebody at its subject.
    pub(crate) fn jetstream(&mut self, account: usize, request: &Publish) -> bool {
        let Some(what) = request.subject.strip_prefix(PREFIX) else { return false };
        if self.accounts[account].system {
            return true;
        }
        if let Some(rest) = what.strip_prefix("DIRECT.GET.") {
            return self.direct_get(account, rest, request);
        }
        if let Some(rest) = what.strip_prefix("CONSUMER.MSG.NEXT.") {
            return self.next_messages(account, rest, request);
        }
        let words: Vec<&str> = what.split('.').collect();
        let enabled = self.accounts[account].jetstream;
        let payload = &request.payload[..];
        let answer = match words[..] {
            ["INFO"] if !enabled => Answer::new("account_info_response", Err::<(), _>(ApiError::NOT_ENABLED)),
            _ if !enabled => return true,
            ["INFO"] => Answer::new("account_info_response", Ok(self.account_info(account))),
            ["STREAM", "CREATE", name] => self.create_stream(account, name, payload),
            ["STREAM", "UPDATE", name] => self.update_stream(account, name, payload),
            ["STREAM", "INFO", name] => self.stream_info(account, name, payload),
            ["STREAM", "NAMES"] => self.stream_names(account, payload),
            ["STREAM", "DELETE", name] => self.delete_stream(account, name),
            ["STREAM", "PURGE", name] => self.purge_stream(account, name, payload),
            ["STREAM", "MSG", "GET", name] => self.get_message(account, name, payload),
            ["STREAM", "MSG", "DELETE", name] => self.delete_message(account, name, payload),
            ["CONSUMER", "CREATE", stream] => self.create_consumer(account, stream, None, payload),
            ["CONSUMER", "CREATE", stream, name] => self.create_consumer(account, stream, Some(name), payload),
            ["CONSUMER", "CREATE", stream, name, ..] => self.create_consumer(account, stream, Some(name), payload),
            ["CONSUMER", "INFO", stream, name] => self.consumer_info(account, stream, name),
            ["CONSUMER", "DELETE", stream, name] => self.delete_consumer(account, stream, name),
            ["STREAM" | "CONSUMER", ..] => Answer::new("response", Err::<(), _>(ApiError::not_simulated(what))),
            // The server takes what begins so, and answers what it knows.
            _ => return true,
        };
        if let Some(reply) = &request.reply {
            let failed = answer.done.is_err();
            let written = answer.written();
            let state = &mut self.accounts[account];
            state.api.0 += 1;
            state.api.1 += u64::from(failed);
            self.deliver(account, reply, reply, None, None, written.as_bytes(), None);
        }
        true
    }
}
