//! A tape of random operations, played to a store on a server and to the model in memory: each answer must be the same.
//!
//! Now and then the server is killed, or the store is opened anew, so that nothing is believed that only memory knew.

use std::collections::BTreeMap;

use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Digest, Head};
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::jetstream::JetStream;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, Conflict, LogStore, StoreError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::until_it_answers;

const LOGS: u64 = 12;

/// The seed: `CHAMBERLAIN_TAPE_SEED`, or always the same.
pub(crate) fn seed() -> u64 {
    std::env::var("CHAMBERLAIN_TAPE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// A server, real or simulated, that a tape is played to.
pub(crate) trait Played {
    /// Another store on it.
    async fn open(&self) -> JetStream;
    /// Ends it as `kill -9` ends a process, and starts it again over what it kept.
    async fn kill_and_start_again(&mut self);
}

/// Plays so many operations.
pub(crate) async fn play(server: &mut impl Played, operations: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |below: u64| rng.next_u64() % below;
    let model = MemoryStores::new();
    let mut stores = [server.open().await, server.open().await];
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for nth in 0..operations {
        let at = format!("seed {seed}, operation {nth}");
        let writer = writer(draw(LOGS));
        let (log, store) = (writer.log().clone(), &stores[draw(2) as usize]);
        let head = LogStore::head(&model, &log).await.expect("the model answers");
        let what = match draw(1_000) {
            0..450 => {
                let (answer, expected) = append(store, &model, writer, head, &mut draw).await;
                assert_eq!(answer, expected, "{at}: append to {log}");
                if matches!(expected, Ok(Appended::Done(_))) { "append" } else { "append refused" }
            }
            450..700 => {
                let after = Revision(draw(head.revision.0 + 3));
                let bytes = if draw(40) == 0 { usize::MAX } else { [0, 1, 500, 50_000][draw(4) as usize] };
                let answer = until_it_answers(async || store.read(&log, after, bytes).await).await;
                assert_eq!(Ok(answer), model.read(&log, after, bytes).await, "{at}: read {log} after {after}, {bytes}");
                "read"
            }
            700..800 => {
                let answer = until_it_answers(async || LogStore::head(store, &log).await).await;
                assert_eq!(answer, head, "{at}: head of {log}");
                "head"
            }
            800..960 => {
                let revision = Revision(draw(head.revision.0 + 2));
                let answer = erase(store, &log, revision).await;
                assert_eq!(answer, model.erase(&log, revision).await, "{at}: erase {log} at {revision}");
                if answer.is_ok() { "erase" } else { "erase refused" }
            }
            960..990 => {
                let after = Some(log).filter(|_| draw(3) > 0);
                let limit = draw(2 * LOGS) as usize;
                let answer = until_it_answers(async || LogStore::list(store, after.as_ref(), limit).await).await;
                assert_eq!(
                    Ok(answer),
                    LogStore::list(&model, after.as_ref(), limit).await,
                    "{at}: list after {after:?}"
                );
                "list"
            }
            990..997 => {
                stores[draw(2) as usize] = server.open().await;
                "open anew"
            }
            _ => {
                server.kill_and_start_again().await;
                "kill -9"
            }
        };
        *done.entry(what).or_default() += 1;
    }
    eprintln!("{operations} operations agree: {done:?}");
}

/// Appends as asked, or to a head that is not the log's, or what does not follow. What is not known is tried again, and its
/// own head in its way is then its own success.
async fn append(
    store: &JetStream,
    model: &MemoryStores,
    mut writer: Writer,
    head: Head,
    draw: &mut impl FnMut(u64) -> u64,
) -> (Result<Appended, StoreError>, Result<Appended, StoreError>) {
    writer.set_head(head);
    match draw(20) {
        0 => writer.set_head(Head { revision: Revision(draw(head.revision.0 + 4)), ..head }),
        1 => writer.set_head(Head { digest: Digest([9; 32]), ..head }),
        2 => writer.set_head(Head::EMPTY),
        _ => {}
    }
    let expected = writer.head();
    let (mut record, after) = writer.next(1 + draw(4) as usize, draw(600) as usize);
    if draw(30) == 0 {
        record.last = record.last.next();
    }
    let modelled = model.append(writer.log(), expected, record.clone(), after).await;
    let mut unsure = false;
    loop {
        let answer = store.append(writer.log(), expected, record.clone(), after).await;
        match answer {
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                unsure |= matches!(answer, Err(StoreError::Unknown(_)));
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Ok(Appended::Conflict(Conflict { head })) if unsure && head == after => {
                return (Ok(Appended::Done(after)), modelled);
            }
            answer => return (answer, modelled),
        }
    }
}

async fn erase(store: &JetStream, log: &LogId, revision: Revision) -> Result<(), StoreError> {
    loop {
        match store.erase(log, revision).await {
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            answer => return answer,
        }
    }
}

fn writer(nth: u64) -> Writer {
    if nth % 4 == 3 {
        let account = format!("some.body+{nth}@corp.example").parse().expect("an account");
        return Writer::of_account(&account, 7);
    }
    Writer::of_room(&format!("tape {nth}"), 7)
}
