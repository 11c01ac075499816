//! Commands about the connection itself.

use bytes::Bytes;

use super::{Call, DEFAULT, Outcome, Refused, integer, refused, syntax};
use crate::disk::DATABASES;
use crate::resp::{Protocol, Reply, number};
use crate::rights::User;
use crate::settings::VERSION;

/// Most users besides the one that is always there.
const USERS_MAX: usize = 1_000;

const WRONG: &str = "WRONGPASS invalid username-password pair or user is disabled.";

pub(super) fn ping(call: &mut Call<'_>) -> Outcome {
    match call.words {
        [_] => Ok(Reply::Simple("PONG")),
        [_, word] => Ok(Reply::Text(word.clone())),
        _ => refused("ERR wrong number of arguments for 'ping' command"),
    }
}

pub(super) fn echo(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::Text(call.words[1].clone()))
}

pub(super) fn quit(_: &mut Call<'_>) -> Outcome {
    Ok(Reply::OK)
}

pub(super) fn id(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::Number(call.session.id as i64))
}

pub(super) fn name(call: &mut Call<'_>) -> Outcome {
    Ok(Reply::maybe(call.session.name.clone()))
}

pub(super) fn whoami(call: &mut Call<'_>) -> Outcome {
    Ok(call.session.user.as_ref().map_or(Reply::Null, |name| Reply::text(name.as_str())))
}

/// Changes somebody, or lets somebody new in: all of the rules or none.
pub(super) fn set_user(call: &mut Call<'_>) -> Outcome {
    let name = String::from_utf8_lossy(&call.words[2]).into_owned();
    let mut user = call.user(&name).cloned().unwrap_or_else(|_| User::nobody());
    for rule in &call.words[3..] {
        if let Err(rule) = user.change(&String::from_utf8_lossy(rule)) {
            return refused(format!("ERR Error in ACL SETUSER modifier '{rule}': Syntax error"));
        }
    }
    let settings = &mut call.process()?.settings;
    if name == DEFAULT {
        settings.default = user;
    } else if settings.users.len() < USERS_MAX || settings.users.contains_key(&name) {
        settings.users.insert(name, user);
    } else {
        return refused("ERR more users than this simulated server keeps");
    }
    Ok(Reply::OK)
}

pub(super) fn set_name(call: &mut Call<'_>) -> Outcome {
    let name = call.words[2].clone();
    is_plain(&name, "Client names")?;
    call.session.name = (!name.is_empty()).then_some(name);
    Ok(Reply::OK)
}

pub(super) fn set_info(call: &mut Call<'_>) -> Outcome {
    match call.small(2).as_str() {
        "lib-name" => is_plain(&call.words[3], "LIB-NAME")?,
        "lib-ver" => is_plain(&call.words[3], "LIB-VER")?,
        _ => return refused(format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(&call.words[2]))),
    }
    Ok(Reply::OK)
}

fn is_plain(word: &Bytes, what: &str) -> Result<(), Refused> {
    if word.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    refused(format!("ERR {what} cannot contain spaces, newlines or special characters."))
}

pub(super) fn select(call: &mut Call<'_>) -> Outcome {
    match usize::try_from(integer(&call.words[1])?) {
        Ok(nth) if nth < DATABASES => call.session.database = nth,
        _ => return refused("ERR DB index is out of range"),
    }
    Ok(Reply::OK)
}

pub(super) fn auth(call: &mut Call<'_>) -> Outcome {
    match call.words {
        [_, password] => {
            if call.process()?.settings.default.needs_no_password() {
                return refused(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                     configuration is correct?",
                );
            }
            log_in(call, DEFAULT.as_bytes(), password)?;
        }
        [_, name, password] => log_in(call, name, password)?,
        _ => return syntax(),
    }
    Ok(Reply::OK)
}

fn log_in(call: &mut Call<'_>, name: &[u8], password: &[u8]) -> Result<(), Refused> {
    let name = String::from_utf8_lossy(name).into_owned();
    if !call.user(&name).is_ok_and(|user| user.admits(password)) {
        return refused(WRONG);
    }
    call.session.user = Some(name);
    Ok(())
}

pub(super) fn hello(call: &mut Call<'_>) -> Outcome {
    let mut words = call.words[1..].iter();
    let mut protocol = call.session.protocol;
    if let Some(version) = words.next() {
        protocol = match number(version) {
            None => return refused("ERR Protocol version is not an integer or out of range"),
            Some(2) => Protocol::Two,
            Some(3) => Protocol::Three,
            Some(_) => return refused("NOPROTO unsupported protocol version"),
        };
    }
    let (mut who, mut named) = (None, None);
    while let Some(option) = words.next() {
        let small = String::from_utf8_lossy(option).to_ascii_lowercase();
        match (small.as_str(), words.as_slice()) {
            ("auth", [name, password, ..]) => {
                who = Some((name, password));
                let _taken = words.nth(1);
            }
            ("setname", [name, ..]) => {
                is_plain(name, "Client names")?;
                named = Some(name);
                let _taken = words.next();
            }
            _ => return refused(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option))),
        }
    }
    if let Some((name, password)) = who {
        log_in(call, name, password)?;
    }
    if call.session.user.is_none() {
        return refused(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = named {
        call.session.name = (!name.is_empty()).then(|| name.clone());
    }
    call.session.protocol = protocol;
    let proto = if protocol == Protocol::Two { 2 } else { 3 };
    let role = if call.machine.is_replica { "replica" } else { "master" };
    let pairs = [
        ("server", Reply::text("valkey")),
        ("version", Reply::text(VERSION)),
        ("proto", Reply::Number(proto)),
        ("id", Reply::Number(call.session.id as i64)),
        ("mode", Reply::text("standalone")),
        ("role", Reply::text(role)),
        ("modules", Reply::List(Vec::new())),
    ];
    Ok(Reply::Pairs(pairs.into_iter().map(|(name, value)| (Reply::text(name), value)).collect()))
}
