//! What operators, probes and pages ask before anybody has signed in.

use std::time::Duration;

use chamberlain_core::room::{Reason, Refused};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::answer::{self, Body};
use super::call::Call;

type Answered = Result<Response<Body>, Refused>;

/// How long the stores may take to answer a probe.
const READY_WITHIN: Duration = Duration::from_secs(2);
/// Headers by which a proxy says that it speaks for somebody else.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

#[derive(Serialize)]
struct Config<'a> {
    sign_in: &'static str,
    site: &'a str,
    node: &'a str,
    version: &'static str,
}

pub(super) async fn config(call: Call) -> Answered {
    let settings = &call.app.node.inner().settings;
    Ok(answer::ok(&Config {
        sign_in: call.app.auth.sign_in(),
        site: settings.keys.site().as_str(),
        node: &settings.node,
        version: call.app.version,
    }))
}

pub(super) async fn document(call: Call) -> Answered {
    Ok(answer::bytes_of(StatusCode::OK, "application/json", call.app.openapi.clone()))
}

pub(super) async fn healthy(_: Call) -> Answered {
    Ok(answer::plain(StatusCode::OK, "ok\n"))
}

pub(super) async fn ready(call: Call) -> Answered {
    if call.app.node.is_draining() {
        return Err(Reason::Draining.into());
    }
    match tokio::time::timeout(READY_WITHIN, call.app.node.stores_answer()).await {
        Ok(answered) => answered.map(|()| answer::plain(StatusCode::OK, "ready\n")),
        Err(_) => Err(Refused::new(Reason::StoreUnavailable, "a store did not answer in time")),
    }
}

pub(super) async fn metrics(call: Call) -> Answered {
    let headers = &call.parts.headers;
    let proxied = FORWARDED.iter().any(|name| headers.contains_key(*name));
    let open = call.app.open_metrics || call.peer.is_on_this_machine() && !proxied;
    if !open && !super::signed_in(&call.app, headers).await?.admin {
        return Err(Reason::NotAdmin.into());
    }
    let text = call.app.node.metrics().encode();
    Ok(answer::bytes_of(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into()))
}
