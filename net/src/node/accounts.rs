//! The logs of accounts: appended by the effects of rooms, shown to the account's connections.
//!
//! A connection joins its account's listeners and learns the head in one step under the log's lock, so that no event falls
//! between the two. Of an append whose outcome stayed unknown, they are told when the log is read again: what was told goes
//! by the log, not by who appended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chamberlain_core::account::{AccountChange, AccountState};
use chamberlain_core::fanout::Input as SocketInput;
use chamberlain_core::id::{AccountId, LogId, Revision, RoomId};
use chamberlain_core::log::{Body, Entry, Logged, Record};
use chamberlain_core::retry::{Backoff, Failure};
use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::ServerFrame;
use chamberlain_stores::Appended;

use super::Inner;
use super::load::classify;

/// How much is read at once while folding.
const READ_BYTES: usize = 1024 * 1024;
/// Accounts whose logs are kept folded although nothing happens to them.
const KEPT: usize = 10_000;
/// Directory entries that are read at once.
const ACCOUNTS_AT_ONCE: usize = 1_000;
/// How often what the log of an account forgot is tried to be told again.
const TELL_AGAIN: u32 = 30;
/// First and longest wait before a store that did not answer is asked again.
const WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// An account's log, folded when somebody asks.
pub(crate) struct AccountLog {
    account: AccountId,
    folded: tokio::sync::Mutex<Folded>,
    /// The revision it is said to have grown to, and was not read to yet.
    grown: AtomicU64,
}

/// An account's log in memory, as far as it is known.
#[derive(Default)]
struct Folded {
    /// None before it was read, and after an append that may have taken place.
    state: Option<AccountState>,
    /// Up to where connections were told; none before the log was read first. Stays when the state goes.
    told: Option<Revision>,
    /// The time of the last record.
    time: Timestamp,
}

impl Inner {
    fn account_log(&self, account: &AccountId) -> Arc<AccountLog> {
        let new =
            || Arc::new(AccountLog { account: account.clone(), folded: Default::default(), grown: AtomicU64::new(0) });
        self.accounts.lock().entry(account.clone()).or_insert_with(new).clone()
    }

    /// Drops what nobody uses, when there is much of it.
    /// Those of connected accounts stay: by them is known what the connections were told.
    pub(super) fn sweep_accounts(&self) {
        if self.accounts.lock().len() <= KEPT {
            return;
        }
        let connected = self.sockets.accounts();
        self.accounts.lock().retain(|account, log| Arc::strong_count(log) > 1 || connected.contains(account));
    }

    /// The accounts whose logs are in memory.
    pub(super) fn known_accounts(&self) -> Vec<AccountId> {
        self.accounts.lock().keys().cloned().collect()
    }

    /// The log of an account has grown to this revision, or nobody knows how far; whether it is to be read here.
    pub(super) fn account_grew(&self, account: &AccountId, to: Option<Revision>) -> bool {
        let accounts = self.accounts.lock();
        let Some(log) = accounts.get(account) else { return false };
        log.grown.fetch_max(to.map_or(u64::MAX, |to| to.0), Ordering::AcqRel);
        true
    }

    /// Reads an account's log as far as it is said to have grown, and tells connections of it.
    pub(super) async fn follow_account(self: &Arc<Self>, account: &AccountId) -> Result<(), Failure> {
        let Some(log) = self.accounts.lock().get(account).cloned() else { return Ok(()) };
        let mut folded = log.folded.lock().await;
        let grown = log.grown.swap(0, Ordering::AcqRel);
        if folded.state.as_ref().is_some_and(|state| state.head().revision.0 >= grown) {
            return Ok(());
        }
        let read = self.fold_again(&log, &mut folded).await;
        if read.is_err() {
            log.grown.fetch_max(grown, Ordering::AcqRel);
        }
        read
    }

    /// Reads the log of an account anew.
    pub(super) async fn read_again(self: &Arc<Self>, account: &AccountId) -> Result<(), Failure> {
        let log = self.account_log(account);
        let mut folded = log.folded.lock().await;
        self.fold_again(&log, &mut folded).await
    }

    /// Reads a log that was known. One that knows less than it did lost it, and is told again (RACES.md, N-14).
    async fn fold_again(self: &Arc<Self>, log: &AccountLog, folded: &mut Folded) -> Result<(), Failure> {
        let known = folded.state.take();
        let found = self.fold(log, folded).await?;
        let forgotten = known.map(|known| known.beyond(found)).unwrap_or_default();
        if !forgotten.is_empty() {
            tracing::warn!(account = %log.account, rooms = forgotten.len(), "the log of an account forgot: it is told again");
            tokio::spawn(self.clone().tell_again(log.account.clone(), forgotten));
        }
        Ok(())
    }

    /// Tells the log of an account what it forgot, as long as it is right: a room whose own log lost something tells of itself
    /// when it has it back.
    async fn tell_again(self: Arc<Self>, account: AccountId, forgotten: Vec<(RoomId, Revision, bool)>) {
        for (room, at, joined) in forgotten {
            let mut backoff = Backoff::new(WAIT.0, WAIT.1);
            let mut rng = crate::entropy::rng();
            for _ in 0..TELL_AGAIN {
                let told = match joined {
                    false => self.record_change(&account, &AccountChange::Left { room, at }).await,
                    true => self.joined_again(&account, room, at).await,
                };
                if told.is_ok() {
                    break;
                }
                tokio::time::sleep(backoff.wait(&mut rng)).await;
            }
        }
    }

    /// Directory entries of these accounts, or of anybody, were replaced at another node.
    pub(super) fn accounts_changed(self: &Arc<Self>, accounts: Vec<AccountId>) {
        self.forget_profiles(&accounts);
        let mut connected = self.sockets.accounts();
        if !accounts.is_empty() {
            connected.retain(|account| accounts.contains(account));
        }
        if connected.is_empty() {
            return;
        }
        let (inner, connected) = (self.clone(), Vec::from_iter(connected));
        tokio::spawn(async move {
            for some in connected.chunks(ACCOUNTS_AT_ONCE) {
                let mut backoff = Backoff::new(WAIT.0, WAIT.1);
                let mut rng = crate::entropy::rng();
                let entries = loop {
                    match inner.stores.directory.get(some).await {
                        Ok(entries) => break entries,
                        Err(_) => tokio::time::sleep(backoff.wait(&mut rng)).await,
                    }
                };
                for account in entries.values().filter(|entry| entry.disabled).map(|entry| &entry.account) {
                    inner.sockets.shut_out(account);
                }
            }
        });
    }

    /// The rooms an account is in, as its log tells, and the log's head.
    pub(super) async fn rooms_of(&self, account: &AccountId) -> Result<(Vec<RoomId>, Revision), Refused> {
        let log = self.account_log(account);
        let mut folded = log.folded.lock().await;
        let state = self.fold(&log, &mut folded).await.map_err(refuse)?;
        Ok((state.rooms().collect(), state.head().revision))
    }

    /// The head of an account's log. `then` is called under the lock: events after that head come after it.
    pub(crate) async fn account_head(&self, account: &AccountId, then: impl FnOnce()) -> Result<Revision, Refused> {
        let log = self.account_log(account);
        let mut folded = log.folded.lock().await;
        let state = self.fold(&log, &mut folded).await.map_err(refuse)?;
        then();
        Ok(state.head().revision)
    }

    /// The first revision of the room for which the account's log has not told that it is in.
    pub(super) async fn told_until(&self, account: &AccountId, room: RoomId) -> Result<Revision, Refused> {
        let log = self.account_log(account);
        let mut folded = log.folded.lock().await;
        let state = self.fold(&log, &mut folded).await.map_err(refuse)?;
        Ok(state.told_until(room))
    }

    /// Records a change, unless it is no news. At least once is enough: the fold knows what it acted on.
    pub(super) async fn record_change(&self, account: &AccountId, change: &AccountChange) -> Result<(), Failure> {
        let log = self.account_log(account);
        let mut folded = log.folded.lock().await;
        loop {
            let state = self.fold(&log, &mut folded).await?;
            if !state.is_news(change) {
                return Ok(());
            }
            let before = state.head();
            let record = Record {
                first: before.revision.next(),
                // The wall clock may have gone back; the log does not.
                time: self.clock.wall().max(folded.time),
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
                    if let Some(state) = &mut folded.state {
                        state.apply(&record, after);
                    }
                    (folded.told, folded.time) = (Some(after.revision), record.time);
                    self.tell_account(account, after.revision, change);
                    self.observed_account(account, after.revision, record.time, change, true);
                    return Ok(());
                }
                // Somebody else appended, or an earlier attempt of ours did: fold again, and look whether it is still news.
                Ok(Appended::Conflict(_)) => folded.state = None,
                Err(error) => {
                    folded.state = None;
                    return Err(classify(&error));
                }
            }
        }
    }

    fn tell_account(&self, account: &AccountId, revision: Revision, change: &AccountChange) {
        let (room, told_until) = (change.source().0, change.told_until());
        let frame = ServerFrame::Account { revision, event: change.clone() };
        let framing = self.settings.framing;
        self.sockets.of_account(account, |handle| {
            let frame = framing(handle.codec, handle.codec.encode(&frame));
            handle.push(SocketInput::AccountEvent { frame, room, told_until });
        });
    }

    /// Reads the log where it is not known, and tells connections of what they were not told.
    async fn fold<'a>(&self, log: &AccountLog, folded: &'a mut Folded) -> Result<&'a AccountState, Failure> {
        if folded.state.is_none() {
            let (state, time, untold) = self.read_account(&log.account, folded.told).await?;
            for (revision, change) in untold {
                self.tell_account(&log.account, revision, &change);
                self.observed_account(&log.account, revision, time, &change, false);
            }
            *folded = Folded { told: Some(state.head().revision), state: Some(state), time };
        }
        folded.state.as_ref().ok_or(Failure::Permanent)
    }

    /// The fold of an account's log, the time of its last record, and its changes after `told`.
    async fn read_account(
        &self,
        account: &AccountId,
        told: Option<Revision>,
    ) -> Result<(AccountState, Timestamp, Vec<(Revision, AccountChange)>), Failure> {
        let log = LogId::Account(account.clone());
        let (mut state, mut time, mut untold) = (AccountState::default(), Timestamp::default(), Vec::new());
        loop {
            let after = state.head().revision;
            let records = self.stores.logs.read(&log, after, READ_BYTES).await.map_err(|error| classify(&error))?;
            if records.is_empty() {
                return Ok((state, time, untold));
            }
            for bytes in records {
                let record = Record::<AccountChange>::decode(&bytes.bytes).map_err(|error| {
                    tracing::error!(%log, %error, "a record cannot be read");
                    if error.is_newer() { Failure::Newer } else { Failure::Permanent }
                })?;
                let head = record.extend(state.head()).ok_or(Failure::Permanent)?;
                state.apply(&record, head);
                time = record.time;
                let items = record.items().filter(|item| told.is_some_and(|told| item.revision > told));
                untold.extend(items.map(|item| (item.revision, item.event.clone())));
            }
        }
    }
}

fn refuse(failure: Failure) -> Refused {
    match failure {
        Failure::Permanent => Reason::Quarantined.into(),
        Failure::Newer => Reason::NewerLog.into(),
        Failure::Transient | Failure::Unknown => Reason::StoreUnavailable.into(),
    }
}
