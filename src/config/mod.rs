//! Configuration: defaults, under a TOML file, under the environment, under flags.
//!
//! [`load`] gives a [`Config`] whose values make sense, alone and together, or every [`Problem`] there is. A value that makes
//! no sense is refused at start and never mended in silence. What files hold (keys, certificates) is looked at by whoever uses
//! them; `chamberlain config check` does all of it.

mod check;
mod keys;
mod password;
mod print;
mod servers;
mod sources;
mod subjects;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use chamberlain_core::id::{AccountId, SiteId};
use chamberlain_core::limits::Limits;
use chamberlain_stores::master_key::MasterKeySource;
use tracing_subscriber::filter::Targets;
use zeroize::Zeroizing;

pub(crate) use check::SECRET_MIN;
pub use password::{Password, PasswordError};
pub use print::print;
pub use servers::{Nats, Servers, Syncing, Valkey};
pub use sources::{Flags, Problem, Settings, environment};
pub use subjects::{NatsUser, SubjectsConfig};
pub use value::{Origin, Value};

/// The configuration's file in the data folder.
pub const FILE_NAME: &str = "chamberlain.toml";

/// A configuration that makes sense.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Data folder.
    pub data: PathBuf,
    /// This site.
    pub site: SiteId,
    /// This node.
    pub node: String,
    /// Where people reach the server: scheme and host, and a port where it is not the scheme's own; no path.
    pub public_url: Option<String>,
    /// Origins of other pages that may speak for people.
    pub allowed_origins: Vec<String>,
    /// Other hosts that the server answers to, without ports.
    pub allowed_hosts: Vec<String>,
    /// Whether anybody may read the figures.
    pub open_metrics: bool,
    /// How people sign in.
    pub sign_in: SignIn,
    /// Certificate and key, for TLS.
    pub tls: Option<TlsFiles>,
    /// Limits, checked.
    pub limits: Limits,
    /// Hours for which old room keys are handed out; for ever when there are none.
    pub grace_hours: Option<u64>,
    /// Which log lines are written.
    pub log_filter: Targets,
    /// Whether they are written as JSON.
    pub log_json: bool,
    /// Servers that keep the data; none when it is in the data folder.
    pub servers: Option<Servers>,
    /// Where the master key is.
    pub master_key: MasterKeySource,
    /// How rooms are reached over NATS subjects, where they are.
    pub subjects: Option<SubjectsConfig>,
}

/// How people sign in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// How tokens are verified.
    pub mode: SignInMode,
    /// Accounts that are administrators whatever their token says.
    pub admins: Vec<AccountId>,
    /// Whether unknown accounts are added to the directory when they sign in.
    pub provision: bool,
}

/// How tokens are verified.
#[derive(Debug, Clone)]
pub enum SignInMode {
    /// Not at all: the token is the account's name. On loopback only.
    Development,
    /// By signature.
    Jwt(JwtRules),
}

/// What a signed token must be.
#[derive(Debug, Clone)]
pub struct JwtRules {
    /// What it is verified with.
    pub key: KeySource,
    /// Its `aud`.
    pub audience: Option<String>,
    /// Its `iss`.
    pub issuer: Option<String>,
    /// The claim that names the account.
    pub account_claim: String,
    /// The claim that holds the name for people.
    pub name_claim: String,
    /// The claim that, when true, makes an administrator.
    pub admin_claim: Option<String>,
    /// Seconds that clocks may differ.
    pub leeway_s: u64,
}

/// Where the key of tokens is.
#[derive(Clone)]
pub enum KeySource {
    /// A shared secret.
    Secret(Zeroizing<String>),
    /// A file with a shared secret.
    SecretFile(PathBuf),
    /// A file with a public key in PEM.
    PublicKeyFile(PathBuf),
    /// A file with a JWKS.
    JwksFile(PathBuf),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("Secret(..)"),
            Self::SecretFile(path) => write!(f, "SecretFile({})", path.display()),
            Self::PublicKeyFile(path) => write!(f, "PublicKeyFile({})", path.display()),
            Self::JwksFile(path) => write!(f, "JwksFile({})", path.display()),
        }
    }
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, in PEM.
    pub cert: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

/// A configuration, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// Every key, its value and origin.
    pub settings: Settings,
}

/// Reads and checks the configuration. Reads files, and nothing else: `environment` is given.
pub fn load(flags: &Flags, environment: &[(String, String)]) -> Result<Loaded, Vec<Problem>> {
    let settings = Settings::read(flags, environment)?;
    let config = check::check(&settings)?;
    Ok(Loaded { config, settings })
}
