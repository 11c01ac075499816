//! Who is asking: verifies tokens for the node.
//!
//! In development sign-in the token is the account's name; otherwise it is a signed token (JWT). Beside these there is one
//! token of the server's own, for commands on the same machine. No error holds a token, or a part of one.

mod claims;
mod keys;
mod local_admin;
mod pem;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use chamberlain_core::id::{AccountId, InvalidId, SiteId};
use chamberlain_core::time::Timestamp;
use chamberlain_net::auth::{AuthError, Authenticate, Identity};

use crate::config::{SignIn, SignInMode};
use claims::Jwt;
pub use claims::{MintError, mint};
pub use keys::KeyError;
pub use local_admin::LocalAdmin;
pub(crate) use local_admin::{read_token, write_private};

/// Longest token that is looked at, bytes.
const TOKEN_MAX: usize = 16 * 1024;
/// Longest name for people that is taken from a token, characters.
const NAME_MAX: usize = 100;
/// What the names of the servers' own accounts begin with.
const RESERVED: &str = "chamberlain-admin";

/// Whether this name belongs to a server, so that no person can have it.
pub fn reserved(account: &AccountId) -> bool {
    account.as_str().starts_with(RESERVED)
}

/// The account as which commands on the server's own machine act. Its site is part of it: accounts are unique across sites.
pub fn local_admin_account(site: &SiteId) -> AccountId {
    let name = format!("{RESERVED}@{site}");
    name.parse().expect("18 characters and a site's 32 at most are an account")
}

/// Verifies tokens as the configuration says.
pub struct Verifier {
    mode: Mode,
    admins: Vec<AccountId>,
    provision: bool,
    local: Arc<LocalAdmin>,
}

enum Mode {
    Development,
    Jwt(Box<Jwt>),
    /// Only the server's own token: while a command has the data folder open.
    LocalOnly,
}

impl Verifier {
    /// Reads the keys that the configuration names.
    pub fn new(sign_in: &SignIn, local: Arc<LocalAdmin>) -> Result<Self, KeyError> {
        let mode = match &sign_in.mode {
            SignInMode::Development => Mode::Development,
            SignInMode::Jwt(rules) => Mode::Jwt(Box::new(Jwt::new(rules)?)),
        };
        Ok(Self { mode, admins: sign_in.admins.clone(), provision: sign_in.provision, local })
    }

    /// Takes the server's own token and no other.
    pub fn local_only(local: Arc<LocalAdmin>) -> Self {
        Self { mode: Mode::LocalOnly, admins: Vec::new(), provision: false, local }
    }
}

impl Authenticate for Verifier {
    fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        if token.is_empty() || token.len() > TOKEN_MAX {
            return Err(invalid("its length"));
        }
        if let Some(verified) = self.local.verify(token) {
            return verified;
        }
        let mut identity = match &self.mode {
            Mode::Development => by_name(token)?,
            Mode::Jwt(jwt) => jwt.verify(token, now)?,
            Mode::LocalOnly => return Err(invalid("only the token of this machine is taken")),
        };
        if reserved(&identity.account) {
            return Err(invalid("the account's name is reserved for servers"));
        }
        identity.admin |= self.admins.contains(&identity.account);
        Ok(identity)
    }

    fn sign_in(&self) -> &'static str {
        match self.mode {
            Mode::Development => "development",
            Mode::Jwt(_) | Mode::LocalOnly => "token",
        }
    }

    fn provision(&self) -> bool {
        self.provision
    }
}

/// Development sign-in: `ada`, or `ada|Ada Lovelace`.
fn by_name(token: &str) -> Result<Identity, AuthError> {
    let (account, name) = token.split_once('|').map_or((token, None), |(account, name)| (account, Some(name)));
    // The refusal names the form and not what was given, which may be a token of another kind.
    let account = account
        .trim()
        .parse()
        .map_err(|why: InvalidId| AuthError::Invalid(format!("in development sign-in, {why}")))?;
    Ok(Identity { account, name: name.and_then(presentable), admin: false, expires: None })
}

/// A name for people: trimmed, not empty, not endless, without control characters.
fn presentable(name: &str) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    (!name.is_empty()).then_some(name)
}

fn invalid(why: &str) -> AuthError {
    AuthError::Invalid(why.to_owned())
}
