//! Commands about the server.

use super::{Call, Outcome, Refused, Wait, data, integer, refused};
use crate::info;
use crate::resp::{Reply, number};

pub(super) fn info(call: &mut Call<'_>) -> Outcome {
    let sections: Vec<String> = (1..call.words.len()).map(|nth| call.small(nth)).collect();
    Ok(Reply::Verbatim(info::tell(call.machine, &sections)))
}

pub(super) fn config_get(call: &mut Call<'_>) -> Outcome {
    let asked: Vec<String> = (2..call.words.len()).map(|nth| call.small(nth)).collect();
    let told = call.process()?.settings.told();
    let is_asked = |name: &str| asked.iter().any(|asked| asked == name || asked == "*");
    let pairs = told.into_iter().filter(|(name, _)| is_asked(name));
    Ok(Reply::Pairs(pairs.map(|(name, value)| (Reply::text(name), Reply::text(value))).collect()))
}

pub(super) fn config_set(call: &mut Call<'_>) -> Outcome {
    if !call.words.len().is_multiple_of(2) {
        return refused("ERR wrong number of arguments for 'config|set' command");
    }
    let pairs: Vec<(String, String)> =
        (2..call.words.len()).step_by(2).map(|nth| (call.small(nth), call.small(nth + 1))).collect();
    let settings = &mut call.process()?.settings;
    // All or none.
    let mut changed = settings.clone();
    for (name, value) in pairs {
        if let Err(why) = changed.set(&name, &value) {
            return refused(format!("ERR {why}"));
        }
    }
    *settings = changed;
    Ok(Reply::OK)
}

pub(super) fn role(call: &mut Call<'_>) -> Outcome {
    let offset = Reply::Number(call.machine.disk.written() as i64);
    let words = if call.machine.is_replica {
        vec![Reply::text("slave"), Reply::text("127.0.0.1"), Reply::Number(6379), Reply::text("connected"), offset]
    } else {
        let count = call.machine.settings.replicas.count;
        let replica = |nth: u64| {
            Reply::List(vec![Reply::text("127.0.0.1"), Reply::text((6380 + nth).to_string()), Reply::text("0")])
        };
        vec![Reply::text("master"), offset, Reply::List((0..count).map(replica).collect())]
    };
    Ok(Reply::List(words))
}

pub(super) fn wait(call: &mut Call<'_>) -> Result<Wait, Refused> {
    if call.machine.is_replica {
        return refused(
            "ERR WAIT cannot be used with replica instances. Please also note that writes to replicas are just local and \
             are not propagated.",
        );
    }
    let replicas = integer(&call.words[1])?.max(0) as u64;
    Ok(Wait { local: None, replicas, patience: patience(call, 2)? })
}

pub(super) fn wait_for_disks(call: &mut Call<'_>) -> Result<Wait, Refused> {
    let local = integer(&call.words[1])?;
    let Ok(local @ 0..=1) = u64::try_from(local) else {
        return refused("ERR value is out of range, value must between 0 and 1");
    };
    let replicas = data::positive(&call.words[2], "ERR value is out of range, must be positive")?;
    let patience = patience(call, 3)?;
    if call.machine.is_replica {
        return refused(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        );
    }
    if local > 0 && !call.process()?.settings.appendonly {
        return refused("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    }
    Ok(Wait { local: Some(local), replicas, patience })
}

fn patience(call: &Call<'_>, nth: usize) -> Result<u64, Refused> {
    let Some(millis) = number(&call.words[nth]) else {
        return refused("ERR timeout is not an integer or out of range");
    };
    u64::try_from(millis).or_else(|_| refused("ERR timeout is negative"))
}
