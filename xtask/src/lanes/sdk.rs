//! What the lanes of stock SDKs have in common: the `sdk` test target under AWS's emulator, and what it must have said.

use std::path::Path;
use std::process::Command;

use super::test::counts;
use crate::lane::Outcome;
use crate::paths;
use crate::rie;
use crate::run::Run;

/// Tells the test target where the emulator is.
const EMULATOR: &str = "LAMBDA_TESTKIT_RIE";
/// How a test says that this machine does not let it run.
const SKIPPED: &str = "lambda-testkit: skipped: ";
/// How a test says what it has compared.
const COMPARED: &str = "sdk: ";
/// Three protocols, each with a flush per invocation and without.
const COMPARISONS: usize = 6;

/// Runs the tests whose names begin with `language`, with `variable` set to what was installed for them.
pub(super) fn check(run: &mut Run, language: &str, variable: &str, installed: &Path) -> Outcome {
    let emulator = match rie::emulator(&mut |line| run.note(line)) {
        Ok(emulator) => emulator,
        Err(fault) => return Outcome::Skipped(fault),
    };
    let mut test = Command::new(paths::cargo());
    test.args(["test", "--workspace", "--test", "sdk", "--", "--test-threads=1", "--nocapture", language]);
    let result = run.command(test.env(EMULATOR, emulator).env(variable, installed));
    let text = run.text();
    match (result, skipped(&text), compared(&text)) {
        (Err(fault), ..) => Outcome::Failed(fault),
        (Ok(()), Some(reason), _) => Outcome::Skipped(reason),
        (Ok(()), None, COMPARISONS) => {
            Outcome::Passed(format!("{}; {COMPARISONS} comparisons, all arrived", counts(&text)))
        }
        (Ok(()), None, found) => {
            Outcome::Failed(format!("the tests passed with {found} comparisons instead of {COMPARISONS}"))
        }
    }
}

/// libtest may have begun the line with the test's name.
fn skipped(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(SKIPPED)?;
    rest.lines().next().map(str::to_owned)
}

fn compared(text: &str) -> usize {
    let said = |line: &&str| line.starts_with(COMPARED) || line.contains(&format!(" ... {COMPARED}"));
    text.lines().filter(said).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_counted_behind_the_name_of_the_test_as_well() {
        let text =
            "$ cargo test --test sdk\ntest python_with_grpc ... sdk: grpc, all arrived\nsdk: grpc, too\nok\n";
        assert_eq!(compared(text), 2);
        assert_eq!(compared("lambda-flush: skipped: no interpreter\n"), 0);
        assert_eq!(skipped("test x ... lambda-testkit: skipped: unshare\nok").as_deref(), Some("unshare"));
    }
}
