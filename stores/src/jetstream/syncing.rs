//! Asking servers, through their system account, whether they sync each write before they acknowledge it.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::opening::{OpenError, SERVER_LEAST, version};

/// Every server answers what is asked here, to whoever is of the system account.
const QUESTION: &str = "$SYS.REQ.SERVER.PING.JSZ";

/// How long after an answer another server's may still come.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// More servers than a cluster has.
const SERVERS_MOST: usize = 1_000;

#[derive(Deserialize)]
struct Answer {
    server: Server,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    ver: String,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    disabled: bool,
    config: Option<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    sync_always: bool,
}

/// Asks every server with JetStream; at least `least` must answer, and none may be lax or too old.
pub(super) async fn verify(system: Client, least: usize, deadline: Instant) -> Result<(), OpenError> {
    let unseen = |why: String| OpenError::Unverified(why);
    let inbox = system.new_inbox();
    let asking = async {
        let answers = system.subscribe(inbox.clone()).await.map_err(|why| unseen(why.to_string()))?;
        let asked = system.publish_with_reply(QUESTION, inbox, r#"{"config":true}"#.into()).await;
        asked.map(|()| answers).map_err(|why| unseen(why.to_string()))
    };
    let mut answers = timeout_at(deadline, asking).await.map_err(|_| unseen("no answer came in time".into()))??;
    let mut synced = 0;
    let mut until = deadline;
    for _ in 0..SERVERS_MOST {
        let Ok(Some(message)) = timeout_at(until, answers.next()).await else { break };
        let Ok(Answer { server, data: Some(data) }) = serde_json::from_slice(&message.payload) else {
            return Err(unseen(
                "an answer was not understood: are the credentials those of the system account?".into(),
            ));
        };
        until = deadline.min(Instant::now() + STRAGGLERS);
        let Some(configuration) = data.config.filter(|_| !data.disabled) else { continue };
        if version(&server.ver) < SERVER_LEAST {
            return Err(OpenError::TooOld { version: server.ver });
        }
        if !configuration.sync_always {
            return Err(OpenError::SyncsLate { server: server.name });
        }
        synced += 1;
    }
    if synced < least {
        return Err(unseen(format!("{synced} servers with JetStream answered, and {least} are needed")));
    }
    Ok(())
}
