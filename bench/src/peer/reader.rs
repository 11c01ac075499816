//! What comes over one socket, taken apart as it comes: which revisions were delivered, and what else was said.
//!
//! Of a batch only the head is read, so that reading costs little; a batch counts when its last byte is there. Whatever the
//! order of reads, revisions must follow one another without gap or repetition, and the reader insists on it.

use anyhow::{Result, bail, ensure};
use chamberlain_core::wire::{Codec, ServerFrame};

/// Where a batch or a void begins to differ: kind, room with its length, two revisions of up to nine bytes.
const HEAD: usize = 1 + 1 + 17 + 9 + 9;
/// Kinds of frames as bincode numbers them, in the order of [`ServerFrame`].
const BATCH: u8 = 2;
const VOID: u8 = 3;

/// What was said.
#[derive(Debug)]
pub(super) enum Said {
    /// The revisions up to this one, from the one after the last.
    Delivered { from: u64, to: u64 },
    /// Anything else.
    Frame(Box<ServerFrame>),
}

/// The state between two reads.
#[derive(Default)]
pub(super) struct Reader {
    /// The beginning of a frame that is not whole.
    begun: Vec<u8>,
    /// Bytes left of a batch whose head was read, and its revisions.
    rest: usize,
    within: (u64, u64),
    /// Frames with revisions so far, and their bytes.
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

impl Reader {
    /// Takes what was read.
    pub(super) fn take(&mut self, bytes: &[u8], say: &mut impl FnMut(Said) -> Result<()>) -> Result<()> {
        if self.begun.is_empty() {
            return self.go(bytes, say);
        }
        let mut joined = std::mem::take(&mut self.begun);
        joined.extend_from_slice(bytes);
        self.go(&joined, say)
    }

    fn go(&mut self, mut bytes: &[u8], say: &mut impl FnMut(Said) -> Result<()>) -> Result<()> {
        loop {
            if self.rest > 0 {
                let took = self.rest.min(bytes.len());
                self.rest -= took;
                bytes = &bytes[took..];
                if self.rest > 0 {
                    return Ok(());
                }
                say(Said::Delivered { from: self.within.0, to: self.within.1 })?;
            }
            let Some((header, len, opcode)) = header(bytes) else {
                self.begun = bytes.to_vec();
                return Ok(());
            };
            let payload = &bytes[header..];
            let delivers = opcode == 2 && payload.first().is_some_and(|kind| matches!(*kind, BATCH | VOID));
            if delivers && payload.len() >= len.min(HEAD) {
                self.within = revisions(payload)?;
                self.rest = header + len;
                self.frames += 1;
                self.bytes += (header + len) as u64;
                continue;
            }
            if payload.len() < len {
                self.begun = bytes.to_vec();
                return Ok(());
            }
            match opcode {
                2 => match Codec::Bincode.decode_server(&payload[..len]) {
                    Ok(frame) => say(Said::Frame(Box::new(frame)))?,
                    Err(error) => bail!("a frame cannot be read: {error}"),
                },
                // Pings: nobody waits for the answer as long as a benchmark takes.
                9 => {}
                other => bail!("a message of opcode {other}"),
            }
            bytes = &payload[len..];
        }
    }
}

/// Bytes of the header, length of the payload, opcode (RFC 6455, 5.2); `None` when there is not enough.
fn header(bytes: &[u8]) -> Option<(usize, usize, u8)> {
    let opcode = *bytes.first()? & 0xf;
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), opcode)),
        127 => Some((10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, opcode)),
        short => Some((2, usize::from(short), opcode)),
    }
}

/// First and last revision of a batch.
fn revisions(payload: &[u8]) -> Result<(u64, u64)> {
    ensure!(payload.get(1) == Some(&17), "a batch whose room has {:?} characters", payload.get(1));
    let (from, used) = number(&payload[19..])?;
    let (to, _) = number(&payload[19 + used..])?;
    ensure!(from <= to, "a batch from {from} to {to}");
    Ok((from, to))
}

/// A number as bincode writes it, and how many bytes it takes.
fn number(bytes: &[u8]) -> Result<(u64, usize)> {
    let wide =
        |len: usize| bytes.get(1..=len).map(|bytes| bytes.iter().rev().fold(0, |sum, b| sum << 8 | u64::from(*b)));
    let read = match bytes.first() {
        Some(253) => wide(8).map(|number| (number, 9)),
        Some(252) => wide(4).map(|number| (number, 5)),
        Some(251) => wide(2).map(|number| (number, 3)),
        Some(small) => Some((u64::from(*small), 1)),
        None => None,
    };
    match read {
        Some(read) => Ok(read),
        None => bail!("a number that is cut off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chamberlain_bench::names;
    use chamberlain_core::id::Revision;
    use chamberlain_core::keys::Blob;
    use chamberlain_core::wire::VoidWhy;

    fn frame(from: u64, to: u64) -> Vec<u8> {
        let (room, why, position) = (names::room(0), VoidWhy::Filtered, Blob::from(vec![7; 300]));
        let void = ServerFrame::Void { room, from: Revision(from), to: Revision(to), why, position };
        chamberlain_net::gateway::frame(Codec::Bincode, Codec::Bincode.encode(&void)).to_vec()
    }

    #[test]
    fn revisions_are_found_however_the_bytes_are_cut() {
        let mut bytes =
            chamberlain_net::gateway::frame(Codec::Bincode, Codec::Bincode.encode(&ServerFrame::Pong)).to_vec();
        bytes.extend(frame(1, 1));
        bytes.extend(frame(2, 300));
        bytes.extend(frame(301, 70_000));
        for step in 1..bytes.len() {
            let (mut reader, mut said, mut others) = (Reader::default(), Vec::new(), 0);
            for piece in bytes.chunks(step) {
                reader
                    .take(piece, &mut |what| {
                        match what {
                            Said::Delivered { from, to } => said.push((from, to)),
                            Said::Frame(_) => others += 1,
                        }
                        Ok(())
                    })
                    .expect("well-formed");
            }
            assert_eq!((said, others), (vec![(1, 1), (2, 300), (301, 70_000)], 1), "{step} bytes at a time");
            assert_eq!(reader.frames, 3);
        }
    }
}
