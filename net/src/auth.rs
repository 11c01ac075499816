//! Who is asking. How a token is verified is decided by the root package; here is only what a node must know of it.

use chamberlain_core::id::AccountId;
use chamberlain_core::time::Timestamp;

/// Somebody whose token verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// Its name for people, where the token tells it; for an account that the directory does not know yet.
    pub name: Option<String>,
    /// Whether the token itself makes it an administrator; the directory may do so, too.
    pub admin: bool,
    /// When the token ends; a connection ends with it, unless it is refreshed.
    pub expires: Option<Timestamp>,
}

/// Why a token was refused. Never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
    /// It is not one that this server takes; the words say which check failed, e.g. `audience`.
    #[error("the token is not valid: {0}")]
    Invalid(String),
}

/// Verifies tokens.
pub trait Authenticate: Send + Sync {
    /// Who holds this token, at this time?
    fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError>;

    /// How people sign in, for the page: `development` (any name) or `token`.
    fn sign_in(&self) -> &'static str;

    /// Whether accounts that the directory does not know are added to it when they sign in.
    fn provision(&self) -> bool;
}
