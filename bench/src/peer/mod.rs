//! Processes of this same program, each with a role: a server, clients that drain, a bare loop that writes.
//!
//! A role is told what it is by one JSON argument, and takes questions as lines of JSON on its standard input. It answers each
//! with one line, and ends when its input does. CPU time and memory are then those of the role, and nobody else's.

pub(crate) mod bare;
pub(crate) mod clients;
mod reader;
pub(crate) mod server;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The first argument of a process that has a role.
pub(crate) const ROLE: &str = "--role";

/// What its work has cost a process so far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// CPU time, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Memory, in bytes.
    pub(crate) resident: u64,
}

impl Cost {
    /// Of this process, now.
    fn now() -> Result<Self> {
        let cpu_ns = u64::try_from(chamberlain_bench::cost::cpu_time().as_nanos())?;
        Ok(Self { cpu_ns, resident: chamberlain_bench::cost::resident_bytes()? })
    }
}

/// The hold on a process with a role; it ends when this is dropped.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one, and waits for its first words.
    pub(crate) fn start<T: DeserializeOwned>(role: &str, plan: &impl Serialize) -> Result<(Self, T)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, role, &serde_json::to_string(plan)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("standard input was asked to be a pipe")?;
        let lines = BufReader::new(child.stdout.take().context("standard output was asked to be a pipe")?);
        let mut peer = Self { child, input, lines };
        let said = peer.answer().with_context(|| format!("starting the {role}"))?;
        Ok((peer, said))
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<T> {
        self.tell(question)?;
        self.answer()
    }

    /// Asks, and leaves the answer for later.
    pub(crate) fn tell(&mut self, question: &impl Serialize) -> Result<()> {
        writeln!(self.input, "{}", serde_json::to_string(question)?)?;
        Ok(self.input.flush()?)
    }

    /// The answer to the oldest question that has none.
    pub(crate) fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("the process ended without an answer");
        }
        let said: Result<T, String> = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        said.map_err(anyhow::Error::msg)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other end: the life of a process with a role. What goes wrong is an answer, too.
pub(crate) fn live(arguments: &[String]) -> Result<()> {
    let [role, plan] = arguments else { bail!("{ROLE}: which role, and its plan as JSON") };
    let lived = match role.as_str() {
        "server" => server::live(serde_json::from_str(plan)?),
        "bare" => bare::live(serde_json::from_str(plan)?),
        "clients" => clients::live(serde_json::from_str(plan)?),
        other => bail!("there is no role {other}"),
    };
    if let Err(why) = lived {
        say::<()>(&Err(format!("{role}: {why:#}")))?;
    }
    Ok(())
}

/// Answers a question.
fn say<T: Serialize>(said: &Result<T, String>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(said)?)?;
    Ok(output.flush()?)
}

/// The next question; `None` when there are no more.
fn question<T: DeserializeOwned>() -> Result<Option<T>> {
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
