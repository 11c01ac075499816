//! Which files the compiler sees: the modules reached from each crate's roots, and which of them only tests compile.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::{Source, is_word};

/// The files reached.
pub(crate) struct Reached {
    compiled: BTreeSet<String>,
    tests: BTreeSet<String>,
}

impl Reached {
    /// Whether this file is compiled for tests alone.
    pub(crate) fn only_tests(&self, path: &str) -> bool {
        self.tests.contains(path) && !self.compiled.contains(path)
    }
}

/// A crate's first file, and whether the crate is a test.
pub(crate) type Root = (String, bool);

/// Follows `mod` from the roots.
pub(crate) fn walk(roots: &[Root], sources: &[Source]) -> Reached {
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached = Reached { compiled: BTreeSet::new(), tests: BTreeSet::new() };
    let mut open: Vec<(String, bool, bool)> = roots.iter().map(|(path, test)| (path.clone(), *test, true)).collect();
    while let Some((path, test, is_root)) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        let seen = if test { &mut reached.tests } else { &mut reached.compiled };
        if !seen.insert(path.clone()) {
            continue;
        }
        for child in children(source) {
            let candidates = files(&path, is_root, &child);
            open.extend(candidates.into_iter().map(|file| (file, test || child.test, child.path.is_some())));
        }
    }
    reached
}

/// The Rust files that no crate reaches.
pub(crate) fn dead(sources: &[Source], reached: &Reached) -> Vec<Finding> {
    let is_dead = |path: &str| !reached.compiled.contains(path) && !reached.tests.contains(path);
    let why = "no `mod` leads to it, so that the compiler never sees it";
    let dead = sources.iter().filter(|source| is_dead(&source.path));
    dead.map(|source| Finding::new(&source.path, 1, "dead-file", why, "declare it, or remove it")).collect()
}

/// A `mod name;`.
struct Child {
    /// The modules written inline around it.
    inside: Vec<String>,
    name: String,
    /// What `#[path = "..."]` says.
    path: Option<String>,
    test: bool,
}

fn children(source: &Source) -> Vec<Child> {
    let code = source.code.as_str();
    let mut children = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < code.len() {
        match code.as_bytes()[at] {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                inline.retain(|(_, opened)| *opened <= depth);
            }
            b'm' if is_keyword(code, at) => {
                let rest = code[at + "mod".len()..].trim_start();
                let name: String = rest.chars().take_while(|&c| is_word(c)).collect();
                let after = rest[name.len()..].trim_start();
                if after.starts_with(';') {
                    let inside = inline.iter().map(|(name, _)| name.clone()).collect();
                    let path = path_attribute(source, at);
                    children.push(Child { inside, name, path, test: source.is_test(at) });
                } else if after.starts_with('{') {
                    inline.push((name, depth + 1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    children
}

/// Whether the word `mod` stands at `at`.
fn is_keyword(code: &str, at: usize) -> bool {
    let before = code[..at].chars().next_back();
    code.as_bytes()[at..].starts_with(b"mod")
        && code[at + 3..].starts_with(char::is_whitespace)
        && !before.is_some_and(|c| is_word(c) || c == '#')
}

/// The path in an attribute between the item before and the `mod` at `at`.
fn path_attribute(source: &Source, at: usize) -> Option<String> {
    let begin = source.code[..at].rfind([';', '}', '{']).map_or(0, |end| end + 1);
    let attribute = begin + source.code[begin..at].rfind("#[path")?;
    let mut quotes = source.text[attribute..at].split('"');
    quotes.nth(1).map(str::to_string)
}

/// Where the module's file may be.
fn files(parent: &str, parent_is_root: bool, child: &Child) -> Vec<String> {
    let (folder, file) = parent.rsplit_once('/').map_or(("", parent), |(folder, file)| (folder, file));
    if let Some(path) = &child.path {
        return vec![join(folder, path)];
    }
    let stem = file.trim_end_matches(".rs");
    let mut base = if parent_is_root || stem == "mod" { folder.to_string() } else { join(folder, stem) };
    for module in &child.inside {
        base = join(&base, module);
    }
    vec![join(&base, &format!("{}.rs", child.name)), join(&base, &format!("{}/mod.rs", child.name))]
}

fn join(folder: &str, name: &str) -> String {
    super::links::resolve(folder, name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_files(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let reached = walk(&[("core/src/lib.rs".to_string(), false)], &sources);
        dead(&sources, &reached).into_iter().map(|finding| finding.file).collect()
    }

    #[test]
    fn a_file_that_no_mod_leads_to_is_dead() {
        let files =
            [("core/src/lib.rs", "pub mod room;\n// mod old;\n"), ("core/src/room.rs", ""), ("core/src/old.rs", "")];
        assert_eq!(dead_files(&files), ["core/src/old.rs"]);
    }

    #[test]
    fn folders_inline_modules_and_paths_are_followed() {
        let files = [
            ("core/src/lib.rs", "mod room;\nmod keys { mod grace; }\n#[path = \"elsewhere/named.rs\"]\nmod other;\n"),
            ("core/src/room/mod.rs", "mod access;"),
            ("core/src/room/access.rs", "mod interval;"),
            ("core/src/room/access/interval.rs", ""),
            ("core/src/keys/grace.rs", ""),
            ("core/src/elsewhere/named.rs", ""),
        ];
        assert_eq!(dead_files(&files), [""; 0]);
    }

    #[test]
    fn a_module_under_cfg_test_is_only_for_tests() {
        let sources = [
            Source::new("core/src/lib.rs", "mod room;\n#[cfg(test)]\nmod tests;\n"),
            Source::new("core/src/room.rs", ""),
            Source::new("core/src/tests.rs", "mod pair;"),
            Source::new("core/src/tests/pair.rs", ""),
        ];
        let reached = walk(&[("core/src/lib.rs".to_string(), false)], &sources);
        assert!(reached.only_tests("core/src/tests/pair.rs") && !reached.only_tests("core/src/room.rs"));
    }
}
