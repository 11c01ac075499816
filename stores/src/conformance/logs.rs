//! Logs: compare-and-append, reads, erasure, the watch, the list.

use std::time::Duration;

use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Digest, Head, RecordBytes};

use super::records::{Writer, account};
use crate::{Appended, Conflict, Moved, StoreError, Stores};

super::list![
    an_appended_record_is_read_back,
    logs_do_not_touch_each_other,
    an_append_to_an_old_head_conflicts,
    an_equal_revision_with_another_digest_conflicts,
    an_append_to_a_head_ahead_of_the_log_conflicts,
    an_append_repeated_conflicts_with_itself,
    a_record_that_does_not_follow_is_refused,
    of_concurrent_appenders_exactly_one_wins,
    appenders_that_retry_leave_one_chain,
    a_read_begins_with_the_record_that_holds_the_next_revision,
    a_read_ends_when_its_bytes_are_reached,
    a_read_past_the_head_is_empty,
    an_erased_body_is_gone_and_the_chain_still_verifies,
    erasing_twice_is_erasing_once,
    erasing_what_is_not_there_is_refused,
    a_watcher_learns_of_what_grows,
    a_list_has_pages,
];

/// More than any case writes.
const ALL: usize = usize::MAX;

async fn records(stores: &Stores, log: &LogId, after: u64) -> Vec<RecordBytes> {
    stores.logs.read(log, Revision(after), ALL).await.expect("read")
}

async fn an_appended_record_is_read_back(stores: Stores) {
    let mut room = Writer::of_room("append", 1);
    assert_eq!(stores.logs.head(room.log()).await, Ok(Head::EMPTY));
    let mut written = Vec::new();
    for events in [1, 3, 1, 50] {
        written.push(room.append(&stores, events, 100).await);
        assert_eq!(stores.logs.head(room.log()).await, Ok(room.head()));
    }
    let read = records(&stores, room.log(), 0).await;
    assert_eq!(read, written);
    assert_eq!(room.verify(&read), Some(room.head()));
}

async fn logs_do_not_touch_each_other(stores: Stores) {
    let mut room = Writer::of_room("beside", 1);
    let mut accounts = ["beside", "beside.2", "besid"].map(|name| Writer::of_account(&account(name), 2));
    let in_room = room.append(&stores, 2, 10).await;
    for (nth, writer) in accounts.iter_mut().enumerate() {
        writer.append(&stores, nth + 1, 0).await;
        writer.append(&stores, 1, 0).await;
    }
    assert_eq!(records(&stores, room.log(), 0).await, [in_room]);
    for writer in &accounts {
        let read = records(&stores, writer.log(), 0).await;
        assert_eq!((read.len(), writer.verify(&read)), (2, Some(writer.head())));
        assert_eq!(stores.logs.head(writer.log()).await, Ok(writer.head()));
    }
}

async fn an_append_to_an_old_head_conflicts(stores: Stores) {
    let mut ahead = Writer::of_room("old head", 1);
    let mut behind = Writer::of_room("old head", 2);
    let first = ahead.append(&stores, 1, 10).await;
    behind.set_head(ahead.head());
    let second = ahead.append(&stores, 1, 10).await;
    let (late, after) = behind.next(1, 10);
    let outcome = stores.logs.append(behind.log(), behind.head(), late, after).await;
    assert_eq!(outcome, Ok(Appended::Conflict(Conflict { head: ahead.head() })));
    assert_eq!(records(&stores, ahead.log(), 0).await, [first, second]);
}

async fn an_equal_revision_with_another_digest_conflicts(stores: Stores) {
    let mut stored = Writer::of_room("digest", 1);
    let mut other = Writer::of_room("digest", 2);
    stored.append(&stores, 1, 10).await;
    let (_, beside) = other.next(1, 10);
    assert_eq!(beside.revision, stored.head().revision);
    assert_ne!(beside, stored.head());
    other.set_head(beside);
    let (record, after) = other.next(1, 10);
    let outcome = stores.logs.append(other.log(), beside, record, after).await;
    assert_eq!(outcome, Ok(Appended::Conflict(Conflict { head: stored.head() })));
    assert_eq!(stores.logs.head(stored.log()).await, Ok(stored.head()));
}

async fn an_append_to_a_head_ahead_of_the_log_conflicts(stores: Stores) {
    let mut room = Writer::of_room("gap", 1);
    let mut ahead = room.clone();
    room.append(&stores, 1, 10).await;
    ahead.set_head(Head { revision: Revision(7), digest: Digest([7; 32]) });
    let (record, after) = ahead.next(1, 10);
    let outcome = stores.logs.append(ahead.log(), ahead.head(), record.clone(), after).await;
    assert_eq!(outcome, Ok(Appended::Conflict(Conflict { head: room.head() })));
    let nowhere = Writer::of_room("gap in nothing", 1);
    let outcome = stores.logs.append(nowhere.log(), ahead.head(), record, after).await;
    assert_eq!(outcome, Ok(Appended::Conflict(Conflict { head: Head::EMPTY })));
    assert_eq!(records(&stores, nowhere.log(), 0).await, []);
}

async fn an_append_repeated_conflicts_with_itself(stores: Stores) {
    let mut room = Writer::of_room("repeat", 1);
    let before = room.head();
    let record = room.append(&stores, 2, 10).await;
    let outcome = stores.logs.append(room.log(), before, record.clone(), room.head()).await;
    // The head that stands in the way is the one it would have led to: that is how a caller knows its own record.
    assert_eq!(outcome, Ok(Appended::Conflict(Conflict { head: room.head() })));
    assert_eq!(records(&stores, room.log(), 0).await, [record]);
}

async fn a_record_that_does_not_follow_is_refused(stores: Stores) {
    let mut room = Writer::of_room("follow", 1);
    room.append(&stores, 1, 10).await;
    let head = room.head();
    let (record, after) = room.next(2, 10);
    let later = RecordBytes { first: record.first.next(), last: record.last.next(), ..record.clone() };
    let backwards = RecordBytes { last: record.first.previous(), ..record.clone() };
    let short = Head { revision: after.revision.previous(), ..after };
    for (record, after) in [(later, after), (backwards, after), (record, short)] {
        let outcome = stores.logs.append(room.log(), head, record, after).await;
        assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    }
    assert_eq!(stores.logs.head(room.log()).await, Ok(head));
}

async fn of_concurrent_appenders_exactly_one_wins(stores: Stores) {
    let appenders: Vec<_> = (0..32)
        .map(|tag| {
            let (writer, stores) = (Writer::of_room("race", tag), stores.clone());
            tokio::spawn(async move {
                let (record, after) = writer.next(1 + tag as usize % 3, 10);
                let outcome =
                    stores.logs.append(writer.log(), Head::EMPTY, record.clone(), after).await.expect("answered");
                (record, after, outcome)
            })
        })
        .collect();
    let mut winner = None;
    let mut stood_in_the_way = Vec::new();
    for appender in appenders {
        match appender.await.expect("appended") {
            (record, after, Appended::Done(head)) => {
                assert_eq!(head, after);
                assert_eq!(winner.replace((record, head)), None, "two appenders won");
            }
            (_, _, Appended::Conflict(conflict)) => stood_in_the_way.push(conflict.head),
        }
    }
    let (record, head) = winner.expect("one appender wins");
    assert_eq!(stood_in_the_way, [head; 31]);
    assert_eq!(records(&stores, Writer::of_room("race", 0).log(), 0).await, [record]);
}

async fn appenders_that_retry_leave_one_chain(stores: Stores) {
    const EACH: usize = 12;
    let appenders: Vec<_> = (0..8)
        .map(|tag| {
            let (mut writer, stores) = (Writer::of_room("retry", tag), stores.clone());
            tokio::spawn(async move {
                let mut done = Vec::new();
                while done.len() < EACH {
                    let (record, after) = writer.next(1 + tag as usize % 3, 10);
                    match stores
                        .logs
                        .append(writer.log(), writer.head(), record.clone(), after)
                        .await
                        .expect("answered")
                    {
                        Appended::Done(head) => {
                            writer.set_head(head);
                            done.push(record);
                        }
                        Appended::Conflict(conflict) => writer.set_head(conflict.head),
                    }
                }
                done
            })
        })
        .collect();
    let mut done = Vec::new();
    for appender in appenders {
        done.extend(appender.await.expect("appended"));
    }
    let reader = Writer::of_room("retry", 0);
    let read = records(&stores, reader.log(), 0).await;
    done.sort_by_key(|record| record.first);
    assert_eq!(read, done, "what was acknowledged, all of it and nothing else");
    assert_eq!(reader.verify(&read), Some(stores.logs.head(reader.log()).await.expect("head")));
}

async fn a_read_begins_with_the_record_that_holds_the_next_revision(stores: Stores) {
    let mut room = Writer::of_room("ranges", 1);
    let mut written = Vec::new();
    // 1..=3, 4..=4, 5..=9, 10..=10
    for events in [3, 1, 5, 1] {
        written.push(room.append(&stores, events, 10).await);
    }
    for (after, skipped) in [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (8, 2), (9, 3), (10, 4)] {
        assert_eq!(records(&stores, room.log(), after).await, written[skipped..], "after {after}");
    }
}

async fn a_read_ends_when_its_bytes_are_reached(stores: Stores) {
    let mut room = Writer::of_room("bytes", 1);
    let mut written = Vec::new();
    for _ in 0..5 {
        written.push(room.append(&stores, 1, 1_000).await);
    }
    let each = written[0].bytes.len();
    assert!(written.iter().all(|record| record.bytes.len() == each));
    for (bytes, count) in [(0, 1), (1, 1), (each, 1), (each + 1, 2), (3 * each, 3), (3 * each + 1, 4), (9 * each, 5)] {
        let read = stores.logs.read(room.log(), Revision::ZERO, bytes).await.expect("read");
        assert_eq!(read, written[..count], "{bytes} bytes");
    }
    let read = stores.logs.read(room.log(), Revision(2), 2 * each).await.expect("read");
    assert_eq!(read, written[2..4]);
}

async fn a_read_past_the_head_is_empty(stores: Stores) {
    let mut room = Writer::of_room("past", 1);
    assert_eq!(records(&stores, room.log(), 0).await, []);
    room.append(&stores, 2, 10).await;
    for after in [2, 3, u64::from(u32::MAX), u64::MAX - 1] {
        assert_eq!(records(&stores, room.log(), after).await, [], "after {after}");
    }
}

async fn an_erased_body_is_gone_and_the_chain_still_verifies(stores: Stores) {
    let mut room = Writer::of_room("erase", 1);
    room.append(&stores, 1, 64).await;
    let record = room.append(&stores, 3, 64).await;
    room.append(&stores, 1, 64).await;
    stores.logs.erase(room.log(), Revision(3)).await.expect("erased");
    let read = records(&stores, room.log(), 0).await;
    assert_eq!(read.len(), 3);
    assert_eq!(read[1].bytes.len(), record.bytes.len());
    let holds = |stored: &RecordBytes, bytes: &[u8]| stored.bytes.windows(bytes.len()).any(|window| window == bytes);
    // The bodies lie one after the other at the end, each after 37 bytes of its own head.
    let body = |nth: usize| {
        let end = record.bytes.len() - (2 - nth) * (37 + 64);
        &record.bytes[end - 64..end]
    };
    assert!(holds(&read[1], body(0)) && !holds(&read[1], body(1)) && holds(&read[1], body(2)));
    assert_eq!(room.verify(&read), Some(room.head()));
    assert_eq!(stores.logs.head(room.log()).await, Ok(room.head()));
    room.append(&stores, 1, 64).await;
}

async fn erasing_twice_is_erasing_once(stores: Stores) {
    let mut room = Writer::of_room("erase twice", 1);
    room.append(&stores, 2, 64).await;
    stores.logs.erase(room.log(), Revision(1)).await.expect("erased");
    let once = records(&stores, room.log(), 0).await;
    stores.logs.erase(room.log(), Revision(1)).await.expect("erased again");
    assert_eq!(records(&stores, room.log(), 0).await, once);
}

async fn erasing_what_is_not_there_is_refused(stores: Stores) {
    let mut room = Writer::of_room("erase nothing", 1);
    let refused = |outcome| assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
    refused(stores.logs.erase(room.log(), Revision(1)).await);
    room.append(&stores, 2, 64).await;
    refused(stores.logs.erase(room.log(), Revision(3)).await);
    refused(stores.logs.erase(room.log(), Revision::ZERO).await);
    let mut without_bodies = Writer::of_account(&account("erase.nothing"), 1);
    without_bodies.append(&stores, 1, 0).await;
    refused(stores.logs.erase(without_bodies.log(), Revision(1)).await);
    let read = records(&stores, room.log(), 0).await;
    assert_eq!(room.verify(&read), Some(room.head()));
}

async fn a_watcher_learns_of_what_grows(stores: Stores) {
    let mut room = Writer::of_room("watch", 1);
    room.append(&stores, 1, 10).await;
    let mut watcher = stores.logs.watch();
    room.append(&stores, 3, 10).await;
    let expected = Moved { log: room.log().clone(), head: room.head() };
    let seen = tokio::time::timeout(Duration::from_secs(10), async {
        // Others may share the stores.
        while watcher.recv().await.expect("watching") != expected {}
    });
    seen.await.expect("told of the append");
}

async fn a_list_has_pages(stores: Stores) {
    let mut logs: Vec<LogId> = Vec::new();
    for nth in 0..7 {
        let mut room = Writer::of_room(&format!("list {nth}"), 1);
        let mut member = Writer::of_account(&account(&format!("list.{nth}")), 1);
        room.append(&stores, 1, 10).await;
        member.append(&stores, 1, 0).await;
        logs.extend([room.log().clone(), member.log().clone()]);
    }
    logs.sort_by_key(LogId::to_string);
    for limit in [1, 3, 100] {
        let mut seen: Vec<LogId> = Vec::new();
        loop {
            let page = stores.logs.list(seen.last(), limit).await.expect("listed");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert!(seen.is_sorted_by(|one, other| one.to_string() < other.to_string()), "pages of {limit}");
        // Others may share the stores.
        seen.retain(|log| logs.contains(log));
        assert_eq!(seen, logs, "pages of {limit}");
    }
    assert_eq!(stores.logs.list(None, 0).await, Ok(Vec::new()));
}
