//! Rooms over NATS subjects: the built server on a real nats-server with the accounts that the built command prints, and a client
//! in another language that goes through everything.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{Server, command};
use crate::nats::{Server as Nats, Version};

/// How long the tour may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Everybody's password, and its bcrypt hash of the least cost.
const PASSWORD: &str = "ada-password";
const HASH: &str = "$2b$04$2Wy3lsjQN6fIAOYVVe7I7u0C5Ro90WoUrEcjRK99PCr3EZSyAYQpu";

#[tokio::test]
async fn a_client_that_is_not_ours_goes_through_everything_on_the_current_server() {
    tour(Version::Current).await;
}

#[tokio::test]
async fn a_client_that_is_not_ours_goes_through_everything_on_the_old_server() {
    tour(Version::Old).await;
}

async fn tour(version: Version) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("subjects");
    install_packages(&scripts).await;
    let (public, seed) = nkey(&scripts).await;
    let nats = Nats::start_with(version, &permissions(&public));
    let mut server = on_subjects(&nats, PASSWORD);
    server.go();
    server.accounts("account,name\nada.l,Ada\nbob,Bob\ncyd,Cyd\n");

    let mut script = Command::new("node");
    script.arg("tour.mjs").current_dir(&scripts).env("NATS_URL", nats.url()).env("SITE", "local");
    script.env("NATS_PASSWORD", PASSWORD).env("NATS_SEED", seed).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, script.output()).await.expect("the tour ends in time");
    let ended = ended.expect("node is installed: Node.js 20 or newer is needed for the tour");
    let (printed, said) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "the tour ended with {}:\n{printed}{said}", ended.status);
    assert!(printed.contains("done: 14 steps"), "{printed}");

    let (_, figures) = server.get("/metrics").unwrap();
    assert!(figures.contains("chamberlain_subject_replies_ignored_total 1"), "{figures}");
    assert!(figures.contains("chamberlain_subject_server_errors_total 0"), "{figures}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_that_nats_does_not_take_says_so_and_ends() {
    let nats = Nats::start_with(Version::Current, &permissions(HASH));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("chamberlain.toml");
    std::fs::write(&file, format!("[subjects]\nurl = \"{}\"\nuser = \"chamberlain\"\n", nats.url())).unwrap();
    let mut serve = command();
    serve.arg("serve").args(["--listen", "127.0.0.1:0"]).arg("--data").arg(home.path().join("data"));
    serve.arg("--config").arg(file).env("CHAMBERLAIN_SUBJECTS__PASSWORD", "guess");
    let ended = serve.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("subjects: no connection to a NATS server") && !said.contains("guess"), "{said}");
}

/// A server on these subjects, not started yet.
fn on_subjects(nats: &Nats, password: &str) -> Server {
    let config = format!("[subjects]\nurl = \"{}\"\nuser = \"chamberlain\"\n", nats.url());
    let mut server = Server::new(&[], &config);
    server.environment("CHAMBERLAIN_SUBJECTS__PASSWORD", password);
    server
}

/// A fresh nkey: the public half, and the seed.
async fn nkey(scripts: &Path) -> (String, String) {
    let made = "import { nkeys } from '@nats-io/transport-node'; const user = nkeys.createUser(); \
                console.log(user.getPublicKey(), new TextDecoder().decode(user.getSeed()))";
    let mut node = Command::new("node");
    let printed = node.args(["--input-type=module", "-e", made]).current_dir(scripts).output().await.unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let (public, seed) = printed.trim().split_once(' ').expect("a pair");
    (public.to_owned(), seed.to_owned())
}

/// What the command prints for a nats-server's configuration; `cyd` is known by this.
fn permissions(cyd: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let users =
        [("ada.l", HASH), ("bob", HASH), ("cyd", cyd)].map(|(name, proof)| format!("user {name} {proof}\n")).concat();
    let list = home.path().join("users.txt");
    std::fs::write(&list, format!("service chamberlain {HASH}\n{users}")).unwrap();
    let printed = command().args(["nats", "permissions"]).arg(list).arg("--data").arg(home.path()).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).unwrap()
}

/// The script's packages, installed when they are not.
async fn install_packages(scripts: &Path) {
    if scripts.join("node_modules").exists() {
        return;
    }
    let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(scripts).output().await;
    let installed = installed.expect("npm is installed: it comes with Node.js");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
}
