//! Where the server is, and as whom to speak to it. A password goes in, and never comes out again.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};
use zeroize::Zeroizing;

use super::OpenError;

/// The longest file that is read as a password or as certificates, bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// The address of a server: `valkey://host:6379`, `valkeys://` with TLS, `redis://` and `rediss://` alike, with
/// `user:password@` before the host and `/number` of a database after it where needed.
#[derive(Clone)]
pub struct Address {
    server: ConnectionInfo,
    tls: bool,
    /// Certificates of authorities, PEM, instead of those that the machine trusts.
    authorities: Option<Vec<u8>>,
}

impl Address {
    /// Reads an address. The error does not repeat it: there may be a password in it.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let malformed = || {
            OpenError::Options(
                "the address of the vault is none: valkey://host:port or valkeys://host:port, user:password@ before the \
                 host where needed, percent-encoded"
                    .into(),
            )
        };
        let server = url.into_connection_info().map_err(|_| malformed())?;
        let tls = match server.addr() {
            ConnectionAddr::Tcp(..) => false,
            ConnectionAddr::TcpTls { insecure: false, .. } => true,
            _ => return Err(malformed()),
        };
        let tcp = server.tcp_settings().clone().set_nodelay(true);
        // The third protocol says when a connection ends, also while nothing is asked.
        let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let settings = settings.set_lib_name("chamberlain", env!("CARGO_PKG_VERSION"));
        Ok(Self { server: server.set_tcp_settings(tcp).set_redis_settings(settings), tls, authorities: None })
    }

    /// Speaks as this user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        let settings = self.server.redis_settings().clone().set_username(user);
        self.server = self.server.set_redis_settings(settings);
        self
    }

    /// Shows this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        let settings = self.server.redis_settings().clone().set_password(password);
        self.server = self.server.set_redis_settings(settings);
        self
    }

    /// Shows the password in this file, white space around it aside.
    pub fn with_password_file(self, path: &Path) -> Result<Self, OpenError> {
        let text = Zeroizing::new(read(path)?);
        match std::str::from_utf8(&text).map(str::trim) {
            Ok(password) if !password.is_empty() => Ok(self.with_password(password)),
            _ => Err(OpenError::Options(format!("{} holds no password", path.display()))),
        }
    }

    /// Trusts the authorities in this file, PEM, and no others.
    pub fn with_authorities_file(mut self, path: &Path) -> Result<Self, OpenError> {
        self.authorities = Some(read(path)?);
        Ok(self)
    }

    /// What opens connections to it.
    pub(super) fn client(&self) -> Result<Client, OpenError> {
        let client = match (self.tls, &self.authorities) {
            (true, Some(authorities)) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities.clone()) };
                Client::build_with_tls(self.server.clone(), certificates)
            }
            _ => Client::open(self.server.clone()),
        };
        client.map_err(|why| OpenError::Options(format!("{self} cannot be spoken to: {}", why.category())))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "valkeys" } else { "valkey" };
        write!(f, "{scheme}://{}", self.server.addr())?;
        match self.server.redis_settings().db() {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map_err(|why| OpenError::Options(format!("reading {}: {why}", path.display())))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_and_both_transports_are_understood() {
        for (url, shown) in [
            ("valkey://one:7000", "valkey://one:7000"),
            ("redis://one", "valkey://one:6379"),
            ("valkeys://one/3", "valkeys://one:6379/3"),
            ("rediss://one:7", "valkeys://one:7"),
        ] {
            assert_eq!(Address::parse(url).expect("an address").to_string(), shown);
        }
        for bad in ["", "one:6379", "http://one", "unix:///run/valkey.sock", "valkeys://one#insecure", "valkey://"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_never_comes_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "horse\n").expect("written");
        let plain = Address::parse("valkey://ada:horse@one").expect("an address");
        let given = Address::parse("valkey://one").expect("an address").with_user("ada");
        let read = given.clone().with_password_file(&file).expect("read");
        for address in [plain, given.with_password("horse"), read] {
            assert_eq!(address.server.redis_settings().password(), Some("horse"));
            assert!(!format!("{address} {address:?} {:?}", address.server).contains("horse"));
        }
        for bad in ["horse", "valkey://ada:horse@", "valkey://ada:horse@0.0.0.0", "valkey://ada:horse@one/two"] {
            let why = Address::parse(bad).expect_err("refused");
            assert!(!format!("{why} {why:?}").contains("horse"), "{why}");
        }
    }

    #[test]
    fn a_password_file_that_is_empty_or_not_there_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        let address = Address::parse("valkey://one").expect("an address");
        assert!(address.clone().with_password_file(&file).is_err());
        std::fs::write(&file, " \n").expect("written");
        assert!(address.with_password_file(&file).is_err());
    }
}
