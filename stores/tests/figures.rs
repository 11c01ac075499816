//! What the embedded store does in a second, on the disk of the temporary folder. Run with
//! `cargo test --release -p chamberlain-stores --test figures -- --ignored --nocapture`.

use std::io::Write;
use std::time::{Duration, Instant};

use chamberlain_core::site::MasterKey;
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::{Appended, Stores};

const WRITERS: u64 = 64;
const LASTS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run alone, in release"]
async fn durable_appends_of_many_writers() {
    for quick_repair in [true, false] {
        for (commands, bytes) in [(1, 300), (50, 300)] {
            let folder = tempfile::tempdir().expect("a folder");
            let site = "home".parse().expect("a site");
            let options = Options { quick_repair, ..Options::default() };
            let store =
                Embedded::open(folder.path(), &MasterKey::from_bytes([1; 32]), &site, options).await.expect("opened");
            let started = Instant::now();
            let writing: Vec<_> =
                (0..WRITERS).map(|nth| tokio::spawn(write(store.stores(), nth, commands, bytes, started))).collect();
            let mut waits = Vec::new();
            for writing in writing {
                waits.extend(writing.await.expect("written"));
            }
            let seconds = started.elapsed().as_secs_f64();
            waits.sort();
            let at = |share: usize| waits[(waits.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
            let appends = waits.len() as f64 / seconds;
            report(&format!(
                "{WRITERS} writers, {commands:2} messages of {bytes} bytes a record, quick repair {quick_repair}: {appends:6.0} \
                 durable appends/s, {:7.0} messages/s; append {:.1} ms at the median, {:.1} at p99",
                appends * commands as f64,
                at(50),
                at(99)
            ));
            store.close().await;
        }
    }
}

async fn write(stores: Stores, nth: u64, commands: usize, bytes: usize, started: Instant) -> Vec<Duration> {
    let mut room = Writer::of_room(&format!("figures {nth}"), nth);
    let mut waits = Vec::new();
    while started.elapsed() < LASTS {
        let (record, after) = room.next(commands, bytes);
        let asked = Instant::now();
        let appended = stores.logs.append(room.log(), room.head(), record, after).await;
        assert_eq!(appended, Ok(Appended::Done(after)));
        waits.push(asked.elapsed());
        room.set_head(after);
    }
    waits
}

fn report(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("somebody reads");
}
