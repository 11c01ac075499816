//! What an earlier run left unfinished: effects behind their rooms, and disabled accounts still in rooms.

use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, LogId, RequestId};

use super::Inner;
use super::effects::cursor_mark;
use crate::auth::Identity;

/// Logs and accounts looked at in one go.
const PAGE: usize = 1_000;
/// Wait before trying again what a store did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Looks through all rooms and accounts once, in the background. Among several nodes, through those rooms that it owns, and again
/// whenever other nodes live than before: one that is gone may have left something unfinished.
pub(super) async fn resume(inner: Arc<Inner>) {
    if inner.colleagues.is_some() {
        // Those that are there are heard first.
        tokio::time::sleep(Duration::from_millis(inner.settings.limits.announce_ms.into())).await;
    }
    resume_effects(&inner).await;
    expel_disabled(&inner).await;
    while let Some(colleagues) = &inner.colleagues {
        colleagues.changed.notified().await;
        resume_effects(&inner).await;
    }
}

async fn resume_effects(inner: &Arc<Inner>) {
    let mut after: Option<LogId> = None;
    loop {
        let page = match inner.stores.logs.list(after.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "rooms cannot be listed; unfinished effects wait");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for log in page {
            let LogId::Room(room) = &log else { continue };
            if !inner.owns(*room) {
                continue;
            }
            let head = inner.stores.logs.head(&log).await;
            let done = inner.stores.marks.get(&[cursor_mark(*room)]).await;
            match (head, done) {
                (Ok(head), Ok(done)) if done.first() == Some(&head.revision.0) => {}
                _ => inner.effects.push(*room),
            }
        }
    }
}

async fn expel_disabled(inner: &Arc<Inner>) {
    let mut after: Option<AccountId> = None;
    loop {
        let page = match inner.stores.directory.list(after.as_ref(), PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "accounts cannot be listed; disabled ones stay in their rooms until they can");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        for entry in page.accounts.iter().filter(|entry| entry.disabled) {
            expel_later(inner.clone(), entry.account.clone());
        }
        after = page.accounts.last().map(|entry| entry.account.clone());
        if !page.more || after.is_none() {
            return;
        }
    }
}

/// Removes a disabled account from its rooms, in its own name, trying until it succeeds.
pub(super) fn expel_later(inner: Arc<Inner>, account: AccountId) {
    tokio::spawn(async move {
        let who = Identity { account: account.clone(), name: None, admin: true, expires: None };
        for _ in 0..60 {
            let id = RequestId::from_random(crate::entropy::fresh());
            match inner.expel(&who, id, &account).await {
                Ok(_) => return,
                Err(refused) => tracing::warn!(%account, %refused, "a disabled account is still in a room"),
            }
            tokio::time::sleep(AGAIN).await;
        }
        tracing::error!(%account, "a disabled account is still in a room; disable it again");
    });
}
