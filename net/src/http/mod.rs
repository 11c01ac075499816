//! The HTTP API, the page's files, and the door to the WebSocket gateway.
//!
//! A request passes, in this order: the Host, the Origin, the route, the token, the size of its body; then the handler of its
//! route, which asks the node what a socket would ask it. Whatever is refused is answered in one form. [`routes`] is the one
//! table from which requests are routed and the OpenAPI document is written.

mod admin;
pub(crate) mod allowance;
mod answer;
mod call;
mod hosts;
mod openapi;
mod operation;
mod rooms;
mod routes;
mod socket;
mod stall;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chamberlain_core::id::RequestId;
use chamberlain_core::room::{Reason, Refused};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::{AuthError, Authenticate, Identity};
use crate::node::Node;
use crate::server::{Asset, Backup, ServerConfig};
use allowance::Allowance;
use answer::Body;
use call::Call;
use hosts::Foreign;
use routes::{Access, BodyLimit, Found, Route};

pub(crate) use hosts::Peer;
pub use hosts::{HostPolicy, InvalidHost};
pub(crate) use stall::Stall;

/// How long a client may take to send a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a body that adds accounts.
const ACCOUNTS_BYTES: usize = 1024 * 1024;
/// The header that carries the request id, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every request needs.
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) auth: Arc<dyn Authenticate>,
    pub(crate) hosts: HostPolicy,
    pub(crate) assets: fn(&str) -> Option<Asset>,
    pub(crate) backup: Option<Backup>,
    pub(crate) open_metrics: bool,
    pub(crate) version: &'static str,
    allowance: Allowance,
    openapi: Bytes,
}

impl App {
    pub(crate) fn new(config: &ServerConfig, node: Node, auth: Arc<dyn Authenticate>) -> Self {
        let ServerConfig { hosts, assets, backup, open_metrics, version, .. } = config.clone();
        let openapi = openapi::document(version).to_string().into();
        Self { node, auth, hosts, assets, backup, open_metrics, version, allowance: Allowance::default(), openapi }
    }
}

/// The OpenAPI document that a server of this version serves.
pub fn openapi(version: &str) -> serde_json::Value {
    openapi::document(version)
}

/// Answers one request. `keep` is dropped when the connection is, also after it became a WebSocket connection.
pub(crate) async fn serve(
    app: Arc<App>,
    peer: Peer,
    keep: Arc<dyn Send + Sync>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    request.extensions_mut().insert(socket::Keep(keep));
    let begun = app.node.clock().now();
    let answered = respond(&app, peer, request).await;
    let mut answer = answered.unwrap_or_else(|refused| answer::refusal(&refused));
    answer::finish(&mut answer);
    app.node.metrics().requested(answer.status().as_u16(), app.node.clock().now().since(begun));
    answer
}

async fn respond(app: &Arc<App>, peer: Peer, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
    let host = app.hosts.host(&request, &peer)?;
    let foreign = app.hosts.origin(request.headers(), &host, &peer)?;
    let path = hosts::path_of(request.uri());
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let found = routes::find(method, path);
    let mut answer = match found {
        _ if foreign.is_some() && is_preflight(&request) => answer::empty(StatusCode::NO_CONTENT),
        Ok(found) => call(app, peer, found, request).await,
        Err(allowed) if !allowed.is_empty() => not_allowed(&allowed),
        Err(_) => match asset(app, &request, method, path, &host) {
            Some(asset) => asset,
            None => answer::refusal(&Refused::new(Reason::NoSuchPath, format!("path: there is nothing at {path}"))),
        },
    };
    if let Some(foreign) = foreign {
        admit(&mut answer, &foreign);
    }
    Ok(answer)
}

/// A file of the page.
fn asset(
    app: &App,
    request: &Request<Incoming>,
    method: &Method,
    path: &str,
    host: &hyper::http::uri::Authority,
) -> Option<Response<Body>> {
    let asset = (app.assets)(path)?;
    if method != Method::GET {
        return Some(not_allowed(&[Method::GET]));
    }
    let have = request.headers().get(header::IF_NONE_MATCH);
    Some(answer::asset(&asset, have, &hosts::socket_sources(host)))
}

fn not_allowed(allowed: &[Method]) -> Response<Body> {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if allowed.contains(&Method::GET) {
        names.push("HEAD");
    }
    let names = names.join(", ");
    let refused = Refused::new(Reason::NoSuchPath, format!("method: this path takes {names}"));
    let mut answer = answer::refusal(&refused);
    *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    if let Ok(names) = HeaderValue::try_from(names) {
        answer.headers_mut().insert(header::ALLOW, names);
    }
    answer
}

/// Whether a browser asks for leave to send the request that its page wants to.
fn is_preflight(request: &Request<Incoming>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the page that an operator named read the answer.
fn admit(answer: &mut Response<Body>, foreign: &Foreign) {
    let headers = answer.headers_mut();
    if let Ok(origin) = HeaderValue::try_from(&foreign.0) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-request-id"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "x-request-id, retry-after"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Answers a request whose route is found. The answer carries the request id, refusals included.
async fn call(app: &Arc<App>, peer: Peer, found: Found, request: Request<Incoming>) -> Response<Body> {
    let id = match request_id(request.headers()) {
        Ok(Some(id)) => id,
        Ok(None) => RequestId::from_random(crate::entropy::fresh()),
        Err(refused) => return answer::refusal(&refused),
    };
    let with_id = found.route.changes() || request.headers().contains_key(REQUEST_ID);
    let answered = answered(app, peer, found, id, request).await;
    let mut answer = answered.unwrap_or_else(|refused| answer::refusal(&refused));
    if with_id && let Ok(id) = HeaderValue::from_str(id.as_str()) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

async fn answered(
    app: &Arc<App>,
    peer: Peer,
    found: Found,
    id: RequestId,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let Found { route, path } = found;
    let who = identify(app, route, request.headers()).await?;
    let query = call::parse_query(request.uri().query().unwrap_or_default(), &route.query_names())?;
    let (parts, body) = request.into_parts();
    let body = match route.body_limit() {
        BodyLimit::None => Bytes::new(),
        BodyLimit::Frame => read(body, &parts.headers, app.node.limits().frame_in_bytes as usize).await?,
        BodyLimit::Accounts => read(body, &parts.headers, ACCOUNTS_BYTES).await?,
    };
    let answer = (route.handler)(Call { app: app.clone(), peer, parts, who, id, path, query, body });
    if !route.changes() {
        return answer.await;
    }
    // What was begun is ended, also when the client goes away meanwhile.
    tokio::spawn(answer).await.unwrap_or_else(|panicked| {
        tracing::error!(%panicked, path = route.path, "a handler panicked");
        Err(Reason::Defect.into())
    })
}

/// Who asks, where the route is not open to anybody; an administrator, where it wants one.
async fn identify(app: &App, route: &Route, headers: &HeaderMap) -> Result<Option<Identity>, Refused> {
    if route.access == Access::Anybody {
        return Ok(None);
    }
    let who = signed_in(app, headers).await?;
    if route.access == Access::Admin && !who.admin {
        return Err(Reason::NotAdmin.into());
    }
    Ok(Some(who))
}

/// Whose token the request carries.
async fn signed_in(app: &App, headers: &HeaderMap) -> Result<Identity, Refused> {
    let invalid = |message: String| Refused::new(Reason::InvalidToken, message);
    let header = headers.get(header::AUTHORIZATION).ok_or_else(|| invalid("authorization: no token".to_owned()))?;
    let token = header.to_str().ok().and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let token = token.ok_or_else(|| invalid("authorization: must be `Bearer` and a token".to_owned()))?;
    let who = app.auth.authenticate(token, app.node.clock().wall()).map_err(|error| match error {
        AuthError::Expired => Refused::from(Reason::TokenExpired),
        AuthError::Invalid(what) => invalid(format!("authorization: the token is not valid: {what}")),
    })?;
    let entry = app.node.sign_in(&who, app.auth.provision()).await.map_err(|refused| match refused.reason {
        Reason::UnknownAccount => invalid(format!("authorization: the directory has no account {}", who.account)),
        _ => refused,
    })?;
    Ok(Identity { admin: entry.admin, ..who })
}

fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, Refused> {
    let Some(header) = headers.get(REQUEST_ID) else { return Ok(None) };
    let id = header.to_str().unwrap_or_default().parse();
    id.map(Some).map_err(|error| Refused::new(Reason::Malformed, format!("x-request-id: {error}")))
}

/// The whole body, if it is no larger than the limit.
async fn read(body: Incoming, headers: &HeaderMap, most: usize) -> Result<Bytes, Refused> {
    let too_large = || Refused::new(Reason::TooLarge, format!("body: the limit is {most} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|len| len > most) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_WITHIN, Limited::new(body, most).collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refused::new(Reason::Malformed, format!("body: {error}"))),
        Err(_) => {
            Err(Refused::new(Reason::Malformed, format!("body: did not come within {} s", BODY_WITHIN.as_secs())))
        }
    }
}
