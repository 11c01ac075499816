//! Errors, with the server's numbers and words (its `errors.json`).

use std::borrow::Cow;

use serde::Serialize;

/// What the server says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ApiError {
    code: u16,
    err_code: u16,
    description: Cow<'static, str>,
}

impl ApiError {
    pub(crate) const BAD_REQUEST: Self = Self::fixed(400, 10_003, "bad request");
    pub(crate) const CONSUMER_NOT_FOUND: Self = Self::fixed(404, 10_014, "consumer not found");
    pub(crate) const INVALID_JSON: Self = Self::fixed(400, 10_025, "invalid JSON");
    pub(crate) const MAXIMUM_CONSUMERS: Self = Self::fixed(400, 10_026, "maximum consumers limit reached");
    pub(crate) const MAXIMUM_STREAMS: Self = Self::fixed(400, 10_027, "maximum number of streams reached");
    pub(crate) const NO_MESSAGE: Self = Self::fixed(404, 10_037, "no message found");
    pub(crate) const NOT_ENABLED: Self = Self::fixed(503, 10_039, "JetStream not enabled for account");
    pub(crate) const MESSAGE_TOO_LARGE: Self = Self::fixed(400, 10_054, "message size exceeds maximum allowed");
    pub(crate) const NAME_DIFFERS: Self = Self::fixed(400, 10_056, "stream name in subject does not match request");
    pub(crate) const DELETE_AT_ZERO: Self = Self::fixed(500, 10_057, "no message found");
    pub(crate) const DELETE_BEYOND: Self = Self::fixed(500, 10_057, "stream store EOF");
    pub(crate) const NAME_IN_USE: Self =
        Self::fixed(400, 10_058, "stream name already in use with a different configuration");
    pub(crate) const STREAM_NOT_FOUND: Self = Self::fixed(404, 10_059, "stream not found");
    pub(crate) const OTHER_STREAM: Self = Self::fixed(400, 10_060, "expected stream does not match");
    pub(crate) const SUBJECTS_OVERLAP: Self = Self::fixed(400, 10_065, "subjects overlap with an existing stream");
    pub(crate) const REPLICAS: Self = Self::fixed(500, 10_074, "replicas > 1 not supported in non-clustered mode");
    pub(crate) const HEADERS_TOO_LARGE: Self = Self::fixed(400, 10_097, "header size exceeds maximum allowed of 64k");
    pub(crate) const PURGE_NOT_PERMITTED: Self = Self::fixed(500, 10_110, "stream purge not permitted");
    pub(crate) const ROLLUP: Self = Self::fixed(500, 10_111, "rollup not permitted");

    const fn fixed(code: u16, err_code: u16, words: &'static str) -> Self {
        Self { code, err_code, description: Cow::Borrowed(words) }
    }

    fn said(code: u16, err_code: u16, words: String) -> Self {
        Self { code, err_code, description: Cow::Owned(words) }
    }

    /// A stream cannot be like this.
    pub(crate) fn configuration(words: &str) -> Self {
        Self::said(500, 10_052, words.into())
    }

    /// A consumer cannot be like this.
    pub(crate) fn consumer(words: &str) -> Self {
        Self::said(400, 10_094, words.into())
    }

    /// The server would do it; this one does not.
    pub(crate) fn not_simulated(what: &str) -> Self {
        Self::said(400, 10_003, format!("not simulated: {what}"))
    }

    /// There is no message at this sequence.
    pub(crate) fn sequence_not_found(sequence: u64) -> Self {
        Self::said(400, 10_043, format!("sequence {sequence} not found"))
    }

    /// The last message has another id than was expected.
    pub(crate) fn wrong_last_id(id: &str) -> Self {
        Self::said(400, 10_070, format!("wrong last msg ID: {id}"))
    }

    /// The last message is at another sequence than was expected.
    pub(crate) fn wrong_last_sequence(sequence: u64) -> Self {
        Self::said(400, 10_071, format!("wrong last sequence: {sequence}"))
    }

    /// The message could not be stored.
    pub(crate) fn store(words: &str) -> Self {
        Self::said(503, 10_077, words.into())
    }
}
