//! `cargo xtask fuzz`: what a stranger may send, what a disk may give back, and schedules, chosen by libFuzzer.
//!
//! The targets are in `fuzz/`, a workspace of its own. What they learn stays in the target folder between runs. With
//! `--planted` each bug of `fuzz/planted.toml` is planted in a scratch copy of the tree, and its target has to find it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, capture, run, run_watched, time};
use crate::soak::parse_budget;
use crate::tools::{self, Install, Tool};

/// The targets, what each looks for, and the longest input in bytes that is worth trying.
const TARGETS: &[(&str, &str, u32)] = &[
    ("frames", "frames of clients and servers in both codecs", 4_096),
    ("records", "records, snapshots, and the fold of what was read", 8_192),
    ("envelopes", "envelopes, genuine ones tampered with among them", 512),
    ("schedule", "the model level of the simulator, with the input as its entropy tape", 4_096),
];

/// Seeds that schedules begin with.
const STORIES: u64 = 16;

/// What to fuzz.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One of frames, records, envelopes, schedule; all of them, one after the other, when none is named.
    target: Option<String>,
    /// Time to spend on each, building apart: `60s`, `10m`, `2h`.
    #[arg(long, default_value = "60s", value_parser = parse_budget)]
    budget: Duration,
    /// Plant the bugs of fuzz/planted.toml in a scratch copy, one at a time, and see whether each is found in the budget.
    #[arg(long)]
    planted: bool,
    /// Print the targets and stop.
    #[arg(long)]
    list: bool,
    /// Say what is missing and install nothing.
    #[arg(long)]
    no_install: bool,
}

/// A bug to plant.
struct Planted {
    target: String,
    what: String,
    file: PathBuf,
    find: String,
    replace: String,
}

/// Where a run keeps things.
struct Place {
    /// The tree that is fuzzed.
    root: PathBuf,
    /// Inputs that reached something new.
    corpus: PathBuf,
    /// Inputs that failed.
    artifacts: PathBuf,
    /// Build products.
    build: PathBuf,
}

/// Runs the targets asked for.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        for (name, what, _) in TARGETS {
            println!("{name:10} {what}");
        }
        return Ok(());
    }
    let chosen: Vec<_> =
        TARGETS.iter().filter(|(name, ..)| args.target.as_deref().is_none_or(|asked| asked == *name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|(name, ..)| *name).collect();
        bail!("there is no such target; there are {}", names.join(", "));
    }
    let fuzzer = tools::provide(workspace, Tool::CargoFuzz, Install::unless(args.no_install))?;
    let own = workspace.target.join("fuzz");
    if args.planted {
        let names: Vec<&str> = chosen.iter().map(|(name, ..)| *name).collect();
        return find_planted(workspace, &fuzzer, &own, &names, args.budget);
    }
    let mut failed = Vec::new();
    for (name, what, most) in &chosen {
        println!("\n== fuzz {name}: {what}, for {}", time(args.budget));
        let place = Place {
            root: workspace.root.clone(),
            corpus: own.join("corpus").join(name),
            artifacts: own.join("artifacts").join(name),
            build: own.join("build"),
        };
        seed(&place, name)?;
        if let Err(error) = fuzz(&fuzzer, &place, name, *most, args.budget) {
            println!("{error:#}");
            for input in files(&place.artifacts)? {
                println!("{name} failed on {}; again: cargo fuzz run {name} {0}", input.display());
            }
            failed.push(*name);
        }
    }
    println!("\n{} passed, {} failed", chosen.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

/// Builds a target and runs it for so long.
fn fuzz(fuzzer: &Path, place: &Place, target: &str, most: u32, budget: Duration) -> Result<()> {
    std::fs::create_dir_all(&place.artifacts).context("making a folder for inputs that fail")?;
    run(cargo_fuzz(fuzzer, place, "build", target).arg(target))?;
    let mut command = cargo_fuzz(fuzzer, place, "run", target);
    command.arg(target).arg(&place.corpus).arg("--");
    command.arg(format!("-max_total_time={}", budget.as_secs().max(1)));
    command.arg(format!("-artifact_prefix={}/", place.artifacts.display()));
    command.args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=4096", "-verbosity=1"]);
    command.arg(format!("-max_len={most}"));
    if target == "schedule" {
        // The seeds that it begins with are as short as a story can be.
        command.arg("-len_control=0");
    }
    let words = place.root.join("fuzz/dictionaries").join(format!("{target}.dict"));
    if words.is_file() {
        command.arg(format!("-dict={}", words.display()));
    }
    run_watched(&mut command, target, budget)
}

/// A cargo-fuzz command. It wants flags that only a nightly compiler takes; without a nightly one, the stable one is told to
/// take them: the fuzzed code is the same. Schedules run without the address sanitizer: the memory of safe code is the compiler's
/// business, and a story takes several times as long with it.
fn cargo_fuzz(fuzzer: &Path, place: &Place, verb: &str, target: &str) -> Command {
    let mut command = Command::new(fuzzer);
    command.current_dir(&place.root).arg(verb).args(["--fuzz-dir", "fuzz", "--target-dir"]).arg(&place.build);
    if target == "schedule" {
        command.args(["--sanitizer", "none"]);
    }
    // Ours runs under the toolchain of the workspace; whatever it exports is not meant for another one.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    if has_nightly() {
        command.env("RUSTUP_TOOLCHAIN", "nightly");
    } else {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

fn has_nightly() -> bool {
    capture(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])).is_ok()
}

/// What a target begins with: bytes of every kind that the tree has, so that it need not invent them.
fn seed(place: &Place, target: &str) -> Result<()> {
    std::fs::create_dir_all(&place.corpus).context("making a folder for inputs")?;
    let from = match target {
        "records" => place.root.join("core/tests/golden"),
        "frames" => place.root.join("fuzz/seeds/frames"),
        // Whole stories: libFuzzer takes long to make inputs longer that reach nothing new at first.
        "schedule" => {
            for seed in 1..=STORIES {
                let name = format!("seed-{seed}");
                std::fs::write(place.corpus.join(name), seed.to_be_bytes()).context("writing an input")?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    for file in files(&from)? {
        let name = file.file_name().context("a file has a name")?.to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        if let Some(parts) = (target == "records").then(|| in_parts(&bytes)).flatten() {
            std::fs::write(place.corpus.join(format!("{name}.parts")), parts).context("writing an input")?;
        }
        std::fs::write(place.corpus.join(name), bytes).context("writing an input")?;
    }
    Ok(())
}

/// A stored record in the form in which the target puts its parts together: the mark, the length of the head in two bytes, the
/// head, the bodies.
fn in_parts(record: &[u8]) -> Option<Vec<u8>> {
    let (_, rest) = record.split_first()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = u16::try_from(u32::from_be_bytes(*len)).ok().filter(|len| usize::from(*len) <= rest.len())?;
    Some([&[0x80][..], &len.to_be_bytes(), rest].concat())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Plants each bug in turn, and fuzzes until it is found.
fn find_planted(workspace: &Workspace, fuzzer: &Path, own: &Path, names: &[&str], budget: Duration) -> Result<()> {
    let bugs: Vec<Planted> =
        planted(&workspace.root)?.into_iter().filter(|bug| names.contains(&bug.target.as_str())).collect();
    let scratch = own.join("planted");
    let mut survived = Vec::new();
    let mut rows = Vec::new();
    for bug in &bugs {
        println!("\n== fuzz {} with a bug planted: {}", bug.target, bug.what);
        copy_tree(workspace, &scratch)?;
        let place = Place {
            root: scratch.clone(),
            corpus: own.join("planted-corpus").join(&bug.target),
            artifacts: own.join("planted-artifacts").join(&bug.target),
            build: own.join("planted-build"),
        };
        // From nothing, so that luck of an earlier run does not count.
        for folder in [&place.corpus, &place.artifacts] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).context("removing what an earlier run left")?;
            }
        }
        seed(&place, &bug.target)?;
        plant(&scratch, bug)?;
        run(cargo_fuzz(fuzzer, &place, "build", &bug.target).arg(&bug.target))?;
        let began = Instant::now();
        let most = TARGETS.iter().find(|(name, ..)| *name == bug.target).map_or(4_096, |target| target.2);
        let found = fuzz(fuzzer, &place, &bug.target, most, budget).is_err() && !files(&place.artifacts)?.is_empty();
        let verdict = if found { format!("found in {}", time(began.elapsed())) } else { "SURVIVED".to_owned() };
        rows.push(format!("{:10} {:16} {}", bug.target, verdict, bug.what));
        if !found {
            survived.push(bug.what.clone());
        }
    }
    println!("\n== planted bugs");
    rows.iter().for_each(|row| println!("{row}"));
    println!("\n{} found, {} survived", bugs.len() - survived.len(), survived.len());
    if !survived.is_empty() {
        bail!("not found in {}: {}", time(budget), survived.join("; "));
    }
    Ok(())
}

/// Reads `fuzz/planted.toml`.
fn planted(root: &Path) -> Result<Vec<Planted>> {
    let path = root.join("fuzz/planted.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let table: toml::Table = text.parse().context("fuzz/planted.toml")?;
    let bugs = table.get("bug").and_then(toml::Value::as_array).context("fuzz/planted.toml has no [[bug]]")?;
    let word = |bug: &toml::Value, key: &str| -> Result<String> {
        let word = bug.get(key).and_then(toml::Value::as_str);
        Ok(word.with_context(|| format!("a [[bug]] of fuzz/planted.toml has no {key}"))?.to_owned())
    };
    bugs.iter()
        .map(|bug| {
            Ok(Planted {
                target: word(bug, "target")?,
                what: word(bug, "what")?,
                file: word(bug, "file")?.into(),
                find: word(bug, "find")?,
                replace: word(bug, "replace")?,
            })
        })
        .collect()
}

/// Makes the scratch copy equal to what git knows of the tree.
fn copy_tree(workspace: &Workspace, scratch: &Path) -> Result<()> {
    let mut command = workspace.command("git");
    command.args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]);
    let mut wanted = BTreeSet::new();
    for file in capture(command.args(["Cargo.toml", "core", "sim", "fuzz"]))?.lines() {
        let (from, to) = (workspace.root.join(file), scratch.join(file));
        wanted.insert(to.clone());
        let Ok(bytes) = std::fs::read(&from) else { continue };
        // Left alone where nothing differs, so that it is not built again.
        if std::fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        std::fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        std::fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()))?;
    }
    crate::sim::remove_others(scratch, &wanted)?;
    // The other members are not there: a workspace of what is.
    let manifest = std::fs::read_to_string(scratch.join("Cargo.toml")).context("reading the copied manifest")?;
    std::fs::write(scratch.join("Cargo.toml"), without_others(&manifest)?).context("writing the copied manifest")
}

/// The root manifest with `core` and `sim` as its only members, and no package of its own.
fn without_others(manifest: &str) -> Result<String> {
    let mut out = String::new();
    let mut in_package = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_package =
                ["[package]", "[lib]", "[lints]", "[[test]]", "[[bin]]", "[dependencies]", "[dev-dependencies]"]
                    .contains(&line)
                    || line.starts_with("[target.")
                    || line.starts_with("[build-dependencies");
        }
        if in_package {
            continue;
        }
        if line.starts_with("members = ") {
            out.push_str("members = [\"core\", \"sim\"]");
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if !out.contains("members = [\"core\", \"sim\"]") {
        bail!("the root Cargo.toml names its members in another way than this command knows");
    }
    Ok(out)
}

fn plant(scratch: &Path, bug: &Planted) -> Result<()> {
    let path = scratch.join(&bug.file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", bug.file.display()))?;
    match text.matches(&bug.find).count() {
        1 => std::fs::write(&path, text.replace(&bug.find, &bug.replace)).context("planting"),
        count => bail!("{}: found {count} times, not once: {}", bug.file.display(), bug.find),
    }
}

/// Whether every bug can still be planted: its text is in its file, once.
pub(crate) fn check_planted(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for bug in planted(root)? {
        let text = std::fs::read_to_string(root.join(&bug.file)).unwrap_or_default();
        let count = text.matches(&bug.find).count();
        if count != 1 {
            wrong.push(format!(
                "fuzz/planted.toml: {}: found {count} times in {}, not once",
                bug.what,
                bug.file.display()
            ));
        }
        if !TARGETS.iter().any(|(name, ..)| *name == bug.target) {
            wrong.push(format!("fuzz/planted.toml: there is no target {}", bug.target));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_bug_that_it_is_to_find_and_can_be_planted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
        assert_eq!(check_planted(root).expect("readable"), Vec::<String>::new());
        let bugs = planted(root).expect("readable");
        for (name, ..) in TARGETS {
            assert!(bugs.iter().any(|bug| bug.target == *name), "{name} has none");
        }
    }

    #[test]
    fn the_copied_manifest_has_the_core_and_the_simulator_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("readable");
        let table: toml::Table = without_others(&manifest).expect("known").parse().expect("TOML");
        assert!(table.get("package").is_none() && table.get("dependencies").is_none());
        assert_eq!(table["workspace"]["members"].as_array().map(Vec::len), Some(2));
    }
}
