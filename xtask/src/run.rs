//! The workspace and the programs run in it.
//!
//! Every command is printed before it runs, so that a failure can be repeated by hand.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long command says that it is still at it.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Where the workspace and its build products are.
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// What `cargo metadata --no-deps` says of it.
    pub(crate) metadata: serde_json::Value,
}

/// Finds the workspace that this program was built from, or that the current folder lies in.
pub(crate) fn workspace() -> Result<Workspace> {
    let metadata = metadata(Path::new("Cargo.toml"))?;
    let path = |key: &str| -> Result<PathBuf> {
        let value = metadata[key].as_str().with_context(|| format!("cargo metadata has no {key}"))?;
        Ok(PathBuf::from(value))
    };
    Ok(Workspace { root: path("workspace_root")?, target: path("target_directory")?, metadata })
}

/// `cargo metadata --no-deps` of a manifest; of the current folder's workspace when it is just `Cargo.toml`.
pub(crate) fn metadata(manifest: &Path) -> Result<serde_json::Value> {
    let mut command = Command::new(cargo());
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    if manifest != Path::new("Cargo.toml") {
        command.arg("--manifest-path").arg(manifest);
    }
    serde_json::from_str(&capture(&mut command)?).context("reading cargo metadata")
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

impl Workspace {
    /// A program to run in the workspace's root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// A cargo command in the workspace's root.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = self.command(cargo());
        command.args(args);
        command
    }
}

/// Runs a command with our own output, and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Like `run`, for a command that takes long: says every half minute how far along `budget` it is.
pub(crate) fn run_watched(command: &mut Command, name: &str, budget: Duration) -> Result<()> {
    println!("$ {}", shown(command));
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {}", shown(command)))?;
    let mut said = started;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(100));
        if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            println!("... {name}: {} of about {}", time(started.elapsed()), time(budget));
        }
    };
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command quietly and gives its standard output; its standard error goes into the error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", shown(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of {}", shown(command)))
}

/// A duration for people: `4.2s`, `3m05s`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1}s", duration.as_secs_f64())
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

/// The command as one would type it, with the environment it was given.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", key.display(), quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).display().to_string());
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.display().to_string();
    if word.contains(' ') { format!("'{word}'") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).expect_err("false fails");
        assert!(error.to_string().contains("false ended with"));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time(Duration::from_millis(4_200)), "4.2s");
        assert_eq!(time(Duration::from_secs(185)), "3m05s");
    }
}
