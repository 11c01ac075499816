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
    /// None until somebody asks for one: so does the server it. A message that was deleted between start and then is forgotten.
    ids: Option<MessageIds>,
    /// Of the last message; empty where it has none.
    last_id: String,
    pub(crate) consumers: BTreeMap<String, Consumer>,
}

impl StreamState {
    /// Of a stream that lies on the disk.
    pub(crate) fn recovered(config: StreamConfig) -> Self {
        Self { config, ids: None, last_id: String::new(), consumers: BTreeMap::new() }
    }

    /// The ids of recent messages: at first, of those that are still there.
    fn ids(&mut self, store: &Store, now: u64, most: usize) -> &mut MessageIds {
        let (last_id, window) = (&mut self.last_id, self.config.duplicate_window);
        self.ids.get_or_insert_with(|| {
            let mut ids = MessageIds::new(most);
            let oldest = now.saturating_sub(window);
            let mut recent: Vec<_> = store.messages().rev().take_while(|message| message.time >= oldest).collect();
            recent.reverse();
            for message in recent {
                let block = message.headers.as_ref();
                let Some(id) = block.and_then(|block| headers::get(block, "Nats-Msg-Id")) else { continue };
                ids.add(id, message.sequence, message.time);
                if message.sequence == store.last {
                    *last_id = id.to_owned();
                }
            }
            ids
        })
    }
}
