//! A trace as people know it: one line a span, indented by parent, drawn along the time axis.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

use crate::rig::Ended;

const WIDTH: usize = 44;
/// Siblings of one name beyond this many are drawn as one line.
const SIBLINGS_DRAWN_MAX: usize = 3;

/// Draws the last trace that arrived.
pub(super) fn print(ended: &Ended) {
    let spans: Vec<Span> = ended
        .backend
        .requests()
        .iter()
        .filter(|request| request.is_ok())
        .filter_map(|request| request.traces())
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect();
    let Some(last) = spans.iter().max_by_key(|span| span.start_time_unix_nano) else {
        println!("   (nothing reached the backend)");
        return;
    };
    let trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == last.trace_id).collect();
    let begin = trace.iter().map(|span| span.start_time_unix_nano).min().unwrap_or(0);
    let end = trace.iter().map(|span| span.end_time_unix_nano).max().unwrap_or(begin);
    let mut children: HashMap<&[u8], Vec<&Span>> = HashMap::new();
    for span in &trace {
        children.entry(&span.parent_span_id).or_default().push(span);
    }
    // A parent that never ended is not there: its children are drawn as roots.
    let known = |id: &[u8]| trace.iter().any(|span| span.span_id == id);
    let mut roots: Vec<&Span> = trace.iter().filter(|span| !known(&span.parent_span_id)).copied().collect();
    draw(&mut roots, &children, 0, begin..=end);
}

fn draw(spans: &mut [&Span], children: &HashMap<&[u8], Vec<&Span>>, depth: usize, axis: RangeInclusive<u64>) {
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let mut drawn: HashMap<&str, usize> = HashMap::new();
    for span in spans.iter() {
        let count = drawn.entry(&span.name).or_default();
        *count += 1;
        if *count > SIBLINGS_DRAWN_MAX {
            continue;
        }
        line(span, depth, &axis);
        if let Some(below) = children.get(span.span_id.as_slice()) {
            draw(&mut below.clone(), children, depth + 1, axis.clone());
        }
    }
    for (name, count) in drawn.into_iter().filter(|(_, count)| *count > SIBLINGS_DRAWN_MAX) {
        let more = count - SIBLINGS_DRAWN_MAX;
        println!("   {:indent$}… {more} more '{name}'", "", indent = 2 * depth);
    }
}

fn line(span: &Span, depth: usize, axis: &RangeInclusive<u64>) {
    let length = (axis.end() - axis.start()).max(1);
    let column = |nanos: u64| {
        let part = nanos.saturating_sub(*axis.start()) as f64 / length as f64;
        // A column of a terminal: rounding is what is wanted.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0.0 to WIDTH")]
        let column = (part * WIDTH as f64) as usize;
        column.min(WIDTH - 1)
    };
    let (from, to) = (column(span.start_time_unix_nano), column(span.end_time_unix_nano));
    let failed = span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32);
    let bar = format!("{}{}", " ".repeat(from), if failed { "▒" } else { "█" }.repeat(to - from + 1));
    let name = format!("{:indent$}{}", "", span.name, indent = 2 * depth);
    let millis = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e6;
    let error = if failed { format!("  ✗ {}", message(span)) } else { String::new() };
    println!("   {name:<22.22} {bar:<WIDTH$} {millis:>8.2} ms{error}");
}

fn message(span: &Span) -> &str {
    span.status.as_ref().map_or("", |status| status.message.as_str())
}
