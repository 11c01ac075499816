//! A real file, and a process that is killed while it commits: what it said it had written is there afterwards.
//!
//! The test starts itself again as the process that writes. `CHAMBERLAIN_SOAK=SECONDS` has it go on for that long.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chamberlain_core::id::{KeyVersion, LogId, Revision};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::site::MasterKey;
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::{Appended, PutSecret};

/// Names the data folder to the process that writes.
const CHILD: &str = "CHAMBERLAIN_TEST_WRITES_TO";
const ROOMS: u64 = 16;
const ROUNDS: u64 = 12;

async fn open(folder: &Path) -> Embedded {
    let site = "home".parse().expect("a site");
    Embedded::open(folder, &MasterKey::from_bytes([1; 32]), &site, Options::default()).await.expect("opened")
}

fn writer(nth: u64) -> Writer {
    Writer::of_room(&format!("kill {nth}"), nth)
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(folder) = std::env::var_os(CHILD) {
        runtime.block_on(write_for_ever(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let soak = std::env::var("CHAMBERLAIN_SOAK").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let started = Instant::now();
    let mut acknowledged = Acknowledged::default();
    let mut round = 0;
    while round < ROUNDS || soak.is_some_and(|soak| started.elapsed() < soak) {
        round += 1;
        let before = acknowledged.revisions.iter().sum::<u64>();
        // Times that are no multiple of each other or of a commit.
        run_and_kill(folder.path(), Duration::from_micros(30_000 + round * 7_919 % 170_000), &mut acknowledged);
        runtime.block_on(compare(folder.path(), &acknowledged, round));
        if round > 3 {
            let written = acknowledged.revisions.iter().sum::<u64>();
            assert!(written > before || round % 4 != 0, "round {round}: nothing was written");
        }
    }
}

/// What was said.
#[derive(Default)]
struct Acknowledged {
    /// The last revision of each room.
    revisions: [u64; ROOMS as usize],
    /// The last mark of each room.
    marks: [u64; ROOMS as usize],
    /// Room and version.
    secrets: Vec<(u64, u32)>,
}

impl Acknowledged {
    /// Takes note of a line such as `append 3 117`; says whether it was one.
    fn note(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, room, value] = words[..] else { return false };
        let (Ok(room), Ok(value)) = (room.parse::<u64>(), value.parse::<u64>()) else { return false };
        match what {
            "append" => self.revisions[room as usize] = value,
            "mark" => self.marks[room as usize] = value,
            "secret" => self.secrets.push((room, value as u32)),
            _ => return false,
        }
        true
    }
}

/// Lets a process write for a while, kills it, and takes note of what it said.
fn run_and_kill(folder: &Path, patience: Duration, acknowledged: &mut Acknowledged) {
    let mut child: Child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "what_a_killed_process_acknowledged_is_there", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    // The harness says a few words of its own, and the store has to open: the time runs from the first acknowledgement.
    assert!(said.by_ref().any(|line| acknowledged.note(&line)), "it ended by itself");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(patience);
        child.kill().expect("killed");
        child.wait().expect("ended");
    });
    // What it said before it was killed stays in the pipe; the last line may be cut off, and is then no acknowledgement.
    for line in said {
        acknowledged.note(&line);
    }
    killer.join().expect("killed");
}

/// Everything acknowledged is there, and everything there is whole.
async fn compare(folder: &Path, acknowledged: &Acknowledged, round: u64) {
    let store = open(folder).await;
    let stores = store.stores();
    for nth in 0..ROOMS {
        let room = writer(nth);
        let head = stores.logs.head(room.log()).await.expect("head");
        let least = acknowledged.revisions[nth as usize];
        assert!(
            head.revision >= Revision(least),
            "round {round}, room {nth}: {least} was acknowledged, {} is there",
            head.revision
        );
        let mark = stores.marks.get(&[format!("mark {nth}")]).await.expect("got")[0];
        assert!(mark >= acknowledged.marks[nth as usize], "round {round}, room {nth}: the mark fell to {mark}");
    }
    for (nth, version) in &acknowledged.secrets {
        let LogId::Room(room) = *writer(*nth).log() else { panic!("a room") };
        let stored = stores.vault.get(room, KeyVersion(*version)).await.expect("got");
        assert_eq!(stored, Some(secret(*nth, *version)), "round {round}, room {nth}, version {version}");
    }
    let report = store.verify(|_| ()).await.expect("walked");
    assert_eq!(report.problems, [], "round {round}");
    store.close().await;
}

fn secret(nth: u64, version: u32) -> RoomSecret {
    let mut bytes = [1; 32];
    bytes[8..16].copy_from_slice(&nth.to_be_bytes());
    bytes[16..20].copy_from_slice(&version.to_be_bytes());
    RoomSecret::from_bytes(&bytes).expect("a scalar")
}

/// The process that is killed.
async fn write_for_ever(folder: &Path) -> ! {
    let store = open(folder).await;
    let writing: Vec<_> = (0..ROOMS).map(|nth| tokio::spawn(write_to(store.clone(), nth))).collect();
    for writing in writing {
        writing.await.expect("goes on until it is killed");
    }
    unreachable!("it goes on until it is killed")
}

async fn write_to(store: Embedded, nth: u64) {
    let stores = store.stores();
    let mut room = writer(nth);
    let LogId::Room(id) = *room.log() else { panic!("a room") };
    room.set_head(stores.logs.head(room.log()).await.expect("head"));
    loop {
        let (record, after) = room.next(1 + nth as usize % 3, 700);
        let appended = stores.logs.append(room.log(), room.head(), record, after).await;
        assert_eq!(appended, Ok(Appended::Done(after)));
        room.set_head(after);
        say(&format!("append {nth} {}", after.revision));
        if after.revision.0 % 7 == 0 {
            let version = after.revision.0 as u32;
            let put = stores.vault.put_if_absent(id, KeyVersion(version), &secret(nth, version)).await;
            assert_eq!(put, Ok(PutSecret::Winner(secret(nth, version))));
            say(&format!("secret {nth} {version}"));
        }
        if after.revision.0 % 5 == 0 {
            stores.marks.raise(&[(format!("mark {nth}"), after.revision.0)]).await.expect("raised");
            say(&format!("mark {nth} {}", after.revision));
        }
    }
}

/// One line in one write, so that a line is whole or not there.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush()).expect("somebody listens");
}
