//! What came of looking for mutants: a table, and a file that the next command continues.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::list::{Level, Mutant};

/// What came of one mutant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// An oracle objected.
    Found {
        seed: u64,
        /// Seeds tried until then.
        seeds: u64,
        cpu_seconds: f64,
        oracle: String,
        what: String,
        /// Events and decisions of the shrunk story.
        shrunk: Option<(u64, u64)>,
    },
    /// Nobody objected.
    Survived { seeds: u64, cpu_seconds: f64 },
    /// It did not end within so many seconds.
    Endless(f64),
    /// It does not build, or not match.
    Broken(String),
    /// There is no place for it.
    Impossible,
}

/// One mutant, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) race: String,
    pub(crate) level: Level,
    pub(crate) breaks: Vec<String>,
    pub(crate) outcome: Outcome,
}

/// What came of them all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The tree that they were planted in.
    pub(crate) tree: String,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    /// What came of this mutant.
    pub(crate) fn of(mutant: &Mutant, outcome: Outcome) -> Self {
        Self {
            id: mutant.id.clone(),
            race: mutant.race.clone(),
            level: mutant.level,
            breaks: mutant.breaks.clone(),
            outcome,
        }
    }

    /// Whether the simulator did what it should.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Found { .. } | Outcome::Impossible)
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        match &self.outcome {
            Outcome::Found { seed, seeds, cpu_seconds, oracle, what, shrunk } => {
                let expected = if self.breaks.contains(oracle) { "" } else { ", not one of those expected" };
                let small =
                    shrunk.map(|(events, decisions)| format!("; shrunk to {events} events, {decisions} decisions"));
                let small = small.unwrap_or_default();
                format!(
                    "found at seed {seed} ({seeds} tried, {cpu_seconds:.1} s of CPU) by {oracle}{expected}: {what}{small}"
                )
            }
            Outcome::Survived { seeds, cpu_seconds } => format!("SURVIVED {seeds} seeds, {cpu_seconds:.1} s of CPU"),
            Outcome::Endless(seconds) => format!("DID NOT END within {seconds:.0} s"),
            Outcome::Broken(why) => format!("BROKEN: {why}"),
            Outcome::Impossible => "impossible by construction".into(),
        }
    }
}

impl Report {
    /// The report of an earlier run over the same tree, or a new one.
    pub(crate) fn continued(path: &Path, tree: &str) -> Self {
        let read = std::fs::read_to_string(path).ok().and_then(|text| Self::from_json(&text));
        read.filter(|report| report.tree == tree).unwrap_or_else(|| Self { tree: tree.to_owned(), rows: Vec::new() })
    }

    /// Takes a row in, instead of the one of the same mutant.
    pub(crate) fn put(&mut self, row: Row) {
        match self.rows.iter_mut().find(|there| there.id == row.id) {
            Some(there) => *there = row,
            None => self.rows.push(row),
        }
    }

    /// Rows of these mutants, in their order.
    pub(crate) fn keep_only(&mut self, mutants: &[Mutant]) {
        let order = |row: &Row| mutants.iter().position(|mutant| mutant.id == row.id);
        self.rows.retain(|row| order(row).is_some());
        self.rows.sort_by_key(order);
    }

    /// Writes the report down.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.to_json()).with_context(|| format!("writing {}", path.display()))
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> String {
        let rows: Vec<Value> = self.rows.iter().map(row_to_json).collect();
        format!("{:#}\n", json!({ "tree": self.tree, "rows": rows }))
    }

    /// From JSON.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let rows = value["rows"].as_array()?.iter().map(row_from_json).collect::<Option<_>>()?;
        Some(Self { tree: value["tree"].as_str()?.to_owned(), rows })
    }

    /// As a table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::from(
            "| race | mutant | level | breaks | found at seed | seeds tried | CPU seconds | objected | shrunk to events, decisions |\n\
             |---|---|---|---|---:|---:|---:|---|---:|\n",
        );
        for Row { id, race, level, breaks, outcome } in &self.rows {
            let (seed, seeds, cpu, oracle, small) = match outcome {
                Outcome::Found { seed, seeds, cpu_seconds, oracle, shrunk, .. } => {
                    let small = shrunk.map_or("-".into(), |(events, decisions)| format!("{events}, {decisions}"));
                    (seed.to_string(), seeds.to_string(), format!("{cpu_seconds:.1}"), oracle.clone(), small)
                }
                Outcome::Survived { seeds, cpu_seconds } => {
                    let cpu = format!("{cpu_seconds:.1}");
                    ("**survived**".into(), seeds.to_string(), cpu, "-".into(), "-".into())
                }
                Outcome::Endless(seconds) => {
                    ("**did not end**".into(), "-".into(), format!("{seconds:.0}"), "-".into(), "-".into())
                }
                Outcome::Broken(_) => ("**broken**".into(), "-".into(), "-".into(), "-".into(), "-".into()),
                Outcome::Impossible => ("impossible".into(), "-".into(), "-".into(), "-".into(), "-".into()),
            };
            let (level, breaks) = (level.name(), breaks.join(" "));
            let row =
                format!("| {race} | `{id}` | {level} | {breaks} | {seed} | {seeds} | {cpu} | {oracle} | {small} |\n");
            out.push_str(&row);
        }
        out
    }

    /// An error that names whoever was not found.
    pub(crate) fn verdict(&self) -> Result<()> {
        let bad: Vec<&str> = self.rows.iter().filter(|row| !row.is_good()).map(|row| row.id.as_str()).collect();
        let found = self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Found { .. })).count();
        println!("{found} found, {} not, {} impossible", bad.len(), self.rows.len() - found - bad.len());
        if bad.is_empty() {
            return Ok(());
        }
        bail!("not found: {}", bad.join(", "))
    }
}

fn row_to_json(row: &Row) -> Value {
    let mut value = json!({ "id": row.id, "race": row.race, "level": row.level.name(), "breaks": row.breaks });
    match &row.outcome {
        Outcome::Found { seed, seeds, cpu_seconds, oracle, what, shrunk } => {
            value["found"] = json!({ "seed": seed, "oracle": oracle, "what": what });
            (value["seeds"], value["cpu_seconds"]) = (json!(seeds), json!(cpu_seconds));
            if let Some((events, decisions)) = shrunk {
                value["found"]["shrunk"] = json!([events, decisions]);
            }
        }
        Outcome::Survived { seeds, cpu_seconds } => {
            value["survived"] = json!(true);
            (value["seeds"], value["cpu_seconds"]) = (json!(seeds), json!(cpu_seconds));
        }
        Outcome::Endless(seconds) => value["endless"] = json!(seconds),
        Outcome::Broken(why) => value["broken"] = json!(why),
        Outcome::Impossible => value["impossible"] = json!(true),
    }
    value
}

fn row_from_json(value: &Value) -> Option<Row> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (seeds, cpu_seconds) = (value["seeds"].as_u64().unwrap_or(0), value["cpu_seconds"].as_f64().unwrap_or(0.0));
    let outcome = if let Some(found) = value.get("found") {
        Outcome::Found {
            seed: found["seed"].as_u64()?,
            oracle: text(&found["oracle"])?,
            what: text(&found["what"])?,
            shrunk: found["shrunk"][0].as_u64().zip(found["shrunk"][1].as_u64()),
            seeds,
            cpu_seconds,
        }
    } else if value.get("survived").is_some() {
        Outcome::Survived { seeds, cpu_seconds }
    } else if let Some(seconds) = value["endless"].as_f64() {
        Outcome::Endless(seconds)
    } else if let Some(why) = text(&value["broken"]) {
        Outcome::Broken(why)
    } else {
        Outcome::Impossible
    };
    let breaks = value["breaks"].as_array()?.iter().filter_map(text).collect();
    let level = Level::parse(value["level"].as_str()?).ok()?;
    Some(Row { id: text(&value["id"])?, race: text(&value["race"])?, level, breaks, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, outcome: Outcome) -> Row {
        Row { id: id.into(), race: "S-01".into(), level: Level::Model, breaks: vec!["S1".into()], outcome }
    }

    fn report() -> Report {
        let found = |shrunk| Outcome::Found {
            seed: 7,
            seeds: 8,
            cpu_seconds: 0.25,
            oracle: "S1".into(),
            what: "a gap".into(),
            shrunk,
        };
        let rows = vec![
            row("one", found(None)),
            row("two", found(Some((9, 3)))),
            row("three", Outcome::Survived { seeds: 10, cpu_seconds: 1.0 }),
            row("four", Outcome::Endless(900.0)),
            row("five", Outcome::Broken("no".into())),
            row("six", Outcome::Impossible),
        ];
        Report { tree: "t".into(), rows }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Report::from_json(&report().to_json()), Some(report()));
    }

    #[test]
    fn whoever_was_not_found_is_named() {
        let error = report().verdict().expect_err("three are not found").to_string();
        assert_eq!(error, "not found: three, four, five");
        assert!(Report { tree: String::new(), rows: report().rows[..2].to_vec() }.verdict().is_ok());
    }

    #[test]
    fn a_row_takes_the_place_of_the_one_before() {
        let mut report = report();
        report.put(row("three", Outcome::Impossible));
        assert_eq!(report.rows.len(), 6);
        assert_eq!(report.rows[2].outcome, Outcome::Impossible);
    }
}
