//! The scripts that are known here, by what the server calls them: the SHA-1 of their text. There is no interpreter: each was
//! read by a person, who wrote down what it does in terms of commands. Any other is refused, also one that was changed since.

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
    /// Puts accounts, `[id, home site, JSON]` in turn, unless one of them has another home site.
    Accounts,
}

const KNOWN: &[(&str, Script)] = &[
    ("bb48adf27d91f4379d66af1d882244d0e6d29030", Script::Snapshot),
    ("b01a418bff7651a15641b7274d565bc05130cf90", Script::Raise),
    ("df7eebda3c34e57d98602a102ade5fe77929db71", Script::Accounts),
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
            Self::Accounts => &["hget", "hset", "zadd"],
        }
    }

    /// What it answers and changes; `None` where its text would run into a mistake of its caller.
    pub(crate) fn run(self, database: &Database, keys: &[Bytes], words: &[Bytes]) -> Option<(Reply, Vec<Change>)> {
        let (digest, _) = KNOWN.iter().find(|(_, known)| *known == self)?;
        let (outcome, changes) = match (self, keys) {
            (Self::Snapshot, [key, ..]) => snapshot(database, key, words),
            (Self::Raise, [key, ..]) => raise(database, key, words),
            (Self::Accounts, [accounts, ids, ..]) => put_accounts(database, accounts, ids, words),
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

fn put_accounts(database: &Database, accounts: &Bytes, ids: &Bytes, words: &[Bytes]) -> Done {
    let triples = words.chunks(3).map(|three| <[&Bytes; 3]>::try_from(three.iter().collect::<Vec<_>>()).ok());
    let each = triples.collect::<Option<Vec<_>>>()?;
    for [id, site, _] in &each {
        let Ok(stored) = database.field(accounts, id) else { return failed(3) };
        if let Some(stored) = stored {
            let end = stored.iter().position(|byte| *byte == b'\n').unwrap_or(stored.len());
            let home = stored.slice(..end);
            if home != **site {
                let refused = vec![Reply::Text((*id).clone()), Reply::Text(home)];
                return Some((Ok(Reply::List(refused)), Vec::new()));
            }
        }
    }
    let takes_ids = database.sorted(ids).is_ok() && accounts != ids;
    let mut changes = Vec::new();
    for [id, site, json] in each {
        let stored = [&site[..], b"\n", json].concat();
        changes.push(Change::SetField(accounts.clone(), id.clone(), stored.into()));
        if !takes_ids {
            return Some((Err(Line(9)), changes));
        }
        changes.push(Change::AddMember(ids.clone(), id.clone()));
    }
    Some((Ok(Reply::List(Vec::new())), changes))
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
    fn accounts_are_put_all_or_none() {
        let mut database = Database::default();
        let keys = ["accounts", "ids"];
        let put = |database: &mut Database, words: &[&str]| run(Script::Accounts, database, &keys, words);
        assert_eq!(put(&mut database, &["ada", "home", "{}"]), Reply::List(vec![]));
        let refused = put(&mut database, &["bob", "home", "{}", "ada", "away", "{}"]);
        assert_eq!(refused, Reply::List(vec![Reply::text("ada"), Reply::text("home")]));
        assert_eq!(database.field(b"accounts", b"bob"), Ok(None));
        assert_eq!(database.field(b"accounts", b"ada"), Ok(Some(word("home\n{}"))));
    }
}
