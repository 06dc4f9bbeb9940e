//! The figures, drawn.

use super::Row;
use super::scenario::Played;
use crate::measured;

const WIDTH: usize = 40;

/// One environment's account.
pub(super) fn ledger(row: &Row, played: &Played) {
    for summary in &played.ended.evidence.summaries {
        for destination in &summary.destinations {
            println!(
                "   ledger ({}): accepted {} = exported {} + rejected {} + dead-lettered {} + dropped {} + held {}; \
                 {} ms to spare",
                summary.reason,
                destination.accepted,
                destination.exported,
                destination.rejected,
                destination.dead_lettered,
                destination.dropped.values().sum::<u64>(),
                destination.held,
                summary.spare_ms,
            );
        }
    }
    let sums = measured::delivered(&played.ended.backend);
    let measured: Vec<String> = played
        .ended
        .tallied
        .iter()
        .map(|(name, tallied)| {
            let arrived = sums.get(name).copied().unwrap_or_default();
            format!("{} {arrived}/{tallied}", name.trim_start_matches("witness."))
        })
        .collect();
    println!("   measured, at the backend of what the function tallied: {}", measured.join(", "));
    println!(
        "   {} ended = {} at the backend + {} in dead letters + {} overflowed + {} lost",
        row.spans_ended, row.spans_received, row.dead_lettered, row.overflowed, row.lost
    );
}

/// All scenarios beside each other. `█` at the backend, `▒` in a dead letter, `·` lost.
pub(super) fn table(rows: &[Row]) {
    println!(
        "\n{:<14} {:>7} {:<WIDTH$} {:>8} {:>6} {:>6} {:>5}",
        "scenario", "ended", "", "backend", "dead", "lost", "twice"
    );
    for row in rows {
        let part = |spans: usize| spans * WIDTH / row.spans_ended.max(1);
        let (backend, dead) = (part(row.spans_received), part(row.dead_lettered));
        let rest = WIDTH.saturating_sub(backend + dead);
        let bar = format!("{}{}{}", "█".repeat(backend), "▒".repeat(dead), "·".repeat(rest));
        println!(
            "{:<14} {:>7} {bar} {:>8} {:>6} {:>6} {:>5}  {}",
            row.name,
            row.spans_ended,
            row.spans_received,
            row.dead_lettered,
            row.lost + row.overflowed,
            row.duplicates,
            if row.ok { "ok" } else { "FAILED" },
        );
    }
}
