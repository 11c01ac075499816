//! A figure, the bar it is held against, and the plots beside it.

use chamberlain_bench::cost;
use serde::Serialize;

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bar {
    /// How many times better than the bar a value is: 1 and above is met.
    pub(crate) fn margin(self, value: f64) -> f64 {
        match self {
            Self::AtMost(most) => most / value,
            Self::AtLeast(least) => value / least,
        }
    }

    /// By which part of the bar a value misses it.
    pub(crate) fn missed_by(self, value: f64) -> Option<f64> {
        let missed = match self {
            Self::AtMost(most) => value / most - 1.0,
            Self::AtLeast(least) => 1.0 - value / least,
        };
        (missed > 0.0).then_some(missed)
    }
}

/// Something that was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// The group it was measured in: `--only` takes it.
    pub(crate) group: &'static str,
    /// What it is.
    pub(crate) name: String,
    /// In which unit: `ns`, `us`, `ms`, `/s`, `B`, or empty for a ratio.
    pub(crate) unit: &'static str,
    /// The median of the rounds.
    pub(crate) value: f64,
    /// Every round, in the order in which they ran.
    pub(crate) rounds: Vec<f64>,
    /// What is asked of it, if anything is.
    pub(crate) bar: Option<Bar>,
    /// What has to be known to read it.
    pub(crate) note: String,
}

impl Figure {
    /// The median of these rounds.
    pub(crate) fn new(group: &'static str, name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        let value = cost::median(rounds.clone());
        Self { group, name: name.into(), unit, value, rounds, bar: None, note: String::new() }
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.bar = Some(Bar::AtMost(most));
        self
    }

    pub(crate) fn at_least(mut self, least: f64) -> Self {
        self.bar = Some(Bar::AtLeast(least));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// In words: met, missed by how much, or nothing when there is no bar.
    pub(crate) fn verdict(&self) -> String {
        match self.bar {
            None => String::new(),
            Some(bar) => match bar.missed_by(self.value) {
                None => "met".into(),
                Some(missed) => format!("missed by {:.0} %", (missed * 100.0).max(1.0)),
            },
        }
    }

    /// The value with its unit.
    pub(crate) fn shown(&self) -> String {
        show(self.value, self.unit)
    }

    /// Smallest and largest round.
    pub(crate) fn spread(&self) -> String {
        match self.rounds.len() {
            0 | 1 => String::new(),
            _ => {
                let (least, most) = self.rounds.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
                format!("{} .. {}", number(least), number(most))
            }
        }
    }

    /// The bar with its unit.
    pub(crate) fn bar_shown(&self) -> String {
        match self.bar {
            None => String::new(),
            Some(Bar::AtMost(most)) => format!("<= {}", show(most, self.unit)),
            Some(Bar::AtLeast(least)) => format!(">= {}", show(least, self.unit)),
        }
    }
}

/// A number with its unit.
pub(crate) fn show(value: f64, unit: &str) -> String {
    match unit {
        "" => number(value),
        "/s" => format!("{}/s", number(value)),
        unit => format!("{} {unit}", number(value)),
    }
}

/// Three digits that say something, and commas between thousands.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 100.0 {
        let mut digits = format!("{value:.0}");
        let mut at = digits.len();
        while at > 3 && digits.as_bytes()[at - 4].is_ascii_digit() {
            at -= 3;
            digits.insert(at, ',');
        }
        digits
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Lines over two axes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Plot {
    pub(crate) group: &'static str,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
}

/// What runs along an axis, and how.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) log: bool,
}

impl Axis {
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }
}

/// One line of a plot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
    /// A bar rather than a measurement: drawn dashed.
    pub(crate) bar: bool,
}

impl Line {
    pub(crate) fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), points, bar: false }
    }

    pub(crate) fn bar(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { bar: true, ..Self::new(label, points) }
    }
}

/// Everything that a group found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) figures: Vec<Figure>,
    pub(crate) plots: Vec<Plot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_by_which_part_of_the_bar_it_is_missed() {
        let figure = |value| Figure::new("group", "name", "us", vec![value]);
        assert_eq!(figure(1.0).at_most(2.0).verdict(), "met");
        assert_eq!(figure(3.0).at_most(2.0).verdict(), "missed by 50 %");
        assert_eq!(figure(75.0).at_least(100.0).verdict(), "missed by 25 %");
        assert_eq!(figure(75.0).verdict(), "");
    }

    #[test]
    fn numbers_have_three_digits_or_commas() {
        assert_eq!([0.456, 12.34, 123.4, 1234.0, 1234567.0].map(number), ["0.46", "12.3", "123", "1,234", "1,234,567"]);
    }
}
