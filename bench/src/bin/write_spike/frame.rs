//! WebSocket frames (RFC 6455, section 5.2), encoded once and written many times.
//!
//! Only what the spike sends: whole binary messages, unmasked from the server, masked with zeroes from the client.

use bytes::{BufMut, Bytes, BytesMut};

const FINAL_BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// A server's frame: header and payload in one piece, ready for `write`.
pub(crate) fn server_frame(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(FINAL_BINARY);
    match payload.len() {
        short @ 0..=125 => frame.put_u8(short as u8),
        medium @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(medium as u16);
        }
        long => {
            frame.put_u8(127);
            frame.put_u64(long as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// A client's frame of at most 125 bytes. The mask is zero, so the payload stands as it is.
pub(crate) fn client_frame(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= 125, "one length byte");
    let mut frame = vec![FINAL_BINARY, MASKED | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_header_grows_with_the_payload() {
        for (payload, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(server_frame(&vec![7; payload]).len(), header + payload);
        }
    }

    #[test]
    fn a_medium_length_is_big_endian() {
        assert_eq!(server_frame(&[0; 256])[..4], [0x82, 126, 1, 0]);
    }
}
