//! The protocol: what clients send is cut into requests, and what they are answered is written down in RESP2 or RESP3.
//!
//! Limits and the words about what is wrong are those of Valkey 8.0, except that a request is smaller.

use bytes::{Buf as _, Bytes, BytesMut};

/// Most arguments of a request, as in the real server.
const ARGUMENTS_MAX: usize = 1024 * 1024;
/// Most bytes of an argument. The real server takes 512 MiB.
const BULK_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of all arguments of a request. The real server's query buffer takes 1 GiB.
const REQUEST_MAX: usize = 128 * 1024 * 1024;
/// Most bytes of a line.
const LINE_MAX: usize = 64 * 1024;
/// Most arguments, and bytes of one, while nobody has said who they are.
const STRANGERS: (usize, usize) = (10, 16 * 1024);

/// Which version of the protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Two,
    Three,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// A word of the server.
    Simple(&'static str),
    /// A code and words, without the sign before them.
    Error(String),
    Number(i64),
    Text(Bytes),
    /// Text that is meant to be shown as it is.
    Verbatim(String),
    Null,
    List(Vec<Reply>),
    Pairs(Vec<(Reply, Reply)>),
}

impl Reply {
    pub(crate) const OK: Self = Self::Simple("OK");

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Bytes::from(text.into()))
    }

    pub(crate) fn error(words: impl Into<String>) -> Self {
        Self::Error(words.into())
    }

    /// Text, or nothing.
    pub(crate) fn maybe(text: Option<Bytes>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    /// Writes it down.
    pub(crate) fn write(&self, protocol: Protocol, into: &mut Vec<u8>) {
        let count = |sign: char, count: usize, into: &mut Vec<u8>| into.extend(format!("{sign}{count}\r\n").bytes());
        match self {
            Self::Simple(word) => into.extend(format!("+{word}\r\n").bytes()),
            Self::Error(words) => into.extend(format!("-{words}\r\n").bytes()),
            Self::Number(number) => into.extend(format!(":{number}\r\n").bytes()),
            Self::Text(text) => {
                count('$', text.len(), into);
                into.extend_from_slice(text);
                into.extend_from_slice(b"\r\n");
            }
            Self::Verbatim(text) => match protocol {
                Protocol::Two => Self::text(text.as_str()).write(protocol, into),
                Protocol::Three => into.extend(format!("={}\r\ntxt:{text}\r\n", text.len() + 4).bytes()),
            },
            Self::Null => into.extend_from_slice(match protocol {
                Protocol::Two => b"$-1\r\n",
                Protocol::Three => b"_\r\n",
            }),
            Self::List(items) => {
                count('*', items.len(), into);
                items.iter().for_each(|item| item.write(protocol, into));
            }
            Self::Pairs(pairs) => {
                match protocol {
                    Protocol::Two => count('*', pairs.len() * 2, into),
                    Protocol::Three => count('%', pairs.len(), into),
                }
                for (key, value) in pairs {
                    key.write(protocol, into);
                    value.write(protocol, into);
                }
            }
        }
    }
}

/// Cuts what arrives into requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    arrived: BytesMut,
    /// Arguments of the request under way that are still to come.
    missing: usize,
    /// Bytes of the argument under way.
    length: Option<usize>,
    words: Vec<Bytes>,
    bytes: usize,
}

impl Requests {
    /// Where to read to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.arrived
    }

    /// The next request that has arrived whole. `known` is whether the client said who it is. After an error, in words, the
    /// connection is of no use.
    pub(crate) fn next(&mut self, known: bool) -> Result<Option<Vec<Bytes>>, String> {
        let (most, longest) = if known { (ARGUMENTS_MAX, BULK_MAX) } else { STRANGERS };
        loop {
            if self.missing == 0 {
                let Some(first) = self.arrived.first().copied() else { return Ok(None) };
                let what = if first == b'*' { "too big mbulk count string" } else { "too big inline request" };
                let Some(line) = self.line(what)? else { return Ok(None) };
                if first != b'*' {
                    let words: Vec<Bytes> = words(&line).collect();
                    if words.is_empty() {
                        continue;
                    }
                    return Ok(Some(words));
                }
                match number(&line[1..]) {
                    Some(count) if count > most as i64 && !known => {
                        return Err("unauthenticated multibulk length".into());
                    }
                    Some(count) if count <= most as i64 => self.missing = count.max(0) as usize,
                    _ => return Err("invalid multibulk length".into()),
                }
                continue;
            }
            let length = match self.length {
                Some(length) => length,
                None => {
                    let Some(line) = self.line("too big bulk count string")? else { return Ok(None) };
                    if line.first() != Some(&b'$') {
                        let found = line.first().copied().unwrap_or(b'\r');
                        return Err(format!("expected '$', got '{}'", char::from(found)));
                    }
                    let length = match number(&line[1..]) {
                        Some(length) if length > longest as i64 && !known => {
                            return Err("unauthenticated bulk length".into());
                        }
                        Some(length) if (0..=longest as i64).contains(&length) => length as usize,
                        _ => return Err("invalid bulk length".into()),
                    };
                    self.bytes += length;
                    if self.bytes > REQUEST_MAX {
                        return Err("invalid bulk length".into());
                    }
                    *self.length.insert(length)
                }
            };
            if self.arrived.len() < length + 2 {
                return Ok(None);
            }
            self.words.push(self.arrived.split_to(length).freeze());
            self.arrived.advance(2);
            self.length = None;
            self.missing -= 1;
            if self.missing == 0 {
                self.bytes = 0;
                return Ok(Some(std::mem::take(&mut self.words)));
            }
        }
    }

    /// The next line, without its end, if it has arrived whole.
    fn line(&mut self, too_long: &str) -> Result<Option<Bytes>, String> {
        let Some(end) = self.arrived.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
            return if self.arrived.len() >= LINE_MAX { Err(too_long.into()) } else { Ok(None) };
        };
        let mut line = self.arrived.split_to(end + 1).freeze();
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        Ok(Some(line))
    }
}

fn words(line: &Bytes) -> impl Iterator<Item = Bytes> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(|word| line.slice_ref(word))
}

/// A decimal number as the server reads it: no sign but a minus, no leading zeros.
pub(crate) fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], step: usize) -> Vec<Vec<Bytes>> {
        let mut requests = Requests::default();
        let mut whole = Vec::new();
        for piece in bytes.chunks(step) {
            requests.buffer().extend_from_slice(piece);
            while let Some(request) = requests.next(true).expect("requests") {
                whole.push(request);
            }
        }
        whole
    }

    #[test]
    fn requests_are_the_same_in_whatever_pieces_they_arrive() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\nPING  hello\r\n\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\n";
        let whole = cut(bytes, bytes.len());
        assert_eq!(whole, [vec!["GET", "a\r\nb"], vec!["PING", "hello"], vec![""]]);
        for step in 1..bytes.len() {
            assert_eq!(cut(bytes, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_kept() {
        for (bytes, known, words) in [
            (&b"*x\r\n"[..], true, "invalid multibulk length"),
            (b"*11\r\n", false, "unauthenticated multibulk length"),
            (b"*1\r\n$16385\r\n", false, "unauthenticated bulk length"),
            (b"*1\r\n$67108865\r\n", true, "invalid bulk length"),
            (b"*1\r\n$-1\r\n", true, "invalid bulk length"),
            (b"*1\r\n+PING\r\n", true, "expected '$', got '+'"),
        ] {
            let mut requests = Requests::default();
            requests.buffer().extend_from_slice(bytes);
            assert_eq!(requests.next(known), Err(words.to_owned()));
        }
        let mut requests = Requests::default();
        requests.buffer().extend_from_slice(&[b'x'; LINE_MAX]);
        assert_eq!(requests.next(true), Err("too big inline request".to_owned()));
    }
}
