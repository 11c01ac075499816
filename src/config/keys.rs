//! Every key that can be set: what it means, what it must be, what it is when nobody says.
//!
//! The one list from which files are checked, variables are named, help is printed and suggestions are made. The limits are
//! taken from the core's own table.

use chamberlain_core::limits::Limits;

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words; one of these, where there are any.
    Text {
        /// The words that are taken.
        of: &'static [&'static str],
    },
    /// A file or folder.
    Path,
    /// A whole number in this range.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// Yes or no.
    Switch,
    /// Words, in order.
    List,
    /// Words that come from the environment alone, and are shown to nobody.
    Secret,
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The section it stands in; empty at the top.
    pub(super) section: &'static str,
    /// Its name in the section.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As in a variable of the environment; none when it is not set unless somebody sets it.
    pub(super) default: Option<&'static str>,
    /// For `config print`.
    pub(super) meaning: &'static str,
}

const TEXT: Kind = Kind::Text { of: &[] };

const fn top(name: &'static str, kind: Kind, default: Option<&'static str>, meaning: &'static str) -> Key {
    key("", name, kind, default, meaning)
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Key {
    Key { section, name, kind, default, meaning }
}

impl Key {
    /// Its whole name: `section.name`, or `name` at the top.
    pub(super) fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }
}

/// The keys that are not limits, in the order in which they are printed.
pub(super) const KEYS: &[Key] = &[
    top("listen", TEXT, Some("127.0.0.1:7300"), "address and port to listen on"),
    top("data", Kind::Path, Some("chamberlain-data"), "data folder"),
    top("site", TEXT, Some("local"), "name of this site; fixed once there is data"),
    top("node", TEXT, Some("node-1"), "name of this node, in logs and to clients"),
    top(
        "log",
        TEXT,
        Some("embedded"),
        "where logs are kept: embedded, in the data folder; or nats://HOST:PORT[,nats://...] for several nodes",
    ),
    top("vault", TEXT, Some("embedded"), "where keys, marks and accounts are kept: embedded, or valkey://HOST:PORT"),
    top("public_url", TEXT, None, "where people reach the server, e.g. https://chat.example.org"),
    top("allowed_origins", Kind::List, Some(""), "pages of other origins that may speak for people"),
    top("allowed_hosts", Kind::List, Some(""), "other names that the server answers to, without ports"),
    top(
        "open_metrics",
        Kind::Switch,
        Some("false"),
        "whether anybody may read /metrics, and not only this machine and administrators",
    ),
    key("auth", "mode", Kind::Text { of: &["development", "jwt"] }, Some("development"), "how people sign in"),
    key("auth", "hmac_secret", Kind::Secret, None, "secret of HS256, HS384 and HS512 tokens"),
    key("auth", "hmac_secret_file", Kind::Path, None, "file that holds it"),
    key("auth", "public_key_file", Kind::Path, None, "public key of tokens, in PEM: RSA, P-256, P-384 or Ed25519"),
    key("auth", "jwks_file", Kind::Path, None, "public keys of tokens, a JWKS; read again when it changes"),
    key("auth", "audience", TEXT, None, "the aud that tokens must have"),
    key("auth", "issuer", TEXT, None, "the iss that tokens must have"),
    key("auth", "account_claim", TEXT, Some("sub"), "the claim that names the account"),
    key("auth", "name_claim", TEXT, Some("name"), "the claim that holds the name for people"),
    key("auth", "admin_claim", TEXT, None, "the claim that, when true, makes an administrator"),
    key("auth", "admins", Kind::List, Some(""), "accounts that are administrators"),
    key("auth", "leeway_s", Kind::Number { min: 0, max: 600 }, Some("30"), "seconds that clocks may differ"),
    key("auth", "provision", Kind::Switch, Some("true"), "whether unknown accounts are added when they sign in"),
    key("tls", "cert", Kind::Path, None, "certificate chain, in PEM"),
    key("tls", "key", Kind::Path, None, "private key of the certificate, in PEM"),
    key("nats", "user", TEXT, None, "as whom to speak to NATS"),
    key("nats", "password", Kind::Secret, None, "that user's password, or without a user the token"),
    key("nats", "password_file", Kind::Path, None, "file that holds it"),
    key("nats", "ca_file", Kind::Path, None, "authorities to trust instead of those that the machine trusts, in PEM"),
    key("nats", "cert", Kind::Path, None, "certificate to show to NATS, in PEM"),
    key("nats", "key", Kind::Path, None, "private key of that certificate, in PEM"),
    key("nats", "domain", TEXT, None, "JetStream domain, where it is another than the server's"),
    key(
        "nats",
        "replicas",
        Kind::Number { min: 1, max: 5 },
        Some("3"),
        "copies of each record, on as many NATS servers",
    ),
    key(
        "nats",
        "syncing",
        Kind::Text { of: &["asked", "promised", "lax"] },
        Some("asked"),
        "asked: servers must say that they sync each write; promised: you say so; lax: they may forget what they acknowledged",
    ),
    key("nats", "system_user", TEXT, None, "user of the servers' system account, as whom they are asked"),
    key("nats", "system_password", Kind::Secret, None, "that user's password"),
    key("nats", "system_password_file", Kind::Path, None, "file that holds it"),
    key("valkey", "user", TEXT, None, "as whom to speak to Valkey"),
    key("valkey", "password", Kind::Secret, None, "that user's password"),
    key("valkey", "password_file", Kind::Path, None, "file that holds it"),
    key("valkey", "ca_file", Kind::Path, None, "authorities to trust instead of those that the machine trusts, in PEM"),
    key("valkey", "prefix", TEXT, Some("chamberlain"), "what every key there begins with"),
    key(
        "valkey",
        "connections",
        Kind::Number { min: 1, max: 64 },
        Some("4"),
        "connections; each carries many calls at once",
    ),
    key(
        "valkey",
        "replicas",
        Kind::Number { min: 0, max: 5 },
        Some("0"),
        "replicas that must have a write on their disks before it counts; 0: the server's own disk, synced at every write",
    ),
    key(
        "valkey",
        "lax",
        Kind::Switch,
        Some("false"),
        "use a server that may forget what it acknowledged, keys among it",
    ),
    key("keys", "retain", Kind::Text { of: &["all", "grace"] }, Some("all"), "how long old room keys are handed out"),
    key(
        "keys",
        "grace_hours",
        Kind::Number { min: 1, max: 24 * 365 },
        Some("24"),
        "with retain = \"grace\": for so long",
    ),
    key("logging", "level", TEXT, Some("info"), "error, warn, info, debug or trace; or module=level, comma-separated"),
    key("logging", "format", Kind::Text { of: &["text", "json"] }, Some("text"), "how log lines are written"),
    key(
        "master_key",
        "value",
        Kind::Secret,
        None,
        "the site's master key: 64 hexadecimal digits, or base64 of 32 bytes",
    ),
    key("master_key", "file", Kind::Path, None, "file that holds it, instead of master.key in the data folder"),
    key(
        "subjects",
        "url",
        Kind::List,
        Some(""),
        "NATS servers on whose subjects rooms are, e.g. nats://127.0.0.1:4222",
    ),
    key("subjects", "user", TEXT, None, "the service user of the clients' NATS account"),
    key("subjects", "password", Kind::Secret, None, "its password"),
    key("subjects", "password_file", Kind::Path, None, "file that holds it"),
    key("subjects", "peer_user", TEXT, None, "the service user of the NATS account on which other servers ask"),
    key("subjects", "peer_password", Kind::Secret, None, "its password"),
    key("subjects", "peer_password_file", Kind::Path, None, "file that holds it"),
    key("subjects", "ca_file", Kind::Path, None, "authorities to trust for tls:// beside the machine's own, in PEM"),
];

/// Every key, limits included; the keys of a section stand together.
pub(super) fn all() -> impl Iterator<Item = Key> {
    let limits = Limits::TABLE.iter().map(|&(name, meaning, _, min, max)| Key {
        section: LIMITS,
        name,
        kind: Kind::Number { min, max },
        default: None,
        meaning,
    });
    KEYS.iter().copied().chain(limits)
}

/// The section of the limits.
pub(super) const LIMITS: &str = "limits";
