//! `chamberlain nats`.

use std::io::Read;
use std::path::PathBuf;

use chamberlain_net::subjects::permissions::Users;
use clap::{Args, Subcommand};

use super::output::print;
use super::{Failure, Place};
use crate::auth::reserved;

/// Longest list that is read, bytes.
const LIST_MAX: u64 = 16 * 1024 * 1024;

/// What a NATS server must know to let clients talk to rooms over subjects
#[derive(Subcommand, Debug)]
pub(super) enum Nats {
    /// Print the accounts of a NATS server's configuration: who connects, and what each may publish and hear
    Permissions(Permissions),
}

#[derive(Args, Debug)]
#[command(
    after_help = "The list has a line for each user: what it is, its name, and its bcrypt hash or public nkey.\n\n  \
    service chamberlain $2a$11$...        as whom the server connects: subjects.user\n  \
    user ada $2a$11$...                   a client, by the name of its account\n  \
    user build-bot UAH4...                one with an nkey\n  \
    peer-service chamberlain-peers $2a$...  as whom the server hears other servers: subjects.peer_user\n  \
    peer away UBQ7...                     another server\n\n\
    Example:\n  \
    chamberlain nats permissions users.txt > accounts.conf   and `include accounts.conf` in nats-server.conf\n\n\
    Hashes come from `nats server passwd`, `htpasswd -nB` or `mkpasswd -m bcrypt`. Secrets themselves have no place in the list."
)]
pub(super) struct Permissions {
    #[command(flatten)]
    place: Place,
    /// File with the list; - for standard input
    list: PathBuf,
}

impl Nats {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Permissions(permissions) => permissions.run(),
        }
    }
}

impl Permissions {
    fn run(self) -> Result<(), Failure> {
        let site = self.place.load()?.config.site;
        let failed = |why: std::io::Error| Failure::failed(format!("{}: {why}", self.list.display()));
        let source: Box<dyn Read> = if self.list.as_os_str() == "-" {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(&self.list).map_err(failed)?)
        };
        let mut text = String::new();
        source.take(LIST_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > LIST_MAX {
            return Err(Failure::usage(format!("{}: is larger than {LIST_MAX} bytes", self.list.display())));
        }
        let users = Users::read(&text, &site, reserved)
            .map_err(|problems| Failure::usage(format!("{}:\n  {}", self.list.display(), problems.join("\n  "))))?;
        print(&users.render())
    }
}
