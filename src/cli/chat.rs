//! `chamberlain chat`: finds the server and a token; the talking is in [`crate::chat`].

use chamberlain_core::id::AccountId;
use clap::Args;
use serde::Deserialize;
use zeroize::Zeroizing;

use std::time::Duration;

use super::door::{Remote, running, token_of_environment};
use super::token::now;
use super::{Failure, Place};
use crate::auth::mint;
use crate::chat::{Options, talk};
use crate::client::Client;
use crate::config::{Config, SignInMode};

/// How long a token lasts that is made for a talk.
const TTL: Duration = Duration::from_secs(12 * 3_600);

/// Talk in a room from this terminal
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    chamberlain chat lobby --as ada --create       make the channel if ada is in none of that name\n  \
    chamberlain chat @bob --as ada                 a direct message room\n  \
    echo 'the build is red' | chamberlain chat builds --as robot\n\n\
    What is said is sealed and opened here; each line shows the revision and the key version. /help says what else there is.\n\
    The token comes from CHAMBERLAIN_TOKEN; without it, development sign-in takes the name, and where this machine has the\n\
    secret of tokens, one is made.")]
pub(super) struct Chat {
    /// A room's id, a channel's name, or @ACCOUNT for a direct message room
    room: String,
    /// Who speaks
    #[arg(long = "as", value_name = "ACCOUNT")]
    account: AccountId,
    /// Make a channel of that name when there is none
    #[arg(long)]
    create: bool,
    /// How many of the last revisions to begin with
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    last: u32,
    /// Go on showing what others say when the input has ended
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Deserialize)]
struct PublicConfig {
    sign_in: String,
}

impl Chat {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let given = token_of_environment();
        let client = match &self.remote.url {
            Some(url) => {
                let token = match given {
                    Some(token) => token,
                    None => {
                        let probe = self.remote.client(url, Zeroizing::default())?;
                        by_name(&probe, &self.account).await?.ok_or_else(|| {
                            Failure::usage("this server takes signed tokens: put one into CHAMBERLAIN_TOKEN")
                        })?
                    }
                };
                self.remote.client(url, token)?
            }
            None => {
                let config = self.place.load()?.config;
                let absent = || {
                    Failure::failed(format!(
                        "no server runs over {}: begin with `chamberlain serve`",
                        config.data.display()
                    ))
                };
                let (probe, _) = running(&config, Zeroizing::default()).await?.ok_or_else(absent)?;
                let token = match given {
                    Some(token) => token,
                    None => match by_name(&probe, &self.account).await? {
                        Some(token) => token,
                        None => made(&config, &self.account)?,
                    },
                };
                running(&config, token).await?.ok_or_else(absent)?.0
            }
        };
        let options =
            Options { room: self.room, account: self.account, create: self.create, last: self.last, stay: self.stay };
        talk(client, options).await
    }
}

/// The token of an account where a name is enough.
async fn by_name(server: &Client, account: &AccountId) -> Result<Option<Zeroizing<String>>, Failure> {
    let config: PublicConfig = server.get("/v1/config").await?;
    Ok((config.sign_in == "development").then(|| Zeroizing::new(account.to_string())))
}

/// A token made with the secret of this machine.
fn made(config: &Config, account: &AccountId) -> Result<Zeroizing<String>, Failure> {
    let token = match &config.sign_in.mode {
        SignInMode::Jwt(rules) => {
            mint(rules, account, None, false, TTL, now()).map_err(|why| Failure::usage(why.to_string()))?
        }
        SignInMode::Development => {
            return Err(Failure::usage("this server takes signed tokens: put one into CHAMBERLAIN_TOKEN"));
        }
    };
    Ok(Zeroizing::new(token))
}
