//! `cargo xtask advisories`: known vulnerabilities among the dependencies.
//!
//! Apart from `cargo xtask test`, because the database lives in a git repository that cannot be reached everywhere a
//! clone can be built. Run it where the network is, before every release.

use anyhow::{Context, Result};

use crate::run::{Workspace, run};
use crate::tools::{self, Install, Tool};

/// How to get the tool.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Say what is missing and install nothing.
    #[arg(long)]
    no_install: bool,
}

/// Fetches the RustSec database and checks `Cargo.lock` against it.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    println!("fetches the RustSec advisory database with git: this needs the network");
    let deny = tools::provide(workspace, Tool::CargoDeny, Install::unless(args.no_install))?;
    run(workspace.command(deny).args(["--workspace", "check", "advisories"]))
        .context("an advisory applies, or the database could not be fetched (see above)")
}
