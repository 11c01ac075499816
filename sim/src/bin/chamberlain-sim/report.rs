//! What is printed of runs, and where files go.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chamberlain_sim::explain;
use chamberlain_sim::judge::Objection;
use chamberlain_sim::run::{self, Run, Scenario};
use chamberlain_sim::story::{Seen, Story};
use chamberlain_sim::tape::{Place, TapeFile};
use sha2::{Digest as _, Sha256};

/// So many objections are told; the others mostly follow from them.
const MOST: usize = 6;

/// SHA-256 of the trace, in hexadecimal.
pub(crate) fn digest(story: &Story) -> Result<String> {
    let mut trace = String::new();
    run::write_trace(story, &mut trace).context("writing the trace")?;
    Ok(Sha256::digest(trace.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `S1, V1 broken`, or that nothing is.
pub(crate) fn broken(objections: &[Objection]) -> String {
    let mut names: Vec<&str> = objections.iter().map(|objection| objection.oracle).collect();
    names.dedup();
    if names.is_empty() { "every invariant holds".to_owned() } else { format!("{} broken", names.join(", ")) }
}

/// Each invariant that broke, in words, with what breaks it.
pub(crate) fn objections(run: &Run, objections: &[Objection]) -> String {
    let mut text = String::new();
    let what: Vec<&str> = objections.iter().take(MOST).map(|objection| objection.what.as_str()).collect();
    for (objection, what) in objections.iter().zip(explain::named(&run.story, &what)) {
        let when = objection.at.and_then(|at| run.story.seen.get(at)).map(|(at, _)| seconds(*at));
        let when = when.map(|when| format!(", at {when}")).unwrap_or_default();
        text.push_str(&format!("  {} broken{when}: {}\n", objection.oracle, objection.invariant));
        text.push_str(&format!("      {what}\n"));
    }
    if objections.len() > MOST {
        text.push_str(&format!("  and {} more\n", objections.len() - MOST));
    }
    text.trim_end().to_owned()
}

/// A failing seed: for programs, and in words.
#[derive(serde::Serialize)]
pub(crate) struct Failure {
    scenario: &'static str,
    seed: u64,
    /// The first objection of each oracle that objects.
    objections: Vec<Objected>,
    tape: PathBuf,
    #[serde(skip)]
    pub(crate) words: String,
}

/// An objection, for programs.
#[derive(serde::Serialize)]
struct Objected {
    oracle: &'static str,
    what: String,
}

/// Everything that one needs to know of a failing seed, its tape written beside.
pub(crate) fn failure(
    scenario: &'static Scenario,
    seed: u64,
    run: &Run,
    decisions: &[(Place, u64)],
    what: &[Objection],
) -> Result<Failure> {
    let name = format!("{}-{seed}.tape", scenario.name);
    let path = folder()?.join(name);
    let file = tape(scenario, Some(seed), run, decisions, what);
    std::fs::write(&path, file.to_string()).with_context(|| format!("writing {}", path.display()))?;
    let typed = shown(&path);
    let again = format!("cargo xtask sim replay --scenario {} --seed {seed}", scenario.name);
    let words = format!(
        "FAILED: scenario {}, seed {seed}\n{}\nconfiguration:\n{}\nagain:    {again}\ntape:     {typed} ({} decisions)\n\
         smaller:  cargo xtask sim shrink {typed}\npicture:  cargo xtask sim explain {typed}",
        scenario.name,
        objections(run, what),
        indented(&run.configuration),
        decisions.len(),
    );
    let mut firsts: Vec<&Objection> = Vec::new();
    for objection in what {
        if firsts.iter().all(|first| first.oracle != objection.oracle) {
            firsts.push(objection);
        }
    }
    let named = explain::named(&run.story, &firsts.iter().map(|first| first.what.as_str()).collect::<Vec<_>>());
    let objected = |(first, what): (&&Objection, String)| Objected { oracle: first.oracle, what };
    let objections = firsts.iter().zip(named).map(objected).collect();
    Ok(Failure { scenario: scenario.name, seed, objections, tape: path, words })
}

/// The tape of a run, with a head that says what it is.
pub(crate) fn tape(
    scenario: &Scenario,
    seed: Option<u64>,
    run: &Run,
    decisions: &[(Place, u64)],
    what: &[Objection],
) -> TapeFile {
    let mut file = TapeFile { decisions: decisions.iter().cloned().collect(), ..TapeFile::default() };
    let mut say = |key: &str, value: String| file.head.insert(key.to_owned(), value);
    say("level", "model".to_owned());
    say("scenario", scenario.name.to_owned());
    if let Some(seed) = seed {
        say("seed", seed.to_string());
    }
    if let Some(first) = what.first() {
        say("oracle", first.oracle.to_owned());
        say("what", explain::named(&run.story, &[&first.what]).concat());
    }
    say("story", cast(&run.story));
    file
}

/// How much of a story there is: what happened, and to how many.
pub(crate) fn cast(story: &Story) -> String {
    let mut clients = std::collections::BTreeSet::new();
    let mut nodes = std::collections::BTreeSet::new();
    for (_, seen) in &story.seen {
        match seen {
            Seen::Connected { client, node, .. } => {
                clients.insert(*client);
                nodes.insert(*node);
            }
            Seen::Started { node } => {
                nodes.insert(*node);
            }
            _ => {}
        }
    }
    format!(
        "{}, {}, {}",
        counted(happenings(story), "event"),
        counted(clients.len(), "client"),
        counted(nodes.len(), "node")
    )
}

/// How many things came to pass, whether the story is detailed or not.
pub(crate) fn happenings(story: &Story) -> usize {
    let told = |seen: &&(u64, Seen)| !matches!(seen.1, Seen::Passed { .. } | Seen::State { .. } | Seen::Holds { .. });
    story.seen.iter().filter(told).count()
}

/// `1 node`, `2 nodes`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Where tapes and pages go: `sim` in the target folder that this program was built into.
pub(crate) fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("asking where this program lies")?;
    let target = program.parent().and_then(Path::parent).filter(|folder| folder.join("release").is_dir());
    let folder = target.map_or_else(|| PathBuf::from("target"), Path::to_path_buf).join("sim");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// A path as one would type it from here.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Two spaces before every line.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// `1.204310 s`.
pub(crate) fn seconds(micros: u64) -> String {
    format!("{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
}

/// `12,345`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
