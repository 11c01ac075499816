//! A server over stores in memory, and a client that knows nothing of it but the address.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::limits::Limits;
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_net::server::{Asset, HostPolicy, ServerConfig, bind};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Account, Stores};
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::schema::Document;

/// Tokens are names of accounts; a few say what is wrong with them.
struct Names;

impl Authenticate for Names {
    fn authenticate(&self, token: &str, _: Timestamp) -> Result<Identity, AuthError> {
        match token {
            "expired" => Err(AuthError::Expired),
            token => {
                let account = token.parse().map_err(|_| AuthError::Invalid("account".into()))?;
                let expires = Some(Timestamp(9_000_000_000_000));
                Ok(Identity { account, name: None, admin: token == "root", expires })
            }
        }
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        false
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
    document: Document,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

/// People whom every server knows; `rob` is a bot.
const PEOPLE: [&str; 6] = ["ada", "bob", "cyd", "dan", "root", "rob"];

/// Site of the servers.
pub(crate) const SITE: &str = "here";

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), |_| {}).await
    }

    pub(crate) async fn with(limits: Limits, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::over(MemoryStores::new().stores(), limits, configure).await
    }

    pub(crate) async fn over(stores: Stores, limits: Limits, configure: impl FnOnce(&mut ServerConfig)) -> Self {
        let site: chamberlain_core::id::SiteId = SITE.parse().unwrap();
        let people: Vec<Account> = PEOPLE.iter().map(|name| account(name)).collect();
        stores.directory.put(&people).await.unwrap();
        let settings = Settings {
            keys: Arc::new(SiteKeys::new(site, &MasterKey::from_bytes([7; 32]))),
            node: "n1".into(),
            limits: Arc::new(limits),
            retain: Retain::All,
            framing: chamberlain_net::gateway::frame,
        };
        let node = Node::start(settings, stores);
        let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap());
        config.assets = assets;
        config.hosts =
            HostPolicy::new(["chat.example".into()], ["https://app.example".into()]).expect("a host and an origin");
        configure(&mut config);
        let bound = bind(config).await.unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel();
        let serving = node.clone();
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            bound.serve(serving, Arc::new(Names), stopped).await;
        });
        Self { address, node, document: Document::new(), stop: Some(stop), served: Some(served) }
    }

    /// Asks it to stop.
    pub(crate) fn stop(&mut self) -> JoinHandle<()> {
        drop(self.stop.take());
        self.served.take().expect("it is stopped once")
    }

    /// A request in the name of an account, with a JSON body, or none when it is null.
    pub(crate) async fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        self.asked(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
    }

    /// A request with a request id.
    pub(crate) async fn with_id(&self, token: &str, id: &str, method: &str, path: &str, body: Value) -> Reply {
        let bearer = format!("Bearer {token}");
        self.asked(method, path, &[("authorization", &bearer), ("x-request-id", id)], body).await
    }

    /// A request with these headers.
    pub(crate) async fn asked(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        self.raw(method, path, headers, body).await
    }

    /// A request with these headers and these bytes. The answer is held against the document.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", format!("localhost:{}", self.address.port()));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.send(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        let media = reply.header("content-type").unwrap_or_default();
        self.document.check(method, path, reply.status, media, &reply.body);
        reply
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = match parts.headers.get("content-type") {
            Some(media) if media == "application/json" && !bytes.is_empty() => serde_json::from_slice(&bytes).unwrap(),
            _ => Value::Null,
        };
        Reply { status: parts.status.as_u16(), headers: parts.headers, body, bytes }
    }

    /// A channel of `owner`, with these members.
    pub(crate) async fn channel(&self, owner: &str, members: &[&str]) -> String {
        let body = serde_json::json!({ "name": "the channel", "accounts": members });
        let created = self.ask(owner, "POST", "/v1/rooms", body).await.is(201);
        created["created"]["room"].as_str().unwrap().to_owned()
    }
}

/// What was answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body, where it is JSON.
    pub(crate) body: Value,
    pub(crate) bytes: Bytes,
}

impl Reply {
    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self.body
    }

    /// The message of a refusal for this reason.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, reason: &str) -> &str {
        let text = String::from_utf8_lossy(&self.bytes);
        assert_eq!((self.status, self.body["reason"].as_str()), (status, Some(reason)), "{text}");
        self.body["message"].as_str().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A directory entry.
pub(crate) fn account(name: &str) -> Account {
    let account = Account::new(name.parse().unwrap(), SITE.parse().unwrap(), name.to_uppercase());
    Account { bot: name == "rob", ..account }
}

fn assets(path: &str) -> Option<Asset> {
    (path == "/").then_some(Asset {
        content_type: "text/html; charset=utf-8",
        bytes: b"<!doctype html>",
        etag: "\"e1\"",
    })
}

/// A request id that no other test has.
pub(crate) fn request_id(nth: u8) -> String {
    format!("018f4e3c-0000-7000-8000-0000000000{nth:02x}")
}
