//! Accounts in the server, as JSON by id.
//!
//! Today this is where accounts are kept. It is meant to become a projection of a log of the directory, written by whoever
//! folds that log and made anew from it when lost; until then a call of long ago that arrives late may bring back what it
//! carried. All accounts of a site have one slot: any of them may be put together.

use std::collections::BTreeMap;

use chamberlain_core::id::AccountId;
use redis::cmd;

use super::Valkey;
use super::script::script;
use crate::{Account, Directory, DirectoryPage, Pending, StoreError, rules};

/// Most accounts put at once, and most got by one command.
pub(super) const ACCOUNTS_MAX: usize = 10_000;

/// Puts accounts: id, home site, JSON in turn. All are checked before the first is written. Stored is the home site, a line
/// break, JSON; what is answered is nothing, or the account whose home site would change and the site it has.
const PUT: &str = "
for at = 1, #ARGV, 3 do
  local stored = redis.call('HGET', KEYS[1], ARGV[at])
  local home = stored and string.match(stored, '^[^\\n]*')
  if home and home ~= ARGV[at + 1] then return { ARGV[at], home } end
end
for at = 1, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1] .. '\\n' .. ARGV[at + 2])
  redis.call('ZADD', KEYS[2], 0, ARGV[at])
end
return {}
";

/// What is sent.
pub(super) const SCRIPT: &[&str] = &[PUT];

impl Directory for Valkey {
    fn get<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, BTreeMap<AccountId, Account>> {
        Box::pin(async move {
            let mut known = BTreeMap::new();
            for ids in accounts.chunks(ACCOUNTS_MAX) {
                let found = self.accounts(ids).await?.into_iter().flatten();
                known.extend(found.map(|account| (account.account.clone(), account)));
            }
            Ok(known)
        })
    }

    fn put<'a>(&'a self, accounts: &'a [Account]) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut given = BTreeMap::<&AccountId, &Account>::new();
            for account in accounts {
                if let Some(earlier) = given.insert(&account.account, account) {
                    rules::check_home(earlier, account)?;
                }
            }
            if given.len() > ACCOUNTS_MAX {
                return Err(StoreError::Invalid(format!("{} accounts at once; {ACCOUNTS_MAX} go", given.len())));
            }
            if given.is_empty() {
                return Ok(());
            }
            let (key, ids) = (self.keys().accounts(), self.keys().account_ids());
            let mut put = script(SCRIPT, &[&key, &ids]);
            for (id, account) in &given {
                let json = serde_json::to_vec(account)
                    .map_err(|why| StoreError::Invalid(format!("{id} cannot be stored: {why}")))?;
                put.arg(id.as_str()).arg(account.site.as_str()).arg(json);
            }
            let refused: Vec<String> = self.link().write(&key, put).await?;
            match &refused[..] {
                [] => Ok(()),
                [id, home] => Err(self.another_home(&given, id, home)),
                _ => Err(StoreError::Corrupt("an answer of a form that the script does not give".into())),
            }
        })
    }

    fn list<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, DirectoryPage> {
        Box::pin(async move {
            let limit = limit.min(rules::PAGE_MAX);
            let first = after.map_or("-".to_owned(), |after| format!("({after}"));
            let mut range = cmd("ZRANGE");
            range.arg(self.keys().account_ids()).arg(first).arg("+").arg("BYLEX");
            range.arg("LIMIT").arg(0).arg(limit + 1);
            let mut names: Vec<String> = self.link().read(&range).await?;
            let more = names.len() > limit;
            names.truncate(limit);
            let parsed: Result<Vec<AccountId>, StoreError> =
                names.iter().map(|name| name.parse().map_err(|_| corrupt(name, "its id is none"))).collect();
            let ids = parsed?;
            // Accounts are never taken out, so each of them is there.
            let found = self.accounts(&ids).await?;
            let accounts: Result<Vec<Account>, StoreError> = found
                .into_iter()
                .zip(&names)
                .map(|(found, name)| found.ok_or_else(|| corrupt(name, "listed, and not there")))
                .collect();
            Ok(DirectoryPage { accounts: accounts?, more })
        })
    }
}

impl Valkey {
    /// These accounts, at most [`ACCOUNTS_MAX`], in the order asked for.
    async fn accounts(&self, ids: &[AccountId]) -> Result<Vec<Option<Account>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = cmd("HMGET");
        get.arg(self.keys().accounts());
        for id in ids {
            get.arg(id.as_str());
        }
        let stored: Vec<Option<Vec<u8>>> = self.link().read(&get).await?;
        if stored.len() != ids.len() {
            return Err(StoreError::Corrupt("fewer accounts came than were asked for".into()));
        }
        ids.iter().zip(stored).map(|(id, stored)| stored.map(|stored| to_account(id, &stored)).transpose()).collect()
    }

    fn another_home(&self, given: &BTreeMap<&AccountId, &Account>, id: &str, home: &str) -> StoreError {
        let given = given.iter().find(|(given, _)| given.as_str() == id).map(|(_, account)| *account);
        match (given, home.parse()) {
            (Some(given), Ok(site)) => rules::check_home(&Account { site, ..given.clone() }, given)
                .err()
                .unwrap_or_else(|| corrupt(id, "refused for another home site, which it has not")),
            _ => corrupt(id, "its home site is none"),
        }
    }
}

/// An account as it is stored.
fn to_account(id: &AccountId, stored: &[u8]) -> Result<Account, StoreError> {
    let at = stored.iter().position(|byte| *byte == b'\n').ok_or_else(|| corrupt(id.as_str(), "of unknown form"))?;
    serde_json::from_slice(&stored[at + 1..]).map_err(|why| corrupt(id.as_str(), &why.to_string()))
}

fn corrupt(id: &str, why: &str) -> StoreError {
    StoreError::Corrupt(format!("account {id}: {why}"))
}
