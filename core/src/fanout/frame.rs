//! The bytes of a frame, put together from items that are encoded already.
//!
//! The codecs themselves write everything but the items: an empty batch is encoded and opened where the items belong. So
//! this file knows how a codec writes the end of a batch and what stands between items, and nothing else of it; a test
//! compares every byte with [`Codec::encode`].

use alloc::vec::Vec;

use crate::id::{Revision, RoomId};
use crate::keys::Blob;
use crate::wire::{Codec, OwnRevision, ServerFrame};

/// Bytes of a batch that are not its items: more than it ever is without own marks.
pub(super) const AROUND: usize = 320;
/// Bytes of one own mark, at most.
pub(super) const MARK: usize = 96;

/// `items` are [`crate::wire::Item`]s as the codec writes them; equal to encoding [`ServerFrame::Batch`] whole.
pub(super) fn batch(
    codec: Codec,
    room: RoomId,
    (from, to): (Revision, Revision),
    items: &[&[u8]],
    position: Blob,
    own: Vec<OwnRevision>,
) -> Vec<u8> {
    let empty = ServerFrame::Batch { room, from, to, items: Vec::new(), position: Blob::default(), own: Vec::new() };
    let empty = codec.encode(&empty);
    let content: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut frame = Vec::with_capacity(AROUND + content + own.len() * MARK);
    match codec {
        Codec::Json => {
            const END: &[u8] = br#"],"position":"","own":[]}}"#;
            debug_assert!(empty.ends_with(END));
            frame.extend_from_slice(&empty[..empty.len() - END.len()]);
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    frame.push(b',');
                }
                frame.extend_from_slice(item);
            }
            frame.extend_from_slice(br#"],"position":"#);
            frame.extend(codec.encode(&position));
            frame.extend_from_slice(br#","own":"#);
            frame.extend(codec.encode(&own));
            frame.extend_from_slice(b"}}");
        }
        Codec::Bincode => {
            // Three lengths of zero: items, position, own marks.
            debug_assert!(empty.ends_with(&[0; 3]));
            frame.extend_from_slice(&empty[..empty.len() - 3]);
            frame.extend(codec.encode(&(items.len() as u64)));
            items.iter().for_each(|item| frame.extend_from_slice(item));
            frame.extend(codec.encode(&position));
            frame.extend(codec.encode(&own));
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyVersion, RequestId};
    use crate::keys::{BodyKind, Encapsulation, Envelope};
    use crate::room::Event;
    use crate::time::Timestamp;
    use crate::wire::Item;
    use proptest::prelude::*;

    fn item(revision: u64, len: usize) -> Item {
        let version = KeyVersion(3);
        let sealed = len > 0;
        let message = Event::Message {
            message: "abcdefghijklmnopqrst".parse().expect("valid"),
            kind: BodyKind::Message,
            version,
            ordinal: revision,
        };
        Item {
            revision: Revision(revision),
            time: Timestamp(revision * 1_000),
            account: "ada".parse().expect("valid"),
            event: if sealed { message } else { Event::Archived },
            body: sealed.then(|| Envelope {
                version,
                encapsulation: Encapsulation([7; 65]),
                counter: revision,
                ciphertext: Blob::from(alloc::vec![9; len + 16]),
            }),
        }
    }

    proptest! {
        #[test]
        fn a_frame_put_together_is_the_frame_encoded_whole(
            first in 1..u64::MAX / 4,
            lens in proptest::collection::vec(0..200_usize, 0..300),
            position in proptest::collection::vec(any::<u8>(), 0..80),
            marks in 0..4_usize,
        ) {
            let items: Vec<Item> = lens.iter().enumerate().map(|(at, len)| item(first / 4_000 + at as u64, *len)).collect();
            let own: Vec<OwnRevision> = (0..marks)
                .map(|at| OwnRevision { revision: Revision(first), request: RequestId::from_random([at as u8; 16]) })
                .collect();
            let (room, from, to) = (RoomId::from_digest(&[1; 32]), Revision(first), Revision(first).plus(300));
            let position = Blob::from(position);
            for codec in Codec::ALL {
                let encoded: Vec<Vec<u8>> = items.iter().map(|item| codec.encode(item)).collect();
                let parts: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
                let assembled = batch(codec, room, (from, to), &parts, position.clone(), own.clone());
                let frame = ServerFrame::Batch {
                    room, from, to, items: items.clone(), position: position.clone(), own: own.clone(),
                };
                prop_assert_eq!(&assembled, &codec.encode(&frame));
                let content: usize = parts.iter().map(|part| part.len() + 1).sum();
                prop_assert!(assembled.len() <= AROUND + content + own.len() * MARK);
            }
        }
    }
}
