//! Prints a configuration as TOML that can be read back, with the origin of each value beside it.

use std::fmt::Write;

use super::keys;
use super::sources::Settings;
use super::value::Value;

/// Column at which origins stand, where there is room.
const ORIGINS_AT: usize = 44;

/// Every key, its value and origin; what is not set stands as a comment, secrets are redacted.
pub fn print(settings: &Settings) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys::all() {
        if key.section != section {
            section = key.section;
            push(&mut text, format_args!("\n[{section}]\n"));
        }
        let path = key.path();
        match settings.value(&path) {
            None => push(&mut text, format_args!("# {} is not set: {}\n", key.name, key.meaning.trim())),
            Some(value) => {
                let hidden = if matches!(value, Value::Secret(_)) { "# " } else { "" };
                let line = format!("{hidden}{} = {value}", key.name);
                push(&mut text, format_args!("{line:ORIGINS_AT$} # {}\n", settings.origin(&path)));
            }
        }
    }
    text
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a string takes everything");
}
