//! What a site's stream and its subjects are called.
//!
//! `chamberlain.SITE.log.room.ID`, `chamberlain.SITE.log.account.NAME` and `chamberlain.SITE.log.directory` hold the logs; `chamberlain.SITE.rewritten.KIND.NAME.FIRST`
//! holds what a record became when a body in it was erased; on `chamberlain.SITE.moved.KIND.NAME` the server tells, without
//! bodies, what it stored in a log. Characters of an account's name that mean something in a subject are percent-encoded.

use std::fmt::Write;

use chamberlain_core::id::{LogId, Revision, SiteId};

/// The one log that has no name of its own beside its kind.
const DIRECTORY: &str = "directory";

/// The names that belong to one site.
#[derive(Debug, Clone)]
pub(super) struct Names {
    stream: String,
    root: String,
}

impl Names {
    pub(super) fn of(site: &SiteId) -> Self {
        Self { stream: format!("CHAMBERLAIN_{site}"), root: format!("chamberlain.{site}") }
    }

    /// The stream.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }

    /// Where a log's records lie.
    pub(super) fn log(&self, log: &LogId) -> String {
        format!("{}.log.{}", self.root, tokens(log))
    }

    /// Where the record that begins at `first` lies once a body in it was erased.
    pub(super) fn rewritten(&self, log: &LogId, first: Revision) -> String {
        format!("{}.rewritten.{}.{first}", self.root, tokens(log))
    }

    /// All logs.
    pub(super) fn logs(&self) -> String {
        format!("{}.log.>", self.root)
    }

    /// All that was rewritten.
    pub(super) fn rewrites(&self) -> String {
        format!("{}.rewritten.>", self.root)
    }

    /// All tellings of what was stored in a log.
    pub(super) fn moves(&self) -> String {
        format!("{}.moved.>", self.root)
    }

    /// The log that a subject of [`Names::logs`] or [`Names::moves`] belongs to.
    pub(super) fn log_of(&self, subject: &str) -> Option<LogId> {
        let below = subject.strip_prefix(self.root.as_str())?;
        let tokens = below.strip_prefix(".log.").or_else(|| below.strip_prefix(".moved."))?;
        if tokens == DIRECTORY {
            return Some(LogId::Directory);
        }
        match tokens.split_once('.')? {
            ("room", room) => room.parse().ok().map(LogId::Room),
            ("account", account) => decoded(account)?.parse().ok().map(LogId::Account),
            _ => None,
        }
    }
}

fn tokens(log: &LogId) -> String {
    match log {
        LogId::Room(room) => format!("room.{room}"),
        LogId::Account(account) => format!("account.{}", encoded(account.as_str())),
        LogId::Directory => DIRECTORY.to_owned(),
    }
}

/// Letters, digits and what a subject may hold as they are; anything else as `%` and two hexadecimal digits.
fn encoded(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-@+".contains(&byte) {
            token.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(token, "%{byte:02X}");
        }
    }
    token
}

fn decoded(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chamberlain_core::id::RoomId;

    #[test]
    fn a_subject_names_its_log() {
        let names = Names::of(&"home".parse().expect("a site"));
        let account = |name: &str| LogId::Account(name.parse().expect("an account"));
        for log in [
            LogId::Room(RoomId::from_digest(&[7; 32])),
            account("ada"),
            account("a.b_c-d+e@corp.example"),
            LogId::Directory,
        ] {
            let subject = names.log(&log);
            assert_eq!(names.log_of(&subject), Some(log.clone()), "{subject}");
            assert_eq!(names.log_of(&subject.replacen(".log.", ".moved.", 1)), Some(log.clone()));
            assert_eq!(names.log_of(&names.rewritten(&log, Revision(1))), None);
        }
        assert_eq!(names.log(&account("a.b")), "chamberlain.home.log.account.a%2Eb");
    }

    #[test]
    fn a_strange_subject_names_none() {
        let names = Names::of(&"home".parse().expect("a site"));
        for subject in
            ["", "chamberlain.home", "chamberlain.home.log.room.short", "chamberlain.home.log.account.a%2", "other.log"]
        {
            assert_eq!(names.log_of(subject), None, "{subject}");
        }
    }
}
