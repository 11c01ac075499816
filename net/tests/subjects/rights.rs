//! What the generated accounts let nobody do, tried on a real server.

use async_nats::{ConnectOptions, Event};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{HASH, House, PATIENCE, configuration, connect, nothing};
use crate::nats::{Server, Version};
use chamberlain_net::subjects::permissions::Users;
use chamberlain_net::subjects::{OpenError, Options, Subjects};

/// A client, and what the server tells it of its errors.
async fn watched(house: &House, user: &str, inbox: &str) -> (async_nats::Client, mpsc::Receiver<String>) {
    let (said, errors) = mpsc::channel(64);
    let options = ConnectOptions::with_user_and_password(user.into(), "ada-password".into());
    let options = options.custom_inbox_prefix(inbox).event_callback(move |event| {
        let said = said.clone();
        async move {
            if let Event::ServerError(why) = event {
                let _full = said.try_send(why.to_string());
            }
        }
    });
    (options.connect(house.server().url()).await.unwrap(), errors)
}

async fn refused(errors: &mut mpsc::Receiver<String>, what: &str) {
    let said =
        tokio::time::timeout(PATIENCE, errors.recv()).await.unwrap_or_else(|_| panic!("{what}: was let through"));
    let said = said.unwrap().to_lowercase();
    assert!(said.contains("permissions violation"), "{what}: {said}");
}

#[tokio::test]
async fn a_client_publishes_below_its_own_subjects_alone() {
    let house = House::start().await;
    let (ada, mut errors) = watched(&house, "ada", "_INBOX.ada").await;
    let bob = house.person("bob").await;
    let mut victim = bob.hear(">").await;
    for subject in [
        "chat.user.bob.request.room.here.create",
        "chat.user.bob.event.room.key",
        "chat.room.abcdefghijklmnopq.event",
        "chat.server.request.room.here.create.dm",
        "_INBOX.bob.1",
        "_INBOX.ada.1",
        "$SYS.REQ.SERVER.PING",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.CREATE.x",
        "anything",
    ] {
        ada.publish(subject, json!({}).to_string().into()).await.unwrap();
        refused(&mut errors, subject).await;
    }
    nothing(&mut victim).await;
}

#[tokio::test]
async fn a_client_hears_its_own_and_rooms_and_nothing_else() {
    let house = House::start().await;
    let (ada, mut errors) = watched(&house, "ada", "_INBOX.ada").await;
    for subject in [
        ">",
        "chat.>",
        "chat.user.>",
        "chat.user.*.event.room.key",
        "chat.user.bob.>",
        "_INBOX.>",
        "_INBOX.bob.>",
        "chat.server.>",
        "$SYS.>",
        "$JS.>",
    ] {
        let _listening = ada.subscribe(subject).await.unwrap();
        ada.flush().await.unwrap();
        refused(&mut errors, subject).await;
    }
    for subject in ["chat.user.ada.>", "_INBOX.ada.>", "chat.room.>"] {
        let _listening = ada.subscribe(subject).await.unwrap();
        ada.flush().await.unwrap();
    }
    // Nothing was wrong with these: the next refusal is of what comes now.
    ada.publish("anything", "".into()).await.unwrap();
    let said = tokio::time::timeout(PATIENCE, errors.recv()).await.unwrap().unwrap().to_lowercase();
    assert!(said.contains("publish"), "{said}");
}

#[tokio::test]
async fn clients_and_servers_do_not_hear_each_other() {
    let house = House::start().await;
    let (away, mut errors) = watched(&house, "away", "_INBOX.away").await;
    for subject in ["chat.user.ada.request.room.here.create", "chat.server.request.room.there.create.dm"] {
        away.publish(subject, "{}".into()).await.unwrap();
        refused(&mut errors, subject).await;
    }
    let _listening = away.subscribe("chat.>").await.unwrap();
    refused(&mut errors, "chat.>").await;
    // The service user itself may do what it must and no more.
    let (service, mut errors) = watched(&house, "chamberlain", "_INBOX.chamberlain").await;
    service.publish("$JS.API.STREAM.NAMES", "".into()).await.unwrap();
    refused(&mut errors, "$JS.API.STREAM.NAMES").await;
    let _listening = service.subscribe("chat.server.>").await.unwrap();
    refused(&mut errors, "chat.server.>").await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_password() {
    let server = Server::start_with(Version::Current, &configuration());
    assert!(async_nats::connect(server.url()).await.is_err());
    let wrong = ConnectOptions::with_user_and_password("ada".into(), "guess".into());
    assert!(wrong.connect(server.url()).await.is_err());
    let right = connect(&server.url(), "ada", "_INBOX.ada").await;
    right.flush().await.unwrap();
}

#[tokio::test]
async fn both_servers_take_a_configuration_with_nkeys() {
    let nkey = "UC6NLCN7AS34YOJVCYD4PJ3QB7QGLYG5B5IMBT25VW5K4TNUJODM7BOX";
    let list = format!("service chamberlain {HASH}\nuser eve {nkey}\npeer-service p {HASH}\n");
    let text = Users::read(&list, &"here".parse().unwrap(), |_| false).unwrap().render();
    for version in [Version::Current, Version::Old] {
        let server = Server::start_with(version, &text);
        connect(&server.url(), "chamberlain", "_INBOX.chamberlain").await.flush().await.unwrap();
    }
}

#[tokio::test]
async fn the_server_trusts_a_certificate_of_its_own_authority_and_no_other() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
    };
    std::fs::write(&cert, pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(&key, pem(concat!("PRIVATE", " KEY"), &made.signing_key.serialize_der())).unwrap();
    let files = format!("tls {{ cert_file: \"{}\", key_file: \"{}\" }}", cert.display(), key.display());
    let server = Server::start_with(Version::Current, &format!("{files}\n{}", configuration()));
    let house = House::nowhere();
    let options = house.options_at(&server.url().replace("nats://", "tls://"));
    let refused = Subjects::open(&house.nodes[0], &options).await.map(drop);
    assert!(matches!(refused, Err(OpenError::Unreachable(_))), "{refused:?}");
    let opened = Subjects::open(&house.nodes[0], &Options { trust: vec![cert], ..options }).await.unwrap();
    opened.close().await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused_before_anything_is_connected() {
    let house = House::nowhere();
    for (servers, said) in [
        (vec![], "no address"),
        (vec!["nats://ada:secret@127.0.0.1:1".to_owned()], "holds a user"),
        (vec!["nats://127.0.0.1:1".to_owned(), "::".to_owned()], "address 2"),
    ] {
        let options = Options { servers, ..house.options_at("nats://127.0.0.1:1") };
        let refused = Subjects::open(&house.nodes[0], &options).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains(said) && !refused.contains("secret"), "{refused}");
    }
}
