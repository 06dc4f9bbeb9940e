//! The lane of AWS's own emulator: fetches it and hands its path to the test targets that need it.

use std::process::Command;

use super::test::counts;
use crate::lane::Outcome;
use crate::paths;
use crate::rie;
use crate::run::Run;

/// Tells the test target where the emulator is; without it those tests pass without doing anything.
const EMULATOR: &str = "LAMBDA_TESTKIT_RIE";
/// How a test says that this machine does not let it run.
const SKIPPED: &str = "lambda-testkit: skipped: ";

pub(super) fn check(run: &mut Run) -> Outcome {
    let emulator = match rie::emulator(&mut |line| run.note(line)) {
        Ok(emulator) => emulator,
        Err(fault) => return Outcome::Skipped(fault),
    };
    let mut test = Command::new(paths::cargo());
    test.args([
        "test",
        "--workspace",
        "--test",
        "rie",
        "--test",
        "managed",
        "--",
        "--test-threads=1",
        "--nocapture",
    ]);
    test.env(EMULATOR, emulator);
    let result = run.command(&mut test);
    let text = run.text();
    match (result, skipped(&text)) {
        (Err(fault), _) => Outcome::Failed(fault),
        (Ok(()), Some(reason)) => Outcome::Skipped(reason),
        (Ok(()), None) => Outcome::Passed(counts(&text)),
    }
}

/// libtest may have begun the line with the test's name.
fn skipped(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(SKIPPED)?;
    rest.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_read_behind_the_name_of_the_test() {
        let text = "test parity ... lambda-testkit: skipped: unshare: not permitted\nok\n";
        assert_eq!(skipped(text).as_deref(), Some("unshare: not permitted"));
        assert_eq!(skipped("test parity ... ok\n"), None);
    }
}
