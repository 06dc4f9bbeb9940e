//! The test lane: everything in parallel, except the test targets that ask to be alone.
//!
//! A package asks in its manifest, for targets whose deadlines a busy neighbour would spoil:
//! ```toml
//! [package.metadata.verify]
//! alone = ["shutdown", "emulator"]   # or ["*"]: all its integration tests
//! ```

use std::process::Command;

use serde_json::Value;

use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// The workspace's integration tests by how they must run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Targets {
    together: Vec<String>,
    alone: Vec<String>,
}

pub(super) fn check(run: &mut Run) -> Outcome {
    check_with(run, &[])
}

/// The same with further variables.
pub(super) fn check_with(run: &mut Run, variables: &[(&str, &str)]) -> Outcome {
    match metadata().and_then(|metadata| run_all(run, variables, &targets(&metadata))) {
        Ok(()) => Outcome::Passed(counts(&run.text())),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Every pass selects the whole workspace: with `-p` the features of shared dependencies would differ between
/// the passes and each would compile them again.
fn run_all(run: &mut Run, variables: &[(&str, &str)], targets: &Targets) -> Result<(), String> {
    let mut cargo =
        |args: &[&str]| run.command(Command::new(paths::cargo()).args(args).envs(variables.iter().copied()));
    let mut together = vec!["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--examples"];
    together.extend(targets.together.iter().flat_map(|name| ["--test", name.as_str()]));
    let mut results = vec![cargo(&together)];
    if !targets.alone.is_empty() {
        let mut alone = vec!["test", "--workspace", "--no-fail-fast"];
        alone.extend(targets.alone.iter().flat_map(|name| ["--test", name.as_str()]));
        alone.extend(["--", "--test-threads=1"]);
        results.push(cargo(&alone));
    }
    results.push(cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]));
    // A failure of one pass does not hide those of the next.
    let faults: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

fn metadata() -> Result<Value, String> {
    let mut cargo = Command::new(paths::cargo());
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(paths::root());
    let output = cargo.output().map_err(|fault| format!("cargo metadata: {fault}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|fault| format!("cargo metadata: {fault}"))
}

fn targets(metadata: &Value) -> Targets {
    let mut found = Targets::default();
    for package in list(metadata.get("packages")) {
        let asked: Vec<&str> =
            list(package.pointer("/metadata/verify/alone")).iter().filter_map(Value::as_str).collect();
        for target in list(package.get("targets")) {
            let is_test = list(target.get("kind")).iter().any(|kind| kind == "test");
            let Some(name) = target.get("name").and_then(Value::as_str).filter(|_| is_test) else { continue };
            let alone = asked.iter().any(|asked| *asked == "*" || *asked == name);
            if alone { &mut found.alone } else { &mut found.together }.push(name.to_owned());
        }
    }
    // `--test` selects by name alone: of two targets with one name, both run alone.
    found.together.retain(|name| !found.alone.contains(name));
    found
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What libtest's closing lines add up to, for the table.
pub(super) fn counts(log: &str) -> String {
    let sum = |word: &str| -> u64 {
        let results = log.lines().filter(|line| line.trim_start().starts_with("test result:"));
        let parts = results.flat_map(|line| line.split([';', '.']));
        parts.filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok()).sum()
    };
    match (sum("passed"), sum("ignored")) {
        (passed, 0) => format!("{passed} tests"),
        (passed, ignored) => format!("{passed} tests, {ignored} ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_ask_run_alone() {
        let metadata = serde_json::json!({"packages": [
            {"metadata": {"verify": {"alone": ["slow"]}}, "targets": [
                {"kind": ["lib"], "name": "a"}, {"kind": ["test"], "name": "slow"}, {"kind": ["test"], "name": "quick"}]},
            {"metadata": null, "targets": [{"kind": ["test"], "name": "other"}, {"kind": ["test"], "name": "slow"}]},
            {"metadata": {"verify": {"alone": ["*"]}}, "targets": [{"kind": ["test"], "name": "all"}]},
        ]});
        let found = targets(&metadata);
        assert_eq!(found.together, ["quick", "other"]);
        assert_eq!(found.alone, ["slow", "all"]);
    }

    #[test]
    fn libtest_lines_are_added_up() {
        let log = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
                   noise 9 passed\n\
                   test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(log), "7 tests, 1 ignored");
        assert_eq!(counts("test result: ok. 2 passed; 0 failed; 0 ignored"), "2 tests");
    }
}
