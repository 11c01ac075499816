//! Power failures at random calls of the disk, in the midst of writers of every kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, RecordBytes};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Disk, master, open, site};
use crate::conformance::Writer;
use crate::embedded::{Embedded, Options};
use crate::faulty::Faults;
use crate::{Appended, PutSecret, StoreError, Stores};

/// What the callers were told, and what they tried without being told.
#[derive(Default)]
struct Told {
    appended: BTreeMap<LogId, Vec<RecordBytes>>,
    /// The one append of each log that was not answered.
    unanswered: BTreeMap<LogId, RecordBytes>,
    secrets: BTreeMap<(RoomId, KeyVersion), RoomSecret>,
    destroyed: Vec<(RoomId, KeyVersion)>,
    marks: BTreeMap<String, u64>,
    tried_marks: BTreeMap<String, u64>,
    snapshots: BTreeMap<LogId, Revision>,
    erased: Vec<(LogId, Revision)>,
}

type Shared = Arc<Mutex<Told>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_failure_at_any_call() {
    for seed in 0..rounds(100) {
        let told = Shared::default();
        let disk = Disk::new(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut writers: Vec<Writer> = (0..6).map(|nth| Writer::of_room(&format!("power {nth}"), seed)).collect();
        // Three lives of the same disk: what one crash left must stand the next.
        for life in 0..3 {
            // Opening itself makes calls; the first of a life are the most interesting ones.
            let within = if rng.random_bool(0.3) { 40 } else { 1_500 };
            disk.set_faults(Faults { crash_at: Some(disk.calls() + rng.random_range(1..within)), ..Faults::default() });
            let opened = Embedded::open_medium(disk.clone(), &master(), &site(), options(seed)).await;
            if let Ok(store) = opened {
                write_until_the_power_fails(store.stores(), &mut writers, &told, seed ^ life).await;
            }
            assert!(disk.has_crashed(), "seed {seed}: the writers end only when the power does");
            disk.power_on();
            let store = open(&disk).await.unwrap_or_else(|why| panic!("seed {seed}, life {life}: {why}"));
            compare(&store.stores(), &mut writers, &told, &format!("seed {seed}, life {life}")).await;
            let report = store.verify(|_| ()).await.expect("walked");
            assert_eq!(report.problems, [], "seed {seed}, life {life}");
            store.close().await;
        }
    }
}

/// Half of the seeds commit in one phase.
fn options(seed: u64) -> Options {
    Options { quick_repair: seed.is_multiple_of(2), ..super::options() }
}

/// How many seeds: more when soaking.
fn rounds(usual: u64) -> u64 {
    std::env::var("CHAMBERLAIN_SOAK")
        .ok()
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .map_or(usual, |soak| usual + 10 * soak)
}

async fn write_until_the_power_fails(stores: Stores, writers: &mut Vec<Writer>, told: &Shared, seed: u64) {
    let running: Vec<_> = writers
        .drain(..)
        .enumerate()
        .map(|(nth, writer)| {
            tokio::spawn(run(stores.clone(), writer, told.clone(), seed.wrapping_mul(31) + nth as u64))
        })
        .collect();
    for writer in running {
        writers.push(writer.await.expect("ended"));
    }
}

/// Writes to one log, and beside it, until nothing is answered any more.
async fn run(stores: Stores, mut writer: Writer, told: Shared, seed: u64) -> Writer {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let LogId::Room(room) = *writer.log() else { panic!("a room's log") };
    loop {
        let log = writer.log().clone();
        let going_on = match rng.random_range(0..10) {
            0..5 => {
                let (record, after) = writer.next(rng.random_range(1..4), rng.random_range(0..3_000));
                match stores.logs.append(&log, writer.head(), record.clone(), after).await {
                    Ok(Appended::Done(head)) => {
                        writer.set_head(head);
                        told.lock().expect("told").appended.entry(log).or_default().push(record);
                        true
                    }
                    Ok(Appended::Conflict(conflict)) => panic!("{log} has one writer, yet {conflict:?}"),
                    Err(why) => {
                        if matches!(why, StoreError::Unknown(_)) {
                            told.lock().expect("told").unanswered.insert(log, record);
                        }
                        false
                    }
                }
            }
            5 => {
                let version = KeyVersion(rng.random_range(0..20));
                let secret = RoomSecret::from_bytes(&[rng.random_range(1..200); 32]).expect("a scalar");
                match stores.vault.put_if_absent(room, version, &secret).await {
                    Ok(PutSecret::Winner(winner)) => {
                        let mut told = told.lock().expect("told");
                        let earlier = told.secrets.entry((room, version)).or_insert_with(|| winner.clone());
                        assert_eq!(*earlier, winner, "one version, one secret");
                        true
                    }
                    Ok(PutSecret::Destroyed) => {
                        assert!(version.0.is_multiple_of(5), "{version} was never to be destroyed");
                        true
                    }
                    Err(_) => false,
                }
            }
            6 => {
                // One in five versions is for destroying, so that an unanswered destruction confuses nobody.
                let version = KeyVersion(rng.random_range(0..4) * 5);
                told.lock().expect("told").secrets.remove(&(room, version));
                let done = stores.vault.destroy(room, version).await.is_ok();
                if done {
                    told.lock().expect("told").destroyed.push((room, version));
                }
                done
            }
            7 => {
                let raised: Vec<(String, u64)> =
                    ["a", "b"].map(|name| (format!("{room}/{name}"), rng.random_range(0..1_000))).to_vec();
                raise(&mut told.lock().expect("told").tried_marks, &raised);
                let done = stores.marks.raise(&raised).await.is_ok();
                if done {
                    raise(&mut told.lock().expect("told").marks, &raised);
                }
                done
            }
            8 => {
                let snapshot = crate::Snapshot { revision: writer.head().revision, bytes: vec![9; 5_000].into() };
                let done = stores.snapshots.put(&log, snapshot.clone()).await.is_ok();
                if done {
                    told.lock().expect("told").snapshots.insert(log, snapshot.revision);
                }
                done
            }
            _ if writer.head() == Head::EMPTY => true,
            _ => {
                let revision = Revision(rng.random_range(1..=writer.head().revision.0));
                let done = stores.logs.erase(&log, revision).await.is_ok();
                if done {
                    told.lock().expect("told").erased.push((log, revision));
                }
                done
            }
        };
        if !going_on {
            return writer;
        }
    }
}

fn raise(marks: &mut BTreeMap<String, u64>, raised: &[(String, u64)]) {
    for (name, value) in raised {
        let mark = marks.entry(name.clone()).or_default();
        *mark = (*mark).max(*value);
    }
}

/// Everything told is there; what was tried without an answer is wholly there or not at all.
async fn compare(stores: &Stores, writers: &mut [Writer], shared: &Shared, at: &str) {
    let mut told = std::mem::take(&mut *shared.lock().expect("told"));
    for writer in writers {
        let log = writer.log().clone();
        let read = stores.logs.read(&log, Revision::ZERO, usize::MAX).await.expect("read");
        let head = stores.logs.head(&log).await.expect("head");
        assert_eq!(writer.verify(&read), Some(head), "{at}: {log} is a chain up to its head");
        let appended = told.appended.entry(log.clone()).or_default();
        if read.len() > appended.len() {
            appended.extend(told.unanswered.remove(&log));
        }
        told.unanswered.remove(&log);
        let places = |records: &[RecordBytes]| -> Vec<_> {
            records.iter().map(|record| (record.first, record.last, record.bytes.len())).collect()
        };
        assert_eq!(places(&read), places(appended), "{at}: {log} holds what was acknowledged");
        assert_eq!(writer.verify(appended), Some(head), "{at}: {log} holds the very bytes");
        writer.set_head(head);
        for (erased, revision) in told.erased.iter().filter(|(erased, _)| *erased == log) {
            stores.logs.erase(erased, *revision).await.expect("there");
            let again = stores.logs.read(erased, revision.previous(), 1).await.expect("read");
            assert!(read.contains(&again[0]), "{at}: {log} at {revision} was erased before");
        }
    }
    for ((room, version), secret) in &told.secrets {
        let stored = stores.vault.get(*room, *version).await.expect("got");
        assert_eq!(stored.as_ref(), Some(secret), "{at}: {room} version {version}");
    }
    for (room, version) in &told.destroyed {
        assert_eq!(stores.vault.get(*room, *version).await, Ok(None), "{at}: {room} version {version}");
    }
    for (name, tried) in &told.tried_marks {
        let stored = stores.marks.get(std::slice::from_ref(name)).await.expect("got")[0];
        let least = told.marks.get(name).copied().unwrap_or(0);
        assert!((least..=*tried).contains(&stored), "{at}: {name} is {stored}, not {least} to {tried}");
    }
    for (log, revision) in &told.snapshots {
        let stored = stores.snapshots.latest(log).await.expect("got").expect("there");
        assert!(stored.revision >= *revision && stored.bytes.len() == 5_000, "{at}: {log}");
    }
    *shared.lock().expect("told") = told;
}
