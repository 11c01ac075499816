//! What clients say: lines of words, and after some of them as many bytes as the line says.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

use crate::Limits;

/// Something that a client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Connect(Box<Connect>),
    Ping,
    Pong,
    Subscribe {
        subject: String,
        queue: Option<String>,
        sid: String,
    },
    Unsubscribe {
        sid: String,
        max: Option<u64>,
    },
    Publish(Publish),
    /// Said by servers; of no consequence.
    Ignored,
}

/// A message that a client publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) headers: Option<Bytes>,
    pub(crate) payload: Bytes,
}

/// How a client introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Connect {
    #[serde(default = "yes")]
    pub(crate) verbose: bool,
    #[serde(default = "yes")]
    pub(crate) pedantic: bool,
    #[serde(default = "yes")]
    pub(crate) echo: bool,
    #[serde(default)]
    pub(crate) headers: bool,
    #[serde(default)]
    pub(crate) no_responders: bool,
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) pass: Option<String>,
    #[serde(default)]
    pub(crate) auth_token: Option<String>,
}

fn yes() -> bool {
    true
}

/// What the server takes a client for that has not said otherwise.
impl Default for Connect {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            user: None,
            pass: None,
            auth_token: None,
        }
    }
}

/// Why a client is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    Unknown,
    LineTooLong,
    PayloadTooLarge,
    /// The server hangs up on arguments that it does not understand, without a word.
    Arguments,
}

impl Bad {
    /// What it is told.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            Self::Unknown => Some("Unknown Protocol Operation"),
            Self::LineTooLong => Some("maximum control line exceeded"),
            Self::PayloadTooLarge => Some("Maximum Payload Violation"),
            Self::Arguments => None,
        }
    }
}

/// Takes the next thing said out of what was read; none while it is not whole.
pub(crate) fn next(read: &mut BytesMut, limits: &Limits) -> Result<Option<Op>, Bad> {
    let most = read.len().min(limits.line + 2);
    let Some(end) = read[..most].iter().position(|byte| *byte == b'\n') else {
        return if read.len() > limits.line { Err(Bad::LineTooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&read[..end]).map_err(|_| Bad::Unknown)?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let (verb, rest) = line.split_at(line.find([' ', '\t']).unwrap_or(line.len()));
    let words: Vec<&str> = rest.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let op = match verb.to_ascii_uppercase().as_str() {
        "PUB" | "HPUB" => {
            let with_headers = verb.len() == 4;
            return publish(read, end + 1, with_headers, limits);
        }
        "PING" => Op::Ping,
        "PONG" => Op::Pong,
        "CONNECT" => Op::Connect(serde_json::from_str(rest.trim()).map_err(|_| Bad::Arguments)?),
        "SUB" => match words[..] {
            [subject, sid] => Op::Subscribe { subject: subject.into(), queue: None, sid: sid.into() },
            [subject, queue, sid] => {
                Op::Subscribe { subject: subject.into(), queue: Some(queue.into()), sid: sid.into() }
            }
            _ => return Err(Bad::Arguments),
        },
        "UNSUB" => match words[..] {
            [sid] => Op::Unsubscribe { sid: sid.into(), max: None },
            // What is no number is none.
            [sid, max] => Op::Unsubscribe { sid: sid.into(), max: max.parse().ok().filter(|max| *max > 0) },
            _ => return Err(Bad::Arguments),
        },
        "+OK" | "INFO" => Op::Ignored,
        "-ERR" => return Err(Bad::Arguments),
        _ => return Err(Bad::Unknown),
    };
    read.advance(end + 1);
    Ok(Some(op))
}

/// A publication whose line ends at `begin`.
fn publish(read: &mut BytesMut, begin: usize, with_headers: bool, limits: &Limits) -> Result<Option<Op>, Bad> {
    let line = std::str::from_utf8(&read[..begin]).map_err(|_| Bad::Unknown)?;
    let words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let number = |word: &str| word.parse::<usize>().map_err(|_| Bad::Arguments);
    let (subject, reply, header_bytes, bytes) = match (with_headers, &words[..]) {
        (false, [subject, bytes]) => (*subject, None, 0, number(bytes)?),
        (false, [subject, reply, bytes]) => (*subject, Some(*reply), 0, number(bytes)?),
        (true, [subject, headers, bytes]) => (*subject, None, number(headers)?, number(bytes)?),
        (true, [subject, reply, headers, bytes]) => (*subject, Some(*reply), number(headers)?, number(bytes)?),
        _ => return Err(Bad::Arguments),
    };
    if header_bytes > bytes {
        return Err(Bad::Arguments);
    }
    if bytes > limits.payload {
        return Err(Bad::PayloadTooLarge);
    }
    if read.len() < begin + bytes + 2 {
        return Ok(None);
    }
    let (subject, reply) = (subject.to_owned(), reply.map(str::to_owned));
    if &read[begin + bytes..begin + bytes + 2] != b"\r\n" {
        return Err(Bad::Unknown);
    }
    read.advance(begin);
    // Copied, so that what is kept of a message does not keep what was read with it.
    let headers = with_headers.then(|| Bytes::copy_from_slice(&read[..header_bytes]));
    let payload = Bytes::copy_from_slice(&read[header_bytes..bytes]);
    read.advance(bytes + 2);
    Ok(Some(Op::Publish(Publish { subject, reply, headers, payload })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Op>, Bad> {
        let mut read = BytesMut::from(text);
        let mut ops = Vec::new();
        while let Some(op) = next(&mut read, &Limits { payload: 100, line: 64, ..Limits::default() })? {
            ops.push(op);
        }
        Ok(ops)
    }

    #[test]
    fn what_is_not_whole_waits() {
        let text = "PUB a.b r 5\r\nhello\r\nHPUB c 12 14\r\nNATS/1.0\r\n\r\nhi\r\nSUB x q 1\r\nunsub 1 3\r\nping\r\n";
        for end in 0..text.len() {
            assert!(all(&text[..end]).expect("so far").len() < 5, "{end}");
        }
        let ops = all(text).expect("whole");
        assert_eq!(ops.len(), 5);
        let Op::Publish(second) = &ops[1] else { panic!("{ops:?}") };
        assert_eq!((second.headers.as_deref(), &second.payload[..]), (Some(&b"NATS/1.0\r\n\r\n"[..]), &b"hi"[..]));
        assert_eq!(ops[3], Op::Unsubscribe { sid: "1".into(), max: Some(3) });
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_read() {
        assert_eq!(all(&"x".repeat(65)), Err(Bad::LineTooLong));
        assert_eq!(all("PUB a 101\r\n"), Err(Bad::PayloadTooLarge));
        assert_eq!(all("PUB a -1\r\n"), Err(Bad::Arguments));
        assert_eq!(all("HPUB a 10 5\r\n"), Err(Bad::Arguments));
        assert_eq!(all("PUB a 1\r\nab\r\n"), Err(Bad::Unknown));
        assert_eq!(all("HELLO\r\n"), Err(Bad::Unknown));
        assert_eq!(all("SUB a\r\n"), Err(Bad::Arguments));
    }

    #[test]
    fn nonsense_is_refused_or_waits_within_the_limits() {
        let parts: &[&str] = &[
            "PUB",
            "HPUB",
            "SUB",
            "UNSUB",
            "CONNECT",
            "PING",
            " ",
            " ",
            " ",
            "a",
            "b.>",
            "*",
            "-1",
            "0",
            "3",
            "9",
            "99",
            "18446744073709551616",
            "{",
            "}",
            "\"a\":1",
            "\r\n",
            "\r\n",
            "\r\n",
            "\n",
            "\u{0}",
            "é",
            "NATS/1.0",
        ];
        let limits = Limits { payload: 100, line: 64, ..Limits::default() };
        let mut random = crate::random::Random::new(1);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..50_000 {
            let length = 1 + random.below(30);
            let text: String = (0..length).map(|_| parts[random.below(parts.len() as u64) as usize]).collect();
            let mut read = BytesMut::from(text.as_str());
            loop {
                match next(&mut read, &limits) {
                    Ok(Some(_)) => taken += 1,
                    Ok(None) => break assert!(read.len() <= limits.line + 2 + limits.payload + 2, "{text:?}"),
                    Err(_) => break refused += 1,
                }
            }
        }
        assert!(taken > 500 && refused > 10_000, "{taken} taken, {refused} refused");
    }
}
