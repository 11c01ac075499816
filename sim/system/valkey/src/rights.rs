//! Users, and what each may do.

use std::collections::BTreeSet;

use bytes::Bytes;

/// Somebody whom the server lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    on: bool,
    /// `None`: any will do.
    password: Option<String>,
    every_key: bool,
    /// Keys that begin with one of these.
    under: Vec<String>,
    every_command: bool,
    /// In small letters; `config|get` is one of `config`.
    commands: BTreeSet<String>,
}

impl User {
    /// Somebody who may do everything.
    pub fn anything(password: Option<&str>) -> Self {
        let password = password.map(str::to_owned);
        Self { on: true, password, every_key: true, every_command: true, ..Self::nobody() }
    }

    /// Somebody as a line of the server's own language says, of which this is understood: `on`, `off`, `reset`, `nopass`,
    /// `>password`, `~PREFIX*`, `~*`, `allkeys`, `+@all`, `allcommands`, `+command`, `+command|sub`, `-command`.
    ///
    /// # Errors
    /// The word that is not understood.
    pub fn of(rules: &str) -> Result<Self, String> {
        let mut user = Self::nobody();
        rules.split_whitespace().try_for_each(|rule| user.change(rule))?;
        Ok(user)
    }

    /// Somebody who is not let in.
    pub(crate) fn nobody() -> Self {
        Self {
            on: false,
            password: Some(String::new()),
            every_key: false,
            under: Vec::new(),
            every_command: false,
            commands: BTreeSet::new(),
        }
    }

    /// One word more; the word, where it is not understood.
    pub(crate) fn change(&mut self, rule: &str) -> Result<(), String> {
        match rule {
            "on" => self.on = true,
            "off" => self.on = false,
            "reset" => *self = Self::nobody(),
            "nopass" => self.password = None,
            "~*" | "allkeys" => self.every_key = true,
            "+@all" | "allcommands" => self.every_command = true,
            _ => {
                let named = |name: &str| crate::commands::is_command(&name.to_ascii_lowercase());
                match (rule.get(..1), rule.get(1..)) {
                    (Some(">"), Some(password)) => self.password = Some(password.to_owned()),
                    (Some("~"), Some(pattern)) => match pattern.strip_suffix('*') {
                        Some(prefix) if !prefix.contains(['*', '?', '[', '\\']) => self.under.push(prefix.to_owned()),
                        _ => return Err(rule.to_owned()),
                    },
                    (Some("+"), Some(name)) if named(name) => {
                        self.commands.insert(name.to_ascii_lowercase());
                    }
                    (Some("-"), Some(name)) if named(name) && !self.every_command => {
                        self.commands.remove(&name.to_ascii_lowercase());
                    }
                    _ => return Err(rule.to_owned()),
                }
            }
        }
        Ok(())
    }

    /// Whether a connection that has not said who it is may be taken for this user.
    pub(crate) fn needs_no_password(&self) -> bool {
        self.on && self.password.is_none()
    }

    /// Whether it may come with this password.
    pub(crate) fn admits(&self, password: &[u8]) -> bool {
        self.on && self.password.as_ref().is_none_or(|known| !known.is_empty() && known.as_bytes() == password)
    }

    /// Whether they may run a command, by its whole name in small letters.
    pub(crate) fn may_run(&self, command: &str) -> bool {
        let family = command.split('|').next().unwrap_or(command);
        self.every_command || self.commands.contains(command) || self.commands.contains(family)
    }

    /// Whether they may touch a key.
    pub(crate) fn may_touch(&self, key: &Bytes) -> bool {
        self.every_key || self.under.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
    }
}
