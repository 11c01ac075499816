//! The command line's way to a server: HTTP/1.1 and WebSocket, over TCP or TLS. One connection per request.
//!
//! A command carries one request id through all its attempts, so that trying again does nothing twice. What the server
//! refuses comes back in the server's own words.

use std::time::Duration;

use bytes::Bytes;
use chamberlain_core::id::RequestId;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::tls::{Trust, client_config};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer, or the next piece of one, may take. More than the server's own deadline for a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Largest answer that is not written to a file, bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// How often a request is made that the server has no room for just now.
const ATTEMPTS: u32 = 30;
/// How long to wait in between.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody is there.
    #[error("no server answers at {0}: {1}")]
    Unreachable(String, String),
    /// It makes no sense as an address.
    #[error("{0:?} is no address of a server: http://HOST:PORT or https://HOST")]
    Url(String),
    /// The server refused.
    #[error("{message} ({reason})")]
    Refused {
        /// Why, for a program.
        reason: String,
        /// Why, for a person.
        message: String,
    },
    /// The connection broke, or what came is not what a server says.
    #[error("the server at {0}: {1}")]
    Broken(String, String),
    /// What came cannot be written.
    #[error("cannot be written: {0}")]
    Write(std::io::Error),
}

/// A connection, whatever carries it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A server, and who speaks to it.
pub(crate) struct Client {
    secure: Option<TlsConnector>,
    authority: Authority,
    token: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Refusal {
    reason: String,
    message: String,
}

impl Client {
    /// A server at `http://HOST:PORT` or `https://HOST:PORT`, spoken to with this token.
    pub(crate) fn new(url: &str, trust: &Trust, token: Zeroizing<String>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(url.to_owned());
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let authority = uri.authority().cloned().ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => None,
            Some(scheme) if *scheme == Scheme::HTTPS => {
                let config =
                    client_config(trust).map_err(|why| ClientError::Unreachable(url.to_owned(), why.to_string()))?;
                Some(TlsConnector::from(config))
            }
            _ => return Err(wrong()),
        };
        Ok(Self { secure, authority, token })
    }

    /// The server's address, as a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// The address of the server's sockets.
    pub(crate) fn socket_url(&self) -> String {
        self.url().replacen("http", "ws", 1) + "/v1/socket"
    }

    /// The token it is spoken to with.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable(self.url(), why);
        let connecting = async {
            let host = self.authority.host();
            let port = self.authority.port_u16().unwrap_or(if self.secure.is_some() { 443 } else { 80 });
            let stream =
                TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|why| why.to_string())?;
            stream.set_nodelay(true).map_err(|why| why.to_string())?;
            let Some(secure) = &self.secure else { return Ok::<Box<dyn Stream>, String>(Box::new(stream)) };
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|why| why.to_string())?;
            Ok(Box::new(secure.connect(name, stream).await.map_err(|why| why.to_string())?))
        };
        timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| Err(format!("not within {} s", CONNECT_WITHIN.as_secs())))
            .map_err(unreachable)
    }

    /// Asks.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// Has something done.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::POST, path, None::<&()>).await
    }

    /// Asks or has something done, with a body. Waits for its turn where the server is busy.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|why| self.broken(why))?.map(Bytes::from);
        let id = request_id().map_err(|why| self.broken(why))?;
        let mut attempt = 1;
        let answer = loop {
            let answer = self.send(method.clone(), path, body.clone(), id).await?;
            if answer.status() != StatusCode::TOO_MANY_REQUESTS || attempt == ATTEMPTS {
                break answer;
            }
            attempt += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        };
        let status = answer.status();
        let bytes = self.collect(answer).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|why| self.broken(format!("an answer that is not understood: {why}")));
        }
        Err(self.refused(status, &bytes))
    }

    /// Writes an answer to `into` as it comes; returns how many bytes it was.
    pub(crate) async fn download(&self, path: &str, into: &mut (impl AsyncWrite + Unpin)) -> Result<u64, ClientError> {
        let id = request_id().map_err(|why| self.broken(why))?;
        let mut answer = self.send(Method::POST, path, None, id).await?;
        let status = answer.status();
        if !status.is_success() {
            let bytes = self.collect(answer).await?;
            return Err(self.refused(status, &bytes));
        }
        let mut written = 0;
        loop {
            let next = timeout(ANSWER_WITHIN, answer.frame()).await.map_err(|_| self.broken("went silent"))?;
            let Some(frame) = next else { break };
            if let Ok(bytes) = frame.map_err(|why| self.broken(why))?.into_data() {
                written += bytes.len() as u64;
                into.write_all(&bytes).await.map_err(ClientError::Write)?;
            }
        }
        Ok(written)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        id: RequestId,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| self.broken(why))?;
        tokio::spawn(connection);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", *self.token))
            .map_err(|_| self.broken("the token holds characters that no token has"))?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority.as_str())
            .header(AUTHORIZATION, bearer)
            .header("x-request-id", id.as_str());
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(|why| self.broken(why))?;
        timeout(ANSWER_WITHIN, sender.send_request(request))
            .await
            .map_err(|_| self.broken("does not answer"))?
            .map_err(|why| self.broken(why))
    }

    async fn collect(&self, answer: Response<hyper::body::Incoming>) -> Result<Bytes, ClientError> {
        let collected = timeout(ANSWER_WITHIN, Limited::new(answer.into_body(), ANSWER_MAX).collect()).await;
        Ok(collected.map_err(|_| self.broken("went silent"))?.map_err(|why| self.broken(why))?.to_bytes())
    }

    fn refused(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice(bytes) {
            Ok(Refusal { reason, message }) => ClientError::Refused { reason, message },
            Err(_) => self.broken(format!("answers {status}, and not as a Chamberlain server does")),
        }
    }

    fn broken(&self, why: impl std::fmt::Display) -> ClientError {
        ClientError::Broken(self.url(), why.to_string())
    }
}

/// A fresh request id.
pub(crate) fn request_id() -> Result<RequestId, std::io::Error> {
    fresh().map(RequestId::from_random)
}

/// Fresh random bytes.
pub(crate) fn fresh<const N: usize>() -> Result<[u8; N], std::io::Error> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}
