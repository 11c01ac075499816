//! Commands about scripts.

use bytes::Bytes;

use super::{Call, Outcome, has_room, integer, refused, takes_writes};
use crate::resp::Reply;
use crate::scripts::{self, Script, digest};

/// Characters of a digest.
const DIGEST: usize = 40;
const NO_SCRIPT: &str = "NOSCRIPT No matching script.";

pub(super) fn load(call: &mut Call<'_>) -> Outcome {
    let digest = digest(&call.words[2]);
    if scripts::of(&digest).is_none() {
        return Ok(scripts::unknown(&digest));
    }
    call.process()?.scripts.insert(digest.clone());
    Ok(Reply::text(digest))
}

pub(super) fn exists(call: &mut Call<'_>) -> Outcome {
    let words = call.words;
    let known = &call.process()?.scripts;
    let is_known = |word: &Bytes| known.contains(&String::from_utf8_lossy(word).to_ascii_lowercase());
    Ok(Reply::List(words[2..].iter().map(|word| Reply::Number(is_known(word).into())).collect()))
}

pub(super) fn flush(call: &mut Call<'_>) -> Outcome {
    call.process()?.scripts.clear();
    Ok(Reply::OK)
}

pub(super) fn eval(call: &mut Call<'_>) -> Outcome {
    let digest = digest(&call.words[1]);
    run(call, &digest, |call| {
        let Some(script) = scripts::of(&digest) else { return Err(scripts::unknown(&digest)) };
        if let Ok(process) = call.process() {
            process.scripts.insert(digest.clone());
        }
        Ok(script)
    })
}

pub(super) fn eval_digest(call: &mut Call<'_>) -> Outcome {
    let digest = call.small(1);
    // No digest at all: the rest is not looked at.
    if call.words[1].len() != DIGEST {
        return refused(NO_SCRIPT);
    }
    run(call, &digest, |call| {
        let is_loaded = call.process().is_ok_and(|process| process.scripts.contains(&digest));
        scripts::of(&digest).filter(|_| is_loaded).ok_or_else(|| Reply::error(NO_SCRIPT))
    })
}

fn run(call: &mut Call<'_>, digest: &str, find: impl FnOnce(&mut Call<'_>) -> Result<Script, Reply>) -> Outcome {
    let count = integer(&call.words[2])?;
    let given = &call.words[3..];
    let count = match usize::try_from(count) {
        Err(_) => return refused("ERR Number of keys can't be negative"),
        Ok(count) if count > given.len() => {
            return refused("ERR Number of keys can't be greater than number of args");
        }
        Ok(count) => count,
    };
    let script = match find(call) {
        Ok(script) => script,
        Err(why) => return Ok(why),
    };
    if let Some(name) = call.session.user.clone()
        && let user = call.user(&name)?
        && let Some(withheld) = script.calls().iter().find(|command| !user.may_run(command))
    {
        let why = format!("User {name} has no permissions to run the '{withheld}' command");
        return refused(format!("ERR ACL failure in script: {why} script: {digest}"));
    }
    let (keys, words) = given.split_at(count);
    let Some((reply, changes)) = script.run(call.database()?, keys, words) else {
        return refused(format!("ERR too few keys or arguments script: {digest}"));
    };
    // The first command that writes is refused, and nothing was written before it.
    if !changes.is_empty() {
        has_room(call)?;
        takes_writes(call)?;
    }
    call.commit(changes)?;
    Ok(reply)
}
