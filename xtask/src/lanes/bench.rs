//! The lane of the bench: start, memory, size and relay stay within their ratios to the floors of the same run.

use serde_json::Value;

use crate::bench;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// How far over its limit a ratio of times may be here: half of a shared machine's two cores may be somebody else's.
const TOLERANCE_PERCENT: &str = "20";
/// Enough CPU time for a clock of 10 ms ticks.
const RELAYED_MIB: &str = "100";
/// A run that was disturbed is repeated so often.
const REPEATS: usize = 1;

pub(super) fn check(run: &mut Run) -> Outcome {
    let subjects = match bench::subjects(run, None) {
        Ok(subjects) => subjects,
        Err(fault) => return Outcome::Failed(fault),
    };
    let mut measured = Ok(());
    for _ in 0..=REPEATS {
        let mut command = subjects.command();
        command.args(["--gate", "--tolerance", TOLERANCE_PERCENT, "--mib", RELAYED_MIB]);
        measured = run.command(&mut command);
        if measured.is_ok() {
            break;
        }
    }
    let json = std::fs::read_to_string(paths::target().join("bench.json")).unwrap_or_default();
    match (measured, serde_json::from_str::<Value>(&json)) {
        (Ok(()), Ok(figures)) => Outcome::Passed(words(&figures)),
        (Ok(()), Err(fault)) => Outcome::Failed(format!("target/bench.json: {fault}")),
        (Err(fault), Ok(figures)) => Outcome::Failed(format!("{}; {fault}", words(&figures))),
        (Err(fault), Err(_)) => Outcome::Failed(fault),
    }
}

/// The ratios, in the order in which they were measured.
fn words(figures: &Value) -> String {
    let rows = figures.get("figures").and_then(Value::as_array).into_iter().flatten();
    let word = |row: &Value| {
        row.get("floor")?.as_f64()?;
        let (name, judged) = (row.get("name")?.as_str()?, row.get("judged")?.as_f64()?);
        Some(format!("{name} {judged:.2}x"))
    };
    rows.filter_map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ratios_are_told() {
        let figures = serde_json::json!({"figures": [
            {"name": "size", "floor": null, "judged": 2.5},
            {"name": "start", "floor": 1.0, "judged": 1.125},
        ]});
        assert_eq!(words(&figures), "start 1.12x");
    }
}
