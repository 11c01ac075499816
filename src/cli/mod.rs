//! The command line. Each command says what it does in its help, answers on stdout and speaks on stderr.
//!
//! Exit codes: 0 done, 1 it did not work out, 2 the command line or the configuration makes no sense.

mod account;
mod backup;
mod chat;
mod configuration;
mod door;
mod import;
mod nats;
pub(crate) mod output;
mod room;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::client::ClientError;
use crate::config::{self, Flags, Loaded, Problem};
use crate::serve::ServeError;
use crate::{logging, serve::VERSION};

/// A self-hosted server for rooms: channels, direct messages and bots, sealed and in order.
#[derive(Parser, Debug)]
#[command(
    name = "chamberlain",
    version = VERSION,
    after_help = "Begin with:\n  chamberlain serve              then open http://127.0.0.1:7300\n  chamberlain chat lobby --as ada   talk from this terminal\n\n\
                  Exit codes: 0 done, 1 it did not work out, 2 the command line or the configuration makes no sense."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Make a token with which an account signs in
    Token(token::Token),
    /// The accounts of the directory
    #[command(subcommand)]
    Account(account::Account),
    /// The rooms, as an administrator sees them: who and when, never what was said
    #[command(subcommand)]
    Room(room::Room),
    /// Talk in a room from this terminal
    Chat(chat::Chat),
    /// Write a consistent copy of the store to a file; the server goes on
    Backup(backup::Backup),
    /// Put a copy where the store was
    Restore(backup::Restore),
    /// What is configured, and whether it makes sense
    #[command(subcommand)]
    Config(configuration::Configuration),
    /// What a NATS server must know to let clients talk to rooms over subjects
    #[command(subcommand)]
    Nats(nats::Nats),
    /// Print the OpenAPI document of the HTTP API
    Openapi,
}

/// Where the configuration and the data are.
#[derive(Args, Debug, Clone, Default)]
struct Place {
    /// Configuration file; without it, chamberlain.toml in the data folder is read if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder [default: chamberlain-data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl Place {
    fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), data: self.data.clone(), ..Flags::default() }
    }

    fn load(&self) -> Result<Loaded, Failure> {
        load(&self.flags())
    }
}

fn load(flags: &Flags) -> Result<Loaded, Failure> {
    Ok(config::load(flags, &config::environment())?)
}

/// Why a command ends otherwise than well.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It did not work out.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// Whoever reads what is printed has seen enough.
    pub(crate) fn reader_gone() -> Self {
        Self { code: 0, message: String::new() }
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        let lines: Vec<_> = problems.iter().map(|problem| format!("  {problem}")).collect();
        Self::usage(format!("the configuration makes no sense:\n{}", lines.join("\n")))
    }
}

impl From<ServeError> for Failure {
    fn from(why: ServeError) -> Self {
        if why.is_configuration() { Self::usage(why.to_string()) } else { Self::failed(why.to_string()) }
    }
}

impl From<ClientError> for Failure {
    fn from(why: ClientError) -> Self {
        if matches!(why, ClientError::Url(_)) { Self::usage(why.to_string()) } else { Self::failed(why.to_string()) }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // Help and errors of usage are printed by clap, with its exit codes: 0 and 2.
    let Cli { command } = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return end(Err(Failure::failed(format!("the runtime cannot be started: {why}")))),
    };
    let ended = runtime.block_on(run(command));
    // A read of standard input that nobody waits for any more would hold the process.
    runtime.shutdown_background();
    end(ended)
}

async fn run(command: Command) -> Result<(), Failure> {
    if !matches!(command, Command::Serve(_)) {
        logging::start_quiet();
    }
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Token(token) => token.run(),
        Command::Account(account) => account.run().await,
        Command::Room(room) => room.run().await,
        Command::Chat(chat) => chat.run().await,
        Command::Backup(backup) => backup.run().await,
        Command::Restore(restore) => restore.run().await,
        Command::Config(configuration) => configuration.run().await,
        Command::Nats(nats) => nats.run(),
        Command::Openapi => {
            let document = chamberlain_net::server::openapi(VERSION);
            let text = serde_json::to_string_pretty(&document).map_err(|why| Failure::failed(why.to_string()))?;
            output::line(text)
        }
    }
}

fn end(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                output::say(format!("chamberlain: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_understood_and_nonsense_is_not() {
        for good in [
            "serve",
            "serve --dev --listen 127.0.0.1:0 --data d --config c",
            "token ada --ttl 12h --name Ada --admin",
            "account import people.csv",
            "account list --json",
            "account show ada --url http://localhost:7300",
            "account disable ada",
            "room list",
            "room log abcdefghijklmnopq --after 5",
            "room archive abcdefghijklmnopq",
            "room continue abcdefghijklmnopq --json",
            "room continue abcdefghijklmnopq --yes 12-0123456789abcdef",
            "chat lobby --as ada",
            "backup copy.redb",
            "restore copy.redb",
            "config check --config c",
            "config print",
            "nats permissions users.txt",
            "openapi",
        ] {
            let words = std::iter::once("chamberlain").chain(good.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{good}");
        }
        for bad in [
            "",
            "sing",
            "serve now",
            "token",
            "token Ada",
            "token ada --ttl forever",
            "token ada --ttl 0s",
            "chat",
            "chat lobby",
        ] {
            let words = std::iter::once("chamberlain").chain(bad.split_terminator(' '));
            let error = Cli::try_parse_from(words).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
    }
}
