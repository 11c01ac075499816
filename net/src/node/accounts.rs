//! The logs of accounts: appended by the effects of rooms, shown to the account's connections.
//!
//! A connection joins its account's listeners and learns the head in one step under the log's lock, so that no event falls
//! between the two.

use std::sync::Arc;

use chamberlain_core::account::{AccountChange, AccountState};
use chamberlain_core::fanout::Input as SocketInput;
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::log::{Body, Entry, Logged, Record};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::wire::ServerFrame;
use chamberlain_stores::Appended;

use super::Inner;
use super::load::classify;

/// How much is read at once while folding.
const READ_BYTES: usize = 1024 * 1024;
/// Accounts whose logs are kept folded although nothing happens to them.
const KEPT: usize = 10_000;

/// An account's log, folded when somebody asks.
pub(crate) struct AccountLog {
    account: AccountId,
    state: tokio::sync::Mutex<Option<AccountState>>,
}

impl Inner {
    fn account_log(&self, account: &AccountId) -> Arc<AccountLog> {
        let new = || Arc::new(AccountLog { account: account.clone(), state: tokio::sync::Mutex::new(None) });
        self.accounts.lock().entry(account.clone()).or_insert_with(new).clone()
    }

    /// Drops what nobody uses, when there is much of it.
    pub(super) fn sweep_accounts(&self) {
        let mut accounts = self.accounts.lock();
        if accounts.len() > KEPT {
            accounts.retain(|_, log| Arc::strong_count(log) > 1);
        }
    }

    /// The rooms an account is in, as its log tells, and the log's head.
    pub(super) async fn rooms_of(&self, account: &AccountId) -> Result<(Vec<RoomId>, Revision), Refused> {
        let log = self.account_log(account);
        let mut state = log.state.lock().await;
        let state = self.folded(&log, &mut state).await.map_err(refuse)?;
        Ok((state.rooms().collect(), state.head().revision))
    }

    /// The head of an account's log. `then` is called under the lock: events after that head come after it.
    pub(crate) async fn account_head(&self, account: &AccountId, then: impl FnOnce()) -> Result<Revision, Refused> {
        let log = self.account_log(account);
        let mut state = log.state.lock().await;
        let state = self.folded(&log, &mut state).await.map_err(refuse)?;
        then();
        Ok(state.head().revision)
    }

    /// Whether the account's log has told of this room.
    pub(crate) async fn told(&self, account: &AccountId, room: RoomId) -> Result<bool, Refused> {
        let log = self.account_log(account);
        let mut state = log.state.lock().await;
        let state = self.folded(&log, &mut state).await.map_err(refuse)?;
        Ok(state.told(room).is_some())
    }

    /// Records a change, unless it is no news. At least once is enough: the fold knows what it acted on.
    pub(super) async fn record_change(&self, account: &AccountId, change: &AccountChange) -> Result<(), Failure> {
        let log = self.account_log(account);
        let mut guard = log.state.lock().await;
        loop {
            let state = self.folded(&log, &mut guard).await?;
            if !state.is_news(change) {
                return Ok(());
            }
            let before = state.head();
            let record = Record {
                first: before.revision.next(),
                time: self.clock.wall(),
                entries: vec![Entry {
                    account: account.clone(),
                    request: None,
                    fingerprint: Fingerprint::default(),
                    events: vec![Logged { event: change.clone(), body: Body::None }],
                }],
            };
            let after = record.extend(before).ok_or(Failure::Permanent)?;
            let id = LogId::Account(account.clone());
            match self.stores.logs.append(&id, before, record.encode(), after).await {
                Ok(Appended::Done(_)) => {
                    if let Some(state) = guard.as_mut() {
                        state.apply(&record, after);
                    }
                    self.tell_account(account, after.revision, change);
                    return Ok(());
                }
                // Somebody else appended, or an earlier attempt of ours did: fold again, and look whether it is still news.
                Ok(Appended::Conflict(_)) => *guard = None,
                Err(error) => {
                    *guard = None;
                    return Err(classify(&error));
                }
            }
        }
    }

    fn tell_account(&self, account: &AccountId, revision: Revision, change: &AccountChange) {
        let told = match change {
            AccountChange::Joined { room, .. } => Some(*room),
            AccountChange::Left { .. } => None,
        };
        let frame = ServerFrame::Account { revision, event: change.clone() };
        let framing = self.settings.framing;
        self.sockets.of_account(account, |handle| {
            let frame = framing(handle.codec, handle.codec.encode(&frame));
            handle.push(SocketInput::AccountEvent { frame, told });
        });
    }

    async fn folded<'a>(
        &self,
        log: &AccountLog,
        state: &'a mut Option<AccountState>,
    ) -> Result<&'a AccountState, Failure> {
        if state.is_none() {
            *state = Some(self.fold_account(&log.account).await?);
        }
        state.as_ref().ok_or(Failure::Permanent)
    }

    async fn fold_account(&self, account: &AccountId) -> Result<AccountState, Failure> {
        let log = LogId::Account(account.clone());
        let mut state = AccountState::default();
        loop {
            let after = state.head().revision;
            let records = self.stores.logs.read(&log, after, READ_BYTES).await.map_err(|error| classify(&error))?;
            if records.is_empty() {
                return Ok(state);
            }
            for bytes in records {
                let record = Record::<AccountChange>::decode(&bytes.bytes).map_err(|error| {
                    tracing::error!(%log, %error, "a record cannot be read");
                    Failure::Permanent
                })?;
                let head = record.extend(state.head()).ok_or(Failure::Permanent)?;
                state.apply(&record, head);
            }
        }
    }
}

fn refuse(failure: Failure) -> Refused {
    match failure {
        Failure::Permanent => Reason::Quarantined.into(),
        Failure::Transient | Failure::Unknown => Reason::StoreUnavailable.into(),
    }
}
