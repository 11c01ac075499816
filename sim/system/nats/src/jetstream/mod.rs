//! JetStream, as far as a store of logs uses it.

mod api;
mod config;
mod consumer;
mod consumers;
mod direct;
mod error;
mod ids;
mod ingest;
mod streams;

use std::collections::BTreeMap;

pub(crate) use config::StreamConfig;
pub(crate) use consumer::Consumer;
pub(crate) use ingest::Inbound;

use crate::headers;
use crate::store::Store;
use ids::MessageIds;

/// Where requests to JetStream are sent.
pub(crate) const PREFIX: &str = "$JS.API.";

/// What a server knows of a stream beside what lies on the disk.
#[derive(Debug)]
pub(crate) struct StreamState {
    pub(crate) config: StreamConfig,
    ids: MessageIds,
    /// Of the last message; empty where it has none.
    last_id: String,
    pub(crate) consumers: BTreeMap<String, Consumer>,
}

impl StreamState {
    /// Of a stream that lies on the disk: the ids of recent messages that are still there are known again.
    pub(crate) fn recovered(config: StreamConfig, store: &Store, now: u64, ids_most: usize) -> Self {
        let mut ids = MessageIds::new(ids_most);
        let mut last_id = String::new();
        let oldest = now.saturating_sub(config.duplicate_window);
        let mut recent: Vec<_> = store.messages().rev().take_while(|message| message.time >= oldest).collect();
        recent.reverse();
        for message in recent {
            let id = message.headers.as_ref().and_then(|block| headers::get(block, "Nats-Msg-Id"));
            if let Some(id) = id {
                ids.add(id, message.sequence, message.time);
            }
            if message.sequence == store.last {
                last_id = id.unwrap_or_default().to_owned();
            }
        }
        Self { config, ids, last_id, consumers: BTreeMap::new() }
    }
}
