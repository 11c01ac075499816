//! How a command reaches the rooms: through the server that runs, or through one that it opens for itself.
//!
//! A server that is named by `--url` is spoken to over the network; otherwise the data folder says where one runs. Only when
//! none does is the folder opened, by a server on loopback that takes the command's own token and no other, for as long as the
//! command lasts: there is one way to do things, whoever asks. Which of these it is is said on stderr.

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::output::say;
use super::{Failure, Place};
use crate::auth::read_token;
use crate::beacon::Beacon;
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::serve::{ServeError, Server};
use crate::tls::Trust;

/// Where a server is that somebody names.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct Remote {
    /// Speak to the server at this address, with the token in CHAMBERLAIN_TOKEN
    #[arg(long, value_name = "URL", env = "CHAMBERLAIN_URL", hide_env_values = true)]
    pub(super) url: Option<String>,
    /// Trust certificates signed by one in this file, and not those that this machine trusts
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
}

impl Remote {
    fn trust(&self) -> Trust {
        self.ca.clone().map_or(Trust::System, Trust::Authority)
    }

    /// The server that is named, spoken to with this token.
    pub(super) fn client(&self, url: &str, token: Zeroizing<String>) -> Result<Client, Failure> {
        Ok(Client::new(url, &self.trust(), token)?)
    }
}

/// The token that the environment gives.
pub(super) fn token_of_environment() -> Option<Zeroizing<String>> {
    std::env::var("CHAMBERLAIN_TOKEN")
        .ok()
        .map(|token| Zeroizing::new(token.trim().to_owned()))
        .filter(|token| !token.is_empty())
}

/// The server that runs over a data folder, if there is one: where it is, and whom to trust.
pub(super) async fn running(config: &Config, token: Zeroizing<String>) -> Result<Option<(Client, Beacon)>, Failure> {
    let Some(beacon) = Beacon::read(&config.data) else { return Ok(None) };
    let trust = beacon.certificate().map_or(Trust::System, Trust::Certificate);
    let client = Client::new(&beacon.url(), &trust, token)?;
    match client.connect().await {
        Ok(_) => Ok(Some((client, beacon))),
        // It ended badly and left its file behind; whether somebody holds the store, the store will say.
        Err(ClientError::Unreachable(..)) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// Does `work` through a server: the one named, the one that runs, or one opened for it.
pub(super) async fn through<T, F>(place: &Place, remote: &Remote, work: impl FnOnce(Client) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    if let Some(url) = &remote.url {
        let token = token_of_environment()
            .ok_or_else(|| Failure::usage("with --url, the token of an administrator must be in CHAMBERLAIN_TOKEN"))?;
        say(format!("(through the server at {url})"));
        return work(remote.client(url, token)?).await;
    }
    let config = place.load()?.config;
    let token = read_token(&config.data).unwrap_or_default();
    if let Some((client, beacon)) = running(&config, token).await? {
        say(format!("(through the server at {}, process {})", client.url(), beacon.pid));
        return work(client).await;
    }
    let opened = Opened::open(&config).await?;
    let client = Client::new(&opened.url, &Trust::System, opened.token.clone())?;
    let done = work(client).await;
    opened.close().await;
    done
}

/// A server for one command.
struct Opened {
    url: String,
    token: Zeroizing<String>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Opened {
    async fn open(config: &Config) -> Result<Self, Failure> {
        let data = config.data.display();
        if !config.data.join(chamberlain_stores::embedded::FILE_NAME).exists() {
            return Err(Failure::failed(format!(
                "no server runs over {data}, and there is no data in it; begin with `chamberlain serve`"
            )));
        }
        say(format!("(no server runs: opening {data})"));
        let server = Server::open_private(config).await.map_err(|why| match why {
            ServeError::Open(why @ chamberlain_stores::embedded::OpenError::Held(_)) => Failure::failed(format!(
                "{why}, and says nowhere where it can be reached: wait until it runs, or stop it"
            )),
            why => why.into(),
        })?;
        let (stop, stopped) = oneshot::channel();
        let (url, token) = (format!("http://{}", server.address()), server.token());
        let serving = tokio::spawn(server.run(async move {
            let _stopped_or_dropped = stopped.await;
        }));
        Ok(Self { url, token, stop, serving })
    }

    async fn close(self) {
        let _ended_already = self.stop.send(());
        if self.serving.await.is_err() {
            say("the store was not closed in good order; nothing that was answered is lost");
        }
    }
}
