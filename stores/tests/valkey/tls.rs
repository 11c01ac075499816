//! TLS.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chamberlain_core::id::{LogId, Revision};
use chamberlain_stores::Snapshot;
use chamberlain_stores::valkey::{Address, OpenError, Options, Valkey};

use super::opening::{master, room, stores};
use super::server::{STRICT, Server, free_port};

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
