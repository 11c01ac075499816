//! The logs of accounts: appended by the effects of rooms, shown to the account's connections on every node.
//!
//! A node's fold of an account only ever goes forward, and every record it takes is told to the account's connections in the
//! same step, whoever appended it and however the node came to know.

use chamberlain_core::account::{AccountChange, AccountState};
use chamberlain_core::fanout::Input;
use chamberlain_core::id::{AccountId, LogId};
use chamberlain_core::log::{Body, Entry, Logged, Record};
use chamberlain_core::retry::Failure;
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::ServerFrame;

use super::{Answer, House, Op, Then};

/// How much is read at once while folding.
const READ_BYTES: usize = 1024 * 1024;

/// An account's log on a node.
#[derive(Default)]
pub(super) struct Account {
    state: AccountState,
    /// It was folded to the log's head once.
    loaded: bool,
    /// Time of the last record: the next one is stamped no earlier.
    time: Timestamp,
}

impl House {
    /// Goes on when the account's log was folded at least once.
    pub(super) fn account(
        &mut self,
        node: usize,
        account: &AccountId,
        then: impl FnOnce(&mut Self, Result<(), Failure>) + 'static,
    ) {
        if self.nodes[node].accounts.get(account).is_some_and(|account| account.loaded) {
            return then(self, Ok(()));
        }
        self.refresh(node, account.clone(), Box::new(then));
    }

    /// The fold of an account that was loaded.
    pub(super) fn account_state(&mut self, node: usize, account: &AccountId) -> &AccountState {
        &self.nodes[node].accounts.entry(account.clone()).or_default().state
    }

    /// Folds what was appended meanwhile.
    pub(super) fn refresh(&mut self, node: usize, account: AccountId, then: Then<Result<(), Failure>>) {
        let after = self.account_state(node, &account).head().revision;
        let log = LogId::Account(account.clone());
        self.call(node, Op::Read { log, after, bytes: READ_BYTES }, move |house, told| {
            let records = match told {
                Ok(Answer::Records(records)) => records,
                Ok(_) => Vec::new(),
                Err(failure) => return then(house, Err(failure)),
            };
            if records.is_empty() {
                house.nodes[node].accounts.entry(account).or_default().loaded = true;
                return then(house, Ok(()));
            }
            for stored in &records {
                match Record::<AccountChange>::decode(&stored.bytes) {
                    Ok(record) => house.advance(node, &account, &record),
                    Err(_) => return then(house, Err(Failure::Permanent)),
                }
            }
            house.refresh(node, account, then);
        });
    }

    /// Takes a record into the fold, and tells the account's connections; unless it was taken before.
    fn advance(&mut self, node: usize, account: &AccountId, record: &Record<AccountChange>) {
        let found = self.nodes[node].accounts.entry(account.clone()).or_default();
        let Some(after) = record.extend(found.state.head()) else { return };
        if !found.state.apply(record, after) {
            return;
        }
        found.time = found.time.max(record.time);
        for item in record.items() {
            let (room, told_until) = (item.event.source().0, item.event.told_until());
            let frame = ServerFrame::Account { revision: item.revision, event: item.event.clone() };
            for link in self.nodes[node].of_account.get(account).cloned().unwrap_or_default() {
                let Some(session) = self.nodes[node].sessions.get(&link) else { continue };
                let frame = super::link::framing(session.codec, session.codec.encode(&frame));
                self.tell_socket(node, link, Input::AccountEvent { frame, room, told_until });
            }
        }
    }

    fn stamp(&self, node: usize, account: &AccountId) -> Timestamp {
        let last = self.nodes[node].accounts.get(account).map_or(Timestamp(0), |found| found.time);
        self.wall(node).max(last)
    }

    /// Records a change, unless it is no news. At least once is enough: the fold knows what it acted on.
    pub(super) fn record_change(
        &mut self,
        node: usize,
        account: AccountId,
        change: AccountChange,
        then: Then<Result<(), Failure>>,
    ) {
        let wanted = account.clone();
        self.account(node, &wanted, move |house, loaded| {
            if let Err(failure) = loaded {
                return then(house, Err(failure));
            }
            let state = house.account_state(node, &account);
            if !state.is_news(&change) {
                return then(house, Ok(()));
            }
            let before = state.head();
            let entry = Entry {
                account: account.clone(),
                request: None,
                fingerprint: Fingerprint::default(),
                events: vec![Logged { event: change.clone(), body: Body::None }],
            };
            let (first, time) = (before.revision.next(), house.stamp(node, &account));
            let record = Record { first, time, entries: vec![entry] };
            let after = record.extend(before).expect("it begins after the head");
            let log = LogId::Account(account.clone());
            let op = Op::Append { log, expected: before, record: record.encode(), after };
            house.call(node, op, move |house, told| match told {
                Ok(Answer::Appended(true)) => {
                    house.advance(node, &account, &record);
                    then(house, Ok(()));
                }
                // Somebody else appended, or an earlier attempt of ours did: fold again, and look whether it is still news.
                Ok(_) => {
                    house.probe("account change met another");
                    let again = account.clone();
                    let retry: Then<Result<(), Failure>> = Box::new(move |house, folded| match folded {
                        Ok(()) => house.record_change(node, account, change, then),
                        Err(failure) => then(house, Err(failure)),
                    });
                    house.refresh(node, again, retry);
                }
                // It may be there: whoever tries again must look first.
                Err(failure) => {
                    house.nodes[node].accounts.entry(account).or_default().loaded = false;
                    then(house, Err(failure));
                }
            });
        });
    }
}
