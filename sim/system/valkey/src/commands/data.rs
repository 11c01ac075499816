//! Commands about keys and what lies under them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::{Call, Outcome, Refused, integer, refused, syntax};
use crate::data::{Change, Value};
use crate::resp::{Reply, number};

fn count(is: bool) -> Reply {
    Reply::Number(is.into())
}

pub(super) fn size(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::Number(call.database()?.len() as i64))
}

pub(super) fn flush_all(call: &mut Call<'_>) -> Outcome {
    match call.words {
        [_] => {}
        [_, _] if ["sync", "async"].contains(&call.small(1).as_str()) => {}
        _ => return syntax(),
    }
    call.commit(vec![Change::Flush])?;
    Ok(Reply::OK)
}

pub(super) fn del(call: &mut Call<'_>) -> Outcome {
    let keys: BTreeSet<&Bytes> = call.words[1..].iter().collect();
    let database = call.database()?;
    let there: Vec<Change> =
        keys.into_iter().filter(|key| database.get(key).is_some()).map(|key| Change::Delete(key.clone())).collect();
    let gone = there.len() as i64;
    call.commit(there)?;
    Ok(Reply::Number(gone))
}

pub(super) fn exists(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    let database = call.database()?;
    Ok(Reply::Number(words[1..].iter().filter(|key| database.get(key).is_some()).count() as i64))
}

pub(super) fn kind(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::Simple(match call.database()?.get(&words[1]) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::Hash(_)) => "hash",
        Some(Value::Sorted(_)) => "zset",
    }))
}

pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::maybe(call.database()?.text(&words[1])?))
}

pub(super) fn length(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::Number(call.database()?.text(&words[1])?.map_or(0, |text| text.len()) as i64))
}

/// What is of another kind is as nothing.
pub(super) fn get_many(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    let database = call.database()?;
    Ok(Reply::List(words[1..].iter().map(|key| Reply::maybe(database.text(key).unwrap_or(None))).collect()))
}

pub(super) fn set(call: &mut Call<'_>) -> Outcome {
    let (mut if_absent, mut if_there, mut get) = (false, false, false);
    for nth in 3..call.words.len() {
        match call.small(nth).as_str() {
            "nx" if !if_there => if_absent = true,
            "xx" if !if_absent => if_there = true,
            "get" => get = true,
            "ex" | "px" | "exat" | "pxat" | "keepttl" => return refused("ERR times to live are not simulated"),
            _ => return syntax(),
        }
    }
    let (key, text) = (&call.words[1], &call.words[2]);
    let database = call.database()?;
    let old = if get { database.text(key)? } else { None };
    let is_there = database.get(key).is_some();
    let does = if is_there { !if_absent } else { !if_there };
    if does {
        call.commit(vec![Change::Set(key.clone(), text.clone())])?;
    }
    Ok(match (get, does) {
        (true, _) => Reply::maybe(old),
        (false, true) => Reply::OK,
        (false, false) => Reply::Null,
    })
}

pub(super) fn set_if_absent(call: &mut Call<'_>) -> Outcome {
    let (key, text) = (&call.words[1], &call.words[2]);
    let is_there = call.database()?.get(key).is_some();
    if !is_there {
        call.commit(vec![Change::Set(key.clone(), text.clone())])?;
    }
    Ok(count(!is_there))
}

pub(super) fn increase(call: &mut Call<'_>) -> Outcome {
    let key = &call.words[1];
    let before = match call.database()?.text(key)? {
        None => 0,
        Some(text) => integer(&text)?,
    };
    let Some(after) = before.checked_add(1) else {
        return refused("ERR increment or decrement would overflow");
    };
    call.commit(vec![Change::Set(key.clone(), after.to_string().into())])?;
    Ok(Reply::Number(after))
}

pub(super) fn field(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::maybe(call.database()?.field(&words[1], &words[2])?))
}

pub(super) fn fields(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    let hash = call.database()?.hash(&words[1])?;
    let field = |name: &Bytes| Reply::maybe(hash.and_then(|hash| hash.get(name).cloned()));
    Ok(Reply::List(words[2..].iter().map(field).collect()))
}

pub(super) fn fields_all(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    let hash = call.database()?.hash(&words[1])?;
    let pairs = hash.into_iter().flatten();
    Ok(Reply::Pairs(pairs.map(|(name, text)| (Reply::Text(name.clone()), Reply::Text(text.clone()))).collect()))
}

pub(super) fn fields_count(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::Number(call.database()?.hash(&words[1])?.map_or(0, BTreeMap::len) as i64))
}

pub(super) fn set_fields(call: &mut Call<'_>) -> Outcome {
    if !call.words.len().is_multiple_of(2) {
        return refused("ERR wrong number of arguments for 'hset' command");
    }
    let (key, pairs) = (&call.words[1], call.words[2..].chunks_exact(2));
    let hash = call.database()?.hash(key)?;
    let is_new = |name: &&Bytes| hash.is_none_or(|hash| !hash.contains_key(*name));
    let new = pairs.clone().map(|pair| &pair[0]).collect::<BTreeSet<_>>().into_iter().filter(is_new).count();
    let set = |pair: &[Bytes]| Change::SetField(key.clone(), pair[0].clone(), pair[1].clone());
    call.commit(pairs.map(set).collect())?;
    Ok(Reply::Number(new as i64))
}

pub(super) fn add_members(call: &mut Call<'_>) -> Outcome {
    let (key, pairs) = (&call.words[1], &call.words[2..]);
    if ["nx", "xx", "gt", "lt", "ch", "incr"].contains(&call.small(2).as_str()) {
        return refused("ERR options of ZADD are not simulated");
    }
    if !pairs.len().is_multiple_of(2) {
        return syntax();
    }
    for pair in pairs.chunks_exact(2) {
        let score = std::str::from_utf8(&pair[0]).ok().and_then(|text| text.parse::<f64>().ok());
        match score.filter(|score| !score.is_nan()) {
            None => return refused("ERR value is not a valid float"),
            Some(0.0) => {}
            Some(_) => return refused("ERR scores other than 0 are not simulated"),
        }
    }
    let members: BTreeSet<&Bytes> = pairs.chunks_exact(2).map(|pair| &pair[1]).collect();
    let there = call.database()?.sorted(key)?;
    let new: Vec<Change> = members
        .into_iter()
        .filter(|member| there.is_none_or(|there| !there.contains(*member)))
        .map(|member| Change::AddMember(key.clone(), member.clone()))
        .collect();
    let added = new.len() as i64;
    call.commit(new)?;
    Ok(Reply::Number(added))
}

pub(super) fn members_count(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    Ok(Reply::Number(call.database()?.sorted(&words[1])?.map_or(0, BTreeSet::len) as i64))
}

pub(super) fn range_by_lex(call: &mut Call<'_>) -> Outcome {
    range_of(call, true)
}

pub(super) fn range(call: &mut Call<'_>) -> Outcome {
    range_of(call, false)
}

fn range_of(call: &mut Call<'_>, mut by_lex: bool) -> Outcome {
    let (mut skip, mut most) = (0, -1);
    let mut nth = 4;
    while nth < call.words.len() {
        match call.small(nth).as_str() {
            "bylex" if !by_lex => by_lex = true,
            "limit" if nth + 2 < call.words.len() => {
                (skip, most) = (integer(&call.words[nth + 1])?, integer(&call.words[nth + 2])?);
                nth += 2;
            }
            "byscore" | "rev" | "withscores" => return refused("ERR other orders of ZRANGE are not simulated"),
            _ => return syntax(),
        }
        nth += 1;
    }
    if !by_lex {
        return refused("ERR other orders of ZRANGE are not simulated");
    }
    let words = call.words;
    let (first, last) = (edge(&words[2])?, edge(&words[3])?);
    let Some(members) = call.database()?.sorted(&words[1])? else { return Ok(Reply::List(Vec::new())) };
    let (Some(first), Some(last)) = (first.bound(Side::First), last.bound(Side::Last)) else {
        return Ok(Reply::List(Vec::new()));
    };
    if is_empty(first, last) || skip < 0 {
        return Ok(Reply::List(Vec::new()));
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let within = members.range::<[u8], _>((first, last)).skip(skip as usize).take(most);
    Ok(Reply::List(within.map(|member| Reply::Text(member.clone())).collect()))
}

/// An end of a range, as a client gives it.
enum Edge<'a> {
    /// `-`: before everything.
    Least,
    /// `+`: after everything.
    Most,
    At(&'a [u8]),
    Beyond(&'a [u8]),
}

#[derive(PartialEq)]
enum Side {
    First,
    Last,
}

fn edge(word: &[u8]) -> Result<Edge<'_>, Refused> {
    match word {
        b"-" => Ok(Edge::Least),
        b"+" => Ok(Edge::Most),
        [b'[', at @ ..] => Ok(Edge::At(at)),
        [b'(', at @ ..] => Ok(Edge::Beyond(at)),
        _ => refused("ERR min or max not valid string range item"),
    }
}

impl<'a> Edge<'a> {
    /// As an end on this side; `None` where nothing lies between.
    fn bound(self, side: Side) -> Option<Bound<&'a [u8]>> {
        match self {
            Self::Least => (side == Side::First).then_some(Bound::Unbounded),
            Self::Most => (side == Side::Last).then_some(Bound::Unbounded),
            Self::At(at) => Some(Bound::Included(at)),
            Self::Beyond(at) => Some(Bound::Excluded(at)),
        }
    }
}

fn is_empty(first: Bound<&[u8]>, last: Bound<&[u8]>) -> bool {
    match (first, last) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(first), Bound::Included(last)) => first > last,
        (Bound::Included(first) | Bound::Excluded(first), Bound::Included(last) | Bound::Excluded(last)) => {
            first >= last
        }
    }
}

/// A number that is not negative; else these words.
pub(super) fn positive(word: &Bytes, words: &str) -> Result<u64, Refused> {
    number(word).and_then(|number| u64::try_from(number).ok()).map_or_else(|| refused(words), Ok)
}
