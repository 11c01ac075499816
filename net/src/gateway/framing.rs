//! A payload as a whole WebSocket frame from a server: unmasked, so that the same bytes go to every socket (RFC 6455, 5.2).

use bytes::Bytes;
use chamberlain_core::wire::Codec;

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// Frames a payload: text for JSON, binary for bincode.
pub fn frame(codec: Codec, payload: Vec<u8>) -> Bytes {
    let opcode = match codec {
        Codec::Json => TEXT,
        Codec::Bincode => BINARY,
    };
    with_header(opcode, &payload)
}

/// A ping without content.
pub(super) fn ping() -> Bytes {
    Bytes::from_static(&[FIN | PING, 0])
}

/// A close frame; the reason travelled in `bye` already.
pub(super) fn close(code: u16) -> Bytes {
    with_header(CLOSE, &code.to_be_bytes())
}

fn with_header(opcode: u8, payload: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(payload.len() + 10);
    framed.push(FIN | opcode);
    match payload.len() {
        short @ 0..=125 => framed.push(short as u8),
        medium @ 126..=0xffff => {
            framed.push(126);
            framed.extend((medium as u16).to_be_bytes());
        }
        long => {
            framed.push(127);
            framed.extend((long as u64).to_be_bytes());
        }
    }
    framed.extend_from_slice(payload);
    framed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_shortest_of_three_forms() {
        let header = |len: usize| frame(Codec::Json, vec![b'x'; len])[..10.min(len + 2)].to_vec();
        assert_eq!(header(125)[..2], [0x81, 125]);
        assert_eq!(header(126)[..4], [0x81, 126, 0, 126]);
        assert_eq!(header(65_535)[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536)[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(frame(Codec::Bincode, vec![7])[..], [0x82, 1, 7]);
        assert_eq!(close(4000)[..], [0x88, 2, 0x0f, 0xa0]);
    }
}
