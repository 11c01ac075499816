//! A server between two requests: what its process has in memory, the disk beneath it, and how its machine is doing.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::data::{Change, Database};
use crate::disk::{Databases, Disk, Entry, Loss};
use crate::scripts;
use crate::settings::{Fsync, Settings};

/// What outlives processes.
#[derive(Debug)]
pub(crate) struct Machine {
    /// As the configuration file says; a process begins with these.
    pub(crate) settings: Settings,
    pub(crate) disk: Disk,
    /// Why nothing can be written to the disk, in the operating system's words.
    pub(crate) disk_fault: Option<String>,
    /// Whether the server is a copy of another one, and takes no writes.
    pub(crate) is_replica: bool,
    pub(crate) process: Option<Process>,
    lives: u64,
}

/// What a process has in memory.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) run_id: String,
    /// As they are now; `CONFIG SET` changes them, until the process ends.
    pub(crate) settings: Settings,
    pub(crate) databases: Databases,
    /// Scripts that were loaded, by digest.
    pub(crate) scripts: BTreeSet<String>,
    pub(crate) started: Instant,
    pub(crate) loaded: Instant,
    /// Connections there are, and that there ever were.
    pub(crate) clients: usize,
    pub(crate) connections: u64,
    pub(crate) commands: u64,
    /// What could not be written.
    unwritten: Vec<Entry>,
    last_write_failed: bool,
    /// Entries made in this life, and of these how many were made when the disk's numbers were last compared.
    entries: u64,
}

/// The process cannot go on: the real one ends itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fatal;

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, disk: Disk::default(), disk_fault: None, is_replica: false, process: None, lives: 0 }
    }

    /// Begins a process over what the disk has.
    pub(crate) fn boot(&mut self) {
        self.lives += 1;
        let now = Instant::now();
        let kept = self.settings.appendonly;
        if !kept {
            self.disk.lose(Loss::Everything);
        }
        self.process = Some(Process {
            run_id: scripts::digest(format!("{} {}", self.settings.name, self.lives).as_bytes()),
            settings: self.settings.clone(),
            databases: self.disk.read(),
            scripts: BTreeSet::new(),
            started: now,
            loaded: now + self.settings.loading,
            clients: 0,
            connections: 0,
            commands: 0,
            unwritten: Vec::new(),
            last_write_failed: false,
            entries: self.disk.written(),
        });
    }

    /// Makes changes, and writes them to the append-only file. The number of the entry, which is to be synced.
    pub(crate) fn commit(&mut self, database: usize, changes: Vec<Change>) -> Result<u64, Fatal> {
        let Some(process) = &mut self.process else { return Err(Fatal) };
        if changes.is_empty() {
            return Ok(process.entries);
        }
        for change in &changes {
            match change {
                Change::Flush => process.databases.iter_mut().for_each(|database| database.apply(change)),
                change => process.databases[database].apply(change),
            }
        }
        process.entries += 1;
        if !process.settings.appendonly {
            return Ok(process.entries);
        }
        let now = Instant::now();
        match changes[..] {
            // Of all databases, and each has its own.
            [Change::Flush] => {
                let all = 0..process.databases.len();
                process.entries += all.len() as u64 - 1;
                let flush = |database| Entry { database, changes: vec![Change::Flush], at: now };
                process.unwritten.extend(all.map(flush));
            }
            _ => process.unwritten.push(Entry { database, changes, at: now }),
        }
        let entries = process.entries;
        self.write_down()?;
        Ok(entries)
    }

    /// Writes what is to be written, if the disk takes it.
    pub(crate) fn write_down(&mut self) -> Result<(), Fatal> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.unwritten.is_empty() {
            process.last_write_failed = false;
            return Ok(());
        }
        if self.disk_fault.is_some() {
            process.last_write_failed = true;
            // What was promised to be on the disk cannot be: the real server ends itself.
            return if process.settings.appendfsync == Fsync::Always { Err(Fatal) } else { Ok(()) };
        }
        process.last_write_failed = false;
        process.unwritten.drain(..).for_each(|entry| self.disk.write(entry));
        Ok(())
    }

    /// Why writes are refused, in the server's words: its disk does not take them.
    pub(crate) fn misconfigured(&self) -> Option<String> {
        let failed = self.process.as_ref().is_some_and(|process| process.last_write_failed);
        let why = self.disk_fault.as_deref().unwrap_or("Input/output error");
        failed.then(|| format!("MISCONF Errors writing to the AOF file: {why}"))
    }
}

impl Process {
    /// Whether it is still reading its files.
    pub(crate) fn is_loading(&self) -> bool {
        Instant::now() < self.loaded
    }

    /// Whether the last write to the append-only file failed.
    pub(crate) fn last_write_failed(&self) -> bool {
        self.last_write_failed
    }

    /// Bytes of all keys and values, about.
    pub(crate) fn bytes(&self) -> usize {
        self.databases.iter().map(Database::bytes).sum()
    }
}
