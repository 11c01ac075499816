//! The OpenAPI document: written from the table of routes, the reasons of refusals and the schemas in `schemas.json`.

use std::collections::BTreeMap;

use chamberlain_core::room::Reason;
use serde_json::{Map, Value, json};

use super::answer::status_of;
use super::routes::{Access, ROUTES, Route};

const SCHEMAS: &str = include_str!("schemas.json");

const ABOUT: &str = "Rooms over HTTP: the commands and questions of the socket, with the same answers and refusals.\n\n\
    A request that changes something carries `X-Request-ID`, a UUID of version 4 or 7. Sent again with the same id and body, it \
    is answered as it was the first time and changes nothing more. Without the header the server makes up an id and returns it \
    in the answer's; a client that did not get that answer cannot repeat the request, only make another one.\n\n\
    Refusals have one form, `Error`; `x-errors` lists every reason. In queries `+` stands for itself.";

pub(super) fn document(version: &str) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Chamberlain",
            "version": version,
            "description": ABOUT,
            "license": { "name": "Apache-2.0 OR MIT" },
        },
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "x-errors": Reason::ALL.iter().map(|reason| error(*reason)).collect::<Vec<_>>(),
    })
}

fn paths() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        paths.entry(route.path).or_default().insert(route.method.as_str().to_lowercase(), operation(route));
    }
    json!(paths)
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route)],
        "parameters": parameters(route),
        "responses": responses(route),
        "security": if route.access == Access::Anybody { json!([]) } else { json!([{ "token": [] }]) },
    });
    if let Some(schema) = route.body {
        let content = json!({ "application/json": { "schema": reference(schema) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '.']).filter(|word| !word.is_empty() && *word != "v1");
    let words = words.map(|word| word.trim_matches(['{', '}']));
    words.fold(route.method.as_str().to_lowercase(), |id, word| id + "_" + word)
}

fn tag(route: &Route) -> &'static str {
    match route.access {
        Access::Anybody => "operation",
        Access::Account => "rooms",
        Access::Admin => "administration",
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let schema = match name {
            "room" => "RoomId",
            "account" => "AccountId",
            _ => "Revision",
        };
        json!({ "name": name, "in": "path", "required": true, "schema": reference(schema) })
    });
    let in_query = route.query.iter().map(|(name, schema, meaning)| {
        json!({ "name": name, "in": "query", "required": false, "schema": reference(schema), "description": meaning })
    });
    let request_id = route.changes().then(|| {
        let meaning = "The idempotency key, with the account. Made up by the server when absent";
        json!({
            "name": "X-Request-ID", "in": "header", "required": false, "schema": reference("RequestId"),
            "description": meaning,
        })
    });
    in_path.chain(in_query).chain(request_id).collect()
}

fn responses(route: &Route) -> Value {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for (status, schema) in route.answers {
        let mut response = json!({ "description": "As asked" });
        match *schema {
            "" => {}
            media if media.contains('/') => response["content"] = json!({ media: {} }),
            schema => response["content"] = json!({ "application/json": { "schema": reference(schema) } }),
        }
        if route.changes() {
            response["headers"] = json!({ "X-Request-ID": { "schema": reference("RequestId") } });
        }
        responses.insert(status.to_string(), response);
    }
    for reason in reasons(route) {
        let response = responses.entry(status_of(reason).as_u16().to_string()).or_insert_with(|| {
            json!({
                "description": "",
                "content": { "application/json": { "schema": reference("Error") } },
                "x-reasons": [],
            })
        });
        let line = format!("`{}`: {}\n", name(reason), reason.describe().trim());
        let lines = response["description"].as_str().unwrap_or_default().to_owned() + &line;
        response["description"] = lines.into();
        if let Some(reasons) = response["x-reasons"].as_array_mut() {
            reasons.push(json!(reason));
        }
    }
    if route.path == "/v1/socket" {
        let content = json!({ "application/json": { "schema": reference("Error") } });
        responses.insert(
            "426".into(),
            json!({ "description": "Not a WebSocket handshake of version 13", "content": content }),
        );
    }
    json!(responses)
}

/// Why a request of this route may be refused, each once, in the order of the table of reasons.
fn reasons(route: &Route) -> Vec<Reason> {
    use Reason::*;
    let mut reasons = vec![ForeignHost, ForeignOrigin, Malformed];
    if route.access != Access::Anybody {
        reasons.extend([InvalidToken, TokenExpired, AccountDisabled, StoreUnavailable, Quarantined, NewerLog]);
    }
    if route.access == Access::Admin {
        reasons.push(NotAdmin);
    }
    if route.body.is_some() {
        reasons.push(TooLarge);
    }
    if route.changes() {
        reasons.extend([RequestReused, RateLimited, Busy, Deadline, Draining, Defect]);
    }
    reasons.extend(route.refused);
    Reason::ALL.iter().copied().filter(|reason| reasons.contains(reason)).collect()
}

fn schemas() -> Value {
    let mut schemas: Value = serde_json::from_str(SCHEMAS).expect("a test reads it");
    let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    schemas["Code"] = json!({ "type": "string", "enum": codes });
    schemas["Reason"] =
        json!({ "type": "string", "enum": Reason::ALL, "description": "`x-errors` says what each means." });
    schemas
}

fn error(reason: Reason) -> Value {
    json!({
        "reason": reason,
        "code": reason.code(),
        "status": status_of(reason).as_u16(),
        "description": reason.describe().trim(),
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn name(reason: Reason) -> String {
    json!(reason).as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_and_used() {
        let document = document("0");
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').expect("of this document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for schema in document["components"]["schemas"].as_object().expect("an object").keys() {
            assert!(found.contains(&format!("#/components/schemas/{schema}")), "{schema} is used nowhere");
        }
    }

    #[test]
    fn every_route_is_an_operation_and_every_operation_a_route() {
        let document = document("0");
        let paths = document["paths"].as_object().expect("an object");
        let operations: Vec<_> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().expect("an object").keys().map(move |method| (path, method))
            })
            .collect();
        assert_eq!(operations.len(), ROUTES.len());
        for route in ROUTES {
            let method = route.method.as_str().to_lowercase();
            assert!(operations.iter().any(|(path, verb)| *path == route.path && **verb == method), "{}", route.path);
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut ids: Vec<_> = ROUTES.iter().map(operation_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn every_reason_is_in_the_table_of_errors() {
        let document = document("0");
        let errors = document["x-errors"].as_array().expect("an array");
        for reason in Reason::ALL {
            assert!(errors.iter().any(|error| error["reason"] == json!(reason)), "{reason:?}");
        }
    }
}
