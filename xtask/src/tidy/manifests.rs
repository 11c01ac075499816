//! Rules about Cargo.toml: every dependency has its reason, written once, in the workspace's list.

use super::{Finding, Text};

/// Every dependency with a version has a comment above or beside it.
pub(crate) fn reasons(text: &Text) -> Vec<Finding> {
    let why = |name: &str| format!("{name} is in the tree without a reason, and every dependency is a cost");
    let instead = "a line above that says what it is for and why this one";
    dependencies(text)
        .into_iter()
        .filter(|entry| !entry.inherited && !entry.path && !entry.reason)
        .map(|entry| Finding::new(&text.path, entry.line, "dependency-reason", why(&entry.name), instead))
        .collect()
}

/// A crate of the workspace takes its dependencies and lints from the workspace.
pub(crate) fn member(text: &Text) -> Vec<Finding> {
    if text.text.lines().any(|line| line.trim() == "[workspace]") && text.path != "Cargo.toml" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let own = dependencies(text).into_iter().filter(|entry| !entry.of_workspace && !entry.inherited);
    for entry in own {
        let why = format!("{} has a version of its own here, so that two crates can drift apart", entry.name);
        let instead = "list it under [workspace.dependencies] and write `workspace = true` here";
        findings.push(Finding::new(&text.path, entry.line, "dependency-inherited", why, instead));
    }
    let lints =
        text.text.split_once("[lints]").is_some_and(|(_, rest)| rest.trim_start().starts_with("workspace = true"));
    if !lints {
        let why = "a crate without the workspace's lints is not held to them";
        findings.push(Finding::new(&text.path, 1, "lints-inherited", why, "write `[lints]` and `workspace = true`"));
    }
    findings
}

struct Entry {
    name: String,
    line: usize,
    of_workspace: bool,
    inherited: bool,
    path: bool,
    reason: bool,
}

/// The dependencies that a manifest lists, one a line.
fn dependencies(text: &Text) -> Vec<Entry> {
    if !text.path.ends_with("Cargo.toml") {
        return Vec::new();
    }
    let mut entries = Vec::new();
    let mut section = "";
    let mut above = "";
    for (number, line) in text.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim().trim_matches(['[', ']']);
        } else if let Some(name) = section.ends_with("dependencies").then(|| key(line)).flatten() {
            entries.push(Entry {
                name: name.trim_end_matches(".workspace").to_string(),
                line: number + 1,
                of_workspace: section == "workspace.dependencies",
                inherited: line.contains("workspace = true"),
                path: line.contains("path = "),
                reason: is_reason(above) || line.split_once(" # ").is_some_and(|(_, said)| !said.trim().is_empty()),
            });
        }
        above = line;
    }
    entries
}

/// The key of a line that begins one.
fn key(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim_end();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!key.is_empty() && key.chars().all(is_key)).then_some(key)
}

/// A comment, and not the heading of a group.
fn is_reason(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|said| !said.trim_start().starts_with("---") && !said.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, lines, text};
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let manifest = "[workspace.dependencies]\n# --- group ---\na = \"1\"\n# Why.\nb = \"1\"\nc = \"1\"\nd = \"1\" # Why.\nours = { path = \"ours\" }\n";
        assert_eq!(lines(reasons(&text("Cargo.toml", manifest))), [3, 6]);
    }

    #[test]
    fn lists_over_several_lines_are_one_dependency() {
        let manifest = "[workspace.dependencies]\n# Why.\na = { version = \"1\", features = [\n    \"x\",\n] }\n";
        assert_eq!(lines(reasons(&text("Cargo.toml", manifest))), NONE);
    }

    #[test]
    fn a_member_with_a_version_of_its_own_is_found() {
        let manifest = "[lints]\nworkspace = true\n\n[dependencies]\na.workspace = true\nb = { workspace = true }\n# Why.\nc = \"1\"\n";
        assert_eq!(lines(member(&text("net/Cargo.toml", manifest))), [8]);
    }

    #[test]
    fn a_member_without_the_lints_is_found() {
        assert_eq!(lines(member(&text("net/Cargo.toml", "[package]\nname = \"net\"\n"))), [1]);
    }
}
