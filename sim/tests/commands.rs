//! The commands, as people and programs run them: what is printed, which files are written, how they end.

use std::process::{Command, Output};

fn sim(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chamberlain-sim"))
        .args(words)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("the simulator starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_batch_tells_its_figures_to_people_and_to_programs() {
    let output = sim(&["run", "--seeds", "4", "--jobs", "2", "--json"]);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4 seeds in") && said.contains("events"), "{said}");
    let last = said.lines().last().expect("a last line");
    let told: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(told["seeds"], 4);
    assert!(told["seed"].is_null() && told["cpu_seconds"].as_f64() > Some(0.0), "{last}");
}

#[test]
fn a_replay_is_the_same_every_time_and_says_its_verdict() {
    let [one, other] = [sim(&["replay", "--seed", "1"]), sim(&["replay", "--seed", "1"])];
    assert!(one.status.success() && one.stdout == other.stdout);
    let said = said(&one);
    assert!(said.contains("digest of the trace: ") && said.contains("every invariant holds"));
}

#[test]
fn a_page_is_written_where_it_is_asked_for() {
    let output = sim(&["explain", "--seed", "1", "-o", "explained.html"]);
    assert!(output.status.success(), "{}", said(&output));
    let page = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("explained.html");
    let html = std::fs::read_to_string(page).expect("the page");
    assert!(html.contains("Every invariant held") && html.contains("--seed 1"));
}

#[test]
fn two_processes_run_a_seed_alike() {
    let output = sim(&["diverge", "0", "--seeds", "2"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("2 seeds alike"));
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    for (words, hint) in [
        (&["run", "--scenario", "nowhere"][..], "there are default"),
        (&["replay", "gone.tape"][..], "reading the tape gone.tape"),
        (&["shrink", "--seed", "1"][..], "every invariant holds"),
        (&["replay"][..], "--help"),
        (&["run", "--budget", "soon"][..], "as in 60s"),
    ] {
        let output = sim(words);
        assert!(!output.status.success(), "{words:?}");
        assert!(said(&output).contains(hint), "{words:?}: {}", said(&output));
    }
}
