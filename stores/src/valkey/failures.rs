//! What an error of the client means for what was asked.
//!
//! The words of the server are taken only where they cannot repeat what was sent: a server that does not know a command
//! quotes its arguments.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::StoreError;

/// Whether what was asked may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Reading,
    Writing,
}

/// What the server says before it has carried out anything.
const NOTHING_HAPPENED: &[&str] = &[
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "MISCONF",
    "OOM",
    "NOREPLICAS",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "NOPROTO",
    "DENIED",
];

/// An error, as the caller of a store is told. `at` is where the server is.
pub(super) fn told(at: &str, doing: Doing, why: &RedisError) -> StoreError {
    let said = format!("{at}: {}", words(why));
    match (why.kind(), why.code()) {
        (_, Some("MOVED" | "ASK")) => StoreError::Unavailable(format!(
            "{said}: the cluster keeps this elsewhere, and redirections are not followed; give the address of a proxy that does"
        )),
        (_, Some(code)) if NOTHING_HAPPENED.contains(&code) => StoreError::Unavailable(said),
        (_, Some("WRONGTYPE")) => StoreError::Corrupt(format!("{at}: something else lies where ours should")),
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => {
            StoreError::Corrupt(format!("{at}: an answer of a form that no server gives"))
        }
        (ErrorKind::InvalidClientConfig, _) => StoreError::Unavailable(said),
        _ => match doing {
            Doing::Reading => StoreError::Unavailable(said),
            Doing::Writing => StoreError::Unknown(said),
        },
    }
}

/// Whether the connection may be asked again after this: it is whole, and its server is what it was.
pub(super) fn is_of_the_call_alone(why: &RedisError) -> bool {
    matches!(why.code(), Some("ERR" | "WRONGTYPE" | "OOM" | "CROSSSLOT" | "MOVED" | "ASK" | "TRYAGAIN"))
        || why.kind() == ErrorKind::UnexpectedReturnType
}

/// What went wrong, in words that an operator may see.
pub(super) fn words(why: &RedisError) -> String {
    match (why.kind(), why.code()) {
        (ErrorKind::Server(ServerErrorKind::ResponseError), _) => match why.detail() {
            Some(said) if is_unknown_command(said) => "the server does not know a command that is needed".to_owned(),
            _ => "the server refused the command (ERR)".to_owned(),
        },
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            "user or password are not accepted".to_owned()
        }
        (_, Some(code)) => match why.detail().filter(|_| code == "NOPERM" || code == "MISCONF" || code == "OOM") {
            Some(said) => format!("{code} {said}"),
            None => code.to_owned(),
        },
        (ErrorKind::Io, _) => why.to_string(),
        _ => why.category().to_owned(),
    }
}

/// What a server says of a command that it does not have or that was taken from it.
pub(super) fn is_unknown_command(said: &str) -> bool {
    said.to_ascii_lowercase().starts_with("unknown command")
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn said(code: &str, detail: &str) -> RedisError {
        make_extension_error(code.into(), Some(detail.into()))
    }

    #[test]
    fn what_a_server_quotes_is_not_repeated() {
        let why = said("ERR", "unknown command 'SET', with args beginning with: 'horse'");
        for doing in [Doing::Reading, Doing::Writing] {
            assert!(!told("valkey://one", doing, &why).to_string().contains("horse"));
        }
    }

    #[test]
    fn what_surely_did_not_happen_is_unavailable() {
        for code in NOTHING_HAPPENED {
            let outcome = told("valkey://one", Doing::Writing, &said(code, "so it is"));
            assert!(matches!(outcome, StoreError::Unavailable(_)), "{code}: {outcome:?}");
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(told("valkey://one", Doing::Writing, &lost), StoreError::Unknown(_)));
        assert!(matches!(told("valkey://one", Doing::Reading, &lost), StoreError::Unavailable(_)));
    }
}
