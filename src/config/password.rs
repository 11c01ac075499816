//! Passwords of servers: in the environment, or in a file that is named; never in the configuration itself, and never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::sources::Settings;

/// Longest file of a password, bytes.
const FILE_MAX: u64 = 4_096;

/// Where a password is.
#[derive(Clone)]
pub enum Password {
    /// Here.
    Given(Zeroizing<String>),
    /// In this file.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(..)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// A file from which no password could be read.
#[derive(Debug, thiserror::Error)]
#[error("the password in {}: {why}", .file.display())]
pub struct PasswordError {
    file: PathBuf,
    why: io::Error,
}

impl Password {
    /// The password, without the white space around it.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, PasswordError> {
        let path = match self {
            Self::Given(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let mut text = Zeroizing::new(String::new());
        let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text));
        let failed = |why| PasswordError { file: path.clone(), why };
        match read.map_err(failed)? as u64 {
            0..=FILE_MAX => Ok(Zeroizing::new(text.trim().to_owned())),
            _ => Err(failed(io::Error::other(format!("more than {FILE_MAX} bytes")))),
        }
    }
}

/// The password under `key`, or in the file under `key_file`.
pub(super) fn password(settings: &Settings, key: &str, problem: &mut impl FnMut(&str, &str)) -> Option<Password> {
    let file = format!("{key}_file");
    match (settings.secret(key), settings.path(&file)) {
        (Some(_), Some(_)) => {
            problem(&file, "is set, and so is the password itself: one of them is enough");
            None
        }
        (Some(text), None) => Some(Password::Given(text)),
        (None, path) => path.map(Password::File),
    }
}
