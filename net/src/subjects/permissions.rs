//! The NATS server's part: accounts, users and what each may publish and hear, as a block of its configuration.
//!
//! Clients are on a NATS account of their own, without JetStream; other servers on another. A client publishes below its own
//! subjects and hears its own, its inbox and rooms' events; only the service user publishes for others. What a user may do
//! follows from its name alone, so that a list of names and secrets is all that an operator keeps.

use std::collections::BTreeSet;
use std::fmt::Write;

use chamberlain_core::id::{AccountId, SiteId};

use super::names::encode;

/// The clients' NATS account.
pub const CLIENTS: &str = "CHAMBERLAIN_CLIENTS";
/// The NATS account of servers that ask servers.
pub const SERVERS: &str = "CHAMBERLAIN_SERVERS";

/// Longest name of a user that is no account, characters.
const NAME_MAX: usize = 64;
/// Users of one file.
const USERS_MAX: usize = 100_000;

/// By what a user is known to the NATS server. Neither is the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The bcrypt hash of its password.
    Bcrypt(String),
    /// The public key of its nkey.
    Nkey(String),
}

/// Everybody who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    site: SiteId,
    service: (String, Proof),
    clients: Vec<(AccountId, Proof)>,
    peer_service: Option<(String, Proof)>,
    peers: Vec<(String, Proof)>,
}

impl Users {
    /// Reads a list, one user a line: what it is, its name, its bcrypt hash or public nkey. `service NAME PROOF`, once;
    /// `user ACCOUNT PROOF` for each client; `peer-service NAME PROOF` at most once and `peer NAME PROOF`, where other servers ask.
    /// Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// Every line that is wrong, in words.
    pub fn read(list: &str, site: &SiteId, reserved: fn(&AccountId) -> bool) -> Result<Self, Vec<String>> {
        let (mut service, mut peer_service) = (None, None);
        let (mut clients, mut peers) = (Vec::new(), Vec::new());
        let (mut names, mut problems) = (BTreeSet::new(), Vec::new());
        let lines = list.lines().enumerate().map(|(nth, line)| (nth + 1, line.trim()));
        for (nth, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let mut problem = |why: String| problems.push(format!("line {nth}: {why}"));
            let [kind, name, said] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                problem(
                    "must be three words: service, user, peer-service or peer; a name; a bcrypt hash or public nkey"
                        .into(),
                );
                continue;
            };
            let proof = match proof(said) {
                Ok(proof) => proof,
                Err(why) => {
                    problem(why.into());
                    continue;
                }
            };
            if !names.insert(name) {
                problem(format!("{name} stands there twice"));
                continue;
            }
            let once = |place: &mut Option<(String, Proof)>| place.replace((name.to_owned(), proof.clone())).is_none();
            match kind {
                "user" => match name.parse::<AccountId>() {
                    Ok(account) if reserved(&account) => problem(format!("{account} is a name for servers")),
                    Ok(account) => clients.push((account, proof)),
                    Err(why) => problem(why.to_string()),
                },
                "service" | "peer-service" | "peer" if !is_name(name) => {
                    problem(format!("{name}: a name is 1 to {NAME_MAX} characters of a-z A-Z 0-9 - _"));
                }
                "peer" => peers.push((name.to_owned(), proof)),
                "service" if once(&mut service) => {}
                "peer-service" if once(&mut peer_service) => {}
                "service" | "peer-service" => problem(format!("there is one {kind}")),
                other => problem(format!("{other}: must be service, user, peer-service or peer")),
            }
        }
        if names.len() > USERS_MAX {
            problems.push(format!("{} users, and {USERS_MAX} are the limit", names.len()));
        }
        if peer_service.is_none() && !peers.is_empty() {
            problems.push("there are peers, and no peer-service that hears them".into());
        }
        if service.is_none() {
            problems.push("there is no service: the user as whom the server connects".into());
        }
        match service {
            Some(service) if problems.is_empty() => {
                Ok(Self { site: site.clone(), service, clients, peer_service, peers })
            }
            _ => Err(problems),
        }
    }

    /// The block for the server's configuration. It needs nothing else of it; a system account that was configured stays.
    pub fn render(&self) -> String {
        let mut text = String::from("accounts {\n");
        let site = encode(self.site.as_str());
        push(&mut text, format_args!("  {CLIENTS} {{\n    users = [\n"));
        let inbox = |name: &str| format!("_INBOX.{name}.>");
        let heard = ["chat.user.*.request.room.>".to_owned(), "chat.user.*.room.>".into(), inbox(&self.service.0)];
        let told = ["chat.user.>".to_owned(), "chat.room.>".into(), "_INBOX.>".into()];
        user(&mut text, &self.service.0, &self.service.1, &told, &heard);
        for (account, proof) in &self.clients {
            let token = encode(account.as_str());
            let own = format!("chat.user.{token}.>");
            let heard = [own.clone(), format!("_INBOX.{token}.>"), "chat.room.>".into()];
            user(&mut text, account.as_str(), proof, &[own], &heard);
        }
        text.push_str("    ]\n  }\n");
        if let Some((name, proof)) = &self.peer_service {
            let asked = format!("chat.server.request.room.{site}.>");
            push(&mut text, format_args!("  {SERVERS} {{\n    users = [\n"));
            user(&mut text, name, proof, &["_INBOX.>".into()], &[asked.clone(), inbox(name)]);
            for (name, proof) in &self.peers {
                user(&mut text, name, proof, std::slice::from_ref(&asked), &[inbox(name)]);
            }
            text.push_str("    ]\n  }\n");
        }
        text.push_str("}\n");
        text
    }
}

fn user(text: &mut String, name: &str, proof: &Proof, publish: &[String], subscribe: &[String]) {
    let list = |subjects: &[String]| subjects.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
    match proof {
        Proof::Bcrypt(hash) => push(text, format_args!("      {{ user: \"{name}\", password: \"{hash}\",\n")),
        // The server knows it by its key; the name is for people.
        Proof::Nkey(key) => push(text, format_args!("      # {name}\n      {{ nkey: \"{key}\",\n")),
    }
    let (publish, subscribe) = (list(publish), list(subscribe));
    push(text, format_args!("        permissions: {{ publish: {{ allow: [{publish}] }},\n"));
    push(text, format_args!("                       subscribe: {{ allow: [{subscribe}] }} }} }}\n"));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a string takes everything");
}

/// A name that is one token of a subject, and needs no quoting anywhere.
fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// A secret is not repeated in the words.
fn proof(said: &str) -> Result<Proof, &'static str> {
    let base32 = |b: u8| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b);
    let bcrypt = |b: u8| b.is_ascii_alphanumeric() || b"./".contains(&b);
    if said.len() == 56 && said.starts_with('U') && said.bytes().all(base32) {
        return Ok(Proof::Nkey(said.into()));
    }
    let fields: Vec<&str> = said.split('$').collect();
    match fields[..] {
        ["", "2a" | "2b" | "2y", cost, hash]
            if cost.len() == 2
                && cost.bytes().all(|b| b.is_ascii_digit())
                && hash.len() == 53
                && hash.bytes().all(bcrypt) =>
        {
            Ok(Proof::Bcrypt(said.into()))
        }
        _ if said.starts_with("SU") && said.len() == 58 => {
            Err("that is the seed of an nkey, which is secret: give the public key, which begins with U")
        }
        _ => Err(
            "must be a bcrypt hash ($2a$..., as `nats server passwd` or `htpasswd -B` make it) or a public nkey (U...)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuSxRCjeVvHZ4sU9k0pHGWLyFhK0oO5sC";
    const NKEY: &str = "UC6NLCN7AS34YOJVCYD4PJ3QB7QGLYG5B5IMBT25VW5K4TNUJODM7BOX";

    fn read(list: &str) -> Result<Users, Vec<String>> {
        Users::read(list, &"home".parse().expect("a site"), |account| account.as_str().starts_with("chamberlain-admin"))
    }

    #[test]
    fn a_client_may_what_the_rules_say_and_its_name_is_one_token() {
        let list = format!("# people\nservice chamberlain {HASH}\n\nuser ada.l@corp {HASH}\nuser bob {NKEY}\n");
        let text = read(&list).expect("well-formed").render();
        for part in [
            r#"publish: { allow: ["chat.user.ada%2El@corp.>"] }"#,
            r#"subscribe: { allow: ["chat.user.ada%2El@corp.>", "_INBOX.ada%2El@corp.>", "chat.room.>"] }"#,
            r#"publish: { allow: ["chat.user.bob.>"] }"#,
            &format!("nkey: \"{NKEY}\""),
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("jetstream") && !text.contains(SERVERS) && !text.contains("chat.server"), "{text}");
    }

    #[test]
    fn other_servers_are_on_an_account_of_their_own() {
        let list = format!("service chamberlain {HASH}\npeer-service chamberlain-peers {HASH}\npeer away {NKEY}\n");
        let text = read(&list).expect("well-formed").render();
        let (clients, servers) = text.split_once(SERVERS).expect("two accounts");
        assert!(clients.contains(CLIENTS) && !clients.contains("chat.server"), "{clients}");
        assert!(servers.contains(r#"publish: { allow: ["chat.server.request.room.home.>"] }"#), "{servers}");
        assert!(servers.contains(r#"subscribe: { allow: ["_INBOX.away.>"] }"#), "{servers}");
    }

    #[test]
    fn every_line_that_is_wrong_is_told_and_no_secret_with_it() {
        let seed = "SUAABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRSTUVW";
        let list = format!(
            "user Ada {HASH}\nuser ada hunter2\nuser eve {seed}\nuser bob {HASH}\nuser bob {HASH}\nguest x {HASH}\n\
             user chamberlain-admin@home {HASH}\npeer a.b {HASH}\npeer away {HASH}\nservice\n"
        );
        let problems = read(&list).expect_err("wrong");
        let said = problems.join("\n");
        for part in [
            "line 1: account must be",
            "line 2: must be a bcrypt hash",
            "line 3: that is the seed",
            "line 5: bob stands there twice",
            "line 6: guest: must be",
            "line 7: chamberlain-admin@home is a name for servers",
            "line 8: a.b: a name is",
            "line 10: must be three words",
            "no peer-service",
            "no service",
        ] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        assert!(!said.contains("hunter2") && !said.contains("SUAA"), "{said}");
    }
}
