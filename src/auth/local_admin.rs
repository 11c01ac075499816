//! The token of the server's own: made anew at every start, in a file that only the server's user can read.
//!
//! Whoever can read it can read the data folder, so it gives nobody more than they have. Commands on the same machine use it,
//! and act as `chamberlain-admin@SITE`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chamberlain_core::id::{AccountId, SiteId};
use chamberlain_net::auth::{AuthError, Identity};
use rand::TryRng;
use rand::rngs::SysRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::local_admin_account;

/// Name of the file in the data folder.
const FILE_NAME: &str = "admin.token";
/// What the token begins with: `/` is in no account's name and in no signed token.
const PREFIX: &str = "admin/";

/// The server's own token, while it runs.
pub struct LocalAdmin {
    account: AccountId,
    token: Zeroizing<String>,
    file: Option<PathBuf>,
}

impl LocalAdmin {
    /// Draws a token that is kept in memory alone.
    pub fn new(site: &SiteId) -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut bytes[..]).map_err(io::Error::other)?;
        let mut token = Zeroizing::new(String::with_capacity(PREFIX.len() + 64));
        token.push_str(PREFIX);
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 15] {
                token.extend(char::from_digit(digit.into(), 16));
            }
        }
        Ok(Self { account: local_admin_account(site), token, file: None })
    }

    /// Draws a token and writes it into the data folder, where it stays until this is dropped.
    pub fn publish(site: &SiteId, data: &Path) -> io::Result<Self> {
        let mut admin = Self::new(site)?;
        let path = data.join(FILE_NAME);
        write_private(&path, format!("{}\n", *admin.token).as_bytes())?;
        admin.file = Some(path);
        Ok(admin)
    }

    /// The account it signs in as.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The token.
    pub(crate) fn token(&self) -> Zeroizing<String> {
        self.token.clone()
    }

    /// Who holds this token; none when it is of another kind.
    pub(super) fn verify(&self, token: &str) -> Option<Result<Identity, AuthError>> {
        token.starts_with(PREFIX).then(|| {
            if bool::from(token.as_bytes().ct_eq(self.token.as_bytes())) {
                let name = Some("Administrator on the server".to_owned());
                Ok(Identity { account: self.account.clone(), name, admin: true, expires: None })
            } else {
                Err(super::invalid("it is of an earlier start of the server; read admin.token again"))
            }
        })
    }
}

impl Drop for LocalAdmin {
    fn drop(&mut self) {
        if let Some(path) = &self.file {
            // A later server may have written its own; the token is worthless without us either way.
            let ours = fs::read_to_string(path).is_ok_and(|text| text.trim() == self.token.as_str());
            if ours {
                let _gone = fs::remove_file(path);
            }
        }
    }
}

/// The token in a data folder.
pub(crate) fn read_token(data: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(data.join(FILE_NAME))?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Writes a file that its owner alone may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // Left over from a crash, perhaps with another mode.
    let _absent = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&new)?.write_all(bytes)?;
    fs::rename(&new, path)
}
