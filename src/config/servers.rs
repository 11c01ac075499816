//! The servers that keep a site's data when it has outgrown one machine: NATS JetStream for logs, Valkey for all else.
//!
//! Either both are configured, or neither. What can be told without asking a server is refused here; what a server must be
//! like is found out when it is opened.

use std::path::PathBuf;

use super::check::Check;
use super::password::Password;
use chamberlain_stores::master_key::MasterKeySource;

/// The word for data in the data folder.
pub(super) const EMBEDDED: &str = "embedded";

/// Where a site's data is kept that is not in its data folder.
#[derive(Debug, Clone)]
pub struct Servers {
    /// For logs, and what nodes tell each other.
    pub nats: Nats,
    /// For room keys, snapshots, marks and accounts.
    pub valkey: Valkey,
}

/// NATS servers.
#[derive(Debug, Clone)]
pub struct Nats {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`, at least one.
    pub addresses: Vec<String>,
    /// As whom to speak to them.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<Password>,
    /// Authorities to trust instead of those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key to show.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// JetStream domain.
    pub domain: Option<String>,
    /// Copies of each record.
    pub replicas: u64,
    /// What is known of when they write to their disks.
    pub syncing: Syncing,
}

/// What is known of when NATS servers write to their disks.
#[derive(Debug, Clone)]
pub enum Syncing {
    /// They are asked, as a user of their system account.
    Asked {
        /// The user.
        user: String,
        /// Its password.
        password: Option<Password>,
    },
    /// The operator says that they sync each write.
    Promised,
    /// The operator insists on servers that may forget.
    Lax,
}

/// A Valkey or Redis server.
#[derive(Debug, Clone)]
pub struct Valkey {
    /// `valkey://HOST:PORT` or `valkeys://HOST:PORT`.
    pub address: String,
    /// As whom to speak to it.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<Password>,
    /// Authorities to trust instead of those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
    /// Connections.
    pub connections: u64,
    /// Replicas that must have a write on their disks.
    pub replicas: u64,
    /// Whether a server that may forget will do.
    pub lax: bool,
}

impl Check<'_> {
    /// The servers; none when all is in the data folder. `Err` when something is wrong with them, which was noted.
    pub(super) fn servers(&mut self, master_key: &MasterKeySource) -> Result<Option<Servers>, ()> {
        let (log, vault) = (self.text("log"), self.text("vault"));
        match (log == EMBEDDED, vault == EMBEDDED) {
            (true, true) => {
                self.unused_servers();
                return Ok(None);
            }
            (true, false) => {
                let said = format!(
                    "must be set with vault: nats://HOST:PORT; with both \"{EMBEDDED}\", all is in the data folder"
                );
                self.problem("log", said);
                return Err(());
            }
            (false, true) => {
                let said = format!(
                    "must be set with log: valkey://HOST:PORT; with both \"{EMBEDDED}\", all is in the data folder"
                );
                self.problem("vault", said);
                return Err(());
            }
            (false, false) => {}
        }
        if matches!(master_key, MasterKeySource::DataFolder) {
            self.problem(
                "master_key.file",
                "must be set, or CHAMBERLAIN_MASTER_KEY: nodes that share data share one master key, e.g. from `openssl rand -hex \
                 32`, and none of them makes it",
            );
        }
        let (nats, valkey) = (self.nats(&log), self.valkey(vault));
        Ok(Some(Servers { nats: nats.ok_or(())?, valkey: valkey? }))
    }

    fn text(&self, key: &str) -> String {
        self.settings.text(key).unwrap_or_default().trim().to_owned()
    }

    /// Who sets something for servers believes that there are some.
    fn unused_servers(&mut self) {
        for key in super::keys::KEYS.iter().filter(|key| ["nats", "valkey"].contains(&key.section)) {
            let path = key.path();
            if key.default.is_none() && self.settings.is_set(&path) {
                self.problem(&path, "is set, but log and vault are in the data folder: set both, or remove it");
            }
        }
    }

    fn nats(&mut self, log: &str) -> Option<Nats> {
        let addresses: Vec<String> = log.split(',').map(|address| address.trim().to_owned()).collect();
        let odd = |address: &String| {
            let rest = address.strip_prefix("nats://").or_else(|| address.strip_prefix("tls://"));
            rest.is_none_or(|rest| rest.is_empty() || rest.contains(['@', '/', ' ']))
        };
        if addresses.iter().any(odd) {
            // There may be a password in it, so it is not repeated.
            self.problem(
                "log",
                "must be nats://HOST:PORT or tls://HOST:PORT, several with commas between them; who signs in there stands in \
                 [nats]",
            );
            return None;
        }
        let syncing = match self.text("nats.syncing").as_str() {
            "promised" => Syncing::Promised,
            "lax" => Syncing::Lax,
            _ => match self.settings.text("nats.system_user") {
                Some(user) => Syncing::Asked { user: user.to_owned(), password: self.password("nats.system_password") },
                None => {
                    self.problem(
                        "nats.system_user",
                        "must be set: a user of the servers' system account, as whom they are asked whether they sync each write; or \
                         set nats.syncing = \"promised\" when you know that they run with `sync_interval: always`",
                    );
                    return None;
                }
            },
        };
        let certificate = match (self.settings.path("nats.cert"), self.settings.path("nats.key")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                self.problem("nats.cert", "must be set with nats.key: a certificate and its private key");
                None
            }
        };
        Some(Nats {
            addresses,
            user: self.settings.text("nats.user").map(str::to_owned),
            password: self.password("nats.password"),
            ca_file: self.settings.path("nats.ca_file"),
            certificate,
            domain: self.settings.text("nats.domain").map(str::to_owned),
            replicas: self.settings.number("nats.replicas"),
            syncing,
        })
    }

    fn valkey(&mut self, vault: String) -> Result<Valkey, ()> {
        if vault.contains('@') {
            self.problem(
                "vault",
                "must be valkey://HOST:PORT or valkeys://HOST:PORT; who signs in there stands in [valkey]",
            );
            return Err(());
        }
        if let Err(why) = chamberlain_stores::valkey::Address::parse(&vault) {
            self.problem("vault", why.to_string());
            return Err(());
        }
        Ok(Valkey {
            address: vault,
            user: self.settings.text("valkey.user").map(str::to_owned),
            password: self.password("valkey.password"),
            ca_file: self.settings.path("valkey.ca_file"),
            prefix: self.text("valkey.prefix"),
            connections: self.settings.number("valkey.connections"),
            replicas: self.settings.number("valkey.replicas"),
            lax: self.settings.switch("valkey.lax"),
        })
    }

    fn password(&mut self, key: &str) -> Option<Password> {
        let settings = self.settings;
        super::password::password(settings, key, &mut |key, said| self.problem(key, said))
    }
}
