//! What signed tokens are verified with: a secret, a public key, or a set of them in a file that changes.
//!
//! Every key is pinned to the algorithms of its kind when it is read, so that a token cannot choose how it is verified: there
//! is no `none`, and a public key is never taken for a secret. A file of keys is read again when it changed, looked at once in
//! a while at most; while it cannot be read, the keys read last stay.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chamberlain_core::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::pem;
use crate::config::{KeySource, SECRET_MIN};

/// Algorithms of secrets.
const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// Most keys of a JWKS.
const KEYS_MAX: usize = 100;
/// Most bytes of a file with keys.
const FILE_MAX: u64 = 1024 * 1024;
/// Milliseconds between two looks at the file, at least.
const LOOK_AGAIN_MS: u64 = 1_000;

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {} {why}", .file.display())]
pub struct KeyError {
    /// The configuration's key that names the file.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do.
    pub why: String,
}

/// A key, and what it may verify.
#[derive(Clone)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// The keys there are.
pub(super) enum Keys {
    One(Key),
    File(KeyFile),
}

/// A JWKS in a file.
pub(super) struct KeyFile {
    path: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    keys: Arc<Vec<Key>>,
    /// How the file looked when it was read last.
    look: Option<(SystemTime, u64)>,
    looked: Timestamp,
}

impl Keys {
    pub(super) fn new(source: &KeySource) -> Result<Self, KeyError> {
        let error = |key, file: &Path, why: String| KeyError { key, file: file.to_owned(), why };
        match source {
            KeySource::Secret(_) | KeySource::SecretFile(_) => {
                let secret = shared_secret(source)?.unwrap_or_default();
                Ok(Self::One(Key::new(None, HMAC, DecodingKey::from_secret(secret.as_bytes()))))
            }
            KeySource::PublicKeyFile(path) => {
                let setting = "auth.public_key_file";
                let text = read_file(path).map_err(|why| error(setting, path, why))?;
                let (key, algorithms) = pem::public_key(&text).map_err(|why| error(setting, path, why.into()))?;
                Ok(Self::One(Key::new(None, algorithms, key)))
            }
            KeySource::JwksFile(path) => {
                let look = look_at(path);
                let keys = read_jwks(path).map_err(|why| error("auth.jwks_file", path, why))?;
                let read = Read { keys: Arc::new(keys), look, looked: Timestamp(0) };
                Ok(Self::File(KeyFile { path: path.clone(), read: Mutex::new(read) }))
            }
        }
    }

    /// The key for a token with this header. The error says which check failed.
    pub(super) fn find(&self, header: &Header, now: Timestamp) -> Result<Key, &'static str> {
        let keys = match self {
            Self::One(key) if key.algorithms.contains(&header.alg) => return Ok(key.clone()),
            Self::One(_) => return Err("the algorithm is not one of this server's key"),
            Self::File(file) => file.keys(now),
        };
        match &header.kid {
            Some(kid) => {
                let mut named = keys.iter().filter(|key| key.kid.as_ref() == Some(kid)).peekable();
                named.peek().ok_or("no key of this server has its kid")?;
                named
                    .find(|key| key.algorithms.contains(&header.alg))
                    .cloned()
                    .ok_or("the algorithm is not one of its key")
            }
            None => {
                let mut fitting = keys.iter().filter(|key| key.algorithms.contains(&header.alg));
                match (fitting.next(), fitting.next()) {
                    (Some(key), None) => Ok(key.clone()),
                    (None, _) => Err("the algorithm is not one of this server's keys"),
                    (Some(_), Some(_)) => Err("it has no kid, and several keys could be meant"),
                }
            }
        }
    }
}

impl Key {
    fn new(kid: Option<String>, algorithms: &[Algorithm], key: DecodingKey) -> Self {
        Self { kid, algorithms: algorithms.to_vec(), key }
    }
}

impl KeyFile {
    fn keys(&self, now: Timestamp) -> Arc<Vec<Key>> {
        // Whoever panicked while holding it left it whole: it is assigned, not mended.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0.saturating_sub(read.looked.0) >= LOOK_AGAIN_MS {
            read.looked = now;
            let look = look_at(&self.path);
            if look.is_some() && look != read.look {
                match read_jwks(&self.path) {
                    Ok(keys) => {
                        tracing::info!(file = %self.path.display(), keys = keys.len(), "the keys of tokens were read again");
                        *read = Read { keys: Arc::new(keys), look, looked: now };
                    }
                    Err(why) => {
                        tracing::warn!(file = %self.path.display(), why, "the keys of tokens stay as they were");
                        read.look = look;
                    }
                }
            }
        }
        read.keys.clone()
    }
}

/// The shared secret, where the source is one.
pub(super) fn shared_secret(source: &KeySource) -> Result<Option<Zeroizing<String>>, KeyError> {
    match source {
        KeySource::Secret(secret) => Ok(Some(secret.clone())),
        KeySource::SecretFile(path) => {
            let error = |why| KeyError { key: "auth.hmac_secret_file", file: path.clone(), why };
            let bytes = Zeroizing::new(read_file(path).map_err(error)?);
            let text =
                std::str::from_utf8(&bytes).map_err(|_| error("is no text".into()))?.trim_end_matches(['\r', '\n']);
            if text.len() < SECRET_MIN {
                let why = format!("holds {} bytes: {SECRET_MIN} or more, e.g. from `openssl rand -hex 32`", text.len());
                return Err(error(why));
            }
            Ok(Some(Zeroizing::new(text.to_owned())))
        }
        KeySource::PublicKeyFile(_) | KeySource::JwksFile(_) => Ok(None),
    }
}

fn look_at(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|why| format!("cannot be read: {why}"))?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|why| format!("cannot be read: {why}"))?;
    if bytes.len() as u64 > FILE_MAX { Err(format!("has more than {FILE_MAX} bytes")) } else { Ok(bytes) }
}

/// A JWKS, each key still unread: one of a kind that we do not know does not make the others unusable.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

/// A key of a JWKS, RFC 7517 and 7518.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn read_jwks(path: &Path) -> Result<Vec<Key>, String> {
    let bytes = read_file(path)?;
    let set: Jwks = serde_json::from_slice(&bytes).map_err(|why| format!("is no JWKS: {why}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("has {} keys: {KEYS_MAX} at most", set.keys.len()));
    }
    let mut keys = Vec::new();
    for (nth, value) in set.keys.into_iter().enumerate() {
        let read = serde_json::from_value(value).map_err(|why| why.to_string()).and_then(|jwk: Jwk| to_key(&jwk));
        match read {
            Ok(key) => keys.push(key),
            Err(why) => tracing::warn!(file = %path.display(), nth, why, "a key of the JWKS is left out"),
        }
    }
    if keys.is_empty() { Err("has no RSA, P-256, P-384 or Ed25519 key for signatures".into()) } else { Ok(keys) }
}

fn to_key(jwk: &Jwk) -> Result<Key, String> {
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("it is not for signatures".into());
    }
    let part = |part: &Option<String>, name: &str| {
        let text = part.clone().ok_or_else(|| format!("it has no {name}"))?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).map_err(|_| format!("its {name} is not base64url"))?;
        Ok::<_, String>((text, bytes))
    };
    let (key, algorithms): (_, &[Algorithm]) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let ((n, modulus), (e, _)) = (part(&jwk.n, "n")?, part(&jwk.e, "e")?);
            if modulus.len() * 8 < pem::RSA_BITS_MIN {
                return Err("it is an RSA key of less than 2048 bits".into());
            }
            (DecodingKey::from_rsa_components(&n, &e), pem::RSA)
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let ((x, of_x), (y, of_y)) = (part(&jwk.x, "x")?, part(&jwk.y, "y")?);
            let (length, algorithms): (_, &[Algorithm]) =
                if curve == "P-256" { (32, &[Algorithm::ES256]) } else { (48, &[Algorithm::ES384]) };
            if (of_x.len(), of_y.len()) != (length, length) {
                return Err(format!("its coordinates are not those of {curve}"));
            }
            (DecodingKey::from_ec_components(&x, &y), algorithms)
        }
        ("OKP", Some("Ed25519")) => (DecodingKey::from_ed_components(&part(&jwk.x, "x")?.0), &[Algorithm::EdDSA]),
        ("oct", _) => return Err("it is a secret, which does not belong among public keys".into()),
        (kind, _) => return Err(format!("{kind} is a kind that is not known here")),
    };
    let key = key.map_err(|_| "it is malformed".to_owned())?;
    let algorithms: Vec<_> = match &jwk.alg {
        None => algorithms.to_vec(),
        Some(named) => algorithms.iter().copied().filter(|algorithm| named.parse() == Ok(*algorithm)).collect(),
    };
    if algorithms.is_empty() {
        return Err("its alg is none of its kind's".into());
    }
    Ok(Key { kid: jwk.kid.clone(), algorithms, key })
}
