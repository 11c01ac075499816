//! The system level of the simulator is a workspace of its own; this one test of the root workspace runs all of its tests.
#![allow(missing_docs, clippy::expect_used, reason = "tests")]

use std::process::Command;

#[test]
fn the_system_level_passes_its_tests() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["sim", "test-system"]);
    let output = command.output().expect("xtask starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
