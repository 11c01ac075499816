//! The path that a person walks, in a real browser, through a restart in the middle. `tests/browser` holds the script; it
//! prints `RESTART` when it wants the server restarted, and goes on when it is told that it was.
//!
//! Screenshots are kept under `target/screenshots`. Without node, its packages or a browser this fails: it is never skipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::Server;

/// How long the whole walk may take.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn people_talk_through_the_page_and_whoever_is_removed_is_told_so() {
    let scripts = root().join("tests/browser");
    install_packages(&scripts).await;
    let screenshots = screenshots();
    let _none_before = std::fs::remove_dir_all(&screenshots);
    std::fs::create_dir_all(&screenshots).unwrap();

    let mut server = Server::start();
    let walk = walk(&mut server, &scripts, &screenshots);
    tokio::time::timeout(PATIENCE, walk).await.expect("the walk ends in time");

    let taken: Vec<PathBuf> = crate::harness::files(&screenshots);
    let shots = taken.iter().filter(|path| path.extension().is_some_and(|extension| extension == "png"));
    assert!(shots.clone().count() >= 3, "there are {} screenshots", shots.count());
    for shot in shots {
        let size = std::fs::metadata(shot).unwrap().len();
        assert!(size > 5_000, "{} has {size} bytes: nothing can be seen on it", shot.display());
    }
}

/// Runs the script, and restarts the server when it asks.
async fn walk(server: &mut Server, scripts: &Path, screenshots: &Path) {
    let mut command = Command::new("node");
    command.arg("walk.mjs").current_dir(scripts).env("BASE_URL", server.url()).env("OUT_DIR", screenshots);
    let mut script = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed: Node.js 20 or newer is needed for the browser test");
    let mut stdin = script.stdin.take().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let (mut said, mut restarts) = (Vec::new(), 0);
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.trim() == "RESTART" {
            server.kill();
            server.go();
            restarts += 1;
            stdin.write_all(b"restarted\n").await.unwrap();
        } else {
            said.push(line);
        }
    }
    let ended = script.wait().await.unwrap();
    assert!(ended.success(), "the walk ended with {ended}:\n{}", said.join("\n"));
    assert!(restarts > 0, "the walk went without a restart:\n{}", said.join("\n"));
}

/// The script's packages, installed when they are not.
async fn install_packages(scripts: &Path) {
    if !scripts.join("package-lock.json").exists() || scripts.join("node_modules").exists() {
        return;
    }
    let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(scripts).output().await;
    let installed = installed.expect("npm is installed: it comes with Node.js");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// In the target folder.
fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots")
}
