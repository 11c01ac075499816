//! Tapes of what was once found: nothing may be objected to any more, and each runs the same twice.

use std::path::PathBuf;

use chamberlain_sim::run::{Run, play, scenario, trace, verdict};
use chamberlain_sim::tape::TapeFile;

/// Every tape, by name.
fn tapes() -> Vec<(String, TapeFile)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut tapes = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|ends| ends == "tape") {
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("text");
            tapes.push((name.clone(), text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))));
        }
    }
    tapes.sort_by(|one, other| one.0.cmp(&other.0));
    tapes
}

fn run(name: &str, file: &TapeFile) -> Run {
    let wanted = file.head.get("scenario").unwrap_or_else(|| panic!("{name} does not say its scenario"));
    let scenario = scenario(wanted).unwrap_or_else(|| panic!("{name}: there is no scenario {wanted}"));
    play(scenario, &mut file.tape(), false)
}

#[test]
fn what_was_once_found_is_found_no_more() {
    let tapes = tapes();
    assert!(!tapes.is_empty(), "the corpus lies in sim/corpus");
    for (name, file) in tapes {
        let objections = verdict(&run(&name, &file));
        assert!(objections.is_empty(), "{name}: {objections:#?}\ncargo xtask sim replay sim/corpus/{name}");
    }
}

#[test]
fn a_tape_runs_the_same_twice() {
    for (name, file) in tapes() {
        let [one, other] = [run(&name, &file), run(&name, &file)];
        assert_eq!(trace(&one.story).to_string(), trace(&other.story).to_string(), "{name}");
    }
}

#[test]
fn every_tape_says_what_it_once_found() {
    for (name, file) in tapes() {
        for key in ["level", "scenario", "oracle", "story"] {
            assert!(file.head.contains_key(key), "{name} has no line `{key}: ...`");
        }
        assert_eq!(file.head["level"], "model", "{name}");
    }
}
