//! The picture as HTML: the list of steps is written here, and the arrows beside it are drawn by the page's own script from
//! numbers that are written along.

use std::fmt::Write as _;

use serde::Serialize;

use super::Heading;
use super::names::Names;
use super::picture::{Kind, Picture, Step};
use crate::judge::Objection;
use crate::story::Lane;

/// More steps than a page shows. Of a longer story the last ones before the end are kept: a shrunk one never comes near.
const MOST_STEPS: usize = 3_000;
/// A silence that is worth a line of its own, in microseconds.
const SILENCE: u64 = 100_000;

/// What the script draws from.
#[derive(Serialize)]
struct Drawn<'a> {
    lanes: Vec<DrawnLane<'a>>,
    steps: Vec<DrawnStep<'a>>,
    /// From which step on, which lane, which part, what.
    states: Vec<DrawnState<'a>>,
    /// Lane, first step, last step.
    spans: Vec<(usize, usize, Option<usize>)>,
    moment: Option<usize>,
}

type DrawnState<'a> = (usize, usize, &'a str, Option<&'a str>);

#[derive(Serialize)]
struct DrawnLane<'a> {
    name: &'a str,
    kind: &'static str,
    what: &'static str,
}

#[derive(Serialize)]
struct DrawnStep<'a> {
    kind: &'static str,
    from: Option<usize>,
    to: Option<usize>,
    at: u64,
    left: u64,
    lost: bool,
    label: &'a str,
    broken: bool,
}

/// The whole page.
pub(super) fn write(names: &Names, picture: &Picture, heading: &Heading, objections: &[Objection]) -> String {
    let skipped = picture.steps.len().saturating_sub(MOST_STEPS);
    let title = match objections.first() {
        Some(objection) => format!("{} broken: {}", objection.oracle, heading.scenario),
        None => format!("A good run: {}", heading.scenario),
    };
    fill(
        include_str!("page.html"),
        &[
            ("title", escaped(&title)),
            ("style", include_str!("page.css").to_owned()),
            ("head", head(names, picture, heading, objections)),
            ("steps", list(picture, skipped, objections, names)),
            ("notes", notes(names, heading, objections)),
            ("data", data(picture, skipped)),
            ("script", include_str!("page.js").to_owned()),
        ],
    )
}

/// The template with every `{{name}}` filled in; what is filled in is not looked at again.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut pieces = template.split("{{");
    page.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        let part = parts.iter().find(|(part, _)| *part == name);
        page.push_str(part.map_or("", |(_, text)| text.trim_end()));
        page.push_str(rest);
    }
    page
}

/// What is above the picture: which invariant broke, and how.
fn head(names: &Names, picture: &Picture, heading: &Heading, objections: &[Objection]) -> String {
    let mut html = String::new();
    let facts =
        [vec![heading.source.clone(), format!("{} steps", picture.steps.len())], heading.facts.clone()].concat();
    let scenario = escaped(&heading.scenario);
    let _ = writeln!(
        html,
        "<p class=\"kicker\">Chamberlain, simulated: <b>{scenario}</b> &middot; {}</p>",
        escaped(&facts.join(" \u{b7} "))
    );
    match objections.first() {
        Some(objection) => {
            let (oracle, invariant) = (escaped(objection.oracle), escaped(objection.invariant));
            let _ = writeln!(html, "<h1><span class=\"badge\">{oracle} broken</span> {invariant}</h1>");
            let _ = writeln!(
                html,
                "<p class=\"what\"><b>What went wrong:</b> {}</p>",
                escaped(&names.within(&objection.what))
            );
        }
        None => {
            html.push_str("<h1><span class=\"badge good\">good run</span> Every invariant held.</h1>\n");
        }
    }
    html
}

/// The steps, numbered from 1.
fn list(picture: &Picture, skipped: usize, objections: &[Objection], names: &Names) -> String {
    let mut html = String::new();
    let mut before = picture.steps.get(skipped).map_or(0, |step| step.at);
    for (number, step) in picture.steps.iter().enumerate().skip(skipped) {
        let silence = step.at.saturating_sub(before);
        if silence >= SILENCE {
            let _ = writeln!(html, "<li class=\"silence\" aria-hidden=\"true\">{} later</li>", span_of(silence));
        }
        before = step.at;
        let classes = [
            step.kind.name(),
            if step.lost { " lost" } else { "" },
            if step.broken.is_empty() { "" } else { " broken" },
        ];
        let _ = write!(html, "<li id=\"s{}\" class=\"step {}\">", number + 1, classes.concat());
        let _ = write!(html, "<span class=\"number\">{}</span><time>{}</time>", number + 1, seconds(step.at));
        let _ = write!(html, "<span class=\"words\">{}{}", who(picture, step), escaped(&step.sentence));
        for objection in step.broken.iter().filter_map(|at| objections.get(*at)) {
            let _ = write!(
                html,
                "<em>{} breaks here: {}</em>",
                escaped(objection.oracle),
                escaped(&names.within(&objection.what))
            );
        }
        html.push_str("</span></li>\n");
    }
    html
}

/// Who does it: `ada -> node 0`.
fn who(picture: &Picture, step: &Step) -> String {
    let chip = |lane: usize| {
        let column = &picture.columns[lane];
        format!("<b class=\"{}\">{}</b>", kind_of(column.lane), escaped(&column.name))
    };
    match (step.kind, step.from, step.to) {
        // What a client hears is the client's doing in the sentence: `ada gets r5`.
        (Kind::Tell, Some(from), Some(to)) => format!("{} &larr; {} ", chip(to), chip(from)),
        (Kind::Durable, Some(from), Some(to)) if from != to => format!("{} &rarr; {} ", chip(from), chip(to)),
        (Kind::Ask | Kind::Inner, Some(from), Some(to)) if from != to => format!("{} &rarr; {} ", chip(from), chip(to)),
        (_, Some(lane), _) | (_, None, Some(lane)) => format!("{} ", chip(lane)),
        (Kind::Fault, None, None) => "<b class=\"fault\">fault</b> ".to_owned(),
        _ => String::new(),
    }
}

/// What is beside the picture below the states: other objections, configuration, commands.
fn notes(names: &Names, heading: &Heading, objections: &[Objection]) -> String {
    let mut html = String::new();
    if objections.len() > 1 {
        let _ = writeln!(html, "<details><summary>What else is broken ({})</summary><ul>", objections.len() - 1);
        for objection in objections.iter().skip(1).take(20) {
            let what = escaped(&names.within(&objection.what));
            let _ = writeln!(
                html,
                "<li><b>{}</b> {}: {what}</li>",
                escaped(objection.oracle),
                escaped(objection.invariant)
            );
        }
        html.push_str("</ul></details>\n");
    }
    if !heading.commands.is_empty() {
        html.push_str("<details open><summary>Run it again</summary>\n");
        for (command, what) in &heading.commands {
            let _ = writeln!(html, "<p>{}</p><pre>{}</pre>", escaped(what), escaped(command));
        }
        html.push_str("</details>\n");
    }
    if !heading.configuration.is_empty() {
        let _ = writeln!(
            html,
            "<details><summary>Configuration of the run</summary><pre>{}</pre></details>",
            escaped(&heading.configuration)
        );
    }
    html
}

fn data(picture: &Picture, skipped: usize) -> String {
    let shown = |step: usize| step.saturating_sub(skipped);
    let steps = picture.steps.iter().skip(skipped).map(|step| DrawnStep {
        kind: step.kind.name(),
        from: step.from,
        to: step.to,
        at: step.at,
        left: step.left,
        lost: step.lost,
        label: &step.label,
        broken: !step.broken.is_empty(),
    });
    let lanes = picture.columns.iter();
    let drawn = Drawn {
        lanes: lanes
            .map(|column| DrawnLane { name: &column.name, kind: kind_of(column.lane), what: column.what })
            .collect(),
        steps: steps.collect(),
        states: states(picture, skipped),
        spans: picture.spans.iter().map(|span| (span.lane, shown(span.from), span.to.map(shown))).collect(),
        moment: picture.steps.iter().position(|step| !step.broken.is_empty()).map(shown),
    };
    // A `<` in a text must not end the script that it stands in.
    serde_json::to_string(&drawn).expect("numbers and texts").replace('<', "\\u003c")
}

/// Who holds what, from which shown step on: of what was held before them the last.
fn states(picture: &Picture, skipped: usize) -> Vec<DrawnState<'_>> {
    let earlier = picture.states.partition_point(|state| state.step < skipped);
    let mut held = std::collections::BTreeMap::new();
    for state in &picture.states[..earlier] {
        held.insert((state.lane, state.part.as_str()), state.what.as_deref());
    }
    let before = held.into_iter().map(|((lane, part), what)| (0, lane, part, what));
    let shown = picture.states[earlier..].iter();
    before
        .chain(shown.map(|state| (state.step - skipped, state.lane, state.part.as_str(), state.what.as_deref())))
        .collect()
}

/// The steps without a picture.
pub(super) fn text(picture: &Picture) -> String {
    let mut text = String::new();
    for (number, step) in picture.steps.iter().enumerate() {
        let name = |lane: Option<usize>| lane.map_or("", |lane| picture.columns[lane].name.as_str());
        let who = match (step.kind, step.from, step.to) {
            (Kind::Tell, Some(_), Some(_)) => format!("{} <- {} ", name(step.to), name(step.from)),
            (_, Some(from), Some(to)) if from != to => format!("{} -> {} ", name(step.from), name(step.to)),
            (_, None, None) => String::new(),
            _ => format!("{} ", name(step.from.or(step.to))),
        };
        let mark = if step.broken.is_empty() { ' ' } else { '!' };
        let _ = writeln!(text, "{mark}{:>5} {:>11}  {who}{}", number + 1, seconds(step.at), step.sentence);
    }
    text
}

fn kind_of(lane: Lane) -> &'static str {
    match lane {
        Lane::Client(_) => "client",
        Lane::Node(_) => "node",
        Lane::Bus => "bus",
        Lane::Logs | Lane::Vault | Lane::Shelf => "store",
    }
}

/// `1.204310 s`.
fn seconds(micros: u64) -> String {
    format!("{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
}

/// A while in few words: `350 ms`, `2.4 s`.
fn span_of(micros: u64) -> String {
    match micros {
        0..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
