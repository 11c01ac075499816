//! A disk that reports errors, or is full, while the power stays on; callers that go away; and the tools of operators.

use std::time::Duration;

use chamberlain_core::id::{KeyVersion, LogId, Revision};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};

use super::{Disk, Embedded, master, open, options, site};
use crate::conformance::Writer;
use crate::embedded::{OpenError, Options};
use crate::faulty::Faults;
use crate::{Appended, LogStore, StoreError, Stores};

async fn all(stores: &Stores, log: &LogId) -> Result<Vec<RecordBytes>, StoreError> {
    stores.logs.read(log, Revision::ZERO, usize::MAX).await
}

#[tokio::test]
async fn after_an_error_at_any_call_the_store_says_what_is_durable_and_goes_on() {
    let mut unknown = 0;
    let mut came_back = 0;
    for nth in 1..=160 {
        let disk = Disk::new(nth);
        // In one phase, a lost page can hide behind a header that was kept; in two, it cannot.
        let options = Options { quick_repair: nth > 80, ..options() };
        let store = Embedded::open_medium(disk.clone(), &master(), &site(), options).await.expect("opened");
        let stores = store.stores();
        let mut room = Writer::of_room("errors", nth);
        room.append(&stores, 2, 3_000).await;
        disk.set_faults(Faults { fail_at: Some(disk.calls() + nth), ..Faults::default() });
        let mut left = 60;
        while left > 0 {
            left -= 1;
            let (record, after) = room.next(1, 2_000);
            match stores.logs.append(room.log(), room.head(), record, after).await {
                Ok(Appended::Done(head)) => room.set_head(head),
                Ok(conflict) => panic!("call {nth}: {conflict:?}"),
                Err(why) => {
                    // The store opens anew by itself, and then says what became of it.
                    let head = stores.logs.head(room.log()).await.expect("opened anew");
                    let allowed = if matches!(why, StoreError::Unknown(_)) {
                        vec![room.head(), after]
                    } else {
                        vec![room.head()]
                    };
                    assert!(allowed.contains(&head), "call {nth}: {why} and then {head:?}");
                    unknown += u32::from(matches!(why, StoreError::Unknown(_)));
                    came_back += 1;
                    // What it says now must be true of the disk itself, whatever a cache would show.
                    disk.crash();
                    disk.power_on();
                    let store = open(&disk).await.expect("opened");
                    assert_eq!(store.head(room.log()).await, Ok(head), "call {nth}: claimed, and not durable");
                    store.close().await;
                    break;
                }
            }
        }
    }
    assert!(unknown > 10 && came_back > 80, "{unknown} unknown of {came_back}");
}

#[tokio::test]
async fn until_it_is_opened_anew_a_failed_store_answers_nothing() {
    let disk = Disk::new(1);
    let options = Options { reopen_after: Duration::from_secs(3_600), ..options() };
    let store = Embedded::open_medium(disk.clone(), &master(), &site(), options).await.expect("opened");
    let stores = store.stores();
    let mut room = Writer::of_room("refuses", 1);
    room.append(&stores, 1, 10).await;
    // The disk is well again at once; the store waits its time nevertheless.
    disk.crash();
    disk.power_on();
    let (record, after) = room.next(1, 10);
    stores.logs.append(room.log(), room.head(), record, after).await.expect_err("failed");
    let unavailable = |why: StoreError| assert!(matches!(why, StoreError::Unavailable(_)), "{why}");
    unavailable(stores.logs.head(room.log()).await.expect_err("failed"));
    unavailable(all(&stores, room.log()).await.expect_err("failed"));
    unavailable(stores.marks.raise(&[("a".into(), 1)]).await.expect_err("failed"));
    unavailable(stores.marks.get(&["a".into()]).await.expect_err("failed"));
}

#[tokio::test]
async fn a_full_disk_refuses_and_once_there_is_room_the_store_goes_on() {
    let disk = Disk::new(1);
    let store = open(&disk).await.expect("opened");
    let stores = store.stores();
    let mut room = Writer::of_room("full", 1);
    room.append(&stores, 1, 1_000).await;
    disk.set_faults(Faults { capacity: Some(disk.contents().len() as u64), ..Faults::default() });
    let mut full = None;
    for _ in 0..2_000 {
        let (record, after) = room.next(1, 20_000);
        match stores.logs.append(room.log(), room.head(), record, after).await {
            Ok(Appended::Done(head)) => room.set_head(head),
            Ok(conflict) => panic!("{conflict:?}"),
            Err(why) => {
                full = Some(why);
                break;
            }
        }
    }
    let why = full.expect("the disk is full in the end");
    assert!(matches!(why, StoreError::Unavailable(_) | StoreError::Unknown(_)), "{why}");
    disk.set_faults(Faults::default());
    room.set_head(stores.logs.head(room.log()).await.expect("opened anew"));
    room.append(&stores, 1, 20_000).await;
    let read = all(&stores, room.log()).await.expect("read");
    assert_eq!(room.verify(&read), Some(room.head()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_its_change_whole_or_absent() {
    let store = open(&Disk::new(1)).await.expect("opened");
    let stores = store.stores();
    for round in 0..200_u64 {
        let mut room = Writer::of_room(&format!("away {round}"), round);
        let (record, after) = room.next(3, 500);
        let appending = stores.logs.append(room.log(), Head::EMPTY, record.clone(), after);
        // Gone before, during and after.
        let patience = Duration::from_micros(round * 5);
        let answered = tokio::time::timeout(patience, appending).await;
        // Whatever was queued before this is committed when this returns.
        stores.marks.raise(&[("round".into(), round + 1)]).await.expect("raised");
        let read = all(&stores, room.log()).await.expect("read");
        match read.as_slice() {
            [] => assert!(answered.is_err(), "round {round}: answered, and not there"),
            stored => assert_eq!(stored, [record]),
        }
        if read.is_empty() {
            room.append(&stores, 1, 10).await;
        }
    }
}

#[tokio::test]
async fn a_held_store_is_refused_in_words_and_free_once_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("new").join("data");
    let open = async || Embedded::open(&data, &master(), &site(), options()).await;
    let first = open().await.expect("opened");
    let second = open().await.err().expect("held");
    assert!(matches!(second, OpenError::Held(_)));
    assert!(second.to_string().starts_with("another server holds "), "{second}");
    let stores = first.stores();
    first.close().await;
    let refused = stores.logs.list(None, 1).await.expect_err("closed");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    open().await.expect("opened again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_others_write_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Embedded::open(folder.path(), &master(), &site(), options()).await.expect("opened");
    let writing: Vec<_> = (0..4)
        .map(|nth| {
            let stores = store.stores();
            tokio::spawn(async move {
                let mut room = Writer::of_room(&format!("backup {nth}"), nth);
                let LogId::Room(id) = *room.log() else { panic!("a room") };
                for version in 0..60 {
                    let secret = RoomSecret::from_bytes(&[version as u8 + 1; 32]).expect("a scalar");
                    stores.vault.put_if_absent(id, KeyVersion(version), &secret).await.expect("put");
                    room.append(&stores, 2, 300).await;
                }
            })
        })
        .collect();
    let mut copies = Vec::new();
    for nth in 0..5 {
        let to = folder.path().join(format!("copy {nth}.redb"));
        store.backup(&to).await.expect("copied");
        copies.push(to);
    }
    for writing in writing {
        writing.await.expect("written");
    }
    let taken = store.backup(&copies[0]).await.expect_err("it is there already");
    assert!(matches!(taken, StoreError::Invalid(_)), "{taken}");
    copies.push(folder.path().join("last.redb"));
    store.backup(&copies[5]).await.expect("copied");
    let mut revisions = Vec::new();
    for copy in &copies {
        let restored = Embedded::open_file(copy, &master(), &site(), options()).await.expect("opened");
        let report = restored.verify(|_| ()).await.expect("walked");
        assert_eq!(report.problems, []);
        revisions.push(report.revisions);
    }
    assert!(revisions.is_sorted() && revisions[5] == 4 * 60 * 2, "{revisions:?}");
    assert_eq!(store.verify(|_| ()).await.expect("walked").revisions, revisions[5]);
}

#[tokio::test]
async fn a_walk_finds_what_is_wrong() {
    let disk = Disk::new(1);
    let store = open(&disk).await.expect("opened");
    let stores = store.stores();
    let mut sound = Writer::of_room("sound", 1);
    let mut beside = Writer::of_room("beside its head", 1);
    let garbled = Writer::of_room("garbled", 1);
    sound.append(&stores, 3, 100).await;
    beside.append(&stores, 1, 100).await;
    // A caller that says another digest than its record has; the store takes its word, the walk does not.
    let (record, after) = beside.next(1, 100);
    let lie = Head { digest: chamberlain_core::log::Digest([7; 32]), ..after };
    stores.logs.append(beside.log(), beside.head(), record, lie).await.expect("taken");
    let (record, after) = garbled.next(1, 100);
    let mut bytes = record.bytes.to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    let record = RecordBytes { bytes: bytes.into(), ..record };
    stores.logs.append(garbled.log(), Head::EMPTY, record, after).await.expect("taken");
    let (sender, told) = std::sync::mpsc::sync_channel(100);
    let report = store.verify(move |progress| sender.send(progress).expect("room")).await.expect("walked");
    let mut at: Vec<String> = report.problems.iter().map(|problem| problem.at.clone()).collect();
    at.sort();
    let mut expected = [beside.log().to_string(), garbled.log().to_string()];
    expected.sort();
    assert_eq!(at, expected, "{:?}", report.problems);
    assert_eq!((report.logs, report.records, report.revisions), (3, 4, 6));
    assert_eq!(told.iter().last().map(|progress| (progress.logs, progress.records)), Some((3, 4)));
}

#[tokio::test]
async fn compacting_keeps_everything_and_frees_what_was_erased() {
    let disk = Disk::new(1);
    let store = open(&disk).await.expect("opened");
    let stores = store.stores();
    let mut room = Writer::of_room("compact", 1);
    for _ in 0..50 {
        room.append(&stores, 1, 30_000).await;
        stores
            .snapshots
            .put(room.log(), crate::Snapshot { revision: room.head().revision, bytes: vec![1; 200_000].into() })
            .await
            .expect("put");
    }
    let before = disk.contents().len();
    while store.compact().await.expect("compacted") {}
    assert!(disk.contents().len() < before, "{} of {before} bytes", disk.contents().len());
    let read = all(&stores, room.log()).await.expect("read");
    assert_eq!(room.verify(&read), Some(room.head()));
    room.append(&stores, 1, 10).await;
}
