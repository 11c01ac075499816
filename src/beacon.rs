//! `server.json` in the data folder: where the running server can be reached, for commands on the same machine.
//!
//! A hint and no lock: the store itself knows who holds it. A server that ended badly leaves the file behind, and whoever
//! finds nobody at its address goes on without it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::auth::write_private;

const FILE_NAME: &str = "server.json";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beacon {
    /// The process.
    pub(crate) pid: u32,
    /// The address it listens on, as one on this machine connects to it.
    pub(crate) address: SocketAddr,
    /// Its site.
    pub(crate) site: String,
    /// Its certificate, DER in base64; none when it speaks plain HTTP.
    pub(crate) certificate: Option<String>,
}

impl Beacon {
    pub(crate) fn new(listening: SocketAddr, site: &str, certificate: Option<&CertificateDer<'_>>) -> Self {
        Self {
            pid: std::process::id(),
            address: reachable(listening),
            site: site.to_owned(),
            certificate: certificate.map(|der| BASE64_STANDARD.encode(der)),
        }
    }

    /// What a data folder says; none when there is nothing that can be read.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data.join(FILE_NAME)).ok()?).ok()
    }

    /// Writes the file, whole or not at all.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        write_private(&data.join(FILE_NAME), &text)
    }

    /// The server's certificate.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        Some(BASE64_STANDARD.decode(self.certificate.as_ref()?).ok()?.into())
    }

    /// The address as a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

/// The file, removed when this is dropped.
pub(crate) struct Lit(PathBuf);

impl Lit {
    /// Writes the file.
    pub(crate) fn light(data: &Path, beacon: &Beacon) -> io::Result<Self> {
        beacon.write(data)?;
        Ok(Self(data.join(FILE_NAME)))
    }
}

impl Drop for Lit {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Who listens on every address is reached on loopback.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_the_server_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let der = CertificateDer::from(vec![1, 2, 3]);
        let beacon = Beacon::new("0.0.0.0:7300".parse().expect("an address"), "local", Some(&der));
        assert_eq!(beacon.url(), "https://127.0.0.1:7300");
        let lit = Lit::light(folder.path(), &beacon).expect("written");
        let read = Beacon::read(folder.path()).expect("read");
        assert_eq!((read.certificate(), &read), (Some(der), &beacon));
        drop(lit);
        assert_eq!(Beacon::read(folder.path()), None);
    }
}
