//! The carriers as an SVG for the documentation: for each quantity a bar of each, on a scale of its own.

use crate::carriers::report::Row;
use crate::carriers::session::Carrier;

const WIDTH_PIXELS: f64 = 860.0;
const TOP_PIXELS: f64 = 48.0;
const ROOM_PIXELS: f64 = 30.0;
const BAR_PIXELS: f64 = 13.0;
const GAP_PIXELS: f64 = 10.0;
const NAMES_AT_PIXELS: f64 = 250.0;
const BARS_AT_PIXELS: f64 = 300.0;
const BARS_END_PIXELS: f64 = 640.0;
const COLOURS: [&str; 3] = ["#b8bec6", "#e8b33f", "#2f7d5b"];

/// One picture, without script or outside reference.
pub(crate) fn svg(rows: &[Row]) -> String {
    let (mut body, mut top, mut room) = (String::new(), TOP_PIXELS, "");
    for row in rows {
        if row.room != room {
            room = &row.room;
            let at = top + 14.0;
            body.push_str(&format!(
                "<text x=\"12\" y=\"{at}\" font-weight=\"600\" fill=\"#1b1f24\">{room}</text>\n"
            ));
            top += ROOM_PIXELS;
        }
        body.push_str(&group(row, top));
        top += 3.0 * BAR_PIXELS + GAP_PIXELS;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH_PIXELS}\" height=\"{top}\" \
         viewBox=\"0 0 {WIDTH_PIXELS} {top}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"#1b1f24\">No telemetry, by the socket, \
         by the ring: shorter is better</text>\n{body}</svg>\n"
    )
}

/// The three bars of a quantity; the longest of them fills the scale.
fn group(row: &Row, top: f64) -> String {
    let name_at = top + BAR_PIXELS * 2.0 - 3.0;
    let mut out = format!("<text x=\"24\" y=\"{name_at}\" fill=\"#1b1f24\">{}</text>\n", row.name);
    let longest = row.values.into_iter().fold(f64::MIN_POSITIVE, f64::max);
    let [by_socket, by_ring] = row.added();
    let added = [None, Some(by_socket), Some(by_ring)];
    let bars = Carrier::ALL.into_iter().zip(row.values).zip(COLOURS).zip(added).zip(0_u8..);
    for ((((carrier, value), colour), added), number) in bars {
        let top = top + BAR_PIXELS * f64::from(number);
        let width = (value / longest * (BARS_END_PIXELS - BARS_AT_PIXELS)).max(0.0);
        let (text_at, words_at, unit) = (top + 10.0, BARS_AT_PIXELS + width + 6.0, row.unit);
        let words = added.map_or(String::new(), |added| format!(" (+{added:.2})"));
        out.push_str(&format!(
            "<text x=\"{NAMES_AT_PIXELS}\" y=\"{text_at}\" font-size=\"10\" fill=\"#6b7280\">{}</text>\
             <rect x=\"{BARS_AT_PIXELS}\" y=\"{top}\" width=\"{width:.1}\" height=\"11\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{words_at:.1}\" y=\"{text_at}\" font-size=\"10\" fill=\"#1b1f24\">{value:.2} {unit}{words}</text>\n",
            carrier.name()
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carriers::report::tests::report;

    #[test]
    fn the_longest_bar_fills_the_scale_and_the_others_are_in_proportion() {
        let rows = report().rows;
        let picture = group(&rows[0], 0.0);
        for width in ["68.0", "340.0", "136.0"] {
            assert!(picture.contains(&format!("width=\"{width}\"")), "{picture}");
        }
        assert_eq!(svg(&rows).matches("<rect").count(), 1 + 3 * rows.len());
    }
}
