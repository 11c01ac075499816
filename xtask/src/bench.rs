//! `cargo xtask bench`: the benchmarks, and where their report is.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::run::{Workspace, run};
use crate::tools::{self, Install};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A short run that shows that everything works; its figures mean little.
    #[arg(long)]
    quick: bool,
    /// Handed on to the benchmarks.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the benchmarks in release and says where the report lies.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut command = workspace.cargo(&["run", "--release", "--locked", "--package", "chamberlain-bench", "--"]);
    if args.quick {
        command.arg("--quick");
    }
    command.envs(tools::provide_servers(workspace, Install::Missing)?);
    run(command.args(&args.rest))?;
    let report = workspace.target.join(Path::new("bench/report.html"));
    ensure!(report.is_file(), "the benchmarks ended well but wrote no {}", report.display());
    println!("\nreport: {}", report.display());
    Ok(())
}
