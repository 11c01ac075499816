//! What a stream is like: read from requests, completed and checked as the server does it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use crate::subject::{has_wildcard, is_valid, overlap};

/// How long ids of messages are known unless it is said, in nanoseconds.
const DUPLICATE_WINDOW: u64 = 120_000_000_000;

/// Of a stream, in the server's words and order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamConfig {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subjects: Vec<String>,
    #[serde(default = "limits")]
    retention: String,
    #[serde(default)]
    pub(crate) max_consumers: i64,
    #[serde(default)]
    pub(crate) max_msgs: i64,
    #[serde(default)]
    max_bytes: i64,
    #[serde(default)]
    max_age: i64,
    #[serde(default)]
    pub(crate) max_msgs_per_subject: i64,
    #[serde(default)]
    pub(crate) max_msg_size: i64,
    #[serde(default = "old")]
    pub(crate) discard: String,
    #[serde(default = "file")]
    storage: String,
    #[serde(default)]
    num_replicas: i64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) no_ack: bool,
    #[serde(default)]
    pub(crate) duplicate_window: u64,
    #[serde(default = "none")]
    compression: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) republish: Option<Republish>,
    #[serde(default)]
    pub(crate) allow_direct: bool,
    #[serde(default)]
    mirror_direct: bool,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    deny_delete: bool,
    #[serde(default)]
    pub(crate) deny_purge: bool,
    #[serde(default)]
    allow_rollup_hdrs: bool,
    #[serde(default)]
    consumer_limits: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    /// What this server has not.
    #[serde(default, skip_serializing)]
    mirror: Option<Value>,
    #[serde(default, skip_serializing)]
    sources: Option<Vec<Value>>,
    #[serde(default, skip_serializing)]
    subject_transform: Option<Value>,
}

/// Where stored messages are told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Republish {
    #[serde(default)]
    pub(crate) src: String,
    pub(crate) dest: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) headers_only: bool,
}

fn limits() -> String {
    "limits".into()
}

fn old() -> String {
    "old".into()
}

fn file() -> String {
    "file".into()
}

fn none() -> String {
    "none".into()
}

fn is_false(value: &bool) -> bool {
    !value
}

impl StreamConfig {
    /// As it is made when nothing else is said.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        let config: Self = serde_json::from_value(serde_json::json!({ "name": name })).expect("a configuration");
        config.completed().expect("a configuration")
    }

    pub(crate) fn in_memory(&self) -> bool {
        self.storage == "memory"
    }

    /// What the server makes of what it is asked for.
    pub(crate) fn completed(mut self) -> Result<Self, ApiError> {
        if self.name.is_empty() || self.name.contains([' ', '.', '*', '>', '/', '\\', '\t', '\r', '\n']) {
            return Err(ApiError::configuration(
                "stream name is required and can not contain '.', '*', '>', path separators",
            ));
        }
        for unlimited in [
            &mut self.max_msgs,
            &mut self.max_bytes,
            &mut self.max_msgs_per_subject,
            &mut self.max_msg_size,
            &mut self.max_consumers,
        ] {
            if *unlimited == 0 {
                *unlimited = -1;
            }
        }
        if self.num_replicas == 0 {
            self.num_replicas = 1;
        }
        if self.num_replicas > 1 {
            return Err(ApiError::REPLICAS);
        }
        if self.duplicate_window == 0 {
            self.duplicate_window = DUPLICATE_WINDOW;
        }
        if self.subjects.is_empty() {
            self.subjects.push(self.name.clone());
        }
        if self.allow_rollup_hdrs && self.deny_purge {
            return Err(ApiError::configuration("roll-ups require the purge permission"));
        }
        self.check_simulated()?;
        self.check_subjects()?;
        Ok(self)
    }

    fn check_simulated(&self) -> Result<(), ApiError> {
        let foreign = [
            ("retention", self.retention != "limits"),
            ("storage", self.storage != "file" && self.storage != "memory"),
            ("discard", self.discard != "old" && self.discard != "new"),
            ("compression", self.compression != "none"),
            ("max_bytes", self.max_bytes >= 0),
            ("max_age", self.max_age != 0),
            ("allow_rollup_hdrs", self.allow_rollup_hdrs),
            ("mirror", self.mirror.is_some()),
            ("sources", self.sources.as_ref().is_some_and(|sources| !sources.is_empty())),
            ("subject_transform", self.subject_transform.is_some()),
            ("mirror_direct", self.mirror_direct),
            ("sealed", self.sealed),
            ("deny_delete", self.deny_delete),
            ("consumer_limits", !self.consumer_limits.is_empty()),
        ];
        match foreign.iter().find(|(_, is_so)| *is_so) {
            Some((field, _)) => Err(ApiError::configuration(&format!("not simulated: {field}"))),
            None => Ok(()),
        }
    }

    fn check_subjects(&self) -> Result<(), ApiError> {
        for (nth, subject) in self.subjects.iter().enumerate() {
            if !is_valid(subject) {
                return Err(ApiError::configuration("invalid subject"));
            }
            if overlap(subject, "$JS.API.>") && !self.no_ack {
                let words = "subjects that overlap with jetstream api require no-ack to be true";
                return Err(ApiError::configuration(words));
            }
            if let Some(other) = self.subjects[..nth].iter().find(|other| overlap(other, subject)) {
                return Err(ApiError::configuration(&format!("subject {other:?} overlaps with {subject:?}")));
            }
        }
        let Some(Republish { src, dest, .. }) = &self.republish else { return Ok(()) };
        if self.subjects.iter().any(|subject| overlap(subject, dest)) {
            let words = "stream configuration for republish destination forms a cycle";
            return Err(ApiError::configuration(words));
        }
        // A tail that moves along, or one place for all.
        let tail =
            |subject: &str| subject.strip_suffix('>').filter(|head| head.is_empty() || head.ends_with('.')).is_some();
        let head = |subject: &str| has_wildcard(subject.strip_suffix('>').unwrap_or(subject));
        if !is_valid(src) || !is_valid(dest) || head(src) || head(dest) || tail(dest) && !tail(src) {
            return Err(ApiError::configuration("not simulated: republish with such subjects"));
        }
        Ok(())
    }

    /// Whether another configuration may take its place.
    pub(crate) fn check_update(&self, other: &Self) -> Result<(), ApiError> {
        if self.storage != other.storage {
            return Err(ApiError::configuration("stream configuration update can not change storage type"));
        }
        Ok(())
    }

    /// Whether it takes a message.
    pub(crate) fn takes(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| crate::subject::matches(pattern, subject))
    }

    /// Whether both would take the same message.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.subjects.iter().any(|one| other.subjects.iter().any(|other| overlap(one, other)))
    }
}
