//! Tells watchers what the server says it stored, and that they lost some when the connection was lost.
//!
//! The stream republishes the headers of what it stores, on a subject that nobody keeps. What was stored while there was no
//! connection, or while the client fell behind, is never told; so each watcher is made to lag, which it sees as having lost
//! some.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Shared;
use super::api::Wanted;
use super::opening;
use super::stamp::{HEADER, Kind, Stamp};
use crate::{Moved, StoreError, rules};

/// The wait before watchers are told again, when the server does not answer.
const RETRY: Duration = Duration::from_millis(100);

/// Tells watchers until it is stopped. `gaps` counts how often something may have been lost.
pub(super) fn start(shared: Arc<Shared>, mut told: Subscriber, mut gaps: watch::Receiver<u64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            select! {
                biased;
                changed = gaps.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    opening::judge_again(&shared);
                    tell_of_a_gap(&shared).await;
                }
                message = told.next() => match message {
                    Some(message) => {
                        if let Some(moved) = moved(&shared, &message) {
                            // Nobody may be watching.
                            let _ = shared.moved.send(moved);
                        }
                    }
                    None => return,
                }
            }
        }
    })
}

/// What a message says: a log that grew. None when it only says again where one ends.
fn moved(shared: &Shared, message: &Message) -> Option<Moved> {
    let stamp: Stamp = message.headers.as_ref()?.get_last(HEADER)?.as_str().parse().ok()?;
    let log = shared.names.log_of(&message.subject)?;
    (stamp.kind == Kind::Record).then_some(Moved { log, head: stamp.head })
}

/// Makes every watcher lag: sends one hint more than they can be behind. The hint is a true one, of the stream's first record.
async fn tell_of_a_gap(shared: &Shared) {
    let hint = loop {
        // The answer comes by the same connection as what is stored from now on, so that nothing falls between the two.
        match shared.get(Wanted::From(&shared.names.logs(), 1), shared.deadline()).await {
            Ok(Some(first)) => {
                break shared.names.log_of(&first.subject).map(|log| Moved { log, head: first.stamp.head });
            }
            // Nothing was ever stored, so nothing was lost.
            Ok(None) => break None,
            Err(StoreError::Corrupt(why)) => {
                tracing::error!(why, "the stream's first message");
                break None;
            }
            Err(_) => sleep(RETRY).await,
        }
    };
    let Some(hint) = hint else { return };
    tracing::debug!(connection = shared.connection(), "watchers may have lost some");
    for _ in 0..=rules::WATCH_BACKLOG {
        if shared.moved.send(hint.clone()).is_err() {
            return;
        }
    }
}
