//! The lane of the hot path: what a span takes in instructions, counted by callgrind, beside a processor that does
//! nothing. The same on any load of the machine, unlike times.
//!
//! Instructions in user space only: no system call is in it. By either carrier there is one to notice a fork, one for
//! each id, and by the socket one that writes. Times of all that: `cargo bench -p lambda-flush`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lane::Outcome;
use crate::layer::install;
use crate::paths;
use crate::run::Run;

const BENCH: &str = "span_end";
/// Spans of the shorter run; the longer one has twice as many, and the difference no start in it.
const SPANS: u32 = 5_000;
/// A processor that does nothing, which all others are compared with.
const NOTHING: &str = "no-op";
/// Carriers, and how many times the instructions of [`NOTHING`] a span may take: measured, and a tenth more.
const LIMITS: [(&str, f64); 2] = [("socket", 2.5), ("ring", 2.35)];
/// The ring's beside the socket's, whose system call is not even counted.
const RING_OVER_SOCKET_MAX: f64 = 1.03;

pub(super) fn check(run: &mut Run) -> Outcome {
    if install::program("valgrind").is_none()
        && let Err(fault) = install::packages(run, &["valgrind"], None)
    {
        return Outcome::Skipped(format!("there is no valgrind: {fault}"));
    }
    match measure(run) {
        Ok((nothing, carriers)) => judge(nothing, &carriers),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Instructions of a span with nothing, and by each of the carriers.
fn measure(run: &mut Run) -> Result<(f64, [f64; LIMITS.len()]), String> {
    run.cargo(&[
        "bench",
        "--package",
        "lambda-flush",
        "--bench",
        BENCH,
        "--no-run",
        "--message-format=json-render-diagnostics",
    ])?;
    let bench = executable(&run.text()).ok_or("cargo built no bench")?;
    let nothing = per_span(run, &bench, NOTHING)?;
    let mut carriers = [0.0; LIMITS.len()];
    for (instructions, (carrier, _)) in carriers.iter_mut().zip(LIMITS) {
        *instructions = per_span(run, &bench, carrier)?;
    }
    Ok((nothing, carriers))
}

fn judge(nothing: f64, carriers: &[f64]) -> Outcome {
    let mut words = vec![format!("no-op {nothing:.0}")];
    let mut over = Vec::new();
    for (instructions, (carrier, times_max)) in carriers.iter().zip(LIMITS) {
        let times = instructions / nothing;
        words.push(format!("{carrier} {instructions:.0} ({times:.2}x)"));
        if times > times_max {
            over.push(format!("{carrier} over {times_max}x"));
        }
    }
    if let [socket, ring] = carriers
        && ring / socket > RING_OVER_SOCKET_MAX
    {
        over.push(format!("ring over {RING_OVER_SOCKET_MAX} of the socket's"));
    }
    let words = words.join(", ");
    if over.is_empty() {
        Outcome::Passed(words)
    } else {
        Outcome::Failed(format!("{}: {words}", over.join(", ")))
    }
}

fn per_span(run: &mut Run, bench: &Path, with: &str) -> Result<f64, String> {
    let short = counted(run, bench, with, SPANS)?;
    let long = counted(run, bench, with, 2 * SPANS)?;
    Ok((long - short) / f64::from(SPANS))
}

fn counted(run: &mut Run, bench: &Path, with: &str, spans: u32) -> Result<f64, String> {
    let out = paths::target().join("verify").join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    run.command(valgrind.arg(bench).args(["--spans", &spans.to_string(), "--with", with]))?;
    let text = std::fs::read_to_string(&out).map_err(|fault| format!("{}: {fault}", out.display()))?;
    total(&text).ok_or_else(|| "callgrind wrote no total".to_owned())
}

/// Of all threads.
fn total(text: &str) -> Option<f64> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line("totals:").or_else(|| line("summary:"))
}

/// Among what cargo says of what it built.
fn executable(log: &str) -> Option<PathBuf> {
    let artifacts = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_bench = |artifact: Value| {
        let is_it = artifact.pointer("/target/name").and_then(Value::as_str) == Some(BENCH);
        artifact.get("executable").and_then(Value::as_str).filter(|_| is_it).map(PathBuf::from)
    };
    artifacts.rev().find_map(of_bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_is_found_among_the_artifacts() {
        let log = r#"$ cargo bench
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"span_end"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"span_end"},"executable":"/t/span_end-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(log), Some(PathBuf::from("/t/span_end-1")));
        assert_eq!(executable("error"), None);
    }

    #[test]
    fn totals_are_read() {
        assert_eq!(total("events: Ir\n1 2\ntotals: 1234\n"), Some(1234.0));
        assert_eq!(total("summary: 7\n"), Some(7.0));
        assert_eq!(total(""), None);
    }

    #[test]
    fn a_carrier_over_its_limit_fails_the_lane() {
        let limits = LIMITS.map(|(_, times)| times * 1_000.0);
        assert!(matches!(judge(1_000.0, &limits), Outcome::Passed(_)));
        for over in 0..limits.len() {
            let mut counted = limits;
            counted[over] += 1.0;
            assert!(matches!(judge(1_000.0, &counted), Outcome::Failed(_)), "{}", LIMITS[over].0);
        }
        assert!(matches!(judge(1_000.0, &[2_000.0, 2_100.0]), Outcome::Failed(_)));
    }
}
