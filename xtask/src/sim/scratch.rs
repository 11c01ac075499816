//! A copy of the tree in which mutants are planted, and the simulators that are built of it.
//!
//! The copy and what is built of it stay below `target/sim/mutants/`, so that from one mutant to the next only what changed is
//! compiled again. The builds are quick ones (no link-time optimization), and without debug assertions: what objects to a mutant
//! is an oracle that watches from outside, not the mutated machine itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::list::{Level, Mutant};
use crate::run::{Workspace, capture, cargo};

/// What is copied: whatever the manifests of the two simulators' workspaces name.
const FOLDERS: &[&str] = &[
    ".cargo",
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "bench",
    "core",
    "net",
    "sim",
    "src",
    "stores",
    "tests",
    "web",
    "xtask",
];

/// How the simulators are built for mutants: the model level in release, the system level as it always is.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_DEV_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    // A mutant may leave something unused behind.
    ("RUSTFLAGS", "-Awarnings"),
];

/// The copy.
pub(crate) struct Scratch {
    root: PathBuf,
    build: PathBuf,
    /// The tree that it was made of, as a number: the same for the same files.
    pub(crate) tree: String,
}

impl Scratch {
    /// Makes the copy equal to what git knows of the tree. What is equal already is left alone.
    pub(crate) fn make(workspace: &Workspace, folder: &Path) -> Result<Self> {
        let root = folder.join("tree");
        let mut command = workspace.command("git");
        command.args(["ls-files", "--cached", "--others", "--exclude-standard", "--"]);
        let listed = capture(command.args(FOLDERS))?;
        let mut wanted = BTreeSet::new();
        let mut hash = Fnv::default();
        for file in listed.lines() {
            let Ok(bytes) = std::fs::read(workspace.root.join(file)) else { continue };
            let judged = ["core/src/", "net/src/", "stores/src/", "sim/"].iter().any(|part| file.starts_with(part));
            if judged && !file.ends_with(".toml") {
                hash.take(file.as_bytes());
                hash.take(&bytes);
            }
            put(&root.join(file), &bytes)?;
            wanted.insert(root.join(file));
        }
        remove_others(&root, &wanted)?;
        let scratch = Self { build: folder.join("build"), tree: format!("{:016x}", hash.0), root };
        Ok(scratch)
    }

    /// The derived crates of the system level are looked for below `target` of the tree.
    pub(crate) fn borrow_derived(&self, workspace: &Workspace) -> Result<()> {
        let (from, to) = (workspace.root.join("target/sim-derived"), self.root.join("target/sim-derived"));
        super::derive::derive(workspace)?;
        copy(&from, &to)
    }

    /// Plants a mutant. [`Scratch::restore`] takes it out again.
    pub(crate) fn plant(&self, workspace: &Workspace, mutant: &Mutant) -> Result<()> {
        for (file, text) in mutant.applied(&workspace.root)? {
            put(&self.root.join(file), text.as_bytes())?;
        }
        Ok(())
    }

    /// Puts the files of a mutant back.
    pub(crate) fn restore(&self, workspace: &Workspace, mutant: &Mutant) -> Result<()> {
        for edit in &mutant.edits {
            let bytes =
                std::fs::read(workspace.root.join(&edit.file)).with_context(|| format!("reading {}", edit.file))?;
            put(&self.root.join(&edit.file), &bytes)?;
        }
        Ok(())
    }

    /// Builds the simulator of a level, and gives its program.
    pub(crate) fn build(&self, level: Level) -> Result<PathBuf> {
        let (at, package, profile, made) = match level {
            Level::Model => (self.root.clone(), "chamberlain-sim", "release", "release"),
            Level::System => (self.root.join("sim/system"), "chamberlain-sim-system", "dev", "debug"),
        };
        let target = self.build.join(level.name());
        let mut command = Command::new(cargo());
        command.current_dir(at).args(["build", "--locked", "--quiet", "--profile", profile]);
        command.args(["--package", package, "--bin", package, "--target-dir"]).arg(&target);
        // What cargo and its callers set for the outer build does not reach this one.
        let outer = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("CARGO") && name != "CARGO_HOME"
        });
        for name in outer {
            command.env_remove(name);
        }
        command.envs(PROFILE.iter().copied());
        let output = command.stdin(Stdio::null()).output().context("starting cargo")?;
        if !output.status.success() {
            bail!("it does not build:\n{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(target.join(made).join(format!("{package}{}", std::env::consts::EXE_SUFFIX)))
    }
}

/// Writes a file unless it reads so already.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    std::fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            put(&to, &std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Removes files of a copy that the tree does not have any more.
pub(crate) fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        match entry?.is_dir() {
            true if path.ends_with("target") => {}
            true => remove_others(&path, wanted)?,
            false if wanted.contains(&path) => {}
            false => std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?,
        }
    }
    Ok(())
}

/// FNV-1a, 64 bits: enough to notice that the tree changed.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
