//! Puts a node on NATS subjects, as the configuration says.

use std::time::Duration;

use chamberlain_net::node::Node;
use chamberlain_net::subjects::{Credentials, OpenError, Options, Subjects};

use crate::auth::reserved;
use crate::config::{NatsUser, PasswordError, SubjectsConfig};

/// How long connecting may take.
const OPENING: Duration = Duration::from_secs(10);

/// Why the server is not on subjects. The words name the configuration's section.
#[derive(Debug, thiserror::Error)]
pub enum SubjectsError {
    /// A password.
    #[error("subjects: {0}")]
    Password(#[from] PasswordError),
    /// The connection.
    #[error("subjects: {0}")]
    Open(#[from] OpenError),
}

impl SubjectsError {
    /// Whether another configuration helps, rather than another time.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, Self::Password(_) | Self::Open(OpenError::Option(_)))
    }
}

/// Connects, where the configuration says so.
pub(crate) async fn open(node: &Node, config: Option<&SubjectsConfig>) -> Result<Option<Subjects>, SubjectsError> {
    let Some(config) = config else { return Ok(None) };
    let subjects = Subjects::open(node, &options(config)?).await?;
    tracing::info!(servers = config.servers.len(), "rooms are on NATS subjects");
    Ok(Some(subjects))
}

/// What the section says, with what its files hold.
pub(crate) fn options(config: &SubjectsConfig) -> Result<Options, SubjectsError> {
    Ok(Options {
        servers: config.servers.clone(),
        credentials: config.service.as_ref().map(credentials).transpose()?,
        peers: config.peers.as_ref().map(credentials).transpose()?,
        trust: config.ca_file.iter().cloned().collect(),
        reserved,
        opening: OPENING,
    })
}

fn credentials(user: &NatsUser) -> Result<Credentials, SubjectsError> {
    Ok(Credentials { user: user.user.clone(), password: user.password.read()?.as_str().to_owned() })
}
