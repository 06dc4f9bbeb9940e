//! The lanes of the other carrier: tests whose function hands over by the socket, as where a ring can't be had.

use std::process::Command;

use super::test;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Tells the local Lambda, and the library's own tests, which carrier a test run is for.
const CARRIER: &str = "LAMBDA_FLUSH_TEST_CARRIER";
const SOCKET: &str = "socket";
/// The targets that have to do with the hand-off: the library's own, and end to end.
const TARGETS: [&str; 13] = [
    "concurrent",
    "death",
    "freeze",
    "handoff",
    "harmless",
    "hooks",
    "invocations",
    "logs",
    "managed",
    "metrics",
    "shutdown",
    "sigterm",
    "telemetry",
];

/// The hand-off's tests, one at a time.
pub(super) fn check(run: &mut Run) -> Outcome {
    let mut tests = Command::new(paths::cargo());
    // The whole workspace, as in the lane of all tests: the same features, nothing is compiled again.
    tests.args(["test", "--workspace", "--no-fail-fast"]).env(CARRIER, SOCKET);
    tests.args(TARGETS.iter().flat_map(|name| ["--test", *name])).args(["--", "--test-threads=1"]);
    match run.command(&mut tests) {
        Ok(()) => Outcome::Passed(test::counts(&run.text())),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// All tests there are.
pub(super) fn check_all(run: &mut Run) -> Outcome {
    test::check_with(run, &[(CARRIER, SOCKET)])
}
