//! The programs that the tests need beyond cargo: found, or installed.
//!
//! Debian packages are installed only when we are root on a machine with `apt-get`; cargo tools go into `tools` inside the
//! target folder, so that nothing outside the clone changes. What cannot be installed is an error that says how to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, capture, cargo, run};
use crate::servers::{self, Server};

/// The series of cargo-deny that `deny.toml` is written for, and the version to install.
const CARGO_DENY: (&str, &str) = ("cargo-deny 0.20.", "0.20.2");

/// The version of cargo-fuzz to install.
const CARGO_FUZZ: &str = "0.13.2";

/// A program that a step of the tests runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    /// Licences, sources, duplicate dependencies.
    CargoDeny,
    /// Builds and runs the fuzz targets.
    CargoFuzz,
    /// Runs the browser client's module and drives the browser.
    Node,
    /// The browser of the browser tests.
    Chromium,
    /// What every `package-lock.json` of the tree names, in a `node_modules` beside it.
    NpmPackages,
    /// Keeps logs.
    Nats,
    /// The same, older than production asks for.
    OldNats,
    /// Keeps secrets, snapshots, marks and the directory.
    Valkey,
}

/// Whether a missing tool may be installed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Install it.
    Missing,
    /// Only say how.
    Nothing,
}

impl Install {
    /// What `--no-install` says.
    pub(crate) fn unless(no_install: bool) -> Self {
        if no_install { Install::Nothing } else { Install::Missing }
    }
}

impl Tool {
    /// The tool's name, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::CargoDeny => "cargo-deny",
            Tool::CargoFuzz => "cargo-fuzz",
            Tool::Node => "node and npm",
            Tool::Chromium => "chromium",
            Tool::NpmPackages => "npm packages",
            Tool::Nats => "nats-server",
            Tool::OldNats => "nats-server 2.9",
            Tool::Valkey => "valkey-server",
        }
    }

    /// How a person installs it.
    fn by_hand(self) -> &'static str {
        match self {
            Tool::CargoDeny => "cargo install cargo-deny --locked --version 0.20.2",
            Tool::CargoFuzz => "cargo install cargo-fuzz --locked --version 0.13.2",
            Tool::Node => "install Node.js 20 or newer with npm (Debian: apt-get install nodejs npm)",
            Tool::Chromium => "install Chromium (Debian: apt-get install chromium) or set CHROMIUM to the path of one",
            Tool::NpmPackages => "npm ci in each folder that has a package-lock.json",
            Tool::Nats => "install nats-server 2.10.19 or newer, or set CHAMBERLAIN_NATS_SERVER to the path of one",
            Tool::OldNats => "set CHAMBERLAIN_NATS_SERVER_2_9 to the path of a nats-server 2.9.10 (Debian 12 has it)",
            Tool::Valkey => {
                "install valkey-server 8 or redis-server 7, or set CHAMBERLAIN_VALKEY_SERVER to the path of one"
            }
        }
    }

    /// What is known of it, if it is one of the servers.
    fn server(self) -> Option<Server> {
        match self {
            Tool::Nats => Some(servers::NATS),
            Tool::OldNats => Some(servers::OLD_NATS),
            Tool::Valkey => Some(servers::VALKEY),
            _ => None,
        }
    }
}

/// The servers that the tests of the stores run, each with the variable that tells its path to them.
pub(crate) fn provide_servers(workspace: &Workspace, install: Install) -> Result<Vec<(&'static str, PathBuf)>> {
    let servers = SERVERS.iter().filter_map(|tool| Some((*tool, tool.server()?)));
    servers.map(|(tool, server)| Ok((server.variable, provide(workspace, tool, install)?))).collect()
}

/// The servers among the tools.
pub(crate) const SERVERS: &[Tool] = &[Tool::Nats, Tool::OldNats, Tool::Valkey];

/// Finds a tool, installing it when it is missing and may be. Gives the path of its program.
pub(crate) fn provide(workspace: &Workspace, tool: Tool, install: Install) -> Result<PathBuf> {
    if let Some(found) = find(workspace, tool)? {
        return Ok(found);
    }
    if let Some(server) = tool.server() {
        return provide_server(workspace, tool, &server, install);
    }
    if install == Install::Missing {
        println!("{} is missing: installing it", tool.name());
        match tool {
            Tool::CargoDeny => {
                install_cargo_tool(workspace, &["cargo-deny", "--version", CARGO_DENY.1, "--no-default-features"])
            }
            Tool::CargoFuzz => install_cargo_tool(workspace, &["cargo-fuzz", "--version", CARGO_FUZZ]),
            Tool::Node => install_debian(&["nodejs", "npm"]),
            Tool::Chromium => install_debian(&["chromium"]),
            Tool::NpmPackages => install_npm_packages(workspace),
            Tool::Nats | Tool::OldNats | Tool::Valkey => Ok(()),
        }
        .with_context(|| format!("{} could not be installed; by hand: {}", tool.name(), tool.by_hand()))?;
    }
    match find(workspace, tool)? {
        Some(found) => Ok(found),
        None => bail!("{} is missing; by hand: {}", tool.name(), tool.by_hand()),
    }
}

/// A pinned server is better than whatever the path has, so that one is only the last resort.
fn provide_server(workspace: &Workspace, tool: Tool, server: &Server, install: Install) -> Result<PathBuf> {
    let mut why = String::new();
    if install == Install::Missing {
        println!("{} is missing: obtaining it", tool.name());
        match server.obtain(workspace).and_then(|()| server.find(workspace)) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => why = ": what was obtained is not there".into(),
            Err(error) => why = format!(": {error:#}"),
        }
    }
    match server.on_path() {
        Some(found) => Ok(found),
        None => bail!("{} is missing{why}; by hand: {}", tool.name(), tool.by_hand()),
    }
}

/// The path of a tool's program, if it is here and usable.
fn find(workspace: &Workspace, tool: Tool) -> Result<Option<PathBuf>> {
    Ok(match tool {
        Tool::CargoDeny => {
            let own = tools_folder(workspace).join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
            [Some(own), on_path("cargo-deny")].into_iter().flatten().find(|path| is_our_cargo_deny(path))
        }
        Tool::CargoFuzz => {
            let own = tools_folder(workspace).join("bin").join(format!("cargo-fuzz{}", std::env::consts::EXE_SUFFIX));
            [Some(own), on_path("cargo-fuzz")].into_iter().flatten().find(|path| path.is_file())
        }
        Tool::Node => on_path("npm").and(on_path("node")),
        Tool::Chromium => match std::env::var_os("CHROMIUM") {
            // A path that somebody set and that is not there is a mistake to tell of, not to work around.
            Some(path) if Path::new(&path).is_file() => Some(PathBuf::from(path)),
            Some(path) => bail!("CHROMIUM is set to {}, which is no file", path.display()),
            None => ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path),
        },
        Tool::NpmPackages => {
            let folders = npm_folders(workspace)?;
            folders.iter().all(|folder| is_installed(folder)).then(|| workspace.root.clone())
        }
        Tool::Nats => servers::NATS.find(workspace)?,
        Tool::OldNats => servers::OLD_NATS.find(workspace)?,
        Tool::Valkey => servers::VALKEY.find(workspace)?,
    })
}

fn is_our_cargo_deny(path: &Path) -> bool {
    path.is_file() && capture(Command::new(path).arg("--version")).is_ok_and(|said| said.starts_with(CARGO_DENY.0))
}

fn tools_folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

/// Builds a tool for the least time: it runs for a second or two, and its build is what one waits for. cargo-deny without
/// its default features asks cargo for the crate graph and carries no second one of its own.
fn install_cargo_tool(workspace: &Workspace, what: &[&str]) -> Result<()> {
    let root = tools_folder(workspace);
    let build = root.join("build").join(what[0]);
    let mut command = Command::new(cargo());
    // Outside the workspace, so that neither its configuration nor its target folder is taken for this build.
    command.current_dir(std::env::temp_dir());
    command.arg("install").args(what).args(["--locked", "--root"]).arg(&root).env("CARGO_TARGET_DIR", &build);
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    run(&mut command)?;
    std::fs::remove_dir_all(&build).with_context(|| format!("removing what {} was built in", what[0]))
}

fn install_debian(packages: &[&str]) -> Result<()> {
    let Some(apt) = on_path("apt-get") else { bail!("there is no apt-get here") };
    let id = capture(Command::new("id").arg("-u")).context("asking who we are")?;
    if id.trim() != "0" {
        bail!("apt-get needs root");
    }
    run(Command::new(&apt).args(["-q", "update"]))?;
    let mut command = Command::new(&apt);
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "install", "--yes", "--no-install-recommends"]);
    run(command.args(packages))
}

fn install_npm_packages(workspace: &Workspace) -> Result<()> {
    for folder in npm_folders(workspace)? {
        if !is_installed(&folder) {
            let mut command = Command::new("npm");
            run(command.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
        }
    }
    Ok(())
}

/// The folders of the tree that have a `package-lock.json`.
fn npm_folders(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut command = workspace.command("git");
    command.args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "package-lock.json"]);
    let listed = capture(command.arg("*/package-lock.json"))?;
    let mut folders: Vec<PathBuf> =
        listed.lines().filter_map(|line| workspace.root.join(line).parent().map(Path::to_path_buf)).collect();
    folders.sort();
    folders.dedup();
    Ok(folders)
}

/// npm writes its own lock file into `node_modules` last, so one that is no older than ours means a finished install.
fn is_installed(folder: &Path) -> bool {
    let modified = |name: &str| std::fs::metadata(folder.join(name)).and_then(|data| data.modified()).ok();
    match (modified("node_modules/.package-lock.json"), modified("package-lock.json")) {
        (Some(installed), Some(wanted)) => installed >= wanted,
        _ => false,
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|path| path.is_file())
}
