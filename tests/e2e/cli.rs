//! The subcommands, against a server that runs and over a folder where none does.

use std::io::Write;
use std::process::{Output, Stdio};

use chamberlain_core::room::{Command, Reason};
use chamberlain_core::wire::{ClientFrame, Codec, Hello};

use crate::harness::{Client, Server, command};

const PEOPLE: &str = "account,name,bot,admin\nada,Ada Lovelace,,yes\nbob,Bob,,\nherald,The Herald,true,\n";

/// What it said to people: what it did it through, or why it did not.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Types lines into `chamberlain chat`; what it printed, when the lines have ended.
fn chat(server: &Server, arguments: &[&str], lines: &str) -> Output {
    let mut child = command()
        .arg("chat")
        .args(arguments)
        .arg("--data")
        .arg(server.data())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn accounts_are_imported_shown_and_shut_out_with_and_without_a_server() {
    let mut server = Server::start();
    let file = server.beside("people.csv");
    std::fs::write(&file, PEOPLE).unwrap();
    for running in [true, false] {
        if !running {
            assert_eq!(server.stop(), Some(0));
        }
        let imported = server.cli(&["account", "import", file.to_str().unwrap()]);
        assert!(imported.status.success(), "{}", said(&imported));
        let through = if running { "through the server at" } else { "no server runs" };
        assert!(said(&imported).contains(through), "it says which: {}", said(&imported));
        let list = server.ok(&["account", "list"]);
        for words in ["ada", "Ada Lovelace", "administrator", "herald", "bot"] {
            assert!(list.contains(words), "{words:?} is not in:\n{list}");
        }
        assert!(server.ok(&["account", "show", "ada"]).contains("Ada Lovelace"));
        let unknown = server.cli(&["account", "show", "nobody"]);
        assert_eq!(unknown.status.code(), Some(1), "{}", said(&unknown));
    }

    server.go();
    let mut bob = Client::connect(server.address, "bob", Codec::Json).await;
    assert!(server.ok(&["account", "disable", "bob"]).contains("shut out"));
    assert_eq!(bob.until_closed().await, 4003);
    assert!(server.ok(&["account", "list", "--json"]).contains(r#""disabled":true"#));
    server.ok(&["account", "enable", "bob"]);
    drop(Client::connect(server.address, "bob", Codec::Json).await);
    // Ada is an administrator by what was imported.
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    ada.command(Command::DisableAccount { account: "bob".parse().unwrap() }).await.unwrap();

    let nonsense = server.beside("nonsense.csv");
    std::fs::write(&nonsense, "account\nAda Lovelace\n").unwrap();
    let refused = server.cli(&["account", "import", nonsense.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("line 2"), "{}", said(&refused));
}

#[tokio::test]
async fn rooms_are_shown_without_what_is_said_in_them() {
    let mut server = Server::start();
    drop(Client::connect(server.address, "bob", Codec::Json).await);
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    ada.say(room, "a secret of the garden").await;

    for running in [true, false] {
        if !running {
            server.stop();
        }
        let printed = [
            server.ok(&["room", "list"]),
            server.ok(&["room", "show", "garden"]),
            server.ok(&["room", "members", room.as_str()]),
            server.ok(&["room", "log", room.as_str()]),
            server.ok(&["room", "list", "--json"]),
        ];
        for (words, text) in
            ["garden", room.as_str(), "bob", "members_added", r#""name":"garden""#].iter().zip(&printed)
        {
            assert!(text.contains(words), "{words:?} is not in:\n{text}");
        }
        assert!(printed.iter().all(|text| !text.contains("secret of the garden")));
    }
    server.go();
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    assert!(server.ok(&["room", "continue", "garden"]).contains("nothing is known to be lost"));
    let told: serde_json::Value = serde_json::from_str(&server.ok(&["room", "continue", "garden", "--json"])).unwrap();
    let refused = server.cli(&["room", "continue", "garden", "--yes", told["head"].as_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing_lost"));
    server.ok(&["room", "archive", "garden"]);
    assert_eq!(ada.refused(crate::rooms::plain(room, "one more")).await.reason, Reason::Archived);
    let missing = server.cli(&["room", "show", "attic"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(said(&missing).contains("attic"));
}

#[tokio::test]
async fn people_talk_from_terminals_and_pages_in_one_room() {
    let server = Server::start();
    drop(Client::connect(server.address, "bob", Codec::Json).await);
    let begun = chat(&server, &["lobby", "--as", "ada", "--create"], "good morning\nis anybody here?\n");
    assert!(begun.status.success(), "{}", said(&begun));

    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.rooms_by_name("lobby").await;
    ada.enter(room).await;
    ada.hear(room, "good morning").await;
    ada.hear(room, "is anybody here?").await;
    ada.done(crate::rooms::add(room, &["bob"], chamberlain_core::room::History::All)).await;

    let joined = chat(&server, &["lobby", "--as", "bob"], "I am\n");
    let shown = String::from_utf8_lossy(&joined.stdout);
    assert!(joined.status.success(), "{}", said(&joined));
    assert!(shown.contains("good morning") && shown.contains("is anybody here?"), "{shown}");
    ada.hear(room, "I am").await;

    let lost = chat(&server, &["nowhere", "--as", "bob"], "hello?\n");
    assert!(!lost.status.success());
    assert!(said(&lost).contains("nowhere"), "{}", said(&lost));
}

#[tokio::test]
async fn a_token_made_here_is_taken_here() {
    let mut server =
        Server::new(&[], "[auth]\nmode = \"jwt\"\nhmac_secret_file = \"secret\"\nadmin_claim = \"admin\"\n");
    std::fs::write(server.beside("secret"), "a secret of the tests, and of nobody else").unwrap();
    server.go();
    let config = server.beside("chamberlain.toml");
    let token = server.ok(&["token", "ada", "--ttl", "10m", "--config", config.to_str().unwrap()]);

    let ada = Client::connect_as(server.address, "ada", token.trim(), Codec::Json, true).await;
    assert_eq!(ada.welcome.unwrap().account.as_str(), "ada");
    let mut by_name = Client::dial(server.address, "ada", Codec::Json).await;
    by_name.send(&ClientFrame::Hello(Hello { token: "ada".into(), batch: true })).await;
    assert_eq!(by_name.until_closed().await, 4001);
    let short = server.ok(&["token", "ada", "--ttl", "1s", "--config", config.to_str().unwrap()]);
    assert_ne!(short, token);
}

#[tokio::test]
async fn a_copy_made_while_people_talk_is_a_server_of_its_own() {
    let server = Server::start();
    drop(Client::connect(server.address, "bob", Codec::Json).await);
    let mut ada = Client::connect(server.address, "ada", Codec::Json).await;
    let room = ada.channel("garden", &["bob"]).await;
    let before = ada.say(room, "before the copy").await;
    let copy = server.beside("copy.redb");

    server.ok(&["backup", copy.to_str().unwrap()]);
    let after = ada.say(room, "after the copy").await;
    let again = server.cli(&["backup", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1), "a copy is never written over: {}", said(&again));

    // Restored beside the one that runs; the key comes by the hand of an operator.
    let mut restored = Server::new(&[], "");
    let without_key = restored.cli(&["restore", copy.to_str().unwrap()]);
    assert!(!without_key.status.success() && said(&without_key).contains("master"), "{}", said(&without_key));
    std::fs::create_dir_all(restored.data()).unwrap();
    std::fs::copy(server.data().join("master.key"), restored.data().join("master.key")).unwrap();
    restored.ok(&["restore", copy.to_str().unwrap()]);
    let over = restored.cli(&["restore", copy.to_str().unwrap()]);
    assert!(!over.status.success(), "a store is never written over");
    restored.go();

    let mut bob = Client::connect(restored.address, "bob", Codec::Bincode).await;
    bob.enter(room).await;
    assert_eq!(bob.text(room, before).as_deref(), Some("before the copy"));
    assert!(bob.rooms[&room].last < after);
    let next = bob.say(room, "life goes on").await;
    assert_eq!(bob.text(room, next).as_deref(), Some("life goes on"));

    // Who saw what came after the copy holds a position that the copy does not know, and is told so.
    let mut back = Client::connect(restored.address, "ada", Codec::Json).await;
    let position = ada.rooms[&room].position.clone().map(|(_, position)| position);
    back.open_as(chamberlain_core::wire::Open { position, room, from: None, kinds: None, limit: None }).await;
    back.until(|back| back.rooms[&room].reset == Some(chamberlain_core::wire::ResetWhy::UnknownPosition)).await;
    back.open(room).await;
    back.reach(room, next).await;
}

#[test]
fn a_configuration_is_checked_before_it_is_served() {
    let server = Server::new(&[], "site = \"home\"\n[limits]\nopen_rooms = 7\n");
    let config = server.beside("chamberlain.toml");
    let config = config.to_str().unwrap();

    assert!(server.ok(&["config", "check", "--config", config]).contains("makes sense"));
    let printed = server.ok(&["config", "print", "--config", config, "--listen", "127.0.0.1:7399"]);
    for (key, origin) in
        [("site = \"home\"", "file"), ("open_rooms = 7", "file"), ("127.0.0.1:7399", "flag"), ("sockets =", "default")]
    {
        let line = printed.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("no {key} in:\n{printed}"));
        assert!(line.contains(origin), "{line:?} does not say that it comes from: {origin}");
    }

    for (what, arguments, words) in [
        ("a public address without sign-in", vec!["--listen", "0.0.0.0:7300"], "auth.mode"),
        ("a public address in development", vec!["--listen", "0.0.0.0:7300", "--dev"], "auth.mode"),
    ] {
        let mut all = vec!["config", "check"];
        all.extend(&arguments);
        let refused = server.cli(&all);
        assert_eq!(refused.status.code(), Some(2), "{what}");
        assert!(said(&refused).contains(words), "{what}: {}", said(&refused));
        let mut all = vec!["serve"];
        all.extend(&arguments);
        let served = server.cli(&all);
        assert_eq!(served.status.code(), Some(2), "{what} is served: {}", said(&served));
    }
    std::fs::write(server.beside("wrong.toml"), "[limits]\nopen_roms = 7\n").unwrap();
    let wrong = server.cli(&["config", "check", "--config", server.beside("wrong.toml").to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("open_rooms"), "the key that was perhaps meant: {}", said(&wrong));
}

#[test]
fn a_second_server_over_the_same_folder_and_a_wrong_master_key_are_refused() {
    let mut server = Server::start();
    let second = server.cli(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    server.stop();
    let wrong = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.data())
        .env("CHAMBERLAIN_MASTER_KEY", "ab".repeat(32))
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    assert!(said(&wrong).contains("master key"), "{}", said(&wrong));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(server.data().join("master.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
