//! The lane of the real OpenTelemetry Collector: builds one from its Go modules for the `collector` test target.

use std::path::PathBuf;
use std::process::Command;

use super::test::counts;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Tells the test target where the collector is; without it that test passes without doing anything.
const COLLECTOR: &str = "LAMBDA_FLUSH_COLLECTOR";
/// How the test's figures begin.
const WROTE: &str = "the collector wrote ";

pub(super) fn check(run: &mut Run) -> Outcome {
    let collector = match build(run) {
        Ok(collector) => collector,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let mut test = Command::new(paths::cargo());
    test.args(["test", "--workspace", "--test", "collector", "--", "--test-threads=1", "--nocapture"]);
    let result = run.command(test.env(COLLECTOR, collector));
    let text = run.text();
    match (result, wrote(&text)) {
        (Err(fault), _) => Outcome::Failed(fault),
        (Ok(()), None) => Outcome::Failed("the tests passed without a collector".to_owned()),
        (Ok(()), Some(figures)) => Outcome::Passed(format!("{}; {figures}", counts(&text))),
    }
}

/// Go's own cache makes a second build a matter of a second.
fn build(run: &mut Run) -> Result<PathBuf, String> {
    let collector = paths::tools().join("collector");
    let source = paths::root().join("tests").join("e2e").join("collector");
    let mut go = Command::new("go");
    go.arg("-C").arg(source).args(["build", "-trimpath", "-o"]).arg(&collector).arg(".");
    run.command(&mut go).map_err(|fault| format!("no collector: {fault}"))?;
    Ok(collector)
}

fn wrote(text: &str) -> Option<String> {
    let (_, figures) = text.split_once(WROTE)?;
    figures.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_behind_the_name_of_the_test() {
        let text = "test t ... the collector wrote 4008 spans\nok\n";
        assert_eq!(wrote(text).as_deref(), Some("4008 spans"));
        assert_eq!(wrote("lambda-flush: skipped: no collector\n"), None);
    }
}
