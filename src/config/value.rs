//! Values as they are read, before anybody knows what they mean, and where each came from.
//!
//! A file has types, the environment and flags have text; both end as a [`Value`] of the kind that the key asks for. A secret
//! is wiped when it is dropped, and shows itself to nobody.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::keys::Kind;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said otherwise.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable of the environment.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value as a file, a variable or a flag holds it.
#[derive(Clone)]
pub(super) enum Raw {
    /// Words of a variable, a flag or a file.
    Text(Zeroizing<String>),
    /// A whole number of a file.
    Number(i64),
    /// A truth value of a file.
    Switch(bool),
    /// A list of texts of a file.
    List(Vec<String>),
    /// Something that no key takes, in words.
    Other(&'static str),
}

impl Raw {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }
}

/// A value of the kind that its key asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A file or folder.
    Path(PathBuf),
    /// A whole number.
    Number(u64),
    /// Yes or no.
    Switch(bool),
    /// Words, in order.
    List(Vec<String>),
    /// Words that are shown to nobody.
    Secret(Zeroizing<String>),
}

/// Secrets are redacted.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As TOML; a secret as `(set)`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", quoted(text)),
            Self::Path(path) => write!(f, "{}", quoted(&path.display().to_string())),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Secret(_) => f.write_str("(set)"),
        }
    }
}

/// A basic string of TOML: JSON's escapes are a part of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Makes a value of what was read, or says in words what it must be. `beside` is the folder that relative paths start from.
pub(super) fn convert(kind: Kind, raw: &Raw, beside: Option<&Path>) -> Result<Value, String> {
    match (kind, raw) {
        (Kind::Text { .. }, Raw::Text(text)) => Ok(Value::Text(text.to_string())),
        (Kind::Secret, Raw::Text(text)) => Ok(Value::Secret(text.clone())),
        (Kind::Path, Raw::Text(text)) if text.is_empty() => Err("must be a path, and is empty".into()),
        (Kind::Path, Raw::Text(text)) => {
            let path = Path::new(text.as_str());
            Ok(Value::Path(
                beside.filter(|_| path.is_relative()).map_or_else(|| path.to_owned(), |folder| folder.join(path)),
            ))
        }
        (Kind::Number { min, max }, Raw::Text(text)) => {
            let number = text.trim().replace('_', "").parse();
            in_range(number.map_err(|_| format!("must be a whole number from {min} to {max}"))?, min, max)
        }
        (Kind::Number { min, max }, Raw::Number(number)) => {
            in_range(u64::try_from(*number).map_err(|_| format!("is {number}: must be {min} to {max}"))?, min, max)
        }
        (Kind::Switch, Raw::Switch(on)) => Ok(Value::Switch(*on)),
        (Kind::Switch, Raw::Text(text)) => match text.as_str() {
            "true" | "yes" | "on" | "1" => Ok(Value::Switch(true)),
            "false" | "no" | "off" | "0" => Ok(Value::Switch(false)),
            _ => Err(must_be(kind)),
        },
        (Kind::List, Raw::List(items)) => Ok(Value::List(items.clone())),
        (Kind::List, Raw::Text(text)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::List(items.map(str::to_owned).collect()))
        }
        (_, Raw::Other(what)) => Err(format!("{}, and is {what}", must_be(kind))),
        _ => Err(must_be(kind)),
    }
}

fn in_range(number: u64, min: u64, max: u64) -> Result<Value, String> {
    if (min..=max).contains(&number) {
        Ok(Value::Number(number))
    } else {
        Err(format!("is {number}: must be {min} to {max}"))
    }
}

fn must_be(kind: Kind) -> String {
    match kind {
        Kind::Text { .. } | Kind::Secret => "must be text, in quotes".into(),
        Kind::Path => "must be a path, in quotes".into(),
        Kind::Number { min, max } => format!("must be a whole number from {min} to {max}"),
        Kind::Switch => "must be true or false".into(),
        Kind::List => "must be a list of texts, e.g. [\"one\", \"two\"] (in the environment: one,two)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_environment_becomes_what_the_key_asks_for() {
        let number = Kind::Number { min: 1, max: 10_000 };
        assert_eq!(convert(number, &Raw::text("1_000"), None), Ok(Value::Number(1_000)));
        assert_eq!(convert(Kind::Switch, &Raw::text("on"), None), Ok(Value::Switch(true)));
        let list = convert(Kind::List, &Raw::text("ada, bob,"), None);
        assert_eq!(list, Ok(Value::List(vec!["ada".into(), "bob".into()])));
        for bad in ["", "-1", "0", "10001", "1.5", "many"] {
            let said = convert(number, &Raw::text(bad), None).expect_err("refused");
            assert!(said.contains("1 to 10000"), "{said}");
        }
    }

    #[test]
    fn paths_of_a_file_start_beside_it() {
        let beside = Some(Path::new("conf"));
        assert_eq!(convert(Kind::Path, &Raw::text("keys/a.pem"), beside), Ok(Value::Path("conf/keys/a.pem".into())));
        assert_eq!(convert(Kind::Path, &Raw::text("/etc/a.pem"), beside), Ok(Value::Path("/etc/a.pem".into())));
        assert_eq!(convert(Kind::Path, &Raw::text("a.pem"), None), Ok(Value::Path("a.pem".into())));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = convert(Kind::Secret, &Raw::text("hush"), None).expect("text");
        assert_eq!(format!("{secret} {secret:?}"), "(set) (set)");
    }
}
