//! `[subjects]`: where NATS is, and as whom the server connects to it.

use std::path::PathBuf;

use super::password::Password;
use super::sources::{Problem, Settings};

/// How rooms are reached over NATS subjects.
#[derive(Debug, Clone)]
pub struct SubjectsConfig {
    /// Addresses of NATS servers.
    pub servers: Vec<String>,
    /// The service user.
    pub service: Option<NatsUser>,
    /// The user that hears other servers.
    pub peers: Option<NatsUser>,
    /// Certificates of authorities to trust beside the machine's own, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// A user of a NATS server.
#[derive(Debug, Clone)]
pub struct NatsUser {
    /// Its name.
    pub user: String,
    /// Where its password is.
    pub password: Password,
}

/// Reads the section; nothing where no address is set.
pub(super) fn read(settings: &Settings, problems: &mut Vec<Problem>) -> Option<SubjectsConfig> {
    let mut problem = |key: &str, said: &str| {
        problems.push(Problem { key: key.into(), origin: settings.origin(key), said: said.into() });
    };
    let servers = settings.list("subjects.url").to_vec();
    if servers.is_empty() {
        for key in ["user", "password", "password_file", "peer_user", "peer_password", "peer_password_file", "ca_file"]
        {
            let key = format!("subjects.{key}");
            if settings.is_set(&key) {
                problem(&key, "is set, and subjects.url is not: where is the NATS server?");
            }
        }
        return None;
    }
    for server in &servers {
        if server.contains('@') {
            problem("subjects.url", "holds a user: set subjects.user, and the password in the environment or a file");
        } else if !["nats://", "tls://"]
            .iter()
            .any(|scheme| server.strip_prefix(scheme).is_some_and(|at| !at.is_empty()))
        {
            problem("subjects.url", "must be nats://HOST:PORT or tls://HOST:PORT");
        }
    }
    let service = user(settings, "user", "password", &mut problem);
    let peers = user(settings, "peer_user", "peer_password", &mut problem);
    Some(SubjectsConfig { servers, service, peers, ca_file: settings.path("subjects.ca_file") })
}

fn user(settings: &Settings, user: &str, password: &str, problem: &mut impl FnMut(&str, &str)) -> Option<NatsUser> {
    let (user, password) = (format!("subjects.{user}"), format!("subjects.{password}"));
    let source = super::password::password(settings, &password, problem);
    match (settings.text(&user), source) {
        (Some(name), Some(password)) if !name.trim().is_empty() => Some(NatsUser { user: name.to_owned(), password }),
        (Some(_), _) => {
            problem(&user, "must have a name and a password: in the environment, or in a file");
            None
        }
        (None, Some(_)) => {
            problem(&user, "must be set with its password");
            None
        }
        (None, None) => None,
    }
}
