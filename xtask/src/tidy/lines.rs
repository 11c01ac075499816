//! Rules about single lines, and about how many there are.

use super::source::{Source, is_word, whole_words};
use super::{Finding, Text, policy};

/// Every Rust file says first what it is.
pub(crate) fn header(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    let why = "a reader learns from the first lines what a file is, its invariant, and who calls it";
    vec![Finding::new(&source.path, 1, "header", why, "begin the file with a `//!` comment of three to ten lines")]
}

/// A file that grew too long becomes a folder.
pub(crate) fn length(path: &str, lines: usize) -> Vec<Finding> {
    if lines <= policy::MOST_LINES || policy::LONG_FILES.iter().any(|(file, _)| *file == path) {
        return Vec::new();
    }
    let why = format!("{lines} lines apart from tests, and {} are enough for one idea", policy::MOST_LINES);
    vec![Finding::new(path, 1, "length", why, "make it a folder with one idea a file")]
}

/// The marks of unfinished work. Written apart here, so that this file does not object to itself.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

/// A test that is never run.
const IGNORED: &str = concat!("#[", "ignore");

/// Files in which marks of unfinished work are looked for. Prose may speak of them.
const CODE: &[&str] = &[".rs", ".js", ".mjs", ".toml", ".sh", ".css", ".html", ".yml", ".yaml"];

/// What is in the tree is finished.
pub(crate) fn unfinished(text: &Text) -> Vec<Finding> {
    if !CODE.iter().any(|end| text.path.ends_with(end)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.text.lines().enumerate() {
        for mark in UNFINISHED {
            if whole_words(line, mark).next().is_some() {
                let why = format!("{mark} marks unfinished work, which nobody comes back to");
                findings.push(Finding::new(&text.path, number + 1, "unfinished", why, "finish it, or file an issue"));
            }
        }
        if line.contains(IGNORED) && text.path.ends_with(".rs") {
            let why = "a test that does not run proves nothing";
            findings.push(Finding::new(
                &text.path,
                number + 1,
                "ignored-test",
                why,
                "run it, lengthened by CHAMBERLAIN_SOAK if it is long, or remove it",
            ));
        }
    }
    findings
}

/// Folders of one machine. In pieces, for the same reason as above.
const MACHINE: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// No path of one person's machine.
pub(crate) fn machine_paths(text: &Text) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.text.lines().enumerate() {
        for path in MACHINE {
            let absolute = |at: usize| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| is_word(c) || ".-~})*/".contains(c))
            };
            if line.match_indices(path).any(|(at, _)| absolute(at)) {
                let why = format!("{path}... is there on one machine only");
                findings.push(Finding::new(
                    &text.path,
                    number + 1,
                    "machine-path",
                    why,
                    "a path relative to the clone, or one that is passed in",
                ));
            }
        }
    }
    findings
}

/// Folders whose keys exist to be public.
const PUBLIC_KEYS: &[&str] = &["/testdata/", "/fixtures/"];

/// No private key outside test data.
pub(crate) fn secrets(text: &Text) -> Vec<Finding> {
    if PUBLIC_KEYS.iter().any(|folder| text.path.contains(folder)) {
        return Vec::new();
    }
    let mark = concat!("PRIVATE ", "KEY-----");
    let lines = text.text.lines().enumerate().filter(|(_, line)| line.contains(mark));
    let why = "a private key in a repository is public";
    let instead = "make it when it is needed; a key for tests goes into a testdata folder";
    lines.map(|(number, _)| Finding::new(&text.path, number + 1, "secret", why, instead)).collect()
}

/// Lock files name the public registries only, not a mirror that one machine happens to use.
pub(crate) fn lock_hosts(text: &Text) -> Vec<Finding> {
    let (key, public) = if text.path.ends_with("package-lock.json") {
        ("\"resolved\": \"", "https://registry.npmjs.org/")
    } else if text.path.ends_with("Cargo.lock") {
        ("source = \"", "registry+https://github.com/rust-lang/crates.io-index")
    } else {
        return Vec::new();
    };
    let elsewhere = |line: &str| line.find(key).is_some_and(|at| !line[at + key.len()..].starts_with(public));
    let lines = text.text.lines().enumerate().filter(|(_, line)| elsewhere(line));
    let why = format!("a clone elsewhere can fetch from {public} only");
    lines
        .map(|(number, _)| {
            Finding::new(&text.path, number + 1, "lock-host", why.clone(), "resolve against the public registry")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, lines, text};
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(lines(header(&Source::new("a.rs", "use x;\n"))), [1]);
        assert_eq!(lines(header(&Source::new("a.rs", "//! What it is.\n"))), NONE);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(lines(length("a.rs", policy::MOST_LINES + 1)), [1]);
        assert_eq!(lines(length("a.rs", policy::MOST_LINES)), NONE);
    }

    #[test]
    fn unfinished_marks_are_found_and_words_that_hold_them_are_not() {
        for mark in UNFINISHED {
            assert_eq!(lines(unfinished(&text("a.rs", &format!("fn a() {{}}\n// {mark} later\n")))), [2], "{mark}");
            assert_eq!(lines(unfinished(&text("a.rs", &format!("let my_{mark}s = 1;\n")))), NONE, "{mark}");
        }
        assert_eq!(lines(unfinished(&text("a.rs", &format!("{IGNORED}]\nfn a() {{}}\n")))), [1]);
        assert_eq!(lines(unfinished(&text("a.md", UNFINISHED[0]))), NONE);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_folder_of_that_name_is_not() {
        for path in MACHINE {
            assert_eq!(lines(machine_paths(&text("a.sh", &format!("cd {path}me\n")))), [1], "{path}");
            assert_eq!(lines(machine_paths(&text("a.sh", &format!("cd web{path}me\n")))), NONE, "{path}");
        }
    }

    #[test]
    fn a_private_key_is_found_outside_test_data() {
        let key = format!("-----BEGIN {}\n", concat!("PRIVATE ", "KEY-----"));
        assert_eq!(lines(secrets(&text("src/key.pem", &key))), [1]);
        assert_eq!(lines(secrets(&text("net/testdata/key.pem", &key))), NONE);
    }

    #[test]
    fn a_lock_file_that_names_a_mirror_is_found() {
        let mirror = "{\n\"resolved\": \"http://mirror.example/a.tgz\"\n}\n";
        assert_eq!(lines(lock_hosts(&text("web/package-lock.json", mirror))), [2]);
        let public = "{\n\"resolved\": \"https://registry.npmjs.org/a/-/a.tgz\"\n}\n";
        assert_eq!(lines(lock_hosts(&text("web/package-lock.json", public))), NONE);
        assert_eq!(lines(lock_hosts(&text("Cargo.lock", "source = \"registry+https://mirror.example/\"\n"))), [1]);
    }
}
