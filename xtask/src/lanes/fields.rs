//! The lane of the independent decoder: a Python with PyPI's `opentelemetry-proto` for the `fields` test target.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::test::counts;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Pinned, so that a release of theirs does not change what passes; they need Python 3.10.
const PACKAGES: [&str; 2] = ["opentelemetry-proto==1.45.2", "protobuf==7.36.2"];
/// Tells the test target which interpreter to use; without it those tests pass without doing anything.
const PYTHON: &str = "LAMBDA_FLUSH_PYTHON";
/// How the comparison's figures begin.
const COMPARED: &str = "compared ";

pub(super) fn check(run: &mut Run) -> Outcome {
    let python = match python(run) {
        Ok(python) => python,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let mut test = Command::new(paths::cargo());
    test.args(["test", "--workspace", "--test", "fields", "--", "--test-threads=1", "--nocapture"]);
    let result = run.command(test.env(PYTHON, python));
    let text = run.text();
    match (result, compared(&text)) {
        (Err(fault), _) => Outcome::Failed(fault),
        (Ok(()), None) => Outcome::Failed("the tests passed without a comparison".to_owned()),
        (Ok(()), Some(figures)) => Outcome::Passed(format!("{}; {figures}", counts(&text))),
    }
}

/// The interpreter of a virtual environment under `target/tools`, made there first if need be.
fn python(run: &mut Run) -> Result<PathBuf, String> {
    let venv = paths::tools().join("venv-otel");
    let python = venv.join("bin").join("python");
    if has_packages(run, &python) {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run.command(&mut create).map_err(|_| format!("no Python environment: {}", run.last_line().trim()))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run.command(&mut install).map_err(|_| format!("pip: {}", run.last_line().trim()))?;
    Ok(python)
}

/// Whether the environment is finished, and of these versions.
fn has_packages(run: &mut Run, python: &Path) -> bool {
    let versions = PACKAGES.map(|package| {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        format!("assert version('{name}') == '{version}'")
    });
    let program = format!("from importlib.metadata import version; {}", versions.join("; "));
    python.is_file() && run.command(Command::new(python).args(["-c", &program])).is_ok()
}

/// The first comparison's figures; libtest may have begun the line with the test's name.
fn compared(text: &str) -> Option<String> {
    let (_, figures) = text.split_once(COMPARED)?;
    figures.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_behind_the_name_of_the_test() {
        let text = "test every_field ... compared 49 spans, 9855 fields: 0 differences\nok\n";
        assert_eq!(compared(text).as_deref(), Some("49 spans, 9855 fields: 0 differences"));
        assert_eq!(compared("lambda-flush: skipped: no Python\n"), None);
    }
}
