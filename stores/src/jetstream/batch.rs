//! Many messages of a log for one wait, through a consumer of the server that lives as long as the answer takes.
//!
//! A hint in the sense that whoever walks a log may do without: it fails where anything is strange, and what it gives is what
//! the log's subject held between question and answer. Asked only where the stream has one copy: a consumer may follow a copy
//! that lags.

use std::collections::VecDeque;

use async_nats::Message;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::api::Stored;
use super::stamp::HEADER;

/// Messages and bytes of one batch, at most; the server ends it at either.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// The server forgets a consumer that was not used for so long, where it was not told to before.
const CONSUMER_IDLE_NANOS: u64 = 10_000_000_000;

#[derive(Deserialize)]
struct Made {
    name: String,
}

impl Shared {
    /// The messages of a log's subject from a sequence on, in order: as many as there are, or as go into one batch. None where
    /// that did not work out.
    pub(super) async fn batch(&self, subject: &str, from: u64, deadline: Instant) -> Option<VecDeque<Stored>> {
        let question = json!({
            "stream_name": self.names.stream(),
            "config": {
                "filter_subject": subject,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": from.max(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": CONSUMER_IDLE_NANOS,
            },
        });
        let made: Made = self.call("CONSUMER.CREATE", &question, deadline).await.ok()?;
        let until = deadline.min(Instant::now() + self.options.request);
        let fetched = timeout_at(until, self.fetch(subject, &made.name)).await.ok().flatten();
        let deleted = self.call_of::<Value>("CONSUMER.DELETE", &made.name, &json!({}), deadline).await;
        if let Err(why) = deleted {
            tracing::debug!(%why, "a consumer is left for the server to forget");
        }
        fetched
    }

    async fn fetch(&self, subject: &str, consumer: &str) -> Option<VecDeque<Stored>> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.ok()?;
        let next = format!("{}.CONSUMER.MSG.NEXT.{}.{consumer}", self.prefix, self.names.stream());
        let question = json!({ "batch": BATCH_MESSAGES, "max_bytes": BATCH_BYTES, "no_wait": true });
        self.client.publish_with_reply(next, inbox, question.to_string().into()).await.ok()?;
        let mut messages = VecDeque::new();
        while messages.len() < BATCH_MESSAGES {
            let answer = answers.next().await?;
            if answer.status.is_some() {
                // There are no more, or no more fit into a batch.
                break;
            }
            messages.push_back(delivered(answer).filter(|stored| stored.subject == subject)?);
        }
        Some(messages)
    }
}

/// A message as a consumer delivers it: where it lies is in the subject for acknowledgements.
fn delivered(message: Message) -> Option<Stored> {
    let stamp = message.headers.as_ref()?.get_last(HEADER)?.as_str().parse().ok()?;
    let sequence = sequence_in(message.reply.as_deref()?)?;
    Some(Stored { sequence, subject: message.subject.to_string(), stamp, payload: message.payload })
}

/// `$JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.…` with nine tokens, or with a domain and an account after `ACK` and more.
fn sequence_in(subject: &str) -> Option<u64> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let at = match tokens.len() {
        9 => 5,
        11.. => 7,
        _ => return None,
    };
    tokens[at].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_read_out_of_either_form() {
        assert_eq!(sequence_in("$JS.ACK.S.C.1.42.7.1700000000000000000.3"), Some(42));
        assert_eq!(sequence_in("$JS.ACK.hub.ACC.S.C.1.42.7.1700000000000000000.3"), Some(42));
        assert_eq!(sequence_in("$JS.ACK.hub.ACC.S.C.1.42.7.1700000000000000000.3.random"), Some(42));
        assert_eq!(sequence_in("$JS.ACK.S.C"), None);
    }
}
