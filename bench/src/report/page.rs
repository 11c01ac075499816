//! The page: everything in one file, no script, light and dark.

use std::fmt::Write;

use super::{Report, svg};
use crate::figure::{Figure, Plot};

/// The page of a report.
pub(super) fn render(report: &Report) -> String {
    let mut rows = String::new();
    let mut group = "";
    for figure in &report.found.figures {
        if figure.group != group {
            group = figure.group;
            rows += &format!(r#"<tr class="group"><th colspan="6" scope="rowgroup">{}</th></tr>"#, escape(group));
        }
        rows += &row(figure);
    }
    for failed in &report.failed {
        let (group, why) = (escape(failed.group), escape(&failed.why));
        rows += &format!(r#"<tr class="group"><th colspan="6">{group}: not measured: {why}</th></tr>"#);
    }
    let plots: String = report.found.plots.iter().map(plot).collect();
    let held = report.found.figures.iter().filter(|figure| figure.bar.is_some());
    let (met, missed): (Vec<_>, Vec<_>) = held.partition(|figure| figure.verdict() == "met");
    let quick = if report.quick {
        r#"<p class="missed">A quick run: few rounds of little work. Its figures mean little.</p>"#
    } else {
        ""
    };
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Chamberlain: benchmarks</title><style>{STYLE}</style></head><body><main>
<h1>Chamberlain: benchmarks</h1>
<p>{machine}. {seconds} s. Medians of rounds; {met} bars met, {missed} missed.</p>{quick}
<p class="note">Everything runs on loopback, clients and server on the same cores. Figures per core are per second of CPU time
of the server's process, kernel time included. Where a bare loop is named, it writes the same number of bytes in as many
writes to as many sockets, turn about with the server.</p>
<table><thead><tr><th>figure</th><th>measured</th><th>rounds</th><th>bar</th><th>of the bar</th><th>verdict</th></tr></thead>
<tbody>{rows}</tbody></table>
<section>{plots}</section>
</main></body></html>
"#,
        machine = escape(&report.machine()),
        seconds = report.seconds,
        met = met.len(),
        missed = missed.len(),
    )
}

fn row(figure: &Figure) -> String {
    let verdict = figure.verdict();
    let class = match verdict.as_str() {
        "" => "",
        "met" => "met",
        _ => "missed",
    };
    let margin = figure.bar.map_or(String::new(), |bar| format!("{:.2} x", bar.margin(figure.value)));
    let note = match figure.note.as_str() {
        "" => String::new(),
        note => format!(r#"<div class="note">{}</div>"#, escape(note)),
    };
    format!(
        r#"<tr><td>{}{note}</td><td class="n">{}</td><td class="n spread">{}</td><td class="n">{}</td><td class="n">{margin}</td><td class="{class}">{verdict}</td></tr>"#,
        escape(&figure.name),
        escape(&figure.shown()),
        escape(&figure.spread()),
        escape(&figure.bar_shown()),
    )
}

fn plot(plot: &Plot) -> String {
    let mut legend = String::new();
    for (nth, line) in plot.lines.iter().enumerate() {
        let class = if line.bar { "bar".to_owned() } else { format!("line-{}", nth % 5) };
        write!(
            legend,
            r#"<li><svg viewBox="0 0 18 6"><polyline class="{class}" points="0,3 18,3"/></svg>{}</li>"#,
            escape(&line.label)
        )
        .expect("a string takes everything");
    }
    format!("<figure><figcaption>{}</figcaption>{}<ul>{legend}</ul></figure>", escape(&plot.title), svg::draw(plot))
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "
:root{color-scheme:light dark;--text:#1d2329;--soft:#5b6670;--paper:#fdfdfc;--rule:#dde1e4;--met:#1a7f46;--missed:#b3361c;
--a:#2563a8;--b:#c2631b;--c:#3d8b57;--d:#8a4fa3;--e:#7a6a1f}
@media(prefers-color-scheme:dark){:root{--text:#e3e7ea;--soft:#98a3ad;--paper:#15191d;--rule:#313940;--met:#5cc88b;--missed:#f08a6d;
--a:#6fa8e8;--b:#e79a5a;--c:#7cc794;--d:#c596dc;--e:#cbb95f}}
body{margin:0;background:var(--paper);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:76rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.5rem;margin:.5rem 0}table{border-collapse:collapse;width:100%;margin:1.5rem 0}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--rule);vertical-align:top}
thead th{color:var(--soft);font-weight:500}tr.group th{padding-top:1.4rem;font-weight:600}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.spread{color:var(--soft);font-size:.85em}
.note{color:var(--soft);font-size:.87em;max-width:50rem}.met{color:var(--met)}.missed{white-space:nowrap;color:var(--missed);font-weight:600}
section{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr));gap:1.5rem}
figure{margin:0;border:1px solid var(--rule);border-radius:6px;padding:.8rem}figcaption{font-weight:600;margin-bottom:.4rem}
figure ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;margin:.3rem 0 0;padding:0;font-size:.87em;color:var(--soft)}
figure li svg{width:1.4rem;height:.5rem;margin-right:.4rem}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}.grid{stroke:var(--rule)}
polyline{fill:none;stroke-width:2}polyline.bar{stroke:var(--missed);stroke-dasharray:5 4;stroke-width:1.5}
polyline.line-0{stroke:var(--a)}polyline.line-1{stroke:var(--b)}polyline.line-2{stroke:var(--c)}polyline.line-3{stroke:var(--d)}
polyline.line-4{stroke:var(--e)}circle.line-0{fill:var(--a)}circle.line-1{fill:var(--b)}circle.line-2{fill:var(--c)}
circle.line-3{fill:var(--d)}circle.line-4{fill:var(--e)}
@media(max-width:40rem){.spread,thead th:nth-child(3){display:none}th,td{padding:.3rem}}
";
