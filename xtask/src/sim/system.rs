//! The system level's workspace, `sim/system`: built in an environment that is not the one we were called in.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::derive;
use crate::run::{Workspace, cargo};

/// A cargo command in `sim/system`, whose derived crates are there. What cargo and its callers set for the outer build (flags,
/// target folders, package names) does not reach it.
pub(crate) fn cargo_there(workspace: &Workspace) -> Result<Command> {
    derive::derive(workspace)?;
    let mut command = Command::new(cargo());
    command.current_dir(workspace.root.join("sim/system")).stdin(Stdio::null());
    let outer = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        (name.starts_with("CARGO") && name != "CARGO_HOME") || name.ends_with("RUSTFLAGS") || name == "RUSTC_WRAPPER"
    });
    for name in outer {
        command.env_remove(name);
    }
    Ok(command)
}

/// The program, freshly built.
pub(crate) fn program(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = cargo_there(workspace)?;
    command.args(["build", "--quiet", "--locked", "--bin", "chamberlain-sim-system"]);
    if !command.status().context("starting cargo")?.success() {
        bail!("the system level does not build");
    }
    let name = format!("chamberlain-sim-system{}", std::env::consts::EXE_SUFFIX);
    Ok(workspace.root.join("sim/system/target/debug").join(name))
}

/// All tests of the system level.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let mut command = cargo_there(workspace)?;
    command.args(["test", "--quiet", "--workspace", "--locked"]);
    if !command.status().context("starting cargo")?.success() {
        bail!("tests of the system level failed");
    }
    Ok(())
}
