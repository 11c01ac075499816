//! Frames in both codecs: garbage is refused without a panic, and what is read reads back the same after it was written.
#![no_main]

use chamberlain_core::wire::Codec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for codec in Codec::ALL {
        if let Ok(frame) = codec.decode_client(bytes) {
            assert_eq!(codec.decode_client(&codec.encode(&frame)), Ok(frame));
        }
        if let Ok(frame) = codec.decode_server(bytes) {
            assert_eq!(codec.decode_server(&codec.encode(&frame)), Ok(frame));
        }
    }
});
