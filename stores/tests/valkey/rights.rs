//! Users with few rights, passwords, and TLS.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chamberlain_core::id::{KeyVersion, LogId, Revision};
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};
use chamberlain_stores::{KeyVault, PutSecret, Snapshot, conformance};

use super::server::{STRICT, Server, free_port};
use super::{master, room, secret, stores};

/// As the module's documentation says.
const RIGHTS: &str = "~chamberlain:* +get +set +mget +incr +hget +hset +hmget +zadd +zrange +eval +info +config|get +waitaof \
                      +hello +auth +select +client|setinfo +ping";

fn grant(server: &Server, rights: &str) {
    let words: Vec<&str> =
        ["ACL", "SETUSER", "ada", "reset", "on", ">horse"].into_iter().chain(rights.split(' ')).collect();
    let said = server.ask(&words);
    // An older server does not know every command.
    if said != "+OK" {
        let words: Vec<&str> =
            words.into_iter().filter(|word| *word != "+waitaof" && *word != "+client|setinfo").collect();
        assert_eq!(server.ask(&words), "+OK", "{said}");
    }
}

async fn open_as_ada(server: &Server, options: Options) -> Result<Valkey, OpenError> {
    let address = Address::parse(&server.url()).expect("an address").with_user("ada").with_password("horse");
    Valkey::open(&address, &master(1), &"home".parse().expect("a site"), options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_are_asked_for_suffice() {
    let server = Server::strict();
    grant(&server, RIGHTS);
    let valkey = open_as_ada(&server, Options::default()).await.expect("opened");
    conformance::run(async || stores(&valkey)).await;
}

#[tokio::test]
async fn a_user_who_may_not_ask_is_told_what_to_grant() {
    let server = Server::strict();
    for (withheld, granted) in [("+config|get", "+config|get"), ("+info", "+info")] {
        grant(&server, &RIGHTS.replace(&format!("{withheld} "), ""));
        let why = open_as_ada(&server, Options::default()).await.expect_err("refused");
        assert!(matches!(why, OpenError::Forbidden { grant, .. } if grant == granted), "{why}");
    }
    grant(&server, &RIGHTS.replace("+config|get ", ""));
    let lax = open_as_ada(&server, Options { lax: true, ..Options::default() }).await.expect("insisted");
    assert_eq!(lax.put_if_absent(room(1), KeyVersion(0), &secret(1)).await, Ok(PutSecret::Winner(secret(1))));
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_repeated() {
    let server = Server::strict();
    grant(&server, RIGHTS);
    let address = Address::parse(&server.url()).expect("an address").with_user("ada").with_password("battery");
    let why = Valkey::open(&address, &master(1), &"home".parse().expect("a site"), Options::default())
        .await
        .expect_err("refused");
    assert!(why.to_string().contains("password"), "{why}");
    assert!(!format!("{why} {why:?}").contains("battery"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_spoken_to_over_tls_if_its_certificate_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a path in UTF-8").to_owned()
    };
    let certificate = write("certificate.pem", pem("CERTIFICATE", made.cert.der()));
    let unknown = write("unknown.pem", pem("CERTIFICATE", other.cert.der()));
    let key = write("key.pem", pem("PRIVATE KEY", &made.signing_key.serialize_der()));
    let port = free_port();
    let settings = [
        format!("tls-port {port}"),
        format!("tls-cert-file {certificate}"),
        format!("tls-key-file {key}"),
        format!("tls-ca-cert-file {certificate}"),
        "tls-auth-clients no".to_owned(),
    ];
    let settings: Vec<&str> = STRICT.iter().copied().chain(settings.iter().map(String::as_str)).collect();
    let _server = Server::with(&settings);
    let open = async |trusted: &str| {
        let address = Address::parse(&format!("valkeys://localhost:{port}")).expect("an address");
        let address = address.with_authorities_file(Path::new(trusted)).expect("read");
        Valkey::open(&address, &master(1), &"home".parse().expect("a site"), Options::default()).await
    };
    let valkey = open(&certificate).await.expect("opened");
    let snapshot = Snapshot { revision: Revision(3), bytes: vec![9; 300_000].into() };
    let (log, stores) = (LogId::Room(room(1)), stores(&valkey));
    stores.snapshots.put(&log, snapshot.clone()).await.expect("put");
    assert_eq!(stores.snapshots.latest(&log).await, Ok(Some(snapshot)));
    let why = open(&unknown).await.expect_err("refused");
    assert!(matches!(why, OpenError::Unreachable { .. }), "{why}");
}

/// As text, in lines of 64 characters.
fn pem(what: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("letters and digits")).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}
