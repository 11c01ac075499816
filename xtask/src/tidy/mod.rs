//! `cargo xtask tidy`: what no reviewer should have to say.
//!
//! Each rule is a function from text to findings, so that its tests can feed it a bad text and see it object. This file
//! gathers the tree, calls the rules, and prints what they found. What the rules tolerate stands in `policy`.

mod banned;
mod crates;
mod lines;
mod links;
mod manifests;
mod modules;
mod policy;
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, capture, run};
use crate::{fuzz, sim};
use source::Source;

/// Something that a rule objects to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the root, with slashes.
    file: String,
    /// Counted from one.
    line: usize,
    rule: &'static str,
    why: String,
    instead: String,
}

impl Finding {
    fn new(file: &str, line: usize, rule: &'static str, why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { file: file.to_string(), line, rule, why: why.into(), instead: instead.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, why, instead } = self;
        write!(f, "{file}:{line}: {rule}\n    why: {why}\n    do:  {instead}")
    }
}

/// A text file of the tree.
pub(crate) struct Text {
    path: String,
    text: String,
}

/// Checks the format and every rule, prints what was found, and fails when anything was.
pub(crate) fn main(workspace: &Workspace) -> Result<()> {
    let format = run(&mut workspace.cargo(&["fmt", "--all", "--check"]));
    let paths = tracked(workspace)?;
    let texts = read(workspace, &paths)?;
    let mut findings = check(workspace, &paths, &texts)?;
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", texts.len(), findings.len());
    match (format.is_ok(), findings.len()) {
        (true, 0) => Ok(()),
        (true, count) => bail!("{count} findings"),
        (false, 0) => bail!("the format differs: run `cargo fmt --all`"),
        (false, count) => bail!("{count} findings, and the format differs: run `cargo fmt --all`"),
    }
}

fn check(workspace: &Workspace, paths: &BTreeSet<String>, texts: &[Text]) -> Result<Vec<Finding>> {
    let packages = crates::packages(workspace)?;
    let sources: Vec<Source> = texts
        .iter()
        .filter(|text| text.path.ends_with(".rs"))
        .map(|text| Source::new(&text.path, &text.text))
        .collect();
    let roots: Vec<_> = packages.iter().flat_map(|package| package.roots.clone()).collect();
    let reached = modules::walk(&roots, &sources);

    let mut findings = Vec::new();
    findings.extend(modules::dead(&sources, &reached));
    for source in &sources {
        let only_tests = reached.only_tests(&source.path) || source.path.starts_with("tests/");
        findings.extend(lines::header(source));
        if !only_tests {
            findings.extend(lines::length(&source.path, source.lines_of_code()));
            findings.extend(banned::calls(source));
            findings.extend(banned::unbiased_select(source));
        }
    }
    for text in texts {
        findings.extend(lines::unfinished(text));
        findings.extend(lines::machine_paths(text));
        findings.extend(lines::secrets(text));
        findings.extend(lines::lock_hosts(text));
        findings.extend(links::broken(text, paths));
        findings.extend(manifests::reasons(text));
        if text.path.ends_with(".js") && !text.path.starts_with("tests/") {
            findings.extend(lines::length(&text.path, text.text.lines().count()));
        }
        if packages.iter().any(|package| package.manifest == text.path) {
            findings.extend(manifests::member(text));
        }
    }
    findings.extend(policy::stale(paths));
    findings.extend(crates::directions(&packages));
    findings.extend(crates::core_is_no_std(&sources));
    let mut tree =
        workspace.cargo(&["tree", "--package", "chamberlain-core", "--edges", "normal,features", "--locked"]);
    tree.args(["--prefix", "none"]);
    findings.extend(crates::std_features_of_core(&capture(&mut tree)?));
    findings.extend(planted(workspace)?);
    Ok(findings)
}

/// What is planted into copies of the tree, to see it found, must still fit the tree.
fn planted(workspace: &Workspace) -> Result<Vec<Finding>> {
    let instead = "make the edit fit the code of today; never delete it to get to green";
    let mutants = sim::check_lists(&workspace.root)?;
    let mutants = mutants.into_iter().map(|(file, what)| Finding::new(file, 1, "mutant", what, instead));
    let bugs = fuzz::check_planted(&workspace.root)?;
    let bugs = bugs.into_iter().map(|what| Finding::new("fuzz/planted.toml", 1, "planted", what, instead));
    Ok(mutants.chain(bugs).collect())
}

/// The files that git knows, and those that it would add.
fn tracked(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut command = workspace.command("git");
    let listed = capture(command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
        .context("tidy looks at what git tracks")?;
    let exists = |path: &&str| !path.is_empty() && workspace.root.join(path).is_file();
    Ok(listed.split('\0').filter(exists).map(str::to_string).collect())
}

/// The files among `paths` that are text.
fn read(workspace: &Workspace, paths: &BTreeSet<String>) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in paths {
        let bytes = std::fs::read(workspace.root.join(path)).with_context(|| format!("reading {path}"))?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            texts.push(Text { path: path.clone(), text });
        }
    }
    Ok(texts)
}

/// A path relative to the root, with slashes.
fn relative(root: &Path, path: &Path) -> String {
    let parts: Vec<_> = path.strip_prefix(root).unwrap_or(path).iter().map(|part| part.display().to_string()).collect();
    parts.join("/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// No line at all, with its type.
    pub(crate) const NONE: [usize; 0] = [];

    pub(crate) fn text(path: &str, text: &str) -> Text {
        Text { path: path.to_string(), text: text.to_string() }
    }

    /// The lines that a rule objected to.
    pub(crate) fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_finding_says_where_which_why_and_what_to_do() {
        let finding = Finding::new("core/src/id.rs", 7, "header", "it is needed", "write one");
        assert_eq!(finding.to_string(), "core/src/id.rs:7: header\n    why: it is needed\n    do:  write one");
    }
}
