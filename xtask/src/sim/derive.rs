//! `cargo xtask sim derive`: the crates that the system level of the simulator needs in another shape than they are published.
//!
//! madsim stands in for tokio only under a `cfg` of its own, and cargo resolves both sides of a `cfg`: with tokio patched by a
//! crate of ours that builds on madsim, it would depend on itself. So copies are made under `target/sim-derived/`, from the
//! sources that cargo downloads, in which the `cfg` is decided and tokio goes by another name. None of it is ever committed.
//! Every edit must match exactly once, and says so when it does not: then a version changed, and somebody has to look.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, capture, cargo};

/// The versions that the edits below are written for. Tokio's is the one of the root lock file.
const MADSIM: &str = "0.2.34";
const MADSIM_TOKIO: &str = "0.2.30";

/// A crate to derive.
struct Derived {
    name: &'static str,
    /// The folder, which is also the new package's name.
    folder: &'static str,
    manifest: &'static [Section],
    edits: &'static [Edit],
}

/// A change to the sections of a normalized Cargo.toml.
#[derive(Debug)]
enum Section {
    /// Without every section whose header begins so; there must be one.
    Drop(&'static str),
    /// Every section whose header begins so begins otherwise; there must be one.
    Rename(&'static str, &'static str),
}

/// A change to a file: a text that is there exactly once, and what stands there afterwards.
#[derive(Debug)]
struct Edit {
    file: &'static str,
    find: &'static str,
    put: &'static str,
}

const CRATES: &[Derived] = &[
    Derived {
        name: "tokio",
        folder: "tokio-real",
        manifest: &[
            Section::Drop("[[test]]"),
            Section::Drop("[dev-dependencies."),
            Section::Drop("[lints."),
            Section::Drop("[package.metadata."),
        ],
        edits: &[Edit {
            file: "Cargo.toml",
            find: "name = \"tokio\"\nversion = ",
            put: "name = \"tokio-real\"\nversion = ",
        }],
    },
    Derived {
        name: "madsim",
        folder: "madsim",
        manifest: &[
            Section::Drop("[[example]]"),
            Section::Drop("[[bench]]"),
            Section::Drop("[dev-dependencies."),
            Section::Drop("[lints."),
            Section::Drop("[package.metadata."),
            Section::Drop("[target.\"cfg(not(madsim))\".dependencies."),
            Section::Rename("[target.\"cfg(madsim)\".dependencies.", "[dependencies."),
        ],
        edits: &[
            Edit { file: "Cargo.toml", find: "ucx = [\"async-ucx\"]\n", put: "" },
            Edit {
                file: "Cargo.toml",
                find: "[dependencies.tokio]\nversion = \"1\"\n",
                put: "[dependencies.tokio]\npackage = \"tokio-real\"\npath = \"../tokio-real\"\n",
            },
            Edit {
                file: "src/lib.rs",
                find: "#[cfg(madsim)]\nmod sim;\n#[cfg(madsim)]\npub use sim::*;\n",
                put: "mod sim;\npub use sim::*;\n",
            },
            Edit {
                file: "src/lib.rs",
                find: "#[cfg(not(madsim))]\n#[path = \"std/mod.rs\"]\nmod _std;\n#[cfg(not(madsim))]\npub use _std::*;\n",
                put: "",
            },
            // A wall clock of its own for every node: what `SystemTime` shows goes through a function that the stand-in sets.
            Edit {
                file: "src/sim/time/system_time.rs",
                find: "        let system_time_duration = || {
            time.now_time()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
        };\n",
                put: "        let system_time_duration = || {
            let shown = time.now_time().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            match WALL.get() {
                Some(wall) => wall(shown),
                None => shown,
            }
        };\n",
            },
            Edit {
                file: "src/sim/time/system_time.rs",
                find: "use std::time::SystemTime;\n\n/// Override the libc `gettimeofday` function.",
                put: "use std::time::SystemTime;\n
/// What the wall clock of the current node shows at a time since the epoch.
pub static WALL: std::sync::OnceLock<fn(std::time::Duration) -> std::time::Duration> = std::sync::OnceLock::new();\n
/// Override the libc `gettimeofday` function.",
            },
            Edit {
                file: "src/sim/time/mod.rs",
                find: "mod system_time;\n",
                put: "mod system_time;\npub use self::system_time::WALL;\n",
            },
            // Timers without the rounding to milliseconds, one for each sleep and not one for each poll.
            Edit {
                file: "src/sim/time/mod.rs",
                find: "    pub(crate) fn add_timer_at(\n",
                put: "    /// Calls back at a time.\n    pub fn add_timer_at(\n",
            },
            Edit {
                file: "src/sim/plugin.rs",
                find: "/// Get the node ID of current task.\n",
                put: "/// The node of the current task, within one.
pub fn try_node() -> Option<NodeId> {
    crate::context::try_current_task().map(|task| task.node.id)
}

/// Get the node ID of current task.\n",
            },
        ],
    },
    Derived {
        name: "madsim-tokio",
        folder: "madsim-tokio",
        manifest: &[
            Section::Drop("[lints."),
            Section::Rename("[target.\"cfg(madsim)\".dependencies.", "[dependencies."),
        ],
        edits: &[
            Edit {
                file: "Cargo.toml",
                find: "[dependencies.tokio]\nversion = \"1\"\n",
                put: "[dependencies.tokio]\npackage = \"tokio-real\"\npath = \"../tokio-real\"\n",
            },
            Edit {
                file: "Cargo.toml",
                find: "[dependencies.madsim]\nversion = \"0.2.19\"\n",
                put: "[dependencies.madsim]\npath = \"../madsim\"\n",
            },
            Edit { file: "src/lib.rs", find: "#[cfg(not(madsim))]\npub use tokio::*;\n", put: "" },
            Edit {
                file: "src/lib.rs",
                find: "#[cfg(madsim)]\npub use self::sim::*;\n#[cfg(madsim)]\nmod sim {\n",
                put: "pub use self::sim::*;\nmod sim {\n",
            },
        ],
    },
];

/// Appended to each manifest: the copies belong to no workspace, and their warnings are not ours.
const APPENDIX: &str = "\n[workspace]\n\n[lints.rust]\nwarnings = { level = \"allow\", priority = -1 }\n";

/// Makes the copies, unless they are there.
pub(crate) fn main(workspace: &Workspace) -> Result<()> {
    if derive(workspace)? {
        println!("derived {} crates below target/{FOLDER}", CRATES.len());
    }
    Ok(())
}

/// Below `target` of the root, whatever cargo's target folder is: the manifests of sim/system name it.
const FOLDER: &str = "sim-derived";

/// Makes the copies; false when they were there already.
pub(crate) fn derive(workspace: &Workspace) -> Result<bool> {
    let folder = workspace.root.join("target").join(FOLDER);
    let tokio = locked_version(&workspace.root.join("Cargo.lock"), "tokio")?;
    // Whatever decides about the copies is in the stamp.
    let recipe: Vec<String> =
        CRATES.iter().map(|krate| format!("{} {:?} {:?}\n", krate.folder, krate.manifest, krate.edits)).collect();
    let stamp = format!("tokio {tokio}, madsim {MADSIM}, madsim-tokio {MADSIM_TOKIO}\n{APPENDIX}{}", recipe.concat());
    fs::create_dir_all(&folder)?;
    // Two at once would write into each other's copies. Unlocked when it is dropped.
    let lock = fs::File::create(folder.join("lock")).context("making the lock")?;
    lock.lock().context("waiting for another derivation")?;
    let stamp_file = folder.join("stamp");
    let there = CRATES.iter().all(|krate| folder.join(krate.folder).join("Cargo.toml").is_file());
    if there && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(false);
    }
    let _stale = fs::remove_file(&stamp_file);
    let sources = sources(&folder.join("sources"), &tokio)?;
    for krate in CRATES {
        let from = sources
            .iter()
            .find_map(|(name, path)| (name == krate.name).then_some(path))
            .with_context(|| format!("cargo did not say where the sources of {} are", krate.name))?;
        make(krate, from, &folder.join(krate.folder)).with_context(|| format!("deriving {}", krate.folder))?;
    }
    fs::write(&stamp_file, stamp).context("writing the stamp")?;
    Ok(true)
}

/// Has cargo download the published crates, and gives the folder of each.
fn sources(scratch: &Path, tokio: &str) -> Result<Vec<(String, PathBuf)>> {
    fs::create_dir_all(scratch)?;
    let manifest = format!(
        "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[lib]\npath = \"lib.rs\"\n\n\
         [dependencies]\nmadsim = \"={MADSIM}\"\nmadsim-tokio = \"={MADSIM_TOKIO}\"\ntokio = \"={tokio}\"\n"
    );
    fs::write(scratch.join("Cargo.toml"), manifest)?;
    fs::write(scratch.join("lib.rs"), "")?;
    let ask = |offline: bool| {
        let mut command = Command::new(cargo());
        command.current_dir(scratch).args(["metadata", "--format-version", "1"]);
        command.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
        if offline {
            command.arg("--offline");
        }
        capture(&mut command)
    };
    // What cargo has is as good as what it would fetch: the versions are exact.
    let metadata = ask(true).or_else(|_| ask(false)).context("fetching madsim, madsim-tokio and tokio")?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let found = packages.iter().filter_map(|package| {
        let manifest = Path::new(package["manifest_path"].as_str()?);
        Some((package["name"].as_str()?.to_owned(), manifest.parent()?.to_owned()))
    });
    Ok(found.collect())
}

/// The version of a crate in a lock file.
fn locked_version(lock: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(lock).with_context(|| format!("reading {}", lock.display()))?;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("name = \"{name}\"") {
            let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
            return Ok(version.with_context(|| format!("{name} has no version in the lock file"))?.to_owned());
        }
    }
    bail!("{name} is not in {}", lock.display())
}

fn make(krate: &Derived, from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    copy(&from.join("src"), &to.join("src"))?;
    let manifest = fs::read_to_string(from.join("Cargo.toml"))?;
    let manifest = krate.manifest.iter().try_fold(manifest, |manifest, change| reshaped(&manifest, change))?;
    fs::write(to.join("Cargo.toml"), manifest + APPENDIX)?;
    for edit in krate.edits {
        let file = to.join(edit.file);
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", edit.file))?;
        fs::write(&file, edited(&text, edit)?)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            // Read and written, not copied: what the registry holds may not be writable.
            fs::write(&to, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn edited(text: &str, edit: &Edit) -> Result<String> {
    match text.matches(edit.find).count() {
        1 => Ok(text.replacen(edit.find, edit.put, 1)),
        count => bail!("{} has {count} places that read, instead of one:\n{}", edit.file, edit.find),
    }
}

fn reshaped(manifest: &str, change: &Section) -> Result<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in manifest.split_inclusive('\n') {
        match sections.last_mut() {
            Some(section) if !line.starts_with('[') => section.push_str(line),
            _ => sections.push(line.to_owned()),
        }
    }
    let (Section::Drop(header) | Section::Rename(header, _)) = change;
    if !sections.iter().any(|section| section.starts_with(header)) {
        bail!("Cargo.toml has no section {header}");
    }
    match change {
        Section::Drop(header) => sections.retain(|section| !section.starts_with(header)),
        Section::Rename(header, new) => {
            for section in sections.iter_mut().filter(|section| section.starts_with(header)) {
                *section = section.replacen(header, new, 1);
            }
        }
    }
    // Headers of targets have the dependencies' kind in their middle.
    if matches!(change, Section::Drop("[dev-dependencies.")) {
        sections.retain(|section| !section.lines().next().is_some_and(|header| header.contains(".dev-dependencies.")));
    }
    Ok(sections.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDIT: Edit = Edit { file: "a.rs", find: "one", put: "two" };

    #[test]
    fn an_edit_that_does_not_match_once_says_so() {
        assert_eq!(edited("one thing", &EDIT).expect("once"), "two thing");
        for (text, count) in [("nothing", "0 places"), ("one and one", "2 places")] {
            let error = edited(text, &EDIT).expect_err("not once").to_string();
            assert!(error.contains("a.rs") && error.contains(count) && error.contains("one"), "{error}");
        }
    }

    #[test]
    fn sections_are_dropped_and_renamed_and_must_be_there() {
        let manifest = "# x\n[a]\nb = [\n    1,\n]\n\n[t.cfg.c]\nd = 1\n[t.cfg.e]\nf = 1\n";
        assert_eq!(reshaped(manifest, &Section::Drop("[t.cfg.")).expect("there"), "# x\n[a]\nb = [\n    1,\n]\n\n");
        let renamed = reshaped(manifest, &Section::Rename("[t.cfg.", "[g.")).expect("there");
        assert!(renamed.contains("[g.c]\nd = 1\n[g.e]\n"), "{renamed}");
        assert!(reshaped(manifest, &Section::Drop("[h]")).is_err());
    }
}
