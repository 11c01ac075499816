//! How many requests an account may send where there is no connection of its own to count on (HTTP, NATS subjects): as many
//! as commands over one socket, by however many connections.

use std::collections::BTreeMap;

use chamberlain_core::id::AccountId;
use chamberlain_core::limits::Limits;
use chamberlain_core::time::Instant;

use crate::gateway::Rate;
use crate::lock::Lock;

/// Accounts that are remembered. Beyond that all begin anew: a burst more, never a command less.
const ACCOUNTS: usize = 50_000;

#[derive(Default)]
pub(crate) struct Allowance(Lock<BTreeMap<AccountId, Rate>>);

impl Allowance {
    /// Takes one command of this account, if there is one left.
    pub(crate) fn take(&self, account: &AccountId, limits: &Limits, now: Instant) -> bool {
        let mut rates = self.0.lock();
        if let Some(rate) = rates.get_mut(account) {
            return rate.take(now);
        }
        if rates.len() >= ACCOUNTS {
            rates.clear();
        }
        rates.entry(account.clone()).or_insert_with(|| Rate::new(limits)).take(now)
    }
}
