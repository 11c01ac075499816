//! Files of the page, probes, figures, and the headers that keep browsers honest.

use chamberlain_core::limits::Limits;
use serde_json::Value;

use crate::harness::Server;

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy_and_kept_by_its_tag() {
    let server = Server::start().await;
    let page = server.asked("GET", "/", &[("host", "chat.example")], Value::Null).await;
    assert_eq!((page.status, &page.bytes[..]), (200, &b"<!doctype html>"[..]));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "connect-src 'self' ws://chat.example wss://chat.example;", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));

    let head = server.asked("HEAD", "/", &[], Value::Null).await;
    assert_eq!((head.status, head.bytes.len(), head.header("content-length")), (200, 0, Some("15")));
    for (have, status) in [("\"e1\"", 304), ("W/\"e1\"", 304), ("\"e0\", \"e1\"", 304), ("\"e0\"", 200)] {
        let page = server.asked("GET", "/", &[("if-none-match", have)], Value::Null).await;
        assert_eq!(page.status, status, "{have}");
        assert_eq!(page.header("etag"), Some("\"e1\""));
    }
    let refused = server.asked("POST", "/", &[], Value::Null).await;
    refused.refused(405, "no_such_path");
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn probes_and_pages_ask_without_a_token() {
    let server = Server::start().await;
    assert_eq!(&server.asked("GET", "/healthz", &[], Value::Null).await.bytes[..], b"ok\n");
    assert_eq!(&server.asked("GET", "/readyz", &[], Value::Null).await.bytes[..], b"ready\n");
    let config = server.asked("GET", "/v1/config", &[], Value::Null).await.is(200);
    assert_eq!(
        (&config["sign_in"], &config["site"], &config["node"]),
        (&"development".into(), &"here".into(), &"n1".into())
    );
    let document = server.asked("GET", "/v1/openapi.json", &[], Value::Null).await.is(200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], config["version"]);
}

#[tokio::test]
async fn figures_are_for_this_machine_and_for_administrators() {
    let server = Server::start().await;
    server.channel("ada", &[]).await;
    let figures = server.asked("GET", "/metrics", &[], Value::Null).await;
    let text = String::from_utf8(figures.bytes.to_vec()).unwrap();
    assert!(text.contains(r#"chamberlain_commands_total{command="create_channel",outcome="ok"} 1"#), "{text}");
    assert!(text.ends_with("# EOF\n"));

    let proxied = ("x-forwarded-for", "203.0.113.9");
    server.asked("GET", "/metrics", &[proxied], Value::Null).await.refused(401, "invalid_token");
    server
        .asked("GET", "/metrics", &[proxied, ("authorization", "Bearer ada")], Value::Null)
        .await
        .refused(403, "not_admin");
    let figures = server.asked("GET", "/metrics", &[proxied, ("authorization", "Bearer root")], Value::Null).await;
    assert_eq!(figures.status, 200);
    let open = Server::with(Limits::default(), |config| config.open_metrics = true).await;
    assert_eq!(open.asked("GET", "/metrics", &[proxied], Value::Null).await.status, 200);
}

#[tokio::test]
async fn only_our_hosts_and_pages_are_answered() {
    let server = Server::start().await;
    let own = format!("http://localhost:{}", server.address.port());
    for path in ["/", "/v1/config", "/healthz", "/metrics", "/v1/rooms", "/nowhere"] {
        let foreign = server.asked("GET", path, &[("host", "evil.example")], Value::Null).await;
        foreign.refused(403, "foreign_host");
        let foreign = server.asked("GET", path, &[("origin", "https://evil.example")], Value::Null).await;
        foreign.refused(403, "foreign_origin");
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
    assert_eq!(server.asked("GET", "/v1/config", &[("origin", &own)], Value::Null).await.status, 200);

    // A page that the operator named may ask, and its browser is told so.
    let page = ("origin", "https://app.example");
    let answered = server.asked("GET", "/v1/config", &[page], Value::Null).await;
    assert_eq!(answered.header("access-control-allow-origin"), Some("https://app.example"));
    let asks = ("access-control-request-method", "PATCH");
    let leave = server.asked("OPTIONS", "/v1/rooms", &[page, asks], Value::Null).await;
    assert_eq!(leave.status, 204);
    assert!(leave.header("access-control-allow-headers").unwrap().contains("x-request-id"));
    server.asked("OPTIONS", "/v1/rooms", &[("origin", "null"), asks], Value::Null).await.refused(403, "foreign_origin");
}
