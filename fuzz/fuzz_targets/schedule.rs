//! Schedules: the bytes are the entropy tape of the model level, a seed and what its decisions are moved by. Whatever libFuzzer
//! decides (who asks for what, what is late, what is lost, who crashes when), no oracle objects.
#![no_main]

use chamberlain_sim::run::{play, scenario, verdict};
use chamberlain_sim::tape::{Tape, TapeFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let scenario = scenario("default").expect("there is a default scenario");
    let mut tape = Tape::of_bytes(bytes).keeping();
    let run = play(scenario, &mut tape, false);
    let objections = verdict(&run);
    if let Some(first) = objections.first() {
        let mut file = TapeFile { decisions: tape.decisions().collect(), ..TapeFile::default() };
        file.head.insert("level".into(), "model".into());
        file.head.insert("scenario".into(), scenario.name.into());
        file.head.insert("oracle".into(), first.oracle.into());
        let path = std::env::temp_dir().join("chamberlain-schedule.tape");
        let kept = match std::fs::write(&path, file.to_string()) {
            Ok(()) => format!("its tape: {}; cargo xtask sim replay, shrink and explain take it", path.display()),
            Err(error) => format!("its tape could not be written: {error}"),
        };
        panic!("{}: {}\n{}\n{}\n{kept}", first.oracle, first.invariant, first.what, run.configuration);
    }
});
