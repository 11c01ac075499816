//! Where a server keeps what is durable: in its data folder, or on servers that several nodes share.

use std::path::Path;
use std::sync::Arc;

use chamberlain_core::id::SiteId;
use chamberlain_core::site::MasterKey;
use chamberlain_net::bus::{Connected, nats as bus};
use chamberlain_net::server::Backup;
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::jetstream::{self, Credentials, JetStream, Syncing};
use chamberlain_stores::valkey::{self, Valkey};
use chamberlain_stores::{LogStore, Stores};

use crate::backup::backups;
use crate::config::{self, Config, Password, Servers};
use crate::serve::ServeError;

/// An open store.
pub(crate) enum Keep {
    /// In the data folder.
    Embedded(Embedded),
    /// On servers.
    Servers(Stores),
}

impl Keep {
    /// Opens what is configured; beside it a bus to the other nodes, where there may be some.
    pub(crate) async fn open(config: &Config, key: &MasterKey) -> Result<(Self, Option<Connected>), ServeError> {
        match &config.servers {
            None => {
                Ok((Self::Embedded(Embedded::open(&config.data, key, &config.site, Options::default()).await?), None))
            }
            Some(servers) => {
                let in_data = |why| ServeError::Data { folder: config.data.clone(), why };
                chamberlain_stores::master_key::make_folder(&config.data).map_err(in_data)?;
                let (stores, bus) = open(servers, config, key).await?;
                Ok((Self::Servers(stores), Some(bus)))
            }
        }
    }

    pub(crate) fn stores(&self) -> Stores {
        match self {
            Self::Embedded(store) => store.stores(),
            Self::Servers(stores) => stores.clone(),
        }
    }

    /// What makes copies of it; none where the servers have their own ways.
    pub(crate) fn backups(&self, data: &Path) -> Option<Backup> {
        match self {
            Self::Embedded(store) => Some(backups(store.clone(), data)),
            Self::Servers(_) => None,
        }
    }

    pub(crate) async fn close(self) {
        match self {
            Self::Embedded(store) => store.close().await,
            // What was answered is durable there; the connections end with the stores.
            Self::Servers(_) => {}
        }
    }
}

async fn open(servers: &Servers, config: &Config, key: &MasterKey) -> Result<(Stores, Connected), ServeError> {
    let options = jetstream_options(&servers.nats, &config.site, config.limits.record_bytes as usize)?;
    let logs = JetStream::open(options).await?;
    // A site that has logs had a vault: an empty one is not it.
    let found = logs.list(None, 1).await?.is_empty();
    let record_bytes = config.limits.record_bytes as usize;
    let vault = open_valkey(&servers.valkey, &config.site, key, found, record_bytes).await?;
    let bus = bus::connect(logs.client(), config.site.clone()).await?;
    Ok((vault.stores(Arc::new(logs)), bus))
}

fn jetstream_options(
    nats: &config::Nats,
    site: &SiteId,
    record_bytes: usize,
) -> Result<jetstream::Options, ServeError> {
    let syncing = match &nats.syncing {
        config::Syncing::Asked { user, password } => Syncing::Asked(credentials(Some(user), password.as_ref())?),
        config::Syncing::Promised => Syncing::Promised,
        config::Syncing::Lax => Syncing::Lax,
    };
    let mut options = jetstream::Options::new(site.clone(), String::new(), syncing);
    options.servers.clone_from(&nats.addresses);
    options.credentials = credentials(nats.user.as_ref(), nats.password.as_ref())?;
    options.trust.extend(nats.ca_file.clone());
    options.certificate.clone_from(&nats.certificate);
    options.domain.clone_from(&nats.domain);
    options.replicas = nats.replicas as usize;
    options.record_bytes = record_bytes;
    Ok(options)
}

fn credentials(user: Option<&String>, password: Option<&Password>) -> Result<Credentials, ServeError> {
    let password = password.map(Password::read).transpose()?.map(|password| password.as_str().to_owned());
    Ok(match user {
        Some(user) => Credentials::Password { user: user.clone(), password: password.unwrap_or_default() },
        None => password.map_or(Credentials::None, Credentials::Token),
    })
}

async fn open_valkey(
    server: &config::Valkey,
    site: &SiteId,
    key: &MasterKey,
    found: bool,
    record_bytes: usize,
) -> Result<Valkey, ServeError> {
    let mut address = valkey::Address::parse(&server.address)?;
    if let Some(user) = &server.user {
        address = address.with_user(user);
    }
    if let Some(password) = &server.password {
        address = address.with_password(&password.read()?);
    }
    if let Some(file) = &server.ca_file {
        address = address.with_authorities_file(file)?;
    }
    let options = valkey::Options {
        prefix: server.prefix.clone(),
        connections: server.connections as usize,
        replicas: server.replicas,
        lax: server.lax,
        found,
        record_bytes,
        ..valkey::Options::default()
    };
    Ok(Valkey::open(&address, key, site, options).await?)
}
