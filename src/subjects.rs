//! Puts a node on NATS subjects, as the configuration says.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chamberlain_net::node::Node;
use chamberlain_net::subjects::{Credentials, OpenError, Options, Subjects};
use zeroize::Zeroizing;

use crate::auth::reserved;
use crate::config::{NatsUser, PasswordSource, SubjectsConfig};

/// How long connecting may take.
const OPENING: Duration = Duration::from_secs(10);
/// Longest file of a password, bytes.
const FILE_MAX: u64 = 4_096;

/// Why the server is not on subjects. The words name the configuration's section.
#[derive(Debug, thiserror::Error)]
pub enum SubjectsError {
    /// A file of a password.
    #[error("subjects: {} {why}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The connection.
    #[error("subjects: {0}")]
    Open(#[from] OpenError),
}

impl SubjectsError {
    /// Whether another configuration helps, rather than another time.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Open(OpenError::Option(_)))
    }
}

/// Connects, where the configuration says so.
pub(crate) async fn open(node: &Node, config: Option<&SubjectsConfig>) -> Result<Option<Subjects>, SubjectsError> {
    let Some(config) = config else { return Ok(None) };
    let options = Options {
        servers: config.servers.clone(),
        credentials: config.service.as_ref().map(credentials).transpose()?,
        peers: config.peers.as_ref().map(credentials).transpose()?,
        trust: config.ca_file.iter().cloned().collect(),
        reserved,
        opening: OPENING,
    };
    let subjects = Subjects::open(node, &options).await?;
    tracing::info!(servers = config.servers.len(), "rooms are on NATS subjects");
    Ok(Some(subjects))
}

fn credentials(user: &NatsUser) -> Result<Credentials, SubjectsError> {
    let password = match &user.password {
        PasswordSource::Text(text) => text.to_string(),
        PasswordSource::File(file) => {
            let failed = |why: String| SubjectsError::File { file: file.clone(), why };
            let size = fs::metadata(file).map_err(|why| failed(format!("cannot be read: {why}")))?.len();
            if size > FILE_MAX {
                return Err(failed(format!("has {size} bytes, and a password has {FILE_MAX} at most")));
            }
            let text =
                Zeroizing::new(fs::read_to_string(file).map_err(|why| failed(format!("cannot be read: {why}")))?);
            text.trim().to_owned()
        }
    };
    Ok(Credentials { user: user.user.clone(), password })
}
