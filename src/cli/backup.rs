//! `chamberlain backup` and `chamberlain restore`.
//!
//! A copy appears under its name only when it is whole and durable, and is put in place only after every record, body and
//! secret in it was looked at. Neither ever writes over a file.

use std::io;
use std::path::{Path, PathBuf};

use chamberlain_stores::embedded::{self, Embedded, Options};
use chamberlain_stores::master_key::{self, MasterKeySource};
use clap::Args;
use tokio::fs::{File, OpenOptions};

use super::door::{Remote, through};
use super::output::{line, say};
use super::{Failure, Place};
use crate::serve::ServeError;

/// Write a consistent copy of the store to a file; the server goes on meanwhile
#[derive(Args, Debug)]
#[command(
    after_help = "The copy holds everything but the master key, without which nothing in it can be read: keep a copy of\n\
    that, too, and not in the same place."
)]
pub(super) struct Backup {
    /// The file, which must not be there yet
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: Remote,
}

impl Backup {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { file, place, remote } = self;
        let partial = beside(&file, ".partial");
        let mut into = create(&file, &partial).await?;
        let copied =
            through(&place, &remote, async |client| Ok(client.download("/v1/admin/backup", &mut into).await?)).await;
        let finished = match copied {
            Ok(bytes) => finish(into, &partial, &file).await.map(|()| bytes),
            Err(why) => Err(why),
        };
        match finished {
            Ok(bytes) => line(format!("{} holds a copy of {bytes} bytes", file.display())),
            Err(why) => {
                let _absent = tokio::fs::remove_file(&partial).await;
                Err(why)
            }
        }
    }
}

/// Put a copy where the store was
#[derive(Args, Debug)]
#[command(
    after_help = "The data folder must hold no store (move the old one away first), and the master key that belongs to the\n\
    copy: as master.key, or by CHAMBERLAIN_MASTER_KEY. Everything in the copy is checked before it is put in place.\n\
    What was said after the copy was made is lost; clients that saw it are told that their position is unknown."
)]
pub(super) struct Restore {
    /// The copy
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?.config;
        let store = config.data.join(embedded::FILE_NAME);
        if store.exists() {
            return Err(Failure::failed(format!(
                "{} is there: stop the server and move it away first",
                store.display()
            )));
        }
        if !self.file.is_file() {
            return Err(Failure::failed(format!("{} is no file", self.file.display())));
        }
        let own_key = config.data.join(master_key::FILE_NAME);
        if matches!(config.master_key, MasterKeySource::DataFolder) && !own_key.exists() {
            return Err(Failure::usage(format!(
                "{} is not there: put the master key that belongs to the copy there, or give it by CHAMBERLAIN_MASTER_KEY",
                own_key.display()
            )));
        }
        let key = config.master_key.load(&config.data).map_err(ServeError::from)?.key;
        tokio::fs::create_dir_all(&config.data).await.map_err(|why| failed(&config.data, &why))?;
        let partial = beside(&store, ".restoring");
        let _left_over = tokio::fs::remove_file(&partial).await;
        let restored = async {
            let mut into = create(&store, &partial).await?;
            let mut from = File::open(&self.file).await.map_err(|why| failed(&self.file, &why))?;
            tokio::io::copy(&mut from, &mut into).await.map_err(|why| failed(&partial, &why))?;
            into.sync_all().await.map_err(|why| failed(&partial, &why))?;
            drop(into);
            let opened = Embedded::open_file(&partial, &key, &config.site, Options::default())
                .await
                .map_err(ServeError::from)?;
            let report = opened.verify(|_| {}).await;
            opened.close().await;
            let report = report.map_err(ServeError::from)?;
            if report.problem_count > 0 {
                for problem in &report.problems {
                    say(format!("  {}: {}", problem.at, problem.what));
                }
                return Err(Failure::failed(format!(
                    "{} things in the copy cannot be right; it was not put in place",
                    report.problem_count
                )));
            }
            tokio::fs::rename(&partial, &store).await.map_err(|why| failed(&store, &why))?;
            sync_folder(&config.data)?;
            Ok(report)
        }
        .await;
        match restored {
            Ok(report) => line(format!(
                "restored: {} logs with {} revisions, {} room keys, {} accounts; all of it was checked",
                report.logs, report.revisions, report.secrets, report.accounts
            )),
            Err(why) => {
                let _absent = tokio::fs::remove_file(&partial).await;
                Err(why)
            }
        }
    }
}

/// A new file that its owner alone may read, which will be called `file`.
async fn create(file: &Path, partial: &Path) -> Result<File, Failure> {
    if file.exists() {
        return Err(Failure::failed(format!("{} is there already", file.display())));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(partial).await.map_err(|why| failed(partial, &why))
}

async fn finish(written: File, partial: &Path, file: &Path) -> Result<(), Failure> {
    written.sync_all().await.map_err(|why| failed(partial, &why))?;
    drop(written);
    tokio::fs::rename(partial, file).await.map_err(|why| failed(file, &why))?;
    sync_folder(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes the entry of a new file durable. A folder can be synced on Unix alone.
fn sync_folder(folder: &Path) -> Result<(), Failure> {
    let synced = if cfg!(unix) { std::fs::File::open(folder).and_then(|folder| folder.sync_all()) } else { Ok(()) };
    synced.map_err(|why| failed(folder, &why))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(end);
    file.with_file_name(name)
}

fn failed(path: &Path, why: &io::Error) -> Failure {
    Failure::failed(format!("{}: {why}", path.display()))
}
