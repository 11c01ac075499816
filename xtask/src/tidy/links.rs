//! Links between the files of the tree lead somewhere.

use std::collections::BTreeSet;

use super::{Finding, Text};

/// The links of a Markdown file to files that are not there. Links to elsewhere are not followed.
pub(crate) fn broken(text: &Text, paths: &BTreeSet<String>) -> Vec<Finding> {
    if !text.path.ends_with(".md") {
        return Vec::new();
    }
    let folder = text.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in text.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for target in targets(line).filter(|_| !fenced) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            if file.is_empty() || file.contains(':') || file.starts_with("//") {
                continue;
            }
            let there = resolve(folder, file).is_some_and(|path| exists(paths, &path));
            if !there {
                let why = format!("it leads to {file}, which is not there");
                findings.push(Finding::new(&text.path, number + 1, "broken-link", why, "name the file as it is now"));
            }
        }
    }
    findings
}

/// What stands in the parentheses after `](`, and in `src="..."` and `href="..."`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let after = |begin: &'static str, end: &'static [char]| {
        line.match_indices(begin).filter_map(move |(at, _)| line[at + begin.len()..].split(end).next())
    };
    after("](", &[')', ' ']).chain(after("src=\"", &['"'])).chain(after("href=\"", &['"']))
}

fn exists(paths: &BTreeSet<String>, path: &str) -> bool {
    let folder = format!("{path}/");
    path.is_empty()
        || paths.contains(path)
        || paths.range(folder.clone()..).next().is_some_and(|p| p.starts_with(&folder))
}

/// A path seen from a folder, both relative to the root; nothing when it leads out of the tree.
pub(crate) fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = if path.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.retain(|part| !part.is_empty());
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NONE, lines, text};
    use super::*;

    fn broken_lines(path: &str, markdown: &str) -> Vec<usize> {
        let paths = ["README.md", "docs/a.md", "web/page.png"].map(str::to_string).into_iter().collect();
        lines(broken(&text(path, markdown), &paths))
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        assert_eq!(broken_lines("README.md", "[a](docs/a.md)\n[b](docs/b.md)\n![c](web/c.png)\n"), [2, 3]);
        assert_eq!(broken_lines("docs/a.md", "[up](../README.md#tour) [out](../../x.md)\n"), [1]);
        assert_eq!(broken_lines("README.md", "<img src=\"web/page.png\"> <img src=\"web/none.png\">\n"), [1]);
    }

    #[test]
    fn folders_anchors_and_other_places_are_fine() {
        assert_eq!(
            broken_lines("README.md", "[a](docs) [b](docs/) [c](#tour) [d](https://example.org/x) [e](.)\n"),
            NONE
        );
    }

    #[test]
    fn code_is_not_read_for_links() {
        assert_eq!(broken_lines("README.md", "```\n[a](none.md)\n```\n"), NONE);
    }
}
