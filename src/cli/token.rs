//! `chamberlain token`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chamberlain_core::id::AccountId;
use chamberlain_core::time::Timestamp;
use clap::Args;

use super::output::{line, say, time};
use super::{Failure, Place};
use crate::auth::{mint, reserved};
use crate::config::SignInMode;

/// Longest life of a token, seconds: one year.
const TTL_MAX: u64 = 365 * 86_400;

/// Make a token with which an account signs in
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    chamberlain token ada --name \"Ada Lovelace\"     for twelve hours\n  \
    chamberlain token monitor --ttl 30d --admin     an administrator, for a month\n\n\
    Works where auth.hmac_secret or auth.hmac_secret_file is configured; with a public key or a JWKS, whoever has the\n\
    private key makes the tokens. The token goes to stdout, and whoever holds it is the account.")]
pub(super) struct Token {
    #[command(flatten)]
    place: Place,
    /// The account
    account: AccountId,
    /// For how long: a number and s, m, h or d
    #[arg(long, default_value = "12h", value_parser = span)]
    ttl: Duration,
    /// The account's name for people
    #[arg(long)]
    name: Option<String>,
    /// Make it an administrator, by the claim auth.admin_claim
    #[arg(long)]
    admin: bool,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.place.load()?.config;
        if reserved(&self.account) {
            return Err(Failure::usage(format!("{} is a name for servers, which no token can have", self.account)));
        }
        let SignInMode::Jwt(rules) = &config.sign_in.mode else {
            if self.admin && !config.sign_in.admins.contains(&self.account) {
                return Err(Failure::usage(format!(
                    "in development sign-in a token says nothing of administrators: list {} in auth.admins",
                    self.account
                )));
            }
            say("(development sign-in: the token is the name itself, and does not end)");
            return line(match &self.name {
                Some(name) => format!("{}|{name}", self.account),
                None => self.account.to_string(),
            });
        };
        let now = now();
        let token = mint(rules, &self.account, self.name.as_deref(), self.admin, self.ttl, now)
            .map_err(|why| Failure::usage(why.to_string()))?;
        say(format!("(for {}, until {})", self.account, time(now.after(self.ttl))));
        line(token)
    }
}

/// Wall time.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A span as people write it: `90s`, `15m`, `12h`, `30d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let refused = || format!("must be a number and s, m, h or d, e.g. 12h; at most {}d", TTL_MAX / 86_400);
    let unit = text.chars().next_back().ok_or_else(refused)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(refused()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| refused())?;
    match number.checked_mul(seconds) {
        Some(seconds) if (1..=TTL_MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("12h", 43_200), ("365d", TTL_MAX)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "h", "0h", "12", "12x", "-1h", "1.5h", "366d", "99999999999999999999d", "12é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
