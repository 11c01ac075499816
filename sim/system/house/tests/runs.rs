//! Runs of the simulator that every `cargo test` makes: seeds, scripts, and twice the same.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// Runs the program and gives what it printed; fails with it when it fails.
fn simulator(arguments: &[&str]) -> String {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let output =
        Command::new(env!("CARGO_BIN_EXE_chamberlain-sim-system")).current_dir(folder).args(arguments).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn seeds_run_without_objection() {
    let told = simulator(&["run", "--from", "1", "--seeds", "48"]);
    assert!(told.contains("48 seeds, 0 failed"), "{told}");
}

#[test]
fn several_nodes_run_without_objection() {
    let told = simulator(&["run", "--scenario", "several-nodes", "--from", "1", "--seeds", "20"]);
    assert!(told.contains("20 seeds, 0 failed"), "{told}");
}

#[test]
fn scripts_run_without_objection() {
    let listed = simulator(&["scenarios"]);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 8, "{listed}");
    for name in names {
        simulator(&["run", "--scenario", name, "--seeds", "2"]);
    }
}

#[test]
fn a_seed_is_the_same_run_in_every_process() {
    for seed in ["2", "9", "21", "33"] {
        let told = simulator(&["diverge", seed]);
        assert!(told.contains("the same in both processes"), "{told}");
    }
    for (seed, scenario) in [("4", "power"), ("6", "several-nodes"), ("1", "schedule"), ("2", "older-disk")] {
        let told = simulator(&["diverge", seed, "--scenario", scenario]);
        assert!(told.contains("the same in both processes"), "{told}");
    }
}

#[test]
fn a_kept_tape_is_the_run_that_it_was_kept_of() {
    let tape = concat!(env!("CARGO_TARGET_TMPDIR"), "/kept.tape");
    let digest = |told: &str| told.lines().find(|line| line.starts_with("digest: ")).map(str::to_owned).unwrap();
    let first = simulator(&["one", "--seed", "12", "--keep", tape]);
    let again = simulator(&["one", "--tape", tape]);
    assert_eq!(digest(&first), digest(&again));
}
