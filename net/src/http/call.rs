//! One request of the API, as the handler of its route sees it: who asks, the parameters, the body. What cannot be read is
//! refused in words that name the field.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::id::{AccountId, InvalidId, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::room::{Command, Outcome, Reason, Refused};
use chamberlain_core::wire::{Answer, Query};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::App;
use super::hosts::Peer;
use crate::auth::Identity;

/// A request whose route is found and whose asker is known.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) peer: Peer,
    pub(super) parts: Parts,
    /// Who asks; none where the route is open to anybody.
    pub(super) who: Option<Identity>,
    /// The request id: the client's, or one made for it.
    pub(super) id: RequestId,
    /// Values of the path's parameters.
    pub(super) path: Vec<(&'static str, String)>,
    /// Values of the query's parameters, all of which the route knows.
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Call {
    /// Who asks.
    pub(super) fn who(&self) -> Result<&Identity, Refused> {
        self.who.as_ref().ok_or_else(|| Reason::InvalidToken.into())
    }

    /// Carries out a command in the name of who asks.
    pub(super) async fn command(&self, command: Command) -> Result<Outcome, Refused> {
        let who = self.who()?;
        if !self.app.allowance.take(&who.account, self.app.node.limits(), self.app.node.clock().now()) {
            return Err(Reason::RateLimited.into());
        }
        self.app.node.command(who, self.id, command).await
    }

    /// Answers a question of who asks.
    pub(super) async fn ask(&self, query: Query) -> Result<Answer, Refused> {
        self.app.node.query(self.who()?, query).await
    }

    /// The body, as this type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        if self.body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(Refused::new(Reason::Malformed, "body: must be a JSON object"));
        }
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "body" } else { &path };
            Refused::new(Reason::Malformed, format!("{field}: {}", error.inner()))
        })?;
        reader.end().map_err(|error| Refused::new(Reason::Malformed, format!("body: {error}")))?;
        Ok(read)
    }

    /// The room that the path names.
    pub(super) fn room(&self) -> Result<RoomId, Refused> {
        self.named("room")
    }

    /// The account that the path names.
    pub(super) fn account(&self) -> Result<AccountId, Refused> {
        self.named("account")
    }

    /// The revision that the path names.
    pub(super) fn revision(&self) -> Result<Revision, Refused> {
        number("revision", self.parameter("revision")).map(Revision)
    }

    fn named<T: FromStr<Err = InvalidId>>(&self, name: &str) -> Result<T, Refused> {
        self.parameter(name).parse().map_err(|error: InvalidId| malformed(name, &error))
    }

    fn parameter(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A number of the query.
    pub(super) fn query_number(&self, name: &str) -> Result<Option<u64>, Refused> {
        self.query.get(name).map(|text| number(name, text)).transpose()
    }

    /// A small number of the query.
    pub(super) fn query_small(&self, name: &str) -> Result<Option<u32>, Refused> {
        let number = self.query_number(name)?;
        number
            .map(|number| {
                u32::try_from(number).map_err(|_| Refused::new(Reason::Malformed, format!("{name}: too large")))
            })
            .transpose()
    }

    /// An id of the query.
    pub(super) fn query_id<T: FromStr<Err = InvalidId>>(&self, name: &str) -> Result<Option<T>, Refused> {
        let id = self.query.get(name).map(|text| text.parse());
        id.transpose().map_err(|error| malformed(name, &error))
    }

    /// How many items a page of an administrator's list has.
    pub(super) fn page(&self, most: usize) -> Result<usize, Refused> {
        match self.query_number("limit")? {
            None => Ok(most.min(100)),
            Some(limit) => match usize::try_from(limit) {
                Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
                _ => Err(Refused::new(Reason::TooMany, format!("limit: must be 1 to {most}"))),
            },
        }
    }

    /// The name of a message that the client did not name: the same again for a retry of the same request.
    pub(super) fn message_id(&self, room: RoomId) -> Result<MessageId, Refused> {
        let keys = &self.app.node.inner().settings.keys;
        let account = &self.who()?.account;
        let mut digest = [0; 32];
        for (half, part) in digest.chunks_exact_mut(16).zip(["a", "b"]) {
            let named = format!("http message {part} {room} {account} {}", self.id);
            half.copy_from_slice(&keys.fingerprint(named.as_bytes()).0);
        }
        Ok(MessageId::from_digest(&digest))
    }
}

fn malformed(name: &str, error: &InvalidId) -> Refused {
    Refused::new(Reason::Malformed, format!("{name}: {error}"))
}

fn number(name: &str, text: &str) -> Result<u64, Refused> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| Refused::new(Reason::Malformed, format!("{name}: must be a number from 0 to {}", u64::MAX)))
}

/// The parameters of a query, each of which must be one of `known` and stand there once. A `+` is a `+`: no value has spaces,
/// and names of accounts may have it.
pub(super) fn parse_query(query: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Refused> {
    let mut values = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if !known.contains(&name.as_str()) {
            let known =
                if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(Refused::new(Reason::Malformed, format!("{name}: no such parameter; {known}")));
        }
        if values.insert(name.clone(), value).is_some() {
            return Err(Refused::new(Reason::Malformed, format!("{name}: stands there twice")));
        }
    }
    Ok(values)
}

/// A part of a path or query, without its percent signs.
pub(super) fn decode(text: &str) -> Result<String, Refused> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(String::from).map_err(|_| Refused::new(Reason::Malformed, "path: is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_have_known_parameters_once() {
        let known = ["after", "limit"];
        let read = parse_query("after=ada%2Bx%40corp&limit=5&", &known).expect("well-formed");
        assert_eq!(read["after"], "ada+x@corp");
        assert_eq!(read["limit"], "5");
        assert_eq!(parse_query("after=ada+x", &known).expect("well-formed")["after"], "ada+x");
        for bad in ["limits=5", "limit=5&limit=6", "limit=%ff"] {
            assert_eq!(parse_query(bad, &known).expect_err(bad).reason, Reason::Malformed);
        }
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number("n", "18446744073709551615"), Ok(u64::MAX));
        for bad in ["", "-1", "+1", "1.0", "18446744073709551616", "١"] {
            assert!(number("n", bad).is_err(), "{bad}");
        }
    }
}
