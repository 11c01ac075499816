//! What commands print: answers to stdout, everything else to stderr.
//!
//! A reader that went away (`| head`) ends the command quietly. Text that people chose is shown without what would move the
//! cursor or change colours.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;

/// Prints to stdout.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(why) => Err(Failure::failed(format!("stdout: {why}"))),
    }
}

/// Prints a line to stdout.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    print(&format!("{}\n", text.as_ref()))
}

/// Prints a value as a line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string(value).map_err(|why| Failure::failed(why.to_string()))?)
}

/// Says something to the person, on stderr.
pub(crate) fn say(text: impl AsRef<str>) {
    // Nobody is left to be told when it fails.
    let _gone = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Text that somebody chose, fit to be shown on a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// Marks that reorder text and show nothing themselves.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns under headings, each as wide as it must be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    pub(crate) fn print(&self) -> Result<(), Failure> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        print(&text)
    }
}

/// A time as people and programs read it: RFC 3339, in UTC, to the second.
pub(crate) fn time(at: chamberlain_core::time::Timestamp) -> String {
    let seconds = at.0 / 1_000;
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a day since the epoch, by eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chamberlain_core::time::Timestamp;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, said) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(Timestamp(seconds * 1_000)), said);
        }
    }

    #[test]
    fn text_of_others_does_not_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c\u{7}é"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}é");
    }
}
