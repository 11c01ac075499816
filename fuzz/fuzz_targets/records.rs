//! Records, snapshots and positions as a disk or a client may hand them over: refused or read, never a panic; folding what
//! was read never panics either, and erasing a body leaves the chain as it was.
#![no_main]

use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::id::RoomId;
use chamberlain_core::log::{Head, Record, RecordBytes, erase_body};
use chamberlain_core::room::{Event, Fold};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _account = Record::<AccountChange>::decode(&Bytes::copy_from_slice(bytes));
    let _snapshot = Fold::from_snapshot(bytes);
    let Ok(record) = Record::<Event>::decode(&Bytes::copy_from_slice(bytes)) else { return };
    let written = record.encode();
    assert_eq!(Record::<Event>::decode(&written.bytes).as_ref(), Ok(&record));
    let mut fold = Fold::new(RoomId::from_digest(&[1; 32]), 16);
    if let Some(after) = record.extend(Head::EMPTY) {
        let _contradiction = fold.apply(&record, after);
        let mut erased: RecordBytes = written;
        for item in record.items() {
            if let Ok(without) = erase_body(&erased, item.revision) {
                erased = without;
            }
        }
        let erased = Record::<Event>::decode(&erased.bytes).expect("erased bodies leave a record");
        assert_eq!(erased.extend(Head::EMPTY), Some(after));
    }
});
