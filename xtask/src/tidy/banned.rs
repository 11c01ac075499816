//! Calls that must not be written in certain folders: those that the simulator could not replay, and queues without bound.
//!
//! Clippy cannot tell tests from the rest here, so that these rules read the text; `policy` lists them and what is excepted.

use super::source::Source;
use super::{Finding, policy};

/// The banned calls outside tests.
pub(crate) fn calls(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in policy::BANS {
        let here = ban.folders.iter().any(|folder| source.path.starts_with(folder));
        if !here || excepted(&source.path, ban.call) {
            continue;
        }
        for at in source.find(ban.call) {
            let why = format!("{}: {}", ban.call, ban.why);
            findings.push(Finding::new(&source.path, source.line(at), "banned-call", why, ban.instead));
        }
    }
    findings
}

/// `select!` without `biased;` draws from the process's randomness which branch it looks at first.
pub(crate) fn unbiased_select(source: &Source) -> Vec<Finding> {
    if !policy::BIASED.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    let unbiased = |at: &usize| {
        let body = source.code[at + "select!".len()..].trim_start().trim_start_matches(['{', '(']).trim_start();
        !body.starts_with("biased;")
    };
    let why = "which ready branch is taken is drawn at random, and a run must be repeatable from its seed";
    let instead = "begin with `biased;`, the branch that must not starve first";
    source
        .find("select!")
        .filter(unbiased)
        .map(|at| Finding::new(&source.path, source.line(at), "unbiased-select", why, instead))
        .collect()
}

fn excepted(path: &str, call: &str) -> bool {
    policy::EXCEPTIONS.iter().any(|exception| exception.file == path && exception.calls.contains(&call))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, lines};
    use super::*;

    #[test]
    fn every_banned_call_is_found_in_every_folder_it_is_banned_in() {
        for ban in policy::BANS {
            for folder in ban.folders {
                let source = Source::new(&format!("{folder}room.rs"), &format!("fn a() {{\n    {}();\n}}\n", ban.call));
                assert!(lines(calls(&source)).contains(&2), "{} in {folder}", ban.call);
            }
        }
    }

    #[test]
    fn tests_comments_and_other_folders_may_name_it() {
        let test = "#[cfg(test)]\nmod tests { fn a() { Instant::now(); } }\n";
        assert_eq!(lines(calls(&Source::new("net/src/room.rs", test))), NONE);
        assert_eq!(lines(calls(&Source::new("net/src/room.rs", "// not Instant::now\n"))), NONE);
        assert_eq!(lines(calls(&Source::new("src/serve.rs", "Instant::now();\n"))), NONE);
    }

    #[test]
    fn an_excepted_file_may_do_what_it_is_excepted_for_only() {
        let clock = "Instant::now();\nthread_rng();\n";
        assert_eq!(lines(calls(&Source::new("net/src/clock.rs", clock))), [2]);
    }

    #[test]
    fn a_select_that_is_not_biased_is_found() {
        let source = Source::new("net/src/node.rs", "tokio::select! {\n    a = b() => {}\n}\n");
        assert_eq!(lines(unbiased_select(&source)), [1]);
        let source = Source::new("net/src/node.rs", "tokio::select! {\n    biased;\n    a = b() => {}\n}\n");
        assert_eq!(lines(unbiased_select(&source)), NONE);
    }
}
