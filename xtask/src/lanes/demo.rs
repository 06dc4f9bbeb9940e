//! The demo lane: `cargo demo --json` must say, in its last line, that nothing is lost.

use serde_json::Value;

use crate::lane::Outcome;
use crate::run::Run;

pub(super) fn check(run: &mut Run) -> Outcome {
    if let Err(fault) = run.cargo(&["demo", "--json"]) {
        return Outcome::Failed(fault);
    }
    judge(&run.last_line())
}

/// Reads the demo's last line; a demo that exits with 0 but doesn't say `ok` fails as well.
fn judge(line: &str) -> Outcome {
    let Ok(said) = serde_json::from_str::<Value>(line) else {
        return Outcome::Failed(format!("the last line is not JSON: {line}"));
    };
    let ended: u64 = scenarios(&said).filter_map(|scenario| scenario.get("spans_ended")?.as_u64()).sum();
    let count = scenarios(&said).count();
    let bad: Vec<&str> = scenarios(&said)
        .filter(|scenario| scenario.get("ok") != Some(&Value::Bool(true)))
        .filter_map(|scenario| scenario.get("name")?.as_str())
        .collect();
    let nothing_lost = said.get("lost").and_then(Value::as_u64) == Some(0);
    let ok = said.get("ok") == Some(&Value::Bool(true));
    if ok && nothing_lost && bad.is_empty() && count > 0 {
        Outcome::Passed(format!("{count} scenarios, {ended} spans, lost 0"))
    } else {
        Outcome::Failed(format!("not ok: {}; {line}", bad.join(", ")))
    }
}

fn scenarios(said: &Value) -> impl Iterator<Item = &Value> {
    said.get("scenarios").and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_demo_that_says_so_passes() {
        let good = r#"{"scenarios":[{"name":"normal","ok":true,"spans_ended":2000}],"lost":0,"ok":true}"#;
        assert_eq!(judge(good), Outcome::Passed("1 scenarios, 2000 spans, lost 0".to_owned()));
        let bad = [
            "bye",
            r#"{"scenarios":[],"lost":0,"ok":true}"#,
            r#"{"scenarios":[{"name":"normal","ok":true}],"lost":1,"ok":true}"#,
            r#"{"scenarios":[{"name":"normal","ok":true}],"lost":0,"ok":false}"#,
            r#"{"scenarios":[{"name":"normal","ok":false}],"lost":0,"ok":true}"#,
            r#"{"scenarios":[{"name":"normal","ok":true}],"ok":true}"#,
        ];
        for line in bad {
            assert!(matches!(judge(line), Outcome::Failed(_)), "{line}");
        }
    }
}
