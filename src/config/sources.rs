//! Reads what a file, the environment and the flags say, and lays them over each other.
//!
//! Later layers win: defaults, file, environment, flags. A key that nobody knows is refused, with the one that was perhaps
//! meant; all that is wrong is found before any of it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chamberlain_core::limits::Limits;
use zeroize::Zeroizing;

use super::keys::{self, Key, Kind, LIMITS};
use super::value::{Origin, Raw, Value, convert};

/// Something that is set as it cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in a file: `section.name`.
    pub key: String,
    /// Where it was set.
    pub origin: Origin,
    /// What is wrong and what to do.
    pub said: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.origin {
            Origin::Default => write!(f, "{}: {}", self.key, self.said),
            origin => write!(f, "{} ({origin}): {}", self.key, self.said),
        }
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--dev`.
    pub dev: bool,
}

/// Prefix of the variables.
const PREFIX: &str = "CHAMBERLAIN_";

/// Variables with our prefix that are not configuration: for the command line and for tests.
const NOT_KEYS: &[&str] = &["CONFIG", "URL", "TOKEN", "BIN", "SOAK"];

/// Variables that a cluster sets for every service in it, here for one named `chamberlain`.
const OF_A_CLUSTER: &[&str] = &["SERVICE_HOST", "SERVICE_PORT", "PORT"];

/// The variables of this process that have our prefix.
pub fn environment() -> Vec<(String, String)> {
    let vars = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    vars.filter(|(name, _)| name.starts_with(PREFIX))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect()
}

/// Every key with its value, where it has one, and where that came from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, (Value, Origin)>,
}

/// What was read, before it is laid over the defaults.
struct Entry {
    path: String,
    raw: Raw,
    origin: Origin,
}

impl Settings {
    /// Lays flags over `environment` over a file over the defaults. The file is `--config`, `CHAMBERLAIN_CONFIG`, or
    /// [`FILE_NAME`](super::FILE_NAME) in the data folder if it is there.
    pub(super) fn read(flags: &Flags, environment: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let of_environment = from_environment(environment);
        let of_flags = from_flags(flags);
        let named = environment.iter().find(|(name, _)| name == "CHAMBERLAIN_CONFIG").map(|(_, path)| path.into());
        let mut of_file = Vec::new();
        if let Some(path) = flags.config.clone().or(named) {
            read_file(&path, &mut of_file, &mut problems);
        } else {
            let path = data_folder(&of_flags, &of_environment).join(super::FILE_NAME);
            if path.exists() {
                read_file(&path, &mut of_file, &mut problems);
                if let Some(entry) = of_file.iter().find(|entry| entry.path == "data") {
                    let said = "a file in the data folder cannot say where the data folder is: use --data, CHAMBERLAIN_DATA \
                                or a file elsewhere with --config";
                    problems.push(Problem { key: "data".into(), origin: entry.origin.clone(), said: said.into() });
                }
            }
        }
        let mut settings = Self::defaults();
        let known: BTreeMap<String, Key> = keys::all().map(|key| (key.path(), key)).collect();
        for entry in of_file.into_iter().chain(of_environment).chain(of_flags) {
            match settings.lay(&known, &entry) {
                Ok(()) => {}
                Err(said) => problems.push(Problem { key: entry.path, origin: entry.origin, said }),
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn defaults() -> Self {
        let mut values = BTreeMap::new();
        for key in keys::KEYS {
            let value = key.default.and_then(|text| convert(key.kind, &Raw::text(text), None).ok());
            values.extend(value.map(|value| (key.path(), (value, Origin::Default))));
        }
        for &(name, _, default, ..) in Limits::TABLE {
            values.insert(format!("{LIMITS}.{name}"), (Value::Number(default), Origin::Default));
        }
        Self { values }
    }

    fn lay(&mut self, known: &BTreeMap<String, Key>, entry: &Entry) -> Result<(), String> {
        let Some(key) = known.get(&entry.path) else { return Err(unknown(known, &entry.path)) };
        let beside = match &entry.origin {
            Origin::File(_) if key.kind == Kind::Secret => {
                return Err(format!(
                    "a secret does not belong into a file that others read: set {}, or name a file that holds it",
                    variable(&entry.path)
                ));
            }
            Origin::File(path) => path.parent(),
            _ => None,
        };
        let value = convert(key.kind, &entry.raw, beside)?;
        if let (Kind::Text { of }, Value::Text(text)) = (key.kind, &value)
            && !of.is_empty()
            && !of.contains(&text.as_str())
        {
            return Err(format!(
                "is {text:?}: must be {}",
                of.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or ")
            ));
        }
        self.values.insert(entry.path.clone(), (value, entry.origin.clone()));
        Ok(())
    }

    /// Where a key's value came from.
    pub fn origin(&self, path: &str) -> Origin {
        self.values.get(path).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Whether somebody set it.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.values.get(path).is_some_and(|(_, origin)| *origin != Origin::Default)
    }

    /// A key's value.
    pub fn value(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.value(path)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn path(&self, path: &str) -> Option<PathBuf> {
        match self.value(path)? {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    pub(super) fn number(&self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    pub(super) fn switch(&self, path: &str) -> bool {
        matches!(self.value(path), Some(Value::Switch(true)))
    }

    pub(super) fn list(&self, path: &str) -> &[String] {
        match self.value(path) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    pub(super) fn secret(&self, path: &str) -> Option<Zeroizing<String>> {
        match self.value(path)? {
            Value::Secret(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// The variable of a key.
pub(super) fn variable(path: &str) -> String {
    match path {
        "master_key.value" => format!("{PREFIX}MASTER_KEY"),
        path => format!("{PREFIX}{}", path.replace('.', "__").to_uppercase()),
    }
}

/// The key of a variable.
fn of_variable(name: &str) -> String {
    match name {
        "MASTER_KEY" => "master_key.value".into(),
        name => name.to_lowercase().replace("__", "."),
    }
}

fn from_environment(environment: &[(String, String)]) -> Vec<Entry> {
    let ours = environment.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
    let is_key = |name: &str| {
        !NOT_KEYS.contains(&name)
            && !OF_A_CLUSTER.iter().any(|known| {
                name.strip_prefix(known)
                    .is_some_and(|rest| rest.is_empty() || (rest.starts_with('_') && !rest.starts_with("__")))
            })
    };
    ours.filter(|(_, name, _)| is_key(name))
        .map(|(whole, name, value)| Entry {
            path: of_variable(name),
            raw: Raw::text(value.clone()),
            origin: Origin::Environment(whole.clone()),
        })
        .collect()
}

fn from_flags(flags: &Flags) -> Vec<Entry> {
    let data = flags.data.as_ref().map(|path| ("data", path.display().to_string(), "--data"));
    let listen = flags.listen.as_ref().map(|address| ("listen", address.clone(), "--listen"));
    let dev = flags.dev.then(|| ("auth.mode", "development".to_owned(), "--dev"));
    let entry = |(path, text, flag): (&str, String, &'static str)| Entry {
        path: path.into(),
        raw: Raw::text(text),
        origin: Origin::Flag(flag),
    };
    [data, listen, dev].into_iter().flatten().map(entry).collect()
}

/// Where the data folder is, before any file was read.
fn data_folder(flags: &[Entry], environment: &[Entry]) -> PathBuf {
    let said = flags.iter().chain(environment).find(|entry| entry.path == "data");
    match said.map(|entry| &entry.raw) {
        Some(Raw::Text(text)) => PathBuf::from(text.as_str()),
        _ => keys::KEYS.iter().find(|key| key.path() == "data").and_then(|key| key.default).unwrap_or_default().into(),
    }
}

fn read_file(path: &Path, entries: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let problem = |said: String| Problem { key: "configuration".into(), origin: Origin::File(path.to_owned()), said };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) => return problems.push(problem(format!("cannot be read: {why}"))),
    };
    match text.parse::<toml::Table>() {
        Ok(table) => flatten("", table, &Origin::File(path.to_owned()), entries),
        // Without the line itself, which may hold a secret that does not belong there.
        Err(why) => {
            let line =
                why.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            problems.push(problem(format!("line {line}: {}", why.message())));
        }
    }
}

fn flatten(prefix: &str, table: toml::Table, origin: &Origin, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let raw = match value {
            toml::Value::Table(table) => {
                flatten(&path, table, origin, entries);
                continue;
            }
            toml::Value::String(text) => Raw::text(text),
            toml::Value::Integer(number) => Raw::Number(number),
            toml::Value::Boolean(on) => Raw::Switch(on),
            toml::Value::Float(_) => Raw::Other("a number with a fraction"),
            toml::Value::Datetime(_) => Raw::Other("a date"),
            toml::Value::Array(items) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.map_or(Raw::Other("a list of something else than text"), Raw::List)
            }
        };
        entries.push(Entry { path, raw, origin: origin.clone() });
    }
}

/// Words for a key that nobody knows.
fn unknown(known: &BTreeMap<String, Key>, path: &str) -> String {
    if known.values().any(|key| key.section == path) {
        return format!("is a section: write its keys below [{path}]");
    }
    let near = known.keys().map(|name| (strsim::normalized_damerau_levenshtein(name, path), name));
    let same_name = known.values().find(|key| path.rsplit('.').next() == Some(key.name)).map(Key::path);
    match near.max_by(|one, other| one.0.total_cmp(&other.0)) {
        Some((likeness, name)) if likeness > 0.7 => format!("there is no such key; did you mean {name}?"),
        _ => match same_name {
            Some(name) => format!("there is no such key; did you mean {name}?"),
            None => "there is no such key; `chamberlain config print` shows all there are".into(),
        },
    }
}
