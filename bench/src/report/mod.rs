//! The report: a page with everything in it, the same as JSON, and a table on the terminal.

mod page;
mod svg;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::{Context, Result};
use chamberlain_bench::cost;
use serde::Serialize;

use crate::figure::{Figure, Found};

/// What ran, where, and what came out.
#[derive(Serialize)]
pub(crate) struct Report {
    processor: String,
    cores: usize,
    system: String,
    memory_bytes: u64,
    /// Seconds since the epoch.
    time: u64,
    quick: bool,
    seconds: u64,
    #[serde(flatten)]
    found: Found,
    /// Groups that could not be measured, and why.
    failed: Vec<Failed>,
}

/// A group that could not be measured.
#[derive(Serialize)]
pub(crate) struct Failed {
    pub(crate) group: &'static str,
    pub(crate) why: String,
}

impl Report {
    pub(crate) fn new(found: Found, failed: Vec<Failed>, quick: bool, seconds: u64) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let total = read("/proc/meminfo");
        let kib = total.lines().next().and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        Self {
            processor: cost::processor(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            memory_bytes: kib.unwrap_or(0) * 1024,
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            quick,
            seconds,
            found,
            failed,
        }
    }

    /// Writes both files, and says where.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)?)?;
        let page = folder.join("report.html");
        fs::write(&page, page::render(self))?;
        Ok(page)
    }

    /// The machine, in a line.
    fn machine(&self) -> String {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        format!("{}, {} cores, {gib:.0} GiB, {}", self.processor, self.cores, self.system)
    }

    /// The table, for a terminal.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![self.machine()];
        if self.quick {
            lines.push("quick: few rounds of little work; the figures mean little".into());
        }
        let width = self.found.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        let mut group = "";
        for figure in &self.found.figures {
            if figure.group != group {
                group = figure.group;
                lines.push(format!("\n{group}"));
            }
            lines.push(row(figure, width));
        }
        for failed in &self.failed {
            lines.push(format!("\n{}: not measured: {}", failed.group, failed.why));
        }
        lines.join("\n")
    }
}

fn row(figure: &Figure, width: usize) -> String {
    let margin = figure.bar.map_or(String::new(), |bar| format!("{:.2} x", bar.margin(figure.value)));
    let row = format!(
        "  {:<width$}  {:>14}  {:>16}  {:>8}  {}",
        figure.name,
        figure.shown(),
        figure.bar_shown(),
        margin,
        figure.verdict(),
    );
    row.trim_end().to_owned()
}
