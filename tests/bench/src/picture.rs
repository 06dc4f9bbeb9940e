//! The figures as an SVG for the documentation: a bar for each, its limit as a line.

use crate::figures::{Figure, Figures};

const ROW_PIXELS: f64 = 34.0;
const TOP_PIXELS: f64 = 44.0;
const WIDTH_PIXELS: f64 = 860.0;
const BARS_AT_PIXELS: f64 = 300.0;
/// Where each row's limit is.
const LIMIT_AT_PIXELS: f64 = 540.0;
const BAR_PIXELS_MAX: f64 = 300.0;
const WORDS_AT_PIXELS: f64 = 612.0;

/// One picture, without script or outside reference.
pub(crate) fn svg(figures: &Figures) -> String {
    let rows: String =
        figures.rows.iter().zip(0_u16..).map(|(row, number)| line(row, f64::from(number))).collect();
    let count = f64::from(u16::try_from(figures.rows.len()).unwrap_or(u16::MAX));
    let height = TOP_PIXELS + ROW_PIXELS * count + 12.0;
    let bottom = height - 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_PIXELS}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH_PIXELS} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1b1f24\">Each figure beside its limit: \
         shorter is better</text>\n{rows}\
         <line x1=\"{LIMIT_AT_PIXELS}\" y1=\"{}\" x2=\"{LIMIT_AT_PIXELS}\" y2=\"{bottom}\" stroke=\"#1b1f24\" \
         stroke-dasharray=\"3 3\"/>\n</svg>\n",
        TOP_PIXELS - 8.0
    )
}

fn line(row: &Figure, number: f64) -> String {
    let top = TOP_PIXELS + ROW_PIXELS * number;
    if row.is_told_only() {
        return without_limit(row, top);
    }
    let to_limit = LIMIT_AT_PIXELS - BARS_AT_PIXELS;
    let width = (row.judged() / row.limit * to_limit).clamp(1.0, BAR_PIXELS_MAX);
    let colour = if row.is_over(0) { "#c8432f" } else { "#2f7d5b" };
    let floor = match row.floor {
        Some(_) => {
            let at = BARS_AT_PIXELS + to_limit / row.limit;
            let bottom = top + 18.0;
            format!(
                "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#e8b33f\" stroke-width=\"2\"/>"
            )
        }
        None => String::new(),
    };
    let (name, words, text_at) = (&row.name, short(row), top + 13.0);
    format!(
        "<text x=\"12\" y=\"{text_at}\" fill=\"#1b1f24\">{} {name}</text>\
         <rect x=\"{BARS_AT_PIXELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" rx=\"2\" fill=\"{colour}\"/>{floor}\
         <text x=\"{WORDS_AT_PIXELS}\" y=\"{text_at}\" fill=\"#1b1f24\">{words}</text>\n",
        row.promise
    )
}

/// What has no limit has no place on the scale.
fn without_limit(row: &Figure, top: f64) -> String {
    let (name, words, text_at) = (&row.name, short(row), top + 13.0);
    format!(
        "<text x=\"12\" y=\"{text_at}\" fill=\"#6b7280\">{} {name} (no limit)</text>\
         <text x=\"{WORDS_AT_PIXELS}\" y=\"{text_at}\" fill=\"#6b7280\">{words}</text>\n",
        row.promise
    )
}

/// As much as fits beside a bar.
fn short(row: &Figure) -> String {
    match row.floor {
        Some(floor) if row.is_told_only() => {
            format!("{:.2} {} / {floor:.2} = {:.2}x", row.value, row.unit, row.judged())
        }
        Some(floor) => {
            let Figure { value, unit, limit, .. } = row;
            format!("{value:.2} {unit} / {floor:.2} = {:.2}x of {limit}x", row.judged())
        }
        None => row.words(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_over_its_limit_is_red_and_longer_than_the_limit() {
        let figure = |value| {
            let name = "memory".to_owned();
            Figure {
                promise: "P5",
                name,
                value,
                floor: None,
                unit: "MiB",
                limit: 5.0,
                noisy: false,
                note: String::new(),
            }
        };
        let picture = |value| svg(&Figures { rows: vec![figure(value)], skipped: Vec::new() });
        assert!(picture(6.0).contains("#c8432f") && picture(6.0).contains("width=\"288.0\""));
        assert!(picture(2.5).contains("#2f7d5b") && picture(2.5).contains("width=\"120.0\""));
    }

    #[test]
    fn a_row_without_a_limit_has_its_ratio_and_no_bar() {
        let (name, note) = ("start, to std alone".to_owned(), String::new());
        let figure = Figure {
            promise: "P5",
            name,
            value: 6.0,
            floor: Some(2.0),
            unit: "ms",
            limit: f64::MAX,
            noisy: true,
            note,
        };
        let picture = svg(&Figures { rows: vec![figure], skipped: Vec::new() });
        assert!(picture.contains("= 3.00x<") && picture.contains("(no limit)"));
        assert!(!picture.contains("rx=\"2\"") && !picture.contains("#c8432f"));
    }
}
