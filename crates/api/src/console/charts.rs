//! Pictures of numbers: drawn here as SVG, without a script and without a style of their own, in colours that
//! the style sheet has for both themes. Each has a sentence for those who do not see it, and its numbers in a table.

use std::fmt::Write as _;

use super::shown::plain;

/// The size of a picture in its own units; it is as wide as it is given room.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 180.0;
/// Room for the numbers at the left, and for the words below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 10.0;
/// Height of one bar that lies.
const ROW: f64 = 26.0;
/// Of long names, so much is drawn; the table has all of it.
const NAME: usize = 18;

/// A picture, with what is said beside it.
#[derive(Debug)]
pub(super) struct Chart {
    /// What it is called on its page.
    pub(super) id: &'static str,
    pub(super) title: String,
    /// What there is to see, in a sentence.
    pub(super) says: String,
    pub(super) drawing: Drawing,
    /// The class of each colour, and what it stands for.
    pub(super) legend: Vec<(&'static str, String)>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Markup that was drawn here: numbers and classes of ours, and names made plain.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    pub(super) height: f64,
    markup: String,
}

impl askama::filters::HtmlSafe for Drawing {}

impl std::fmt::Display for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.markup)
    }
}

/// One series: the class of its colour, and a value for each part of the time.
pub(super) type Series = (&'static str, Vec<Option<f64>>);

/// Bars that stand, of parts on top of each other.
pub(super) fn stacked(names: &[String], series: &[Series], unit: fn(f64) -> String) -> Drawing {
    let sum =
        |at: usize| -> f64 { series.iter().filter_map(|(_, values)| value(values, at)).sum() };
    let top = nice((0..names.len()).map(sum).fold(0.0, f64::max));
    let mut drawing = axes(names, top, unit);
    for at in 0..names.len() {
        let mut below = 0.0;
        for (class, values) in series {
            let Some(height) = value(values, at).filter(|height| *height > 0.0) else { continue };
            let (x, width) = place(at, names.len());
            let (from, to) = (level(below, top), level(below + height, top));
            drawing.rect(class, [x, to, width, from - to]);
            below += height;
        }
    }
    drawing
}

/// Lines; where there is nothing to say, there is a gap.
pub(super) fn lines(names: &[String], series: &[Series], unit: fn(f64) -> String) -> Drawing {
    let all = series.iter().flat_map(|(_, values)| values.iter().flatten());
    let top = nice(all.copied().fold(0.0, f64::max));
    let mut drawing = axes(names, top, unit);
    for (class, values) in series {
        let mut path = String::new();
        let mut is_on = false;
        for (at, value) in values.iter().enumerate() {
            let Some(value) = value else {
                is_on = false;
                continue;
            };
            let (x, width) = place(at, names.len());
            let (x, y) = (x + width / 2.0, level(*value, top));
            let _ = write!(path, "{}{x:.1} {y:.1}", if is_on { "L" } else { "M" });
            is_on = true;
            let _ = write!(
                drawing.markup,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"
            );
        }
        let _ = write!(drawing.markup, "<path class=\"line {class}\" d=\"{path}\"/>");
    }
    drawing
}

/// Bars that lie, one under the other, each with its name and its number.
pub(super) fn rows(rows: &[(String, f64)], class: &str) -> Drawing {
    let top = rows.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let mut drawing = Drawing { height: count(rows.len()) * ROW + 4.0, markup: String::new() };
    let left = 150.0;
    for (at, (name, value)) in rows.iter().enumerate() {
        let y = count(at) * ROW + 4.0;
        let width = (WIDTH - left - 50.0) * value / top;
        drawing.text("end", [left - 8.0, y + 14.0], &short(name));
        drawing.rect(class, [left, y + 2.0, width.max(1.0), ROW - 10.0]);
        drawing.text("start", [left + width + 6.0, y + 14.0], &number(*value));
    }
    drawing
}

impl Drawing {
    fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4]) {
        let _ = write!(
            self.markup,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    fn text(&mut self, anchor: &str, [x, y]: [f64; 2], text: &str) {
        let text = plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(
            self.markup,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }
}

/// Lines at nothing, half and the top, with their numbers; and the names of some parts.
fn axes(names: &[String], top: f64, unit: fn(f64) -> String) -> Drawing {
    let mut drawing = Drawing { height: HEIGHT, markup: String::new() };
    for part in [0.0, 0.5, 1.0] {
        let y = level(top * part, top);
        let _ = write!(drawing.markup, "<path class=\"grid\" d=\"M{LEFT:.1} {y:.1}H{WIDTH:.1}\"/>");
        drawing.text("end", [LEFT - 5.0, y + 4.0], &unit(top * part));
    }
    let step = names.len().div_ceil(6).max(1);
    for (at, name) in names.iter().enumerate().step_by(step) {
        let (x, width) = place(at, names.len());
        drawing.text("middle", [(x + width / 2.0).min(WIDTH - 20.0), HEIGHT - 6.0], name);
    }
    drawing
}

/// Where the bar of a part begins, and how wide it is.
fn place(at: usize, of: usize) -> (f64, f64) {
    let room = (WIDTH - LEFT) / count(of.max(1));
    (LEFT + room * count(at) + room * 0.1, room * 0.8)
}

fn level(value: f64, top: f64) -> f64 {
    let floor = HEIGHT - BELOW;
    floor - (floor - ABOVE) * value / top
}

fn value(values: &[Option<f64>], at: usize) -> Option<f64> {
    values.get(at).copied().flatten()
}

/// The next number above that people count in: 1, 2, 5, 10, …, and two at least.
fn nice(most: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for part in [1.0, 2.0, 5.0] {
            if step * part >= most.max(2.0) {
                return step * part;
            }
        }
        step *= 10.0;
        if step > 1e18 {
            return most;
        }
    }
}

fn short(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.to_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

/// A count, in the fewest letters.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

/// How many parts or rows there are: few.
fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("{at}:00")).collect()
    }

    #[test]
    fn bars_stand_within_their_picture() {
        let series = [("c1", vec![Some(3.0), None, Some(0.0)]), ("c2", vec![Some(4.0), Some(7.0)])];
        let drawing = stacked(&names(3), &series, number).to_string();
        assert_eq!(drawing.matches("<rect").count(), 3);
        for part in drawing.split(" y=\"").skip(1) {
            let y: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((0.0..=HEIGHT).contains(&y), "{y}");
        }
        assert!(!drawing.contains("style") && !drawing.contains("NaN"));
    }

    #[test]
    fn a_line_has_a_gap_where_nothing_is_known() {
        let series = [("c1", vec![Some(1.0), Some(2.0), None, Some(3.0)])];
        let drawing = lines(&names(4), &series, number).to_string();
        let path = drawing.split("line c1\" d=\"").nth(1).unwrap();
        assert_eq!(path.split('"').next().unwrap().matches('M').count(), 2);
        let nothing = lines(&names(0), &[], number).to_string();
        assert!(!nothing.contains("NaN"));
    }

    #[test]
    fn e15_names_are_no_markup() {
        let drawing = rows(&[("<b>&\u{202e}x".to_owned(), 2.0)], "c1").to_string();
        assert!(!drawing.contains("<b>") && drawing.contains("&lt;b&gt;&amp;U+202Ex"));
    }

    #[test]
    fn the_top_is_a_number_that_people_count_in() {
        let tops = [0.0, 3.0, 7.0, 10.0, 11.0, 140.0].map(|value| number(nice(value)));
        assert_eq!(tops, ["2", "5", "10", "10", "20", "200"]);
        assert_eq!([3.0, 2.5, 12_000.0, 2.5e6].map(number), ["3", "2.5", "12 k", "2.5 M"]);
    }
}
