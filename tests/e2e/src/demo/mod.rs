//! `cargo demo`: a function dies in every way Lambda knows, and every span is accounted for.

mod own;
mod picture;
mod scenario;
mod waterfall;

use std::process::ExitCode;

use serde::Serialize;

use crate::rig::Fault;

pub use own::Own;
use scenario::{Played, SCENARIOS, Scenario};

/// What the command line asked for.
#[derive(Debug, Default)]
pub struct Options {
    /// Print the result as JSON in the last line.
    pub json: bool,
    /// Play only the scenario of this name.
    pub only: Option<String>,
    /// Run the reader's own function instead of the scenarios.
    pub own: Option<Own>,
}

#[derive(Debug, Serialize)]
struct Result_<'a> {
    scenarios: &'a [Row],
    lost: usize,
    ok: bool,
}

/// One scenario's figures. Spans are those that the witness saw end.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: &'static str,
    ok: bool,
    spans_ended: usize,
    spans_received: usize,
    lost: usize,
    overflowed: usize,
    duplicates: u64,
    dead_lettered: usize,
}

/// Plays, prints, and says whether everything is accounted for.
///
/// # Errors
/// Something needed could not be built or started.
pub async fn run(options: Options) -> Result<ExitCode, Fault> {
    if let Some(own) = options.own {
        return own.run().await;
    }
    let wanted = |scenario: &&Scenario| options.only.as_ref().is_none_or(|only| only == scenario.name);
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("there is no such scenario; there are: {}", names.join(", ")).into());
    }
    println!("A local Lambda, the extension, and an OTLP backend. Building what is not built yet …");
    let mut rows = Vec::new();
    for scenario in scenarios {
        println!("\n── {} ── {}", scenario.name, scenario.story);
        let played = scenario.play().await?;
        let row = row(scenario, &played);
        waterfall::print(&played.ended);
        picture::ledger(&row, &played);
        for complaint in &played.complaints {
            println!("   ✗ {complaint}");
        }
        rows.push(row);
    }
    picture::table(&rows);
    let lost = rows.iter().map(|row| row.lost).sum();
    let ok = rows.iter().all(|row| row.ok);
    if options.json {
        println!("{}", serde_json::to_string(&Result_ { scenarios: &rows, lost, ok })?);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(scenario: &Scenario, played: &Played) -> Row {
    let verdict = &played.ended.verdict;
    Row {
        name: scenario.name,
        ok: played.complaints.is_empty(),
        spans_ended: verdict.spans_ended,
        spans_received: played.ended.witnessed_at_backend(),
        lost: verdict.lost.len(),
        overflowed: verdict.overflowed.len(),
        duplicates: verdict.duplicates,
        dead_lettered: played.ended.witnessed_dead(),
    }
}
