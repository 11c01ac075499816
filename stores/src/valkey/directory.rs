//! The tables of the directory in the server: accounts as JSON by id, and how far of the directory's log is in them.
//!
//! The stand lies among the rows, under a name that no account has: whoever reads rows reads it in the same step, and whoever
//! moves it does so from where it was seen, so that a call of long ago that arrives late changes nothing. All accounts of a site
//! have one slot: any of them may be put together.

use std::collections::BTreeMap;

use chamberlain_core::directory::Stand;
use chamberlain_core::id::AccountId;
use redis::cmd;

use super::Valkey;
use super::script::script;
use crate::directory::{DirectoryTables, Rows, Step, TablesPage};
use crate::{Account, DirectoryPage, Pending, StoreError};

/// The field of the stand. Accounts begin with a letter or a digit.
const STAND: &str = ":stand";

/// Takes a step: expected stand, next stand, `anew` or nothing, then id and row in turn. What is answered is where the tables
/// stand then.
const FOLD: &str = "
local stands = redis.call('HGET', KEYS[1], ':stand') or ''
if stands ~= ARGV[1] then return stands end
if ARGV[3] == 'anew' then redis.call('DEL', KEYS[1], KEYS[2]) end
for at = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('ZADD', KEYS[2], 0, ARGV[at])
end
redis.call('HSET', KEYS[1], ':stand', ARGV[2])
return ARGV[2]
";

/// A page: the range's begin, and how many. What is answered is the stand, `all` where there is an id for every row, then id and
/// row in turn.
const PAGE: &str = "
local page = { redis.call('HGET', KEYS[1], ':stand') or '' }
local ids = redis.call('ZRANGE', KEYS[2], ARGV[1], '+', 'BYLEX', 'LIMIT', 0, ARGV[2])
local rows = redis.call('HLEN', KEYS[1])
if page[1] ~= '' then rows = rows - 1 end
page[2] = rows == redis.call('ZCARD', KEYS[2]) and 'all' or 'some'
for at, id in ipairs(ids) do
  page[2 * at + 1] = id
  page[2 * at + 2] = redis.call('HGET', KEYS[1], id) or ''
end
return page
";

/// What is sent.
pub(super) const SCRIPTS: [(&str, &str); 2] = [("accounts", FOLD), ("pages of accounts", PAGE)];

impl DirectoryTables for Valkey {
    fn rows<'a>(&'a self, accounts: &'a [AccountId]) -> Pending<'a, Rows> {
        Box::pin(async move {
            let mut get = cmd("HMGET");
            get.arg(self.keys().accounts()).arg(STAND);
            for id in accounts {
                get.arg(id.as_str());
            }
            let stored: Vec<Option<Vec<u8>>> = self.link().read(&get).await?;
            let Some((stand, rows)) = stored.split_first().filter(|(_, rows)| rows.len() == accounts.len()) else {
                return Err(StoreError::Corrupt("fewer accounts came than were asked for".into()));
            };
            let stand = to_stand(stand.as_deref().unwrap_or_default())?;
            let mut found = BTreeMap::new();
            for (id, row) in accounts.iter().zip(rows) {
                if let Some(row) = row {
                    found.insert(id.clone(), to_account(id.as_str(), row)?);
                }
            }
            Ok(Rows { stand, accounts: found })
        })
    }

    fn page<'a>(&'a self, after: Option<&'a AccountId>, limit: usize) -> Pending<'a, TablesPage> {
        Box::pin(async move {
            let first = after.map_or("-".to_owned(), |after| format!("({after}"));
            let (key, ids) = (self.keys().accounts(), self.keys().account_ids());
            let mut read = script(&[PAGE], &[&key, &ids]);
            read.arg(first).arg(limit + 1);
            let answer: Vec<Vec<u8>> = self.link().read(&read).await?;
            let [stand, all, rows @ ..] = &answer[..] else {
                return Err(StoreError::Corrupt("an answer of a form that the script does not give".into()));
            };
            let (stand, sound) = (to_stand(stand)?, all == b"all");
            let mut page = DirectoryPage { accounts: Vec::new(), more: rows.len() > limit * 2 };
            if sound {
                for row in rows.chunks_exact(2).take(limit) {
                    page.accounts.push(to_account(&String::from_utf8_lossy(&row[0]), &row[1])?);
                }
            }
            Ok(TablesPage { stand, sound, page })
        })
    }

    fn fold<'a>(&'a self, expected: Option<Stand>, step: Step<'a>) -> Pending<'a, Option<Stand>> {
        Box::pin(async move {
            let (key, ids) = (self.keys().accounts(), self.keys().account_ids());
            let mut fold = script(&[FOLD], &[&key, &ids]);
            fold.arg(expected.map(|stand| stand.to_string()).unwrap_or_default());
            fold.arg(step.to.to_string()).arg(if step.anew { "anew" } else { "" });
            for account in step.accounts {
                let id = account.account.as_str();
                let json = serde_json::to_string(account)
                    .map_err(|why| StoreError::Invalid(format!("{id} cannot be stored: {why}")))?;
                fold.arg(id).arg(format!("{}\n{json}", account.site));
            }
            let stands: Vec<u8> = self.link().write(&key, fold).await?;
            to_stand(&stands)
        })
    }
}

fn to_stand(stored: &[u8]) -> Result<Option<Stand>, StoreError> {
    if stored.is_empty() {
        return Ok(None);
    }
    let stand = std::str::from_utf8(stored).ok().and_then(|text| text.parse().ok());
    stand.map(Some).ok_or_else(|| StoreError::Corrupt("where the tables of the directory stand cannot be read".into()))
}

/// An account as it is stored: its home site, a line break, JSON.
fn to_account(id: &str, stored: &[u8]) -> Result<Account, StoreError> {
    let corrupt = |why: &str| StoreError::Corrupt(format!("account {id}: {why}"));
    let at = stored.iter().position(|byte| *byte == b'\n').ok_or_else(|| corrupt("of unknown form"))?;
    serde_json::from_slice(&stored[at + 1..]).map_err(|why| corrupt(&why.to_string()))
}
