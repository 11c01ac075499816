//! Commands: which there are, who may run them when, and what they do.
//!
//! Names, numbers of arguments and flags are those of Valkey 8.0; so are the order in which a request is looked at and the
//! words in which it is refused.

mod connection;
mod data;
mod scripting;
mod server;

use bytes::Bytes;

use crate::data::{Change, Database, WrongKind};
use crate::process::{Fatal, Machine, Process};
use crate::resp::{Protocol, Reply};
use crate::rights::User;

use tokio::time::Instant;

/// Whom a connection speaks for that has not said.
pub(crate) const DEFAULT: &str = "default";

/// Most bytes of what a client sent that an error repeats.
const REPEATED_MAX: usize = 128;

/// What a connection is to the server.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) protocol: Protocol,
    /// Who the client is, by name; `None` until it was said.
    pub(crate) user: Option<String>,
    pub(crate) database: usize,
    pub(crate) name: Option<Bytes>,
    /// The last entry that it wrote, and when.
    pub(crate) wrote: Option<(u64, Instant)>,
}

impl Session {
    /// A connection that was just made.
    pub(crate) fn new(id: u64, default: &User) -> Self {
        let user = default.needs_no_password().then(|| DEFAULT.to_owned());
        Self { id, protocol: Protocol::Two, user, database: 0, name: None, wrote: None }
    }
}

/// What comes of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Reply(Reply),
    /// The last, before the connection is closed.
    Last(Reply),
    /// It is answered once disks have what was written.
    Wait(Wait),
}

/// What `WAIT` and `WAITAOF` wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Copies of this server's disk that are waited for, 0 or 1; `None` where only replicas are.
    pub(crate) local: Option<u64>,
    pub(crate) replicas: u64,
    /// Milliseconds; 0 is for ever.
    pub(crate) patience: u64,
}

/// Why a request is not carried out, in the server's words; or that the server is at its end.
#[derive(Debug)]
pub(crate) enum Refused {
    Because(String),
    Fatal,
}

impl From<WrongKind> for Refused {
    fn from(_: WrongKind) -> Self {
        Self::Because("WRONGTYPE Operation against a key holding the wrong kind of value".into())
    }
}

impl From<Fatal> for Refused {
    fn from(_: Fatal) -> Self {
        Self::Fatal
    }
}

fn refused<T>(words: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Because(words.into()))
}

fn syntax<T>() -> Result<T, Refused> {
    refused("ERR syntax error")
}

fn integer(word: &Bytes) -> Result<i64, Refused> {
    crate::resp::number(word).map_or_else(|| refused("ERR value is not an integer or out of range"), Ok)
}

/// A request, as a command sees it.
pub(crate) struct Call<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) session: &'a mut Session,
    pub(crate) words: &'a [Bytes],
}

impl Call<'_> {
    fn process(&mut self) -> Result<&mut Process, Refused> {
        self.machine.process.as_mut().ok_or(Refused::Fatal)
    }

    /// The database of this connection.
    fn database(&mut self) -> Result<&Database, Refused> {
        let nth = self.session.database;
        Ok(&self.process()?.databases[nth])
    }

    /// Somebody by name.
    fn user(&mut self, name: &str) -> Result<&User, Refused> {
        let settings = &self.process()?.settings;
        let user = if name == DEFAULT { Some(&settings.default) } else { settings.users.get(name) };
        user.map_or_else(|| refused("NOAUTH Authentication required."), Ok)
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        if !changes.is_empty() {
            let entry = self.machine.commit(self.session.database, changes)?;
            self.session.wrote = Some((entry, Instant::now()));
        }
        Ok(())
    }

    /// A word in small letters.
    fn small(&self, nth: usize) -> String {
        String::from_utf8_lossy(&self.words[nth]).to_ascii_lowercase()
    }
}

type Outcome = Result<Reply, Refused>;

/// Where the keys of a request are.
#[derive(Debug, Clone, Copy)]
enum Keys {
    None,
    First,
    All,
    /// After the number of them: `EVAL`.
    Counted,
}

/// What a command is, besides what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    /// It changes something.
    Write,
    /// It may need more memory.
    Grows,
    /// It works while the server reads its files.
    Loading,
    /// It is how a client says who it is.
    NoAuth,
}

struct Command {
    name: &'static str,
    /// Words, the command's own included; at least so many where negative.
    arity: i32,
    keys: Keys,
    flags: &'static [Flag],
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    Plain(fn(&mut Call<'_>) -> Outcome),
    Wait(fn(&mut Call<'_>) -> Result<Wait, Refused>),
}

use Flag::{Grows, Loading, NoAuth, Write};
use Run::Plain;

const COMMANDS: &[Command] = &[
    command("acl|setuser", -3, Keys::None, &[Loading], Plain(connection::set_user)),
    command("acl|whoami", 2, Keys::None, &[Loading], Plain(connection::whoami)),
    command("auth", -2, Keys::None, &[Loading, NoAuth], Plain(connection::auth)),
    command("client|getname", 2, Keys::None, &[Loading], Plain(connection::name)),
    command("client|id", 2, Keys::None, &[Loading], Plain(connection::id)),
    command("client|setinfo", 4, Keys::None, &[Loading], Plain(connection::set_info)),
    command("client|setname", 3, Keys::None, &[Loading], Plain(connection::set_name)),
    command("config|get", -3, Keys::None, &[Loading], Plain(server::config_get)),
    command("config|set", -4, Keys::None, &[Loading], Plain(server::config_set)),
    command("dbsize", 1, Keys::None, &[], Plain(data::size)),
    command("del", -2, Keys::All, &[Write], Plain(data::del)),
    command("echo", 2, Keys::None, &[Loading], Plain(connection::echo)),
    command("eval", -3, Keys::Counted, &[], Plain(scripting::eval)),
    command("evalsha", -3, Keys::Counted, &[], Plain(scripting::eval_digest)),
    command("exists", -2, Keys::All, &[], Plain(data::exists)),
    command("flushall", -1, Keys::None, &[Write], Plain(data::flush_all)),
    command("get", 2, Keys::First, &[], Plain(data::get)),
    command("hello", -1, Keys::None, &[Loading, NoAuth], Plain(connection::hello)),
    command("hget", 3, Keys::First, &[], Plain(data::field)),
    command("hgetall", 2, Keys::First, &[], Plain(data::fields_all)),
    command("hlen", 2, Keys::First, &[], Plain(data::fields_count)),
    command("hmget", -3, Keys::First, &[], Plain(data::fields)),
    command("hset", -4, Keys::First, &[Write, Grows], Plain(data::set_fields)),
    command("incr", 2, Keys::First, &[Write, Grows], Plain(data::increase)),
    command("info", -1, Keys::None, &[Loading], Plain(server::info)),
    command("mget", -2, Keys::All, &[], Plain(data::get_many)),
    command("ping", -1, Keys::None, &[], Plain(connection::ping)),
    command("quit", -1, Keys::None, &[Loading, NoAuth], Plain(connection::quit)),
    command("role", 1, Keys::None, &[Loading], Plain(server::role)),
    command("script|exists", -3, Keys::None, &[], Plain(scripting::exists)),
    command("script|flush", -2, Keys::None, &[], Plain(scripting::flush)),
    command("script|load", 3, Keys::None, &[], Plain(scripting::load)),
    command("select", 2, Keys::None, &[Loading], Plain(connection::select)),
    command("set", -3, Keys::First, &[Write, Grows], Plain(data::set)),
    command("setnx", 3, Keys::First, &[Write, Grows], Plain(data::set_if_absent)),
    command("strlen", 2, Keys::First, &[], Plain(data::length)),
    command("type", 2, Keys::First, &[], Plain(data::kind)),
    command("wait", 3, Keys::None, &[], Run::Wait(server::wait)),
    command("waitaof", 4, Keys::None, &[], Run::Wait(server::wait_for_disks)),
    command("zadd", -4, Keys::First, &[Write, Grows], Plain(data::add_members)),
    command("zcard", 2, Keys::First, &[], Plain(data::members_count)),
    command("zrange", -4, Keys::First, &[], Plain(data::range)),
    command("zrangebylex", -4, Keys::First, &[], Plain(data::range_by_lex)),
];

/// Commands that are only the first half of a name.
const FAMILIES: &[&str] = &["acl", "client", "config", "script"];

/// Whether this is a name of a command, of a part of one or of a family.
pub(crate) fn is_command(name: &str) -> bool {
    FAMILIES.contains(&name) || COMMANDS.iter().any(|command| command.name == name)
}

const fn command(name: &'static str, arity: i32, keys: Keys, flags: &'static [Flag], run: Run) -> Command {
    Command { name, arity, keys, flags, run }
}

/// Carries out a request. An error is the end of the server.
pub(crate) fn execute(machine: &mut Machine, session: &mut Session, words: &[Bytes]) -> Result<Answer, Fatal> {
    let mut call = Call { machine, session, words };
    call.machine.process.as_mut().ok_or(Fatal)?.commands += 1;
    match carry_out(&mut call) {
        Ok(answer) => Ok(answer),
        Err(Refused::Because(why)) => Ok(Answer::Reply(Reply::Error(why))),
        Err(Refused::Fatal) => Err(Fatal),
    }
}

fn carry_out(call: &mut Call<'_>) -> Result<Answer, Refused> {
    let command = look_up(call.words)?;
    let arity = command.arity.unsigned_abs() as usize;
    if call.words.len() < arity || (command.arity > 0 && call.words.len() > arity) {
        return refused(format!("ERR wrong number of arguments for '{}' command", command.name));
    }
    admit(call, command)?;
    match command.run {
        Run::Plain(run) => {
            let reply = run(call)?;
            Ok(if command.name == "quit" { Answer::Last(reply) } else { Answer::Reply(reply) })
        }
        Run::Wait(wait) => Ok(Answer::Wait(wait(call)?)),
    }
}

fn look_up(words: &[Bytes]) -> Result<&'static Command, Refused> {
    let shown = |word: &Bytes, most: usize| String::from_utf8_lossy(&word[..word.len().min(most)]).into_owned();
    let name = shown(&words[0], REPEATED_MAX).to_ascii_lowercase();
    let find = |name: &str| COMMANDS.iter().find(|command| command.name == name);
    let Some(family) = FAMILIES.iter().find(|family| **family == name) else {
        return find(&name).filter(|_| !name.contains('|')).map_or_else(
            || {
                let mut arguments = String::new();
                for word in &words[1..] {
                    if arguments.len() >= REPEATED_MAX {
                        break;
                    }
                    let more = format!("'{}' ", shown(word, REPEATED_MAX - arguments.len()));
                    arguments.push_str(&more);
                }
                let name = one_line(&shown(&words[0], REPEATED_MAX));
                let arguments = one_line(&arguments);
                refused(format!("ERR unknown command '{name}', with args beginning with: {arguments}"))
            },
            Ok,
        );
    };
    let Some(sub) = words.get(1) else {
        return refused(format!("ERR wrong number of arguments for '{family}' command"));
    };
    let sub = shown(sub, REPEATED_MAX);
    find(&format!("{family}|{}", sub.to_ascii_lowercase())).map_or_else(
        || refused(format!("ERR unknown subcommand '{}'. Try {} HELP.", one_line(&sub), family.to_ascii_uppercase())),
        Ok,
    )
}

/// An error is one line, whatever a client sent.
fn one_line(words: &str) -> String {
    words.replace(['\r', '\n'], " ")
}

/// Whether the client may run it, and the server can, in the order in which the real one asks.
fn admit(call: &mut Call<'_>, command: &Command) -> Result<(), Refused> {
    let has = |flag| command.flags.contains(&flag);
    let Some(name) = call.session.user.clone() else {
        return if has(NoAuth) { Ok(()) } else { refused("NOAUTH Authentication required.") };
    };
    if !has(NoAuth) {
        let words = call.words;
        let user = call.user(&name)?;
        if !user.may_run(command.name) {
            return refused(format!("NOPERM User {name} has no permissions to run the '{}' command", command.name));
        }
        if !keys(words, command.keys).iter().all(|key| user.may_touch(key)) {
            return refused("NOPERM No permissions to access a key");
        }
    }
    let is_write = has(Write);
    if has(Grows) {
        has_room(call)?;
    }
    if is_write {
        takes_writes(call)?;
    }
    if !has(Loading) && call.process()?.is_loading() {
        return refused("LOADING Valkey is loading the dataset in memory");
    }
    Ok(())
}

fn has_room(call: &mut Call<'_>) -> Result<(), Refused> {
    let process = call.process()?;
    if process.bytes() > process.settings.maxmemory {
        return refused("OOM command not allowed when used memory > 'maxmemory'.");
    }
    Ok(())
}

fn takes_writes(call: &mut Call<'_>) -> Result<(), Refused> {
    if let Some(why) = call.machine.misconfigured() {
        return refused(why);
    }
    if call.machine.is_replica {
        return refused("READONLY You can't write against a read only replica.");
    }
    Ok(())
}

fn keys(words: &[Bytes], which: Keys) -> &[Bytes] {
    match which {
        Keys::None => &[],
        Keys::First => &words[1..2],
        Keys::All => &words[1..],
        Keys::Counted => {
            let count = crate::resp::number(&words[2]).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            words.get(3..3_usize.saturating_add(count)).unwrap_or(&[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_listed_once_and_in_order() {
        let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}
