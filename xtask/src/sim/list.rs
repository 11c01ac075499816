//! The two lists of the simulator: failures that systems like this have had (`sim/races.toml`), and the edits that bring them
//! back (`sim/mutants.toml`). Both are read here, and checked by `cargo xtask tidy`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

/// Where the edits are.
pub(crate) const MUTANTS: &str = "sim/mutants.toml";
/// Where the failures are.
pub(crate) const RACES: &str = "sim/races.toml";
/// The most lines that a mutant may change.
const MOST_LINES: usize = 20;
/// What may be edited: production code.
const PRODUCTION: &[&str] = &["core/src/", "net/src/", "stores/src/"];

/// The level that a mutant is looked for at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Core's machines in one event loop.
    Model,
    /// The production stack on a simulated network.
    System,
}

/// A failure, and how it is brought back.
#[derive(Debug, Clone)]
pub(crate) struct Mutant {
    /// Its name.
    pub(crate) id: String,
    /// The row of the races.
    pub(crate) race: String,
    /// Invariants, one of which at least is expected to break.
    pub(crate) breaks: Vec<String>,
    pub(crate) level: Level,
    /// The scenario that it is looked for in; the first one, without it.
    pub(crate) scenario: Option<String>,
    /// What the edits do, and what is seen of it.
    pub(crate) what: String,
    /// Where nothing can be edited: why, and the scenario that provokes the failure all the same.
    pub(crate) impossible: Option<String>,
    pub(crate) edits: Vec<Edit>,
}

/// A text that stands once in a file, and what stands there afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) replace: String,
}

/// A row of the races: an interleaving that breaks something.
#[derive(Debug, Clone)]
pub(crate) struct Race {
    pub(crate) id: String,
    /// The interleaving.
    pub(crate) what: String,
    pub(crate) breaks: Vec<String>,
    /// The scripted scenarios that provoke it, by level.
    pub(crate) scenarios: Vec<(Level, String)>,
    /// The ordinary test that shows it, where it is no matter of time.
    pub(crate) test: Option<String>,
    /// The part of the server that it needs and that is not there yet.
    pub(crate) later: Option<String>,
}

impl Level {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Model => "model",
            Level::System => "system",
        }
    }

    /// The level of a name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "model" => Ok(Level::Model),
            "system" => Ok(Level::System),
            other => Err(format!("model or system, not {other}")),
        }
    }
}

impl Mutant {
    /// The files that it edits, as they are then; each edit has to match once.
    pub(crate) fn applied(&self, root: &Path) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        for edit in &self.edits {
            let text = match files.remove(&edit.file) {
                Some(text) => text,
                None => std::fs::read_to_string(root.join(&edit.file))
                    .with_context(|| format!("{}: reading {}", self.id, edit.file))?,
            };
            let text = match text.matches(&edit.find).count() {
                1 => text.replacen(&edit.find, &edit.replace, 1),
                count => bail!("{}: found {count} times in {}, not once:\n{}", self.id, edit.file, edit.find),
            };
            files.insert(edit.file.clone(), text);
        }
        Ok(files)
    }

    fn lines(&self) -> usize {
        self.edits.iter().map(|edit| changed_lines(&edit.find, &edit.replace)).sum()
    }
}

/// Reads the mutants.
pub(crate) fn mutants(root: &Path) -> Result<Vec<Mutant>> {
    tables(root, MUTANTS, "mutant")?.iter().map(mutant).collect()
}

/// Reads the races.
pub(crate) fn races(root: &Path) -> Result<Vec<Race>> {
    tables(root, RACES, "race")?.iter().map(race).collect()
}

fn tables(root: &Path, file: &str, key: &str) -> Result<Vec<Table>> {
    let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
    let table: Table = text.parse().with_context(|| file.to_owned())?;
    let list = table.get(key).and_then(Value::as_array).with_context(|| format!("{file} has no [[{key}]]"))?;
    list.iter().map(|one| one.as_table().cloned().with_context(|| format!("{file}: a {key} is no table"))).collect()
}

fn mutant(table: &Table) -> Result<Mutant> {
    let id = word(table, "id")?;
    let of = || format!("mutant {id}");
    let level = Level::parse(&word(table, "level").with_context(of)?).map_err(anyhow::Error::msg).with_context(of)?;
    let none = Vec::new();
    let edits = table.get("edit").and_then(Value::as_array).unwrap_or(&none);
    let edits = edits
        .iter()
        .filter_map(Value::as_table)
        .map(|edit| Ok(Edit { file: word(edit, "file")?, find: word(edit, "find")?, replace: word(edit, "replace")? }));
    Ok(Mutant {
        race: word(table, "race").with_context(of)?,
        breaks: words(table, "breaks").with_context(of)?,
        what: word(table, "what").with_context(of)?,
        scenario: maybe(table, "scenario"),
        impossible: maybe(table, "impossible"),
        edits: edits.collect::<Result<_>>().with_context(of)?,
        level,
        id,
    })
}

fn race(table: &Table) -> Result<Race> {
    let id = word(table, "id")?;
    let of = || format!("race {id}");
    let mut scenarios = Vec::new();
    for (level, key) in [(Level::Model, "scenario"), (Level::System, "system_scenario")] {
        scenarios.extend(maybe(table, key).map(|name| (level, name)));
    }
    Ok(Race {
        what: word(table, "what").with_context(of)?,
        breaks: words(table, "breaks").with_context(of)?,
        scenarios,
        test: maybe(table, "test"),
        later: maybe(table, "later"),
        id,
    })
}

fn maybe(table: &Table, key: &str) -> Option<String> {
    table.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn word(table: &Table, key: &str) -> Result<String> {
    maybe(table, key).with_context(|| format!("there is no {key}"))
}

fn words(table: &Table, key: &str) -> Result<Vec<String>> {
    let list = table.get(key).and_then(Value::as_array).with_context(|| format!("there is no list {key}"))?;
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// The lines between the common beginning and the common end, on whichever side there are more.
fn changed_lines(find: &str, replace: &str) -> usize {
    let (old, new): (Vec<&str>, Vec<&str>) = (find.lines().collect(), replace.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let least = old.len().min(new.len()) - same;
    let tail = old.iter().rev().zip(new.iter().rev()).take(least).take_while(|(old, new)| old == new).count();
    old.len().max(new.len()) - same - tail
}

/// What is wrong with the two lists: file and words.
pub(crate) fn check(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let (mutants, races) = (mutants(root)?, races(root)?);
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    for mutant in &mutants {
        let mut object = |what: String| wrong.push((MUTANTS, format!("{}: {what}", mutant.id)));
        if !ids.insert(&mutant.id) {
            object("there are two of this name".into());
        }
        if !races.iter().any(|race| race.id == mutant.race) {
            object(format!("{RACES} has no row {}", mutant.race));
        }
        if mutant.edits.is_empty() != mutant.impossible.is_some() {
            object("a mutant has edits, or says why it is impossible".into());
        }
        if let Some(edit) = mutant.edits.iter().find(|edit| !PRODUCTION.iter().any(|at| edit.file.starts_with(at))) {
            object(format!("{} is no production code", edit.file));
        }
        if mutant.lines() > MOST_LINES {
            object(format!("it changes {} lines, and {MOST_LINES} are the most", mutant.lines()));
        }
        if let Err(error) = mutant.applied(root) {
            object(format!("{error:#}"));
        }
    }
    let mut rows = BTreeSet::new();
    for race in &races {
        let mut object = |what: &str| wrong.push((RACES, format!("{}: {what}", race.id)));
        if !rows.insert(&race.id) {
            object("there are two of this name");
        }
        let mutated = mutants.iter().any(|mutant| mutant.race == race.id);
        if !mutated && race.scenarios.is_empty() && race.test.is_none() && race.later.is_none() {
            object("it has no mutant, no scenario, no test, and nothing that it waits for");
        }
        let impossible = mutants.iter().any(|mutant| mutant.race == race.id && mutant.impossible.is_some());
        if impossible && race.scenarios.is_empty() {
            object("its mutant is impossible, and no scenario tries to provoke it all the same");
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_the_tree_are_in_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
        assert_eq!(check(root).expect("readable"), []);
    }

    #[test]
    fn lines_that_stay_are_not_counted() {
        assert_eq!(changed_lines("a\nb\nc\n", "a\nx\nc\n"), 1);
        assert_eq!(changed_lines("a\n", "a\nb\nc\n"), 2);
        assert_eq!(changed_lines("a\nb\n", ""), 2);
        assert_eq!(changed_lines("a\na\n", "a\n"), 1);
    }

    #[test]
    fn an_edit_that_does_not_match_once_is_named() {
        let edit =
            Edit { file: MUTANTS.into(), find: "no such text anywhere \u{1f980}".into(), replace: String::new() };
        let mutant = Mutant {
            id: "one".into(),
            race: "S-01".into(),
            breaks: Vec::new(),
            level: Level::Model,
            scenario: None,
            what: String::new(),
            impossible: None,
            edits: vec![edit],
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
        let error = mutant.applied(root).expect_err("not there").to_string();
        assert!(error.contains("one: found 0 times"), "{error}");
    }
}
