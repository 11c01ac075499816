//! Records, snapshots and positions as a disk or a client may hand them over: refused or read, never a panic; folding what
//! was read never panics either, and erasing a body leaves the chain as it was.
#![no_main]

use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::directory::{DirectoryChange, Folding};
use chamberlain_core::id::RoomId;
use chamberlain_core::log::{Head, Record, RecordBytes, erase_body};
use chamberlain_core::room::{Event, Fold};
use libfuzzer_sys::fuzz_target;

/// The version byte of records.
const VERSION: u8 = 1;
/// Not the version of anything: what follows is a record in parts.
const PARTS: u8 = 0x80;

fuzz_target!(|bytes: &[u8]| {
    let _snapshot = Fold::from_snapshot(bytes);
    let bytes = joined(bytes).unwrap_or_else(|| Bytes::copy_from_slice(bytes));
    let _account = Record::<AccountChange>::decode(&bytes);
    if let Ok(record) = Record::<DirectoryChange>::decode(&bytes) {
        assert_eq!(Record::<DirectoryChange>::decode(&record.encode().bytes).as_ref(), Ok(&record));
        let _contradiction = Folding::default().apply(&record);
    }
    let Ok(record) = Record::<Event>::decode(&bytes) else { return };
    let written = record.encode();
    assert_eq!(Record::<Event>::decode(&written.bytes).as_ref(), Ok(&record));
    assert_eq!(record.items().count() as u64, record.count());
    assert!(record.items().all(|item| record.first <= item.revision && item.revision <= record.last()));
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

/// A record of the parts that follow, with the length between them computed: a fuzzer that adds a byte to the first part would
/// have to correct the length in the same stroke.
fn joined(bytes: &[u8]) -> Option<Bytes> {
    let (&PARTS, rest) = bytes.split_first()? else { return None };
    let (split, rest) = rest.split_first_chunk::<2>()?;
    let (head, bodies) = rest.split_at(usize::from(u16::from_be_bytes(*split)) % (rest.len() + 1));
    let len = (head.len() as u32).to_be_bytes();
    Some([&[VERSION][..], &len, head, bodies].concat().into())
}
