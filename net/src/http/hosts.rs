//! Which names the server answers to, and which pages may speak to it.
//!
//! A page of somebody else's can make a browser send requests here, and by a DNS name that it changes afterwards (rebinding)
//! even read the answers. So every request must name a host of ours, in development too, and every request of a page must
//! come from a page that we served or that the operator named.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use chamberlain_core::room::{Reason, Refused};
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Request, Uri};

/// Names of this server, and pages from elsewhere that may use it.
///
/// Always answered to, without being named: the address that a connection was made to (an address cannot be rebound), and
/// from this machine `localhost`. Ports do not matter for hosts; a proxy may have another one.
#[derive(Debug, Clone, Default)]
pub struct HostPolicy {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
}

/// A configured host or origin that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Not a DNS name or an address.
    #[error("{0:?} is no host: a name like chat.example.org or an address, without scheme, port and path")]
    Host(String),
    /// Not an origin.
    #[error("{0:?} is no origin: http:// or https://, a host and possibly a port, nothing more")]
    Origin(String),
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Who connected.
    pub(crate) remote: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// Whether it speaks TLS to us.
    pub(crate) tls: bool,
}

impl Peer {
    pub(crate) fn is_on_this_machine(&self) -> bool {
        self.remote.ip().to_canonical().is_loopback()
    }
}

impl HostPolicy {
    /// Answers to these hosts besides its own, and lets pages of these origins speak to it besides its own.
    ///
    /// # Errors
    /// [`InvalidHost`] names the first that makes no sense.
    pub fn new(
        hosts: impl IntoIterator<Item = String>,
        origins: impl IntoIterator<Item = String>,
    ) -> Result<Self, InvalidHost> {
        let host = |host: String| match authority(&host) {
            Some(authority) if authority.port().is_none() => Ok(name_of(&authority)),
            _ => Err(InvalidHost::Host(host)),
        };
        let origin = |origin: String| match Origin::parse(&origin) {
            Some(parsed) => Ok(parsed.to_string()),
            None => Err(InvalidHost::Origin(origin)),
        };
        Ok(Self {
            hosts: hosts.into_iter().map(host).collect::<Result<_, _>>()?,
            origins: origins.into_iter().map(origin).collect::<Result<_, _>>()?,
        })
    }

    /// The host that a request names, if it is one of ours.
    pub(super) fn host<B>(&self, request: &Request<B>, peer: &Peer) -> Result<Authority, Refused> {
        let foreign = |named: &str| {
            let message =
                format!("host: this server does not answer to {named:?}; an operator can name it in its configuration");
            Refused::new(Reason::ForeignHost, message)
        };
        let header = one(request.headers(), HOST).map_err(|()| foreign("more than one"))?;
        // A request to a proxy carries the host in its target, which then stands above the header.
        let target = request.uri().authority().map(Authority::as_str);
        let named = target.or(header).ok_or_else(|| foreign(""))?;
        let authority = authority(named).ok_or_else(|| foreign(named))?;
        let name = name_of(&authority);
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let ours = self.hosts.contains(&name)
            || address == Some(peer.local.ip().to_canonical())
            || peer.is_on_this_machine() && (name == "localhost" || address.is_some_and(|ip| ip.is_loopback()));
        if ours { Ok(authority) } else { Err(foreign(named)) }
    }

    /// The origin of the page that a request comes from: none for one that is not of a page; `Some(None)` for a page of ours.
    pub(super) fn origin(
        &self,
        headers: &HeaderMap,
        host: &Authority,
        peer: &Peer,
    ) -> Result<Option<Foreign>, Refused> {
        let foreign = |named: &str| {
            let message = format!(
                "origin: pages of {named:?} may not speak to this server; an operator can name it in its configuration"
            );
            Refused::new(Reason::ForeignOrigin, message)
        };
        let Some(named) = one(headers, ORIGIN).map_err(|()| foreign("more than one"))? else { return Ok(None) };
        let origin = Origin::parse(named).ok_or_else(|| foreign(named))?;
        // Who ends TLS in front of us leaves the scheme of the page https, and the host the same.
        let own_scheme = origin.https || !peer.tls;
        if own_scheme && origin.is_of(host) {
            return Ok(None);
        }
        let allowed = self.origins.contains(&origin.to_string());
        if allowed { Ok(Some(Foreign(named.to_owned()))) } else { Err(foreign(named)) }
    }
}

/// A page from elsewhere that may speak to the server: its browser must be told so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign(pub(super) String);

/// What stands before the path of a page.
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (https, rest) = match text.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let authority = authority(rest)?;
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: name_of(&authority), port })
    }

    fn is_of(&self, host: &Authority) -> bool {
        let port = host.port_u16().unwrap_or(if self.https { 443 } else { 80 });
        self.host == name_of(host) && self.port == port
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// A host and possibly a port, of letters that need no quoting anywhere.
fn authority(text: &str) -> Option<Authority> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    let authority = text.bytes().all(fits).then(|| text.parse::<Authority>().ok())??;
    let port_is_a_number = authority.as_str().len() == authority.host().len() || authority.port().is_some();
    (!authority.host().is_empty() && port_is_a_number).then_some(authority)
}

fn name_of(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

/// The value of a header that may stand there once.
fn one(headers: &HeaderMap, name: hyper::header::HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(());
    }
    first.map(|value| value.to_str().map_err(|_| ())).transpose()
}

/// Where a page of this host may open sockets: `connect-src` of its content security policy.
pub(super) fn socket_sources(host: &Authority) -> String {
    if host.host().starts_with('[') {
        // A policy cannot name such an address; browsers of today take 'self' to cover sockets.
        return String::new();
    }
    format!(" ws://{host} wss://{host}")
}

/// The path and query of a request, without the host that a request to a proxy carries.
pub(super) fn path_of(uri: &Uri) -> &str {
    match uri.path() {
        "" => "/",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(remote: &str, local: &str, tls: bool) -> Peer {
        Peer { remote: remote.parse().expect("an address"), local: local.parse().expect("an address"), tls }
    }

    fn asks(policy: &HostPolicy, peer: &Peer, host: &str, origin: Option<&str>) -> Result<Option<Foreign>, Reason> {
        let mut request = Request::builder().uri("/").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(()).expect("a request");
        let host = policy.host(&request, peer).map_err(|refused| refused.reason)?;
        policy.origin(request.headers(), &host, peer).map_err(|refused| refused.reason)
    }

    #[test]
    fn a_server_answers_to_its_address_and_to_names_it_was_given() {
        let policy = HostPolicy::new(["Chat.Example".to_owned()], []).expect("a host");
        let here = peer("127.0.0.1:999", "127.0.0.1:80", false);
        let away = peer("10.0.0.7:999", "10.0.0.1:80", false);
        for (peer, host, ours) in [
            (&here, "localhost:8080", true),
            (&here, "127.0.0.1", true),
            (&here, "[::1]:80", true),
            (&here, "chat.example", true),
            (&here, "CHAT.EXAMPLE.:443", true),
            (&here, "evil.example", false),
            (&here, "localhost.evil.example", false),
            (&here, "10.0.0.1", false),
            (&here, "user@localhost", false),
            (&here, "localhost:x", false),
            (&here, "", false),
            (&away, "10.0.0.1:80", true),
            (&away, "chat.example", true),
            (&away, "localhost", false),
            (&away, "10.0.0.2", false),
        ] {
            let expected = if ours { Ok(None) } else { Err(Reason::ForeignHost) };
            assert_eq!(asks(&policy, peer, host, None), expected, "{host} from {}", peer.remote);
        }
    }

    #[test]
    fn pages_are_ours_when_their_origin_is_the_host() {
        let policy = HostPolicy::new(["chat.example".to_owned()], ["https://app.example".to_owned()]).expect("names");
        let here = peer("127.0.0.1:999", "127.0.0.1:80", false);
        let tls = peer("127.0.0.1:999", "127.0.0.1:443", true);
        let foreign = || Ok(Some(Foreign("https://app.example".to_owned())));
        for (peer, host, origin, expected) in [
            (&here, "localhost:8080", "http://localhost:8080", Ok(None)),
            (&here, "localhost:8080", "http://localhost:8081", Err(Reason::ForeignOrigin)),
            (&here, "localhost:8080", "http://127.0.0.1:8080", Err(Reason::ForeignOrigin)),
            (&here, "chat.example", "https://chat.example", Ok(None)),
            (&here, "chat.example", "http://chat.example:80", Ok(None)),
            (&here, "chat.example", "https://evil.example", Err(Reason::ForeignOrigin)),
            (&here, "chat.example", "null", Err(Reason::ForeignOrigin)),
            (&here, "chat.example", "https://chat.example.evil.example", Err(Reason::ForeignOrigin)),
            (&here, "chat.example", "https://app.example", foreign()),
            (&tls, "chat.example", "https://chat.example", Ok(None)),
            (&tls, "chat.example:80", "http://chat.example", Err(Reason::ForeignOrigin)),
        ] {
            assert_eq!(asks(&policy, peer, host, Some(origin)), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn configured_names_are_checked() {
        for host in ["https://chat.example", "chat.example:80", "a b", ""] {
            assert!(HostPolicy::new([host.to_owned()], []).is_err(), "{host}");
        }
        for origin in ["chat.example", "ftp://a", "https://a/", "https://u@a", "null", "*"] {
            assert!(HostPolicy::new([], [origin.to_owned()]).is_err(), "{origin}");
        }
    }
}
