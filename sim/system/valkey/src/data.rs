//! What a server holds: keys and their values, and the changes that are written to its disk.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// What lies under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    /// A sorted set all of whose scores are 0: it is sorted by its members.
    Sorted(BTreeSet<Bytes>),
}

/// A change of one key, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Bytes, Bytes),
    SetField(Bytes, Bytes, Bytes),
    AddMember(Bytes, Bytes),
    Delete(Bytes),
    Flush,
}

/// What lies under a key is of another kind than was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongKind;

/// One of the numbered databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Database {
    values: BTreeMap<Bytes, Value>,
    /// Of keys, fields, members and values, about.
    bytes: usize,
}

impl Database {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// What they and their values come to.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.values.get(key)
    }

    pub(crate) fn text(&self, key: &[u8]) -> Result<Option<Bytes>, WrongKind> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(_) => Err(WrongKind),
        }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> Result<Option<&BTreeMap<Bytes, Bytes>>, WrongKind> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WrongKind),
        }
    }

    pub(crate) fn field(&self, key: &[u8], field: &[u8]) -> Result<Option<Bytes>, WrongKind> {
        Ok(self.hash(key)?.and_then(|hash| hash.get(field).cloned()))
    }

    pub(crate) fn sorted(&self, key: &[u8]) -> Result<Option<&BTreeSet<Bytes>>, WrongKind> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Sorted(members)) => Ok(Some(members)),
            Some(_) => Err(WrongKind),
        }
    }

    /// Makes a change whose key is of the right kind, or not there.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Set(key, text) => self.put(key, Value::Text(text.clone())),
            Change::SetField(key, field, text) => match self.values.get_mut(key) {
                Some(Value::Hash(hash)) => {
                    let old = hash.insert(field.clone(), text.clone());
                    let gone = old.map_or(0, |old| field.len() + old.len());
                    self.bytes = self.bytes + field.len() + text.len() - gone;
                }
                _ => self.put(key, Value::Hash([(field.clone(), text.clone())].into())),
            },
            Change::AddMember(key, member) => match self.values.get_mut(key) {
                Some(Value::Sorted(members)) => {
                    if members.insert(member.clone()) {
                        self.bytes += member.len();
                    }
                }
                _ => self.put(key, Value::Sorted([member.clone()].into())),
            },
            Change::Delete(key) => {
                if let Some(old) = self.values.remove(key) {
                    self.bytes -= key.len() + old.bytes();
                }
            }
            Change::Flush => *self = Self::default(),
        }
    }

    fn put(&mut self, key: &Bytes, value: Value) {
        let more = key.len() + value.bytes();
        let gone = self.values.insert(key.clone(), value).map_or(0, |old| key.len() + old.bytes());
        self.bytes = self.bytes + more - gone;
    }
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(hash) => hash.iter().map(|(field, text)| field.len() + text.len()).sum(),
            Self::Sorted(members) => members.iter().map(Bytes::len).sum(),
        }
    }
}

impl Change {
    /// What it takes on a disk, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Set(key, text) => key.len() + text.len(),
            Self::SetField(key, field, text) => key.len() + field.len() + text.len(),
            Self::AddMember(key, member) => key.len() + member.len(),
            Self::Delete(key) => key.len(),
            Self::Flush => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_what_is_there() {
        let word = |text: &'static str| Bytes::from_static(text.as_bytes());
        let mut database = Database::default();
        let changes = [
            (Change::Set(word("a"), word("bcd")), 4),
            (Change::Set(word("a"), word("b")), 2),
            (Change::SetField(word("h"), word("f"), word("12")), 6),
            (Change::SetField(word("h"), word("f"), word("1")), 5),
            (Change::SetField(word("h"), word("g"), word("1")), 7),
            (Change::AddMember(word("z"), word("m")), 9),
            (Change::AddMember(word("z"), word("m")), 9),
            (Change::Delete(word("h")), 4),
            (Change::Delete(word("h")), 4),
            (Change::Set(word("z"), word("")), 3),
            (Change::Flush, 0),
        ];
        for (change, bytes) in changes {
            database.apply(&change);
            assert_eq!(database.bytes(), bytes, "{change:?}");
        }
    }
}
