//! A server: its store, a node over it, HTTP and WebSockets before it, from open to close.
//!
//! The one place that names the store and hands everything to everything. A server is opened whole or not at all, and tells
//! where it is only once it listens; it lets go of the store last. Commands that find no server open one for themselves, which
//! takes no token but theirs.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use chamberlain_core::site::SiteKeys;
use chamberlain_net::auth::Authenticate;
use chamberlain_net::bus::Connected;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_net::server::{Bound, HostPolicy, InvalidHost, ServerConfig, bind};
use chamberlain_net::subjects::Subjects;
use chamberlain_stores::embedded::OpenError;
use chamberlain_stores::master_key::MasterKeyError;
use chamberlain_stores::{Account, StoreError, jetstream, valkey};
use zeroize::Zeroizing;

use crate::auth::{KeyError, LocalAdmin, Verifier};
use crate::beacon::{Beacon, Lit};
use crate::config::{Config, PasswordError};
use crate::keep::Keep;
use crate::page;
use crate::subjects::{self, SubjectsError};
use crate::tls::{Certificate, TlsError};

/// Connections that are no sockets: pages, commands, probes.
const OTHER_CONNECTIONS: usize = 1_000;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why there is no server. The words are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("listen: {0} cannot be listened on: {1}")]
    Listen(SocketAddr, io::Error),
    /// A key of tokens.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Certificate or key of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A host or an origin.
    #[error("allowed_hosts, allowed_origins, public_url: {0}")]
    Host(#[from] InvalidHost),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The logs on NATS.
    #[error("log: {0}")]
    Nats(#[from] chamberlain_stores::jetstream::OpenError),
    /// Keys, marks and accounts in Valkey.
    #[error("vault: {0}")]
    Valkey(#[from] chamberlain_stores::valkey::OpenError),
    /// What nodes tell each other.
    #[error(transparent)]
    Bus(#[from] chamberlain_net::bus::nats::NatsBusError),
    /// A password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store, after it was opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The surface on NATS subjects.
    #[error(transparent)]
    Subjects(#[from] SubjectsError),
    /// A file in the data folder.
    #[error("{}: {why}", .folder.display())]
    Data {
        /// The folder.
        folder: PathBuf,
        /// Why.
        why: io::Error,
    },
}

impl ServeError {
    /// Whether another configuration helps, rather than another time.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Key(_) | Self::Tls(_) | Self::Host(_) | Self::MasterKey(_) | Self::Password(_) => true,
            Self::Open(why) => matches!(why, OpenError::WrongMasterKey(_) | OpenError::OtherSite { .. }),
            Self::Subjects(why) => why.is_configuration(),
            Self::Nats(why) => !matches!(why, jetstream::OpenError::Unreachable(_)),
            Self::Valkey(why) => !matches!(why, valkey::OpenError::Unreachable { .. }),
            Self::Listen(..) | Self::Store(_) | Self::Bus(_) | Self::Data { .. } => false,
        }
    }
}

/// A server that is open and does not serve yet.
pub struct Server {
    bound: Bound,
    node: Node,
    auth: Arc<dyn Authenticate>,
    store: Keep,
    local: Arc<LocalAdmin>,
    certificate: Option<Arc<Certificate>>,
    data: PathBuf,
    site: String,
    made_key: Option<PathBuf>,
    beacon: Option<Lit>,
    subjects: Option<Subjects>,
}

impl Server {
    /// Opens a server for everybody whom the configuration lets in. It is told of in the data folder until it ends.
    pub async fn open(config: &Config) -> Result<Self, ServeError> {
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
        let mut door = ServerConfig::new(config.listen);
        door.tls = certificate.as_ref().map(Certificate::server_config).transpose()?;
        door.hosts = host_policy(config)?;
        door.assets = page::asset;
        door.open_metrics = config.open_metrics;
        // Keys of tokens are read before anything is made, so that a typing error leaves no folder behind.
        let in_data = |why| ServeError::Data { folder: config.data.clone(), why };
        let memory = Arc::new(LocalAdmin::new(&config.site).map_err(in_data)?);
        Verifier::new(&config.sign_in, memory)?;
        let mut server = Self::open_with(
            config,
            door,
            certificate,
            |local| Ok(Arc::new(Verifier::new(&config.sign_in, local)?)),
            true,
        )
        .await?;
        match subjects::open(&server.node, config.subjects.as_ref()).await {
            Ok(subjects) => server.subjects = subjects,
            Err(why) => {
                server.store.close().await;
                return Err(why.into());
            }
        }
        server.tell()?;
        Ok(server)
    }

    /// Opens a server for one command: on a port of its own on loopback, for the token of [`Server::token`] alone.
    pub(crate) async fn open_private(config: &Config) -> Result<Self, ServeError> {
        let door = ServerConfig::new((Ipv4Addr::LOCALHOST, 0).into());
        Self::open_with(config, door, None, |local| Ok(Arc::new(Verifier::local_only(local))), false).await
    }

    async fn open_with(
        config: &Config,
        mut door: ServerConfig,
        certificate: Option<Arc<Certificate>>,
        verifier: impl FnOnce(Arc<LocalAdmin>) -> Result<Arc<dyn Authenticate>, ServeError>,
        published: bool,
    ) -> Result<Self, ServeError> {
        let listen = door.listen;
        door.version = VERSION;
        door.connections = config.limits.sockets as usize + OTHER_CONNECTIONS;
        let loaded = config.master_key.load(&config.data)?;
        let (store, bus) = Keep::open(config, &loaded.key).await?;
        door.backup = store.backups(&config.data);
        // Listened on only now: before, there is nobody who could answer; the store says whether somebody else does.
        let bound = match bind(door).await {
            Ok(bound) => bound,
            Err(why) => {
                store.close().await;
                return Err(ServeError::Listen(listen, why));
            }
        };
        let in_data = |why| ServeError::Data { folder: config.data.clone(), why };
        let local =
            if published { LocalAdmin::publish(&config.site, &config.data) } else { LocalAdmin::new(&config.site) };
        let local = Arc::new(local.map_err(in_data)?);
        let auth = verifier(local.clone())?;
        let stores = store.stores();
        stores.directory.put(&[administrator(config, &local)]).await?;
        let settings = Settings {
            keys: Arc::new(SiteKeys::new(config.site.clone(), &loaded.key)),
            node: config.node.clone(),
            limits: Arc::new(config.limits.clone()),
            retain: config.grace_hours.map_or(Retain::All, |hours| Retain::Grace { ms: hours * 3_600_000 }),
            framing: chamberlain_net::gateway::frame,
        };
        let node = match bus {
            None => Node::start(settings, stores),
            // Who does one command and goes takes no rooms over.
            Some(bus) => Node::start_among(settings, stores, Connected { serves: published, ..bus }),
        };
        Ok(Self {
            node,
            bound,
            auth,
            store,
            local,
            certificate,
            data: config.data.clone(),
            site: config.site.to_string(),
            made_key: loaded.made,
            beacon: None,
            subjects: None,
        })
    }

    /// Writes into the data folder where this server is.
    fn tell(&mut self) -> Result<(), ServeError> {
        let leaf = self.certificate.as_ref().and_then(|certificate| certificate.leaf());
        let beacon = Beacon::new(self.bound.address(), &self.site, leaf.as_ref());
        let lit = Lit::light(&self.data, &beacon);
        self.beacon = Some(lit.map_err(|why| ServeError::Data { folder: self.data.clone(), why })?);
        Ok(())
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.bound.address()
    }

    /// The token with which a command on this machine administers it.
    pub(crate) fn token(&self) -> Zeroizing<String> {
        self.local.token()
    }

    /// The file of the master key, when it was made just now.
    pub fn made_key(&self) -> Option<&PathBuf> {
        self.made_key.as_ref()
    }

    /// What exchanges the certificate while it runs.
    pub(crate) fn renewal(&self) -> Option<impl Fn() + Send + use<>> {
        let certificate = self.certificate.clone()?;
        let (data, site, address) = (self.data.clone(), self.site.clone(), self.bound.address());
        Some(move || match certificate.reload() {
            Ok(()) => {
                if let Err(error) = Beacon::new(address, &site, certificate.leaf().as_ref()).write(&data) {
                    tracing::warn!(%error, "commands on this machine do not know the new certificate");
                }
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        })
    }

    /// Serves until `shutdown`, drains, and lets go of the store.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { bound, node, auth, store, local, beacon, subjects, .. } = self;
        let leaving = async {
            shutdown.await;
            subjects.iter().for_each(Subjects::leave);
        };
        bound.serve(node, auth, leaving).await;
        if let Some(subjects) = subjects {
            subjects.close().await;
        }
        drop((beacon, local));
        store.close().await;
    }
}

/// The directory entry as which commands of this machine act.
fn administrator(config: &Config, local: &LocalAdmin) -> Account {
    let name = format!("Administrator of {}", config.site);
    Account { admin: true, ..Account::new(local.account().clone(), config.site.clone(), name) }
}

pub(crate) fn host_policy(config: &Config) -> Result<HostPolicy, InvalidHost> {
    let public = config.public_url.as_ref();
    // `https://HOST:PORT` was checked; what is left of it without scheme and port is the host.
    let host = public.and_then(|url| url.split_once("://")).map(|(_, authority)| authority);
    let host = host.map(|authority| match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host.to_owned(),
        _ => authority.to_owned(),
    });
    let origins = config.allowed_origins.iter().chain(public).cloned();
    HostPolicy::new(config.allowed_hosts.iter().cloned().chain(host), origins)
}
