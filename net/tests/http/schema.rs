//! Holds answers against the OpenAPI document: as much of JSON Schema as the document uses, and nothing that it does not.

use serde_json::Value;

/// The document of this version.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn new() -> Self {
        Self(chamberlain_net::server::openapi("test"))
    }

    /// Checks that the document tells of this answer. Paths of the page are no part of it.
    pub(crate) fn check(&self, method: &str, path: &str, status: u16, media: &str, body: &Value) {
        let path = path.split('?').next().unwrap_or_default();
        let method = if method == "HEAD" { "GET" } else { method };
        let Some(operation) = self.operation(&method.to_lowercase(), path) else {
            assert!(matches!(status, 200 | 204 | 304 | 403 | 404 | 405), "{method} {path} answered {status}");
            return;
        };
        let at = format!("{method} {path} -> {status}: {body}");
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "undocumented status: {at}");
        if let Some(reasons) = response["x-reasons"].as_array() {
            assert!(reasons.contains(&body["reason"]), "undocumented reason: {at}");
        }
        let media = media.split(';').next().unwrap_or_default();
        match response["content"].as_object() {
            None => assert!(body.is_null(), "undocumented body: {at}"),
            Some(content) => {
                let documented = content.get(media).unwrap_or_else(|| panic!("undocumented media type {media}: {at}"));
                if documented["schema"].is_object() && !body.is_null() {
                    self.validate(&documented["schema"], body).unwrap_or_else(|error| panic!("{error}: {at}"));
                }
            }
        }
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object().expect("an object");
        let found = paths.iter().find(|(template, _)| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template
                    .zip(path)
                    .all(|(expected, given)| expected == given || expected.starts_with('{') && !given.is_empty())
        });
        found?.1.get(method)
    }

    /// Whether the value has the form that the schema asks for.
    pub(crate) fn validate(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
            let fits = match keyword.as_str() {
                "$ref" => {
                    let pointer = wanted.as_str().and_then(|name| name.strip_prefix('#')).expect("of this document");
                    self.validate(self.0.pointer(pointer).expect("is there"), value)?;
                    true
                }
                "oneOf" => {
                    let choices = wanted.as_array().expect("a list");
                    choices.iter().filter(|choice| self.validate(choice, value).is_ok()).count() == 1
                }
                "type" => match wanted {
                    Value::Array(types) => types.iter().any(|wanted| is_a(wanted, value)),
                    wanted => is_a(wanted, value),
                },
                "enum" => wanted.as_array().expect("a list").contains(value),
                "required" => wanted.as_array().expect("a list").iter().all(|name| value.get(text(name)).is_some()),
                "properties" => {
                    for (name, schema) in wanted.as_object().expect("an object") {
                        if let Some(value) = value.get(name) {
                            self.validate(schema, value).map_err(|error| format!("{name}.{error}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let known = schema["properties"].as_object().expect("an object");
                    value.as_object().is_none_or(|fields| fields.keys().all(|name| known.contains_key(name)))
                }
                "items" => {
                    for value in value.as_array().into_iter().flatten() {
                        self.validate(wanted, value)?;
                    }
                    true
                }
                "minimum" => value.as_u64() >= wanted.as_u64(),
                "maximum" => value.as_u64() <= wanted.as_u64(),
                "minProperties" | "maxProperties" => value.as_object().is_some_and(|fields| fields.len() == 1),
                "pattern" => value.as_str().is_some_and(|text| matches(text, wanted.as_str().expect("a pattern"))),
                "description" | "format" | "examples" | "default" | "contentEncoding" => true,
                other => panic!("the document uses {other}, which nothing checks"),
            };
            if !fits {
                return Err(format!("{keyword} {wanted} does not fit {value}"));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn is_a(wanted: &Value, value: &Value) -> bool {
    match text(wanted) {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the document uses the type {other}"),
    }
}

/// The patterns of the document, each an id of ours.
fn matches(text: &str, pattern: &str) -> bool {
    match pattern {
        "^[a-z0-9][a-z0-9._@+-]{0,63}$" => text.parse::<chamberlain_core::id::AccountId>().is_ok(),
        "^[a-z0-9][a-z0-9-]{0,31}$" => text.parse::<chamberlain_core::id::SiteId>().is_ok(),
        "^[0-9A-Za-z]{17}$" => text.parse::<chamberlain_core::id::RoomId>().is_ok(),
        "^([0-9A-Za-z]{17}|[0-9A-Za-z]{20})$" => text.parse::<chamberlain_core::id::MessageId>().is_ok(),
        other => panic!("the document uses the pattern {other}"),
    }
}
