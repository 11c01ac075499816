//! Servers that forget what they acknowledged: a nats-server whose data folder is an older copy, and a Valkey that lost its end.
//! What the logs lost is given back by nodes that hold it; where nobody does, it is noticed and stopped, not built upon. What a
//! vault forgot is not made anew.

use std::path::Path;
use std::time::{Duration, Instant};

use chamberlain_core::id::{Revision, RoomId};
use chamberlain_core::room::{Code, Command, Outcome, Reason};
use chamberlain_core::wire::{Codec, Open, ResetWhy};

use super::site::{ACCOUNTS, Site, node};
use super::valkey;
use crate::harness::{Client, account};
use crate::nats;

/// How long it may take until what was lost is believed to be: nodes look twice, eleven seconds apart.
const NOTICED: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

async fn quarantined(client: &mut Client, command: impl Fn() -> Command) {
    let begun = Instant::now();
    loop {
        match client.command(command()).await {
            Err(refusal) if refusal.reason == Reason::Quarantined => return,
            Err(refusal) => eprintln!("not yet noticed: {}", refusal.message),
            Ok(outcome) => panic!("the log goes on from where it forgot: {outcome:?}"),
        }
        assert!(begun.elapsed() < NOTICED, "it is not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The data folder of the nats-server is exchanged for an older copy of itself.
fn put_back(site: &mut Site, older: &Path) {
    site.nats.kill();
    std::fs::remove_dir_all(site.nats.data()).unwrap();
    copy(older, &site.nats.data());
    tokio::task::block_in_place(|| site.nats.start_again());
}

/// Waits until some node says that a log is whole again.
async fn mended(site: &Site) {
    let begun = Instant::now();
    while (0..3).all(|node| site.metric(node, "chamberlain_logs_mended_total") == 0) {
        assert!(begun.elapsed() < NOTICED, "no log is mended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("whole again {:.1?} after the server came back", begun.elapsed());
}

/// Says something as soon as it is taken.
async fn say_in_the_end(client: &mut Client, room: RoomId, text: &str) -> Revision {
    let begun = Instant::now();
    let id = crate::harness::request_id();
    let command = crate::rooms::plain(room, text);
    loop {
        match client.command_as(id, command.clone()).await {
            Ok(Outcome::Sent { revision, .. }) => return revision,
            Ok(outcome) => panic!("{outcome:?}"),
            Err(refusal) => assert_eq!(refusal.reason.code(), Code::Unavailable, "{}", refusal.message),
        }
        assert!(begun.elapsed() < NOTICED, "it does not go on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_came_back_older_are_given_back_what_nodes_hold_and_are_stopped_where_none_does() {
    let mut site = Site::start().await;
    site.settled().await;
    let mut ada = Client::connect(site.nodes[0].address, "ada", Codec::Json).await;
    let mut bob = Client::connect(site.nodes[1].address, "bob", Codec::Bincode).await;
    let mut cay = Client::connect(site.nodes[1].address, "cay", Codec::Bincode).await;
    let quiet = ada.channel("quiet", &["bob"]).await;
    let busy = ada.channel("busy", &["bob", "cay"]).await;
    bob.enter(busy).await;
    cay.enter(busy).await;
    let kept = ada.say(busy, "this is kept").await;

    site.nats.kill();
    let older = tempfile::tempdir().unwrap();
    copy(&site.nats.data(), older.path());
    tokio::task::block_in_place(|| site.nats.start_again());
    // What follows is acknowledged and seen, and then forgotten.
    let (id, removal) = (crate::harness::request_id(), Command::Remove { room: busy, accounts: vec![account("cay")] });
    while let Err(refusal) = ada.command_as(id, removal.clone()).await {
        assert_eq!(refusal.reason.code(), Code::Unavailable, "{}", refusal.message);
    }
    let removal = ada.rooms[&busy].last;
    let lost = ada.say(busy, "this is forgotten").await;
    assert!(lost > removal && removal > kept);
    bob.reach(busy, lost).await;
    cay.until(|cay| cay.rooms[&busy].reset == Some(ResetWhy::Removed)).await;

    // While nodes live that hold it, it is back soon: every acknowledged revision, and whoever was removed stays out.
    put_back(&mut site, older.path());
    mended(&site).await;
    let next = say_in_the_end(&mut ada, busy, "and on").await;
    assert_eq!(next, lost.next());
    bob.reach(busy, next).await;
    assert_eq!((bob.rooms[&busy].reset, ada.rooms[&busy].reset), (None, None), "nobody was sent away");
    assert_eq!(cay.refused(Command::Rotate { room: busy }).await.reason, Reason::NotAMember);

    // Nodes that begin anew hold nothing.
    for node in &mut site.nodes {
        tokio::task::block_in_place(|| assert_eq!(node.stop(), Some(0)));
    }
    put_back(&mut site, older.path());
    for node in &mut site.nodes {
        tokio::task::block_in_place(|| node.go());
    }
    // Commands are refused, and nothing is written where something was.
    let mut ada = Client::connect(site.nodes[0].address, "ada", Codec::Json).await;
    quarantined(&mut ada, || Command::Rename { room: busy, name: "goes on".into() }).await;
    let stopped: u64 = (0..3).map(|node| site.metric(node, "chamberlain_logs_quarantined_total")).sum();
    assert!(stopped > 0, "an operator sees it");
    // Rooms that lost nothing go on.
    ada.joined.insert(quiet);
    ada.open(quiet).await;
    ada.say(quiet, "nothing happened here").await;

    // Nobody remembers it but the marks: it stays stopped.
    restart(&mut site);
    let mut ada = Client::connect(site.nodes[2].address, "ada", Codec::Json).await;
    quarantined(&mut ada, || Command::Rotate { room: busy }).await;
    ada.joined.insert(quiet);
    ada.open(quiet).await;
    ada.say(quiet, "still here").await;

    // Until an operator, who is told what is lost, has it go on.
    let position = bob.rooms[&busy].position.clone().unwrap();
    assert!(position.0 > kept);
    let at = continued(&site, busy);
    assert!(at > removal, "beyond all that anything remembers");
    let mut bob = Client::connect(site.nodes[1].address, "bob", Codec::Bincode).await;
    ada.joined.insert(busy);
    ada.open(busy).await;
    ada.reach(busy, at).await;
    assert!(ada.find(busy, "this is kept").is_some() && ada.find(busy, "this is forgotten").is_none());
    let next = ada.say(busy, "we go on").await;
    assert!(next > at);
    // Who was on the lost branch is sent back, and comes again by itself.
    let open = Open { room: busy, position: Some(position.1), from: None, kinds: None, limit: None };
    bob.joined.insert(busy);
    bob.open_as(open).await;
    bob.until(|bob| bob.rooms[&busy].reset.is_some()).await;
    assert_eq!(bob.rooms[&busy].reset, Some(ResetWhy::UnknownPosition));
    bob.rooms.remove(&busy);
    bob.open(busy).await;
    bob.reach(busy, next).await;
    assert_eq!(bob.find(busy, "we go on"), Some(next));
    // The logs of accounts came back older as well: she is a member again by all that is left, until she is removed again.
    let mut cay = Client::connect(site.nodes[2].address, "cay", Codec::Bincode).await;
    ada.done(Command::Remove { room: busy, accounts: vec![account("cay")] }).await;
    ada.say(busy, "without her").await;
    assert_eq!(cay.refused(Command::Rotate { room: busy }).await.reason, Reason::NotAMember);
}

/// `chamberlain room continue`, at first to be told. Where the room goes on.
fn continued(site: &Site, room: RoomId) -> Revision {
    let id = room.to_string();
    let command = |more: &[&str]| {
        let words = [&["room", "continue", &id], more].concat();
        let ran = tokio::task::block_in_place(|| site.nodes[0].cli_as_configured(&words));
        let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (ran.status.code(), said(&ran.stdout), said(&ran.stderr))
    };
    let (code, told, said) = command(&[]);
    assert_eq!(code, Some(0), "{told}{said}");
    assert!(["lost ", "no node holds", "key version", "--yes"].iter().all(|part| told.contains(part)), "{told}");
    eprintln!("{told}");
    let (_, told, _) = command(&["--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let (code, _, said) = command(&["--yes", "1-0123456789abcdef"]);
    assert!(code == Some(1) && said.contains("ask again"), "{said}");
    let (code, done, said) = command(&["--yes", told["head"].as_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{done}{said}");
    let done: serde_json::Value = serde_json::from_str(&done).unwrap();
    assert!(done["version"].as_u64() >= told["version"].as_u64() && done["version"].as_u64() > Some(0));
    Revision(done["continued"].as_u64().unwrap())
}

/// RACES.md, K-20.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_vault_lost_stops_its_room_and_no_other_until_the_right_files_are_back() {
    let mut site = Site::start().await;
    site.settled().await;
    let mut ada = Client::connect(site.nodes[0].address, "ada", Codec::Json).await;
    let (room, other) = (ada.channel("room", &[]).await, ada.channel("other", &[]).await);
    ada.say(room, "before").await;

    let older = site.valkey.copy_files();
    ada.done(Command::Rotate { room }).await;
    ada.say(room, "under a key that will be lost").await;
    site.valkey.kill();
    let whole = site.valkey.replace_files(Some(older.path()));
    tokio::task::block_in_place(|| site.valkey.restart());
    // Nodes may still hold it: those that begin anew do not.
    restart(&mut site);

    let mut ada = Client::connect(site.nodes[1].address, "ada", Codec::Json).await;
    ada.open(room).await;
    // What is sealed under other keys is delivered; where the lost one would be needed, the opening ends, and says so.
    ada.until(|ada| ada.rooms[&room].reset.is_some()).await;
    assert_eq!(ada.rooms[&room].reset, Some(ResetWhy::Quarantined));
    assert!(ada.find(room, "before").is_some() && ada.find(room, "under a key that will be lost").is_none());
    ada.open(other).await;
    ada.say(other, "all is well here").await;

    site.valkey.kill();
    drop(site.valkey.replace_files(Some(whole.path())));
    tokio::task::block_in_place(|| site.valkey.restart());
    restart(&mut site);
    let mut ada = Client::connect(site.nodes[1].address, "ada", Codec::Json).await;
    ada.open(room).await;
    ada.hear(room, "under a key that will be lost").await;
    ada.say(room, "after").await;
}

fn restart(site: &mut Site) {
    for node in &mut site.nodes {
        tokio::task::block_in_place(|| assert_eq!(node.stop(), Some(0)));
    }
    for node in &mut site.nodes {
        tokio::task::block_in_place(|| node.go());
    }
}

#[test]
fn servers_that_could_forget_are_refused_in_words_that_say_what_to_set() {
    let strict = nats::Server::start_with(nats::Version::Current, ACCOUNTS);
    let lax = nats::Server::start_with(nats::Version::Lax, ACCOUNTS);
    let (vault, forgetful) =
        (valkey::Server::strict(), valkey::Server::with(&["appendonly yes", "appendfsync everysec"]));
    for (log, vault, said) in
        [(&lax, &vault, ["sync_interval: always", "insist"]), (&strict, &forgetful, ["appendfsync always", "insist"])]
    {
        let node = node(0, &(log.url(), vault.url()));
        let refused = node.cli_as_configured(&["serve"]);
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{words}");
        assert!(said.iter().all(|part| words.contains(part)), "{words}");
    }
}
