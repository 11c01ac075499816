//! Makes a configuration of settings, or says all that is wrong with them.
//!
//! Each message names the field, what it must be and what to do. Whatever would let strangers in (sign-in by name on a public
//! address, tokens made for another service, secrets that can be guessed) is refused here.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use chamberlain_core::id::AccountId;
use chamberlain_core::limits::Limits;
use chamberlain_stores::master_key::MasterKeySource;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::keys::LIMITS;
use super::sources::{Problem, Settings};
use super::value::Origin;
use super::{Config, JwtRules, KeySource, SignIn, SignInMode, TlsFiles};
use crate::auth::reserved;

/// Longest name of a node, characters.
const NODE_MAX: usize = 64;

/// What a bound secret must have at least, bytes: as many as the hash gives (RFC 7518, section 3.2).
pub(crate) const SECRET_MIN: usize = 32;

pub(super) struct Check<'a> {
    pub(super) settings: &'a Settings,
    problems: Vec<Problem>,
}

/// Makes a configuration.
pub(super) fn check(settings: &Settings) -> Result<Config, Vec<Problem>> {
    let mut check = Check { settings, problems: Vec::new() };
    let config = check.config();
    match config {
        Some(config) if check.problems.is_empty() => Ok(config),
        _ => Err(check.problems),
    }
}

impl Check<'_> {
    pub(super) fn problem(&mut self, key: &str, said: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), origin: self.settings.origin(key), said: said.into() });
    }

    /// Everything is looked at before it gives up.
    fn config(&mut self) -> Option<Config> {
        let listen = self.listen();
        let site = self.parsed("site");
        let node = self.node();
        let public_url = self.public_url();
        let allowed_origins = self.origins();
        let allowed_hosts = self.hosts();
        let tls = self.tls();
        let sign_in = self.sign_in();
        let limits = self.limits();
        let log_filter = self.log_filter();
        let master_key = self.master_key();
        let servers = self.servers(&master_key);
        let config = Config {
            listen: listen?,
            data: self.settings.path("data")?,
            site: site?,
            node: node?,
            public_url,
            allowed_origins,
            allowed_hosts,
            open_metrics: self.settings.switch("open_metrics"),
            sign_in: sign_in?,
            tls,
            limits: limits?,
            grace_hours: (self.settings.text("keys.retain") == Some("grace"))
                .then(|| self.settings.number("keys.grace_hours")),
            log_filter: log_filter?,
            log_json: self.settings.text("logging.format") == Some("json"),
            servers: servers.ok()?,
            master_key,
            subjects: super::subjects::read(self.settings, &mut self.problems),
        };
        self.together(&config);
        Some(config)
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.settings.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.problem(key, format!("is {text:?}: {why}"));
                None
            }
        }
    }

    fn listen(&mut self) -> Option<SocketAddr> {
        let text = self.settings.text("listen")?;
        let localhost =
            text.strip_prefix("localhost:").and_then(|port| Some((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
        let address = localhost.map(SocketAddr::from).or_else(|| text.parse().ok());
        if address.is_none() {
            self.problem(
                "listen",
                format!("is {text:?}: must be ADDRESS:PORT, e.g. 127.0.0.1:7300, 0.0.0.0:443 or [::]:443"),
            );
        }
        address
    }

    fn node(&mut self) -> Option<String> {
        let node = self.settings.text("node")?;
        let fits = (1..=NODE_MAX).contains(&node.len());
        if !fits || !node.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            self.problem("node", format!("is {node:?}: must be 1 to {NODE_MAX} characters of a-z A-Z 0-9 - _ ."));
            return None;
        }
        Some(node.to_owned())
    }

    fn public_url(&mut self) -> Option<String> {
        let text = self.settings.text("public_url")?;
        let url = text.strip_suffix('/').unwrap_or(text);
        if is_origin(url) {
            return Some(url.to_ascii_lowercase());
        }
        self.problem("public_url", format!("is {text:?}: must be https://HOST or https://HOST:PORT, without a path"));
        None
    }

    fn origins(&mut self) -> Vec<String> {
        let origins = self.settings.list("allowed_origins");
        for origin in origins {
            if !is_origin(origin) {
                self.problem(
                    "allowed_origins",
                    format!(
                        "holds {origin:?}: an origin is https://HOST or https://HOST:PORT, and there is no wildcard"
                    ),
                );
            }
        }
        origins.iter().map(|origin| origin.to_ascii_lowercase()).collect()
    }

    fn hosts(&mut self) -> Vec<String> {
        let hosts = self.settings.list("allowed_hosts");
        for host in hosts {
            if !is_host(host) || port_of(host).is_some() {
                self.problem(
                    "allowed_hosts",
                    format!("holds {host:?}: must be a name like chat.example.org or an address, without a port, and there is no wildcard"),
                );
            }
        }
        hosts.iter().map(|host| host.to_ascii_lowercase()).collect()
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        match (self.settings.path("tls.cert"), self.settings.path("tls.key")) {
            (Some(cert), Some(key)) => return Some(TlsFiles { cert, key }),
            (Some(_), None) => {
                self.problem("tls.key", "must be set with tls.cert: the file of the certificate's private key")
            }
            (None, Some(_)) => self.problem("tls.cert", "must be set with tls.key: the file of the certificate chain"),
            (None, None) => {}
        }
        None
    }

    fn sign_in(&mut self) -> Option<SignIn> {
        let mut admins = Vec::new();
        for name in self.settings.list("auth.admins") {
            match name.parse::<AccountId>() {
                Ok(account) if reserved(&account) => {
                    self.problem("auth.admins", format!("holds {name:?}, which only the server itself may be"));
                }
                Ok(account) => admins.push(account),
                Err(why) => self.problem("auth.admins", format!("holds {name:?}: {why}")),
            }
        }
        let mode = match self.settings.text("auth.mode")? {
            "jwt" => SignInMode::Jwt(self.jwt()?),
            _ => {
                self.nothing_believed();
                SignInMode::Development
            }
        };
        Some(SignIn { mode, admins, provision: self.settings.switch("auth.provision") })
    }

    /// Who sets a key for tokens believes that they are verified. With `--dev`, somebody said that they are not.
    fn nothing_believed(&mut self) {
        if matches!(self.settings.origin("auth.mode"), Origin::Flag(_)) {
            return;
        }
        for key in KEY_SOURCES.iter().chain(&["auth.audience", "auth.issuer", "auth.admin_claim"]) {
            if self.settings.is_set(key) {
                self.problem(
                    key,
                    "is set, but auth.mode is \"development\", in which nothing is verified: set auth.mode = \"jwt\", or remove it",
                );
            }
        }
    }

    fn jwt(&mut self) -> Option<JwtRules> {
        let set: Vec<_> = KEY_SOURCES.iter().filter(|key| self.settings.is_set(key)).collect();
        match set[..] {
            [_] => {}
            [] => self.problem(
                "auth.mode",
                format!("is \"jwt\", but there is no key to verify tokens with: set one of {}", KEY_SOURCES.join(", ")),
            ),
            [.., last] => {
                self.problem(
                    last,
                    format!("one key source is enough, and several are set: {}", KEY_SOURCES.join(", ")),
                );
            }
        }
        let settings = self.settings;
        let audience = self.words("auth.audience");
        let issuer = self.words("auth.issuer");
        let admin_claim = self.words("auth.admin_claim");
        let account_claim = self.words("auth.account_claim");
        let name_claim = self.words("auth.name_claim");
        let key = if let Some(secret) = settings.secret("auth.hmac_secret") {
            if secret.len() < SECRET_MIN {
                self.problem(
                    "auth.hmac_secret",
                    format!(
                        "has {} bytes: must have {SECRET_MIN} or more, e.g. from `openssl rand -hex 32`",
                        secret.len()
                    ),
                );
            }
            KeySource::Secret(secret)
        } else if let Some(path) = settings.path("auth.hmac_secret_file") {
            KeySource::SecretFile(path)
        } else {
            if audience.is_none() {
                self.problem(
                    "auth.audience",
                    "must be set with a public key: without it, a token that was made for another service would open this one",
                );
            }
            match (settings.path("auth.public_key_file"), settings.path("auth.jwks_file")) {
                (Some(path), _) => KeySource::PublicKeyFile(path),
                (None, path) => KeySource::JwksFile(path?),
            }
        };
        let leeway_s = settings.number("auth.leeway_s");
        Some(JwtRules {
            key,
            audience,
            issuer,
            account_claim: account_claim?,
            name_claim: name_claim?,
            admin_claim,
            leeway_s,
        })
    }

    /// Text that is not blank.
    fn words(&mut self, key: &str) -> Option<String> {
        let text = self.settings.text(key)?;
        if text.trim().is_empty() {
            self.problem(key, "is blank: give it a value, or remove it");
            return None;
        }
        Some(text.to_owned())
    }

    fn limits(&mut self) -> Option<Limits> {
        let value = |name: &str| serde_json::Value::from(self.settings.number(&format!("{LIMITS}.{name}")));
        let table = Limits::TABLE.iter().map(|&(name, ..)| (name.to_owned(), value(name))).collect();
        let limits: Limits = match serde_json::from_value(serde_json::Value::Object(table)) {
            Ok(limits) => limits,
            Err(why) => {
                self.problem(LIMITS, why.to_string());
                return None;
            }
        };
        if let Err(why) = limits.check() {
            self.problem(LIMITS, why.to_string());
        }
        // What a body grows by in JSON, and what stands around it.
        let framed = u64::from(limits.message_bytes) * 4 / 3 + 4_096;
        let pairs: [(&str, u64, &str, u64); 6] = [
            ("ping_ms", limits.ping_ms.into(), "dead_ms", limits.dead_ms.into()),
            ("retry_first_ms", limits.retry_first_ms.into(), "retry_most_ms", limits.retry_most_ms.into()),
            ("retry_first_ms", limits.retry_first_ms.into(), "command_deadline_ms", limits.command_deadline_ms.into()),
            ("message_bytes (in a frame)", framed, "frame_in_bytes", limits.frame_in_bytes.into()),
            ("message_bytes (in a frame)", framed, "frame_out_bytes", limits.frame_out_bytes.into()),
            ("message_bytes (in a record)", framed, "record_bytes", limits.record_bytes.into()),
        ];
        for (small, value, large, bound) in pairs {
            if value > bound {
                let said = format!("is {bound}, and must not be less than {small}, which is {value}");
                self.problem(&format!("{LIMITS}.{large}"), said);
            }
        }
        Some(limits)
    }

    fn log_filter(&mut self) -> Option<Targets> {
        let text = self.settings.text("logging.level")?;
        let mut filter = Targets::new();
        for part in text.split(',').map(str::trim) {
            let (module, level) =
                part.split_once('=').map_or((None, part), |(module, level)| (Some(module.trim()), level.trim()));
            let level = match level {
                "off" | "error" | "warn" | "info" | "debug" | "trace" => level.parse::<LevelFilter>().ok(),
                _ => None,
            };
            filter = match (module, level) {
                (None, Some(level)) => filter.with_default(level),
                (Some(module), Some(level)) if !module.is_empty() => filter.with_target(module, level),
                _ => {
                    self.problem(
                        "logging.level",
                        format!(
                            "holds {part:?}: must be off, error, warn, info, debug or trace, possibly with exceptions: \
                             \"info,chamberlain_net=debug\""
                        ),
                    );
                    return None;
                }
            };
        }
        Some(filter)
    }

    fn master_key(&mut self) -> MasterKeySource {
        match (self.settings.secret("master_key.value"), self.settings.path("master_key.file")) {
            (Some(_), Some(_)) => {
                self.problem("master_key.file", "is set, and so is CHAMBERLAIN_MASTER_KEY: one of them is enough");
                MasterKeySource::DataFolder
            }
            (Some(text), None) => MasterKeySource::Text(text),
            (None, Some(path)) => MasterKeySource::File(path),
            (None, None) => MasterKeySource::DataFolder,
        }
    }

    /// What makes sense alone and not together.
    fn together(&mut self, config: &Config) {
        if config.listen.ip().is_loopback() {
            return;
        }
        if matches!(config.sign_in.mode, SignInMode::Development) {
            self.problem(
                "listen",
                format!(
                    "is {}, which others can reach, and anybody could sign in under any name: set auth.mode = \"jwt\" and a key \
                     for tokens ({}), or listen on 127.0.0.1",
                    config.listen,
                    KEY_SOURCES.join(", ")
                ),
            );
        }
        if config.public_url.is_none() && config.allowed_hosts.is_empty() {
            self.problem(
                "public_url",
                "must be set where others can reach the server, e.g. https://chat.example.org: a browser's Host and Origin are \
                 checked against it",
            );
        }
    }
}

/// The keys that say what tokens are verified with.
const KEY_SOURCES: [&str; 4] = ["auth.hmac_secret", "auth.hmac_secret_file", "auth.public_key_file", "auth.jwks_file"];

/// Whether this is `https://HOST`, or `http://` for what is behind a proxy or on this machine, with or without a port.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(is_host)
}

/// Whether this is a host as it stands in an address, with or without a port.
fn is_host(text: &str) -> bool {
    let port = port_of(text);
    let host = port.map_or(text, |port| &text[..text.len() - port.len() - 1]);
    let named =
        !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let numbered = bracketed.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    (named || numbered) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// What stands behind the last colon, unless that is within an IPv6 address.
fn port_of(text: &str) -> Option<&str> {
    text.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'))
}
