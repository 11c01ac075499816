//! Files of accounts: JSON lines, or CSV with a heading. Every line is understood before any account is sent.

use chamberlain_core::id::{AccountId, SiteId};
use chamberlain_stores::Group;
use serde::{Deserialize, Serialize};

/// An account as a file names it. What is left out has a sensible value, or stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) site: Option<SiteId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) local_name: Option<String>,
    #[serde(default)]
    pub(super) bot: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) section: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) department: Option<Group>,
    #[serde(default)]
    pub(super) admin: bool,
}

/// The columns that a CSV file may have.
const COLUMNS: [&str; 11] = [
    "account",
    "site",
    "name",
    "local_name",
    "bot",
    "disabled",
    "section_id",
    "section_name",
    "department_id",
    "department_name",
    "admin",
];

/// Lines that are described; more are counted.
const DESCRIBED: usize = 20;

/// The accounts of a file; or, for each line that is not understood, its number and why.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = if text.trim_start().starts_with('{') { json_lines(text) } else { csv(text)? };
    let mut entries = Vec::new();
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for (number, entry) in read {
        match entry {
            Ok(entry) => match seen.insert(entry.account.clone(), number) {
                None => entries.push(entry),
                Some(before) => wrong.push(format!("line {number}: {} stands in line {before} already", entry.account)),
            },
            Err(why) => wrong.push(format!("line {number}: {why}")),
        }
    }
    if wrong.is_empty() {
        return Ok(entries);
    }
    let more = wrong.len().saturating_sub(DESCRIBED);
    wrong.truncate(DESCRIBED);
    if more > 0 {
        wrong.push(format!("and {more} lines more"));
    }
    Err(wrong.join("\n"))
}

type Read = Vec<(usize, Result<Entry, String>)>;

fn json_lines(text: &str) -> Read {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| (at + 1, serde_json::from_str(line).map_err(|why| why.to_string()))).collect()
}

fn csv(text: &str) -> Result<Read, String> {
    let mut records = records(text)?.into_iter();
    let (_, heading) = records.next().ok_or("the file is empty")?;
    let heading: Vec<String> = heading.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    if let Some(unknown) = heading.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        return Err(format!("line 1: there is no column {unknown:?}; there are {}", COLUMNS.join(", ")));
    }
    if !heading.iter().any(|name| name == "account") {
        return Err("line 1: the heading must name the column \"account\"".into());
    }
    Ok(records.map(|(number, record)| (number, entry(&heading, &record))).collect())
}

fn entry(heading: &[String], record: &[String]) -> Result<Entry, String> {
    if record.len() != heading.len() {
        return Err(format!("has {} fields, the heading {}", record.len(), heading.len()));
    }
    let field = |name: &str| {
        let at = heading.iter().position(|column| column == name)?;
        record.get(at).map(|text| text.trim()).filter(|text| !text.is_empty())
    };
    let switch = |name: &str| match field(name) {
        None => Ok(None),
        Some("true" | "yes" | "1") => Ok(Some(true)),
        Some("false" | "no" | "0") => Ok(Some(false)),
        Some(other) => Err(format!("{name} is {other:?}: must be true or false")),
    };
    let group = |id: &str, name: &str| {
        field(id).map(|id| Group { id: id.to_owned(), name: field(name).unwrap_or(id).to_owned() })
    };
    let words = |text: &dyn std::fmt::Display| text.to_string();
    Ok(Entry {
        account: field("account")
            .unwrap_or_default()
            .parse()
            .map_err(|why| words(&(why as chamberlain_core::id::InvalidId)))?,
        site: field("site").map(str::parse).transpose().map_err(|why: chamberlain_core::id::InvalidId| words(&why))?,
        name: field("name").map(str::to_owned),
        local_name: field("local_name").map(str::to_owned),
        bot: switch("bot")?.unwrap_or(false),
        disabled: switch("disabled")?,
        section: group("section_id", "section_name"),
        department: group("department_id", "department_name"),
        admin: switch("admin")?.unwrap_or(false),
    })
}

/// The records of a CSV file (RFC 4180), each with the number of its first line. Blank lines are left out.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let (mut quoted, mut line, mut began) = (false, 1, 1);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        }
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            c if quoted => field.push(c),
            ',' => record.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push((began, std::mem::take(&mut record)));
                began = line;
            }
            c => field.push(c),
        }
    }
    if quoted {
        return Err(format!("line {began}: a quotation mark is not closed"));
    }
    record.push(field);
    records.push((began, record));
    records.retain(|(_, record)| record.iter().any(|field| !field.trim().is_empty()));
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = "account,name,bot,section_id,section_name,admin\r\n\
                   ada,\"Lovelace, \"\"Ada\"\"\",,s1,Analysis,yes\r\n\r\nherald,Herald,true,,,\r\n";
        let json = "{\"account\":\"ada\",\"name\":\"Lovelace, \\\"Ada\\\"\",\"section\":{\"id\":\"s1\",\"name\":\"Analysis\"},\"admin\":true}\n\
                    {\"account\":\"herald\",\"name\":\"Herald\",\"bot\":true}\n";
        let read = parse(csv).expect("understood");
        assert_eq!(Ok(&read), parse(json).as_ref());
        assert_eq!(read[0].name.as_deref(), Some("Lovelace, \"Ada\""));
        assert!(read[1].bot && read[1].disabled.is_none());
    }

    #[test]
    fn every_line_that_is_wrong_is_named() {
        let said = parse("account,admin\nada,yes\nBob,no\ncarl\neve,perhaps\nada,no\n").expect_err("refused");
        for part in ["line 3: account must be", "line 4: has 1 fields", "line 5: admin", "line 6: ada stands in line 2"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(parse("name\nAda\n").expect_err("refused").contains("account"));
        assert!(parse("account,colour\nada,red\n").expect_err("refused").contains("there is no column \"colour\""));
        assert!(parse("account\n\"ada\n").expect_err("refused").contains("not closed"));
        assert!(parse("{\"account\":\"ada\",\"colour\":1}").expect_err("refused").contains("line 1: unknown field"));
        assert!(parse("").expect_err("refused").contains("empty"));
    }
}
