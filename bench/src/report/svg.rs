//! Plots as inline SVG. Colours are the page's, so that they follow light and dark.

use std::fmt::Write;

use super::page::escape;
use crate::figure::{Axis, Plot, number};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Marks along a linear axis, about.
const MARKS: f64 = 5.0;

/// Draws a plot; lines have the classes `line-0`, `line-1`, ... of the page.
pub(super) fn draw(plot: &Plot) -> String {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let x = Scale::new(&plot.x, points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Scale::new(&plot.y, points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escape(&plot.title));
    for mark in x.marks() {
        let at = x.place(mark);
        let (top, bottom, below) = (TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16.0);
        put(&mut svg, format_args!(r#"<line class="grid" x1="{at:.1}" y1="{top}" x2="{at:.1}" y2="{bottom}"/>"#));
        put(&mut svg, format_args!(r#"<text x="{at:.1}" y="{below}" text-anchor="middle">{}</text>"#, short(mark)));
    }
    for mark in y.marks() {
        let at = y.place(mark);
        let (end, beside) = (WIDTH - RIGHT, LEFT - 6.0);
        put(&mut svg, format_args!(r#"<line class="grid" x1="{LEFT}" y1="{at:.1}" x2="{end}" y2="{at:.1}"/>"#));
        let base = at + 4.0;
        put(&mut svg, format_args!(r#"<text x="{beside}" y="{base:.1}" text-anchor="end">{}</text>"#, short(mark)));
    }
    for (nth, line) in plot.lines.iter().enumerate() {
        let class = if line.bar { "bar".to_owned() } else { format!("line-{}", nth % 5) };
        let places: Vec<(f64, f64)> = line.points.iter().map(|(a, b)| (x.place(*a), y.place(*b))).collect();
        let path: Vec<String> = places.iter().map(|(a, b)| format!("{a:.1},{b:.1}")).collect();
        put(&mut svg, format_args!(r#"<polyline class="{class}" points="{}"/>"#, path.join(" ")));
        if !line.bar {
            for ((a, b), (u, v)) in places.iter().zip(&line.points) {
                let said = format!("{}: {} at {}", escape(&line.label), number(*v), number(*u));
                put(
                    &mut svg,
                    format_args!(
                        r#"<circle class="{class}" cx="{a:.1}" cy="{b:.1}" r="3"><title>{said}</title></circle>"#
                    ),
                );
            }
        }
    }
    let (middle, low) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    put(
        &mut svg,
        format_args!(r#"<text x="{middle}" y="{low}" text-anchor="middle">{}</text>"#, escape(&plot.x.label)),
    );
    let height = (TOP + HEIGHT - BOTTOM) / 2.0;
    put(
        &mut svg,
        format_args!(
            r#"<text transform="translate(14 {height}) rotate(-90)" text-anchor="middle">{}</text></svg>"#,
            escape(&plot.y.label)
        ),
    );
    svg
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("a string takes everything");
}

/// Where values lie along an axis.
struct Scale {
    log: bool,
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let usable = values.filter(|value| value.is_finite() && (!axis.log || *value > 0.0));
        let (least, most) = usable.fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(v), most.max(v)));
        let (least, most) = if least > most { (1.0, 10.0) } else { (least, most) };
        let (least, most) = if axis.log {
            (10_f64.powf(least.log10().floor()), 10_f64.powf((most.log10() + 0.001).ceil()))
        } else {
            (0.0, if most > 0.0 { most * 1.05 } else { 1.0 })
        };
        Self { log: axis.log, least, most, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.least).log10() - self.least.log10()) / (self.most.log10() - self.least.log10())
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn marks(&self) -> Vec<f64> {
        if self.log {
            let decades = self.least.log10().round() as i32..=self.most.log10().round() as i32;
            return decades.map(|power| 10_f64.powi(power)).collect();
        }
        let rough = self.most / MARKS;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..).map(|nth| f64::from(nth) * step).take_while(|mark| *mark <= self.most).take(20).collect()
    }
}

/// A number on an axis: short.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 1e9 => format!("{}G", trim(value / 1e9)),
        v if v >= 1e6 => format!("{}M", trim(value / 1e6)),
        v if v >= 1e4 => format!("{}k", trim(value / 1e3)),
        _ => trim(value),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Line;

    #[test]
    fn marks_cover_the_values() {
        let linear = Scale::new(&Axis::linear("x"), [3.0, 97.0].into_iter(), 0.0, 100.0);
        assert_eq!(linear.marks(), [0.0, 50.0, 100.0]);
        let log = Scale::new(&Axis::log("x"), [30.0, 9_000.0].into_iter(), 0.0, 100.0);
        assert_eq!(log.marks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!((log.place(10.0), log.place(10_000.0)), (0.0, 100.0));
    }

    #[test]
    fn words_cannot_break_out_of_the_drawing() {
        let lines = vec![Line::new("<a> & \"b\"", vec![(1.0, 2.0)])];
        let plot = Plot { group: "g", title: "t".into(), x: Axis::linear("<x>"), y: Axis::linear("y"), lines };
        let svg = draw(&plot);
        assert!(svg.contains("&lt;a&gt; &amp;") && svg.contains("&lt;x&gt;") && !svg.contains("<x>"));
    }
}
