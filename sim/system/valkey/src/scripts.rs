//! The scripts that are known here, by what the server calls them: the SHA-1 of their text. There is no interpreter: each was
//! read by a person, who wrote down what it does in terms of commands. Any other is refused, also one that was changed since.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use crate::data::{Change, Database};
use crate::resp::Reply;

/// A script of `stores/src/valkey`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Keeps a snapshot, `[revision, fold]`, unless the hash has a later one.
    Snapshot,
    /// Raises the fields of a hash: name and decimal number in turn.
    Raise,
    /// Puts rows of accounts, `[expected stand, next stand, "anew" or nothing, then id and row in turn]`, if they stand there.
    Fold,
    /// A page of rows: `[where the range begins, how many]`.
    Page,
}

const KNOWN: &[(&str, Script)] = &[
    ("bb48adf27d91f4379d66af1d882244d0e6d29030", Script::Snapshot),
    ("b01a418bff7651a15641b7274d565bc05130cf90", Script::Raise),
    ("606dc20bd277792c20e177d54325400e7a72fa24", Script::Fold),
    ("ae84069ef9cee4f6151ae5705716de0fa029edca", Script::Page),
];

/// What the server calls a text.
pub fn digest(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether this text is one whose meaning is known here.
pub fn is_known(text: &[u8]) -> bool {
    of(&digest(text)).is_some()
}

/// The script that the server calls so.
pub(crate) fn of(digest: &str) -> Option<Script> {
    KNOWN.iter().find(|(known, _)| *known == digest).map(|(_, script)| *script)
}

/// What is said of any other. The real server says something of this form of a script that it cannot compile.
pub(crate) fn unknown(digest: &str) -> Reply {
    Reply::error(format!("ERR Error compiling script: {digest} is none of those that this simulated server knows"))
}

impl Script {
    /// The commands that it calls.
    pub(crate) fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Snapshot | Self::Raise => &["hget", "hset"],
            Self::Fold => &["hget", "hset", "zadd", "del"],
            Self::Page => &["hget", "hlen", "zrange", "zcard"],
        }
    }

    /// What it answers and changes; `None` where its text would run into a mistake of its caller.
    pub(crate) fn run(self, database: &Database, keys: &[Bytes], words: &[Bytes]) -> Option<(Reply, Vec<Change>)> {
        let (digest, _) = KNOWN.iter().find(|(_, known)| *known == self)?;
        let (outcome, changes) = match (self, keys) {
            (Self::Snapshot, [key, ..]) => snapshot(database, key, words),
            (Self::Raise, [key, ..]) => raise(database, key, words),
            (Self::Fold, [accounts, ids, ..]) => fold_accounts(database, accounts, ids, words),
            (Self::Page, [accounts, ids, ..]) => page_of_accounts(database, accounts, ids, words),
            _ => return None,
        }?;
        let failed = |line: Line| {
            let why = "WRONGTYPE Operation against a key holding the wrong kind of value";
            Reply::error(format!("{why} script: {digest}, on @user_script:{}.", line.0))
        };
        Some((outcome.unwrap_or_else(failed), changes))
    }
}

/// The line of a script on which a command met a key of another kind. What was changed before it stays.
struct Line(u32);

type Done = Option<(Result<Reply, Line>, Vec<Change>)>;

/// A script that went wrong before it changed anything.
fn failed(line: u32) -> Done {
    Some((Err(Line(line)), Vec::new()))
}

/// Whether one number is larger than another, both decimal and without leading zeros.
fn later(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) > (other.len(), other)
}

fn snapshot(database: &Database, key: &Bytes, words: &[Bytes]) -> Done {
    let Ok(stored) = database.field(key, b"revision") else { return failed(6) };
    let [revision, fold, ..] = words else { return None };
    if stored.is_some_and(|stored| later(&stored, revision)) {
        return Some((Ok(Reply::Number(0)), Vec::new()));
    }
    let set = |field: &'static [u8], text: &Bytes| Change::SetField(key.clone(), field.into(), text.clone());
    Some((Ok(Reply::Number(1)), vec![set(b"revision", revision), set(b"fold", fold)]))
}

fn raise(database: &Database, key: &Bytes, words: &[Bytes]) -> Done {
    let mut changes = Vec::new();
    if words.is_empty() {
        return Some((Ok(Reply::Number(1)), changes));
    }
    let Ok(hash) = database.hash(key) else { return failed(7) };
    let mut values = hash.cloned().unwrap_or_default();
    for pair in words.chunks(2) {
        let [name, value] = pair else { return None };
        // A name may come twice.
        if values.get(name).is_none_or(|stored| later(value, stored)) {
            values.insert(name.clone(), value.clone());
            changes.push(Change::SetField(key.clone(), name.clone(), value.clone()));
        }
    }
    Some((Ok(Reply::Number(1)), changes))
}

/// Where accounts stand, as their hash has it: nothing where it has none.
const STAND: &[u8] = b":stand";

fn fold_accounts(database: &Database, accounts: &Bytes, ids: &Bytes, words: &[Bytes]) -> Done {
    let Ok(stands) = database.field(accounts, STAND) else { return failed(2) };
    let stands = stands.unwrap_or_default();
    let [expected, next, anew, rows @ ..] = words else { return None };
    if stands != *expected {
        return Some((Ok(Reply::Text(stands)), Vec::new()));
    }
    let anew = anew[..] == *b"anew";
    let mut changes = Vec::new();
    if anew {
        let there = [accounts, ids].into_iter().filter(|key| database.get(key).is_some());
        changes.extend(there.map(|key| Change::Delete(key.clone())));
        // The second time that it is named, it is gone.
        changes.dedup();
    }
    let takes_ids = accounts != ids && (anew || database.sorted(ids).is_ok());
    for row in rows.chunks(2) {
        let [id, row] = row else { return None };
        changes.push(Change::SetField(accounts.clone(), id.clone(), row.clone()));
        if !takes_ids {
            return Some((Err(Line(7)), changes));
        }
        changes.push(Change::AddMember(ids.clone(), id.clone()));
    }
    changes.push(Change::SetField(accounts.clone(), STAND.into(), next.clone()));
    Some((Ok(Reply::Text(next.clone())), changes))
}

fn page_of_accounts(database: &Database, accounts: &Bytes, ids: &Bytes, words: &[Bytes]) -> Done {
    let Ok(rows) = database.hash(accounts) else { return failed(2) };
    let Ok(members) = database.sorted(ids) else { return failed(3) };
    let [from, most, ..] = words else { return None };
    let most: usize = std::str::from_utf8(most).ok()?.parse().ok()?;
    let (at, name) = from.split_at_checked(1)?;
    let is_within = |id: &&Bytes| match at {
        b"-" => true,
        b"(" => id[..] > *name,
        _ => id[..] >= *name,
    };
    let stands = rows.and_then(|rows| rows.get(STAND)).cloned().unwrap_or_default();
    let count = rows.map_or(0, BTreeMap::len) as i64 - i64::from(!stands.is_empty());
    let all = if count == members.map_or(0, BTreeSet::len) as i64 { "all" } else { "some" };
    let mut page = vec![Reply::Text(stands), Reply::text(all)];
    for id in members.into_iter().flatten().filter(is_within).take(most) {
        let row = rows.and_then(|rows| rows.get(id)).cloned().unwrap_or_default();
        page.extend([Reply::Text(id.clone()), Reply::Text(row)]);
    }
    Some((Ok(Reply::List(page)), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Bytes {
        Bytes::from(text.to_owned())
    }

    fn run(script: Script, database: &mut Database, keys: &[&str], words: &[&str]) -> Reply {
        let keys: Vec<Bytes> = keys.iter().map(|key| word(key)).collect();
        let words: Vec<Bytes> = words.iter().map(|text| word(text)).collect();
        let (reply, changes) = script.run(database, &keys, &words).expect("called as it should be");
        changes.iter().for_each(|change| database.apply(change));
        reply
    }

    #[test]
    fn numbers_beyond_what_a_script_can_count_are_compared_exactly() {
        let mut database = Database::default();
        for (value, holds) in [
            ("9007199254740993", "9007199254740993"),
            ("9007199254740992", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("9", "18446744073709551615"),
        ] {
            run(Script::Raise, &mut database, &["marks"], &["a", value, "b", "1", "a", "2"]);
            assert_eq!(database.field(b"marks", b"a"), Ok(Some(word(holds))));
        }
    }

    #[test]
    fn accounts_are_folded_from_where_they_stand_or_not_at_all() {
        let mut database = Database::default();
        let keys = ["accounts", "ids"];
        let fold = |database: &mut Database, words: &[&str]| run(Script::Fold, database, &keys, words);
        assert_eq!(fold(&mut database, &["", "one", "", "ada", "1", "bob", "2"]), Reply::text("one"));
        assert_eq!(fold(&mut database, &["", "two", "", "ada", "9"]), Reply::text("one"));
        assert_eq!(database.field(b"accounts", b"ada"), Ok(Some(word("1"))));
        let page = run(Script::Page, &mut database, &keys, &["(ada", "5"]);
        assert_eq!(page, Reply::List(["one", "all", "bob", "2"].map(Reply::text).to_vec()));
        assert_eq!(fold(&mut database, &["one", "two", "anew", "cyd", "3"]), Reply::text("two"));
        let page = run(Script::Page, &mut database, &keys, &["-", "5"]);
        assert_eq!(page, Reply::List(["two", "all", "cyd", "3"].map(Reply::text).to_vec()));
        database.apply(&Change::Delete(word("ids")));
        let page = run(Script::Page, &mut database, &keys, &["-", "5"]);
        assert_eq!(page, Reply::List(["two", "some"].map(Reply::text).to_vec()));
    }
}
