//! Signed tokens: the signature by a pinned key, then each claim, at a time that is given.
//!
//! Expiry is required. Audience and issuer are required when they are configured: a token that lacks them is refused like one
//! that has others. A token is looked at only after its signature held, apart from its header.

use std::time::Duration;

use chamberlain_core::id::AccountId;
use chamberlain_core::time::Timestamp;
use chamberlain_net::auth::{AuthError, Identity};
use jsonwebtoken::{Algorithm, EncodingKey, Header, Validation};
use serde_json::{Map, Value};

use super::keys::{KeyError, Keys, shared_secret};
use super::{invalid, presentable};
use crate::config::JwtRules;

type Claims = Map<String, Value>;

/// Verifies signed tokens.
pub(super) struct Jwt {
    rules: JwtRules,
    keys: Keys,
}

impl Jwt {
    pub(super) fn new(rules: &JwtRules) -> Result<Self, KeyError> {
        Ok(Self { keys: Keys::new(&rules.key)?, rules: rules.clone() })
    }

    pub(super) fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| invalid("it is no signed token (JWT), or its algorithm is not one that is taken"))?;
        if header.crit.is_some() {
            return Err(invalid("its header asks for extensions (crit)"));
        }
        let key = self.keys.find(&header, now).map_err(invalid)?;
        let mut signature_only = Validation::new(header.alg);
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.key, &signature_only)
            .map_err(|_| invalid("its signature or its form"))?
            .claims;
        self.check(&claims, now)
    }

    fn check(&self, claims: &Claims, now: Timestamp) -> Result<Identity, AuthError> {
        let rules = &self.rules;
        let now_s = now.0 / 1_000;
        let expires_s = seconds(claims, "exp")?.ok_or_else(|| invalid("it has no exp, and a token must end"))?;
        let last_s = expires_s.saturating_add(rules.leeway_s);
        if last_s <= now_s {
            return Err(AuthError::Expired);
        }
        if seconds(claims, "nbf")?.is_some_and(|from_s| from_s > now_s.saturating_add(rules.leeway_s)) {
            return Err(invalid("it is not valid yet (nbf)"));
        }
        if let Some(issuer) = &rules.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(invalid("its issuer (iss) is not the one configured"));
        }
        if let Some(audience) = &rules.audience {
            let named = match claims.get("aud") {
                Some(Value::String(one)) => one == audience,
                Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
                _ => false,
            };
            if !named {
                return Err(invalid("its audience (aud) is not the one configured"));
            }
        }
        let account = claims.get(&rules.account_claim).and_then(Value::as_str);
        let account: AccountId = account
            .ok_or_else(|| {
                AuthError::Invalid(format!("it has no text {:?}, which names the account", rules.account_claim))
            })?
            .parse()
            .map_err(|why: chamberlain_core::id::InvalidId| {
                AuthError::Invalid(format!("its {:?} is no account: {why}", rules.account_claim))
            })?;
        let name = claims.get(&rules.name_claim).and_then(Value::as_str).and_then(presentable);
        let admin = rules.admin_claim.as_ref().is_some_and(|claim| claims.get(claim) == Some(&Value::Bool(true)));
        Ok(Identity { account, name, admin, expires: Some(Timestamp(last_s.saturating_mul(1_000))) })
    }
}

/// A NumericDate: whole seconds since the epoch; a fraction is cut off.
fn seconds(claims: &Claims, name: &str) -> Result<Option<u64>, AuthError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let whole = value.as_u64();
            let cut = || value.as_f64().filter(|number| *number >= 0.0 && *number < 9e15).map(|number| number as u64);
            let seconds = whole.or_else(cut);
            seconds.map(Some).ok_or_else(|| AuthError::Invalid(format!("its {name} is no time in seconds")))
        }
    }
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The configuration has a public key, and the private one is elsewhere.
    #[error(
        "tokens of this server are signed by somebody else (auth.public_key_file or auth.jwks_file): ask your identity \
         provider for one; only with auth.hmac_secret or auth.hmac_secret_file can they be made here"
    )]
    NoSecret,
    /// `--admin` needs a claim to say it in.
    #[error(
        "auth.admin_claim is not set, so that no token can make an administrator: set it, or list {0} in auth.admins"
    )]
    NoAdminClaim(AccountId),
    /// The secret cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Signing failed.
    #[error("the token cannot be signed")]
    Signing,
}

/// Makes a token that this server takes, where it is configured with a secret.
pub fn mint(
    rules: &JwtRules,
    account: &AccountId,
    name: Option<&str>,
    admin: bool,
    ttl: Duration,
    now: Timestamp,
) -> Result<String, MintError> {
    let secret = shared_secret(&rules.key)?.ok_or(MintError::NoSecret)?;
    let now_s = now.0 / 1_000;
    let mut claims = Claims::new();
    let mut put = |claim: &str, value: Value| drop(claims.insert(claim.to_owned(), value));
    put("iat", now_s.into());
    put("exp", now_s.saturating_add(ttl.as_secs()).into());
    if let Some(issuer) = &rules.issuer {
        put("iss", issuer.as_str().into());
    }
    if let Some(audience) = &rules.audience {
        put("aud", audience.as_str().into());
    }
    if let Some(name) = name {
        put(&rules.name_claim, name.into());
    }
    if admin {
        put(rules.admin_claim.as_ref().ok_or_else(|| MintError::NoAdminClaim(account.clone()))?, true.into());
    }
    put(&rules.account_claim, account.as_str().into());
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| MintError::Signing)
}
