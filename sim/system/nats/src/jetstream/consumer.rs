//! A consumer: a way through a stream, and those who wait for what comes next on it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use crate::store::Store;

/// Requests that wait, unless it is said otherwise.
const WAITING: i64 = 512;

/// How long a consumer may go unused, unless it is said otherwise, in nanoseconds.
const INACTIVE: u64 = 5_000_000_000;

/// Of a consumer, in the server's words and order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConsumerConfig {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(default, skip_serializing)]
    pub(super) durable_name: String,
    #[serde(default = "all")]
    pub(super) deliver_policy: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) opt_start_seq: u64,
    #[serde(default = "none")]
    ack_policy: String,
    #[serde(default)]
    max_deliver: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) filter_subject: String,
    #[serde(default = "instant")]
    replay_policy: String,
    #[serde(default)]
    max_waiting: i64,
    #[serde(default)]
    inactive_threshold: u64,
    #[serde(default)]
    num_replicas: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mem_storage: bool,
    /// What this server has not.
    #[serde(default, skip_serializing)]
    deliver_subject: Option<Value>,
    #[serde(default, skip_serializing)]
    filter_subjects: Option<Value>,
    #[serde(default, skip_serializing)]
    headers_only: bool,
}

fn all() -> String {
    "all".into()
}

fn none() -> String {
    "none".into()
}

fn instant() -> String {
    "instant".into()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ConsumerConfig {
    /// What the server makes of what it is asked for.
    pub(super) fn completed(mut self) -> Result<Self, ApiError> {
        let foreign = [
            ("a consumer that pushes", self.deliver_subject.is_some()),
            ("several filters", self.filter_subjects.is_some()),
            ("headers_only", self.headers_only),
            ("durable consumers", !self.durable_name.is_empty()),
            ("acknowledged consumers", self.ack_policy != "none"),
            ("replay_policy", self.replay_policy != "instant"),
            ("deliver_policy", !["all", "new", "by_start_sequence"].contains(&self.deliver_policy.as_str())),
        ];
        if let Some((what, _)) = foreign.iter().find(|(_, is_so)| *is_so) {
            return Err(ApiError::not_simulated(what));
        }
        if self.num_replicas > 1 {
            return Err(ApiError::REPLICAS);
        }
        match (self.deliver_policy.as_str(), self.opt_start_seq) {
            ("by_start_sequence", 0) => {
                return Err(ApiError::consumer(
                    "consumer delivery policy is deliver by start sequence, but optional start sequence is not set",
                ));
            }
            ("all" | "new", 1..) => {
                let policy = &self.deliver_policy;
                return Err(ApiError::consumer(&format!(
                    "consumer delivery policy is deliver {policy}, but optional start sequence is also set"
                )));
            }
            _ => {}
        }
        if self.max_deliver == 0 {
            self.max_deliver = -1;
        }
        if self.max_waiting == 0 {
            self.max_waiting = WAITING;
        }
        if self.inactive_threshold == 0 {
            self.inactive_threshold = INACTIVE;
        }
        Ok(self)
    }

    /// The sequence that it begins with.
    fn begins(&self, store: &Store) -> u64 {
        let begin = match self.deliver_policy.as_str() {
            "new" => store.last + 1,
            "by_start_sequence" => self.opt_start_seq,
            _ => 1,
        };
        begin.max(store.first()).clamp(1, store.last + 1)
    }
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(super) config: ConsumerConfig,
    /// Nanoseconds since 1970; so are all times here.
    pub(super) created: u64,
    /// The next sequence to look at.
    pub(super) next: u64,
    /// How many it delivered, and the sequence of the last one.
    pub(super) delivered: (u64, u64),
    /// In which state of the store how many were left after which message.
    counted: Option<(u64, u64, u64)>,
    pub(super) last_active: Option<u64>,
    pub(super) waiting: VecDeque<Waiting>,
    /// When it was used last.
    pub(super) used: u64,
}

/// Somebody who waits for messages.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: String,
    /// How many more.
    pub(super) messages: u64,
    /// Whether it has got some.
    pub(super) served: bool,
    /// How many bytes more, where that is limited.
    pub(super) bytes: Option<u64>,
    pub(super) no_wait: bool,
    pub(super) until: Option<u64>,
}

impl Consumer {
    pub(super) fn new(config: ConsumerConfig, store: &Store, now: u64) -> Self {
        let next = config.begins(store);
        Self {
            config,
            created: now,
            next,
            delivered: (0, 0),
            counted: None,
            last_active: None,
            waiting: VecDeque::new(),
            used: now,
        }
    }

    /// How many are left after the message at `sequence`, the next one. Counted once for each state of the store.
    pub(super) fn left_after(&mut self, sequence: u64, store: &Store) -> u64 {
        let left = match self.counted {
            Some((changes, at, left)) if changes == store.changes => left - u64::from(at < sequence),
            _ => store.count_of(&self.config.filter_subject, sequence + 1),
        };
        self.counted = Some((store.changes, sequence, left));
        left
    }

    /// Whether no more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() as i64 >= self.config.max_waiting
    }

    /// When something is to be done about it: somebody waited long enough, or nobody used it.
    pub(super) fn due(&self) -> u64 {
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.until).min();
        waiting.unwrap_or(u64::MAX).min(self.forgotten())
    }

    /// When it is forgotten, if nobody uses it until then.
    pub(super) fn forgotten(&self) -> u64 {
        if self.waiting.is_empty() { self.used.saturating_add(self.config.inactive_threshold) } else { u64::MAX }
    }
}
