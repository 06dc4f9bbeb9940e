//! The lanes of the layer: built, within its limits, and run on an empty root; arm64 under qemu.

use std::path::PathBuf;
use std::process::Command;

use super::test::counts;
use crate::lane::Outcome;
use crate::layer::{self, Arch};
use crate::paths;
use crate::run::Run;

/// Tell the test target what to run; without the first its tests pass without doing anything.
const LAYER: &str = "LAMBDA_FLUSH_LAYER";
const EMULATOR: &str = "LAMBDA_FLUSH_LAYER_EMULATOR";
const OWN_NETWORK: &str = "LAMBDA_FLUSH_LAYER_OWN_NETWORK";
/// How the test's figures begin.
const SAW: &str = "the layer delivered ";
/// Runs its arguments with a network of their own, in which loopback is up.
const WITH_LOOPBACK: &str = r#"ip link set lo up && exec "$@""#;

/// The architecture that most functions have.
pub(super) fn x86_64(run: &mut Run) -> Outcome {
    check(run, Arch::X86_64)
}

/// On another processor it runs under qemu.
pub(super) fn arm64(run: &mut Run) -> Outcome {
    check(run, Arch::Arm64)
}

fn check(run: &mut Run, arch: Arch) -> Outcome {
    let emulator = match emulator(run, arch) {
        Ok(emulator) => emulator,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let toolchain = match layer::toolchain(run, arch) {
        Ok(toolchain) => toolchain,
        Err(reason) => return Outcome::Skipped(reason),
    };
    let layer = match layer::make_with(run, toolchain) {
        Ok(layer) => layer,
        Err(fault) => return Outcome::Failed(fault),
    };
    let over = layer.over();
    let tested = test(run, &layer.file, emulator);
    let text = run.text();
    match (tested, saw(&text)) {
        (Err(fault), _) => Outcome::Failed(fault),
        (Ok(()), None) => Outcome::Failed("the tests passed without a layer".to_owned()),
        (Ok(()), Some(figures)) if !over.is_empty() => Outcome::Failed(format!("{over}; but {figures}")),
        (Ok(()), Some(figures)) => Outcome::Passed(format!(
            "{}; zip {}.{:02} MB; {figures}",
            counts(&text),
            layer.zip_bytes / 1_000_000,
            layer.zip_bytes / 10_000 % 100,
        )),
    }
}

fn emulator(run: &mut Run, arch: Arch) -> Result<Option<PathBuf>, String> {
    if Arch::native() == Ok(arch) {
        return Ok(None);
    }
    layer::emulator(run, arch).map(Some)
}

/// Everything is built before, for a network of one's own has no registry in it.
fn test(run: &mut Run, file: &PathBuf, emulator: Option<PathBuf>) -> Result<(), String> {
    run.cargo(&["build", "--package", "lambda-flush-e2e", "--bin", "witness-function"])?;
    let test = ["test", "--workspace", "--test", "layer"];
    run.cargo(&[&test[..], &["--no-run"]].concat())?;
    let mut command = if has_own_network(run) { own_network() } else { Command::new(paths::cargo()) };
    command.args(test).args(["--", "--test-threads=1", "--nocapture"]);
    command.env(LAYER, file).envs(emulator.map(|emulator| (EMULATOR, emulator)));
    command.env("CARGO_NET_OFFLINE", "true");
    run.command(&mut command)
}

fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--map-root-user", "--", "sh", "-c", WITH_LOOPBACK, "sh"]);
    unshare
}

/// Where namespaces are not permitted the tests run without a name server, and say so in their figures.
fn has_own_network(run: &mut Run) -> bool {
    run.command(unshare().arg("true")).is_ok()
}

fn own_network() -> Command {
    let mut command = unshare();
    command.arg(paths::cargo()).env(OWN_NETWORK, "1");
    command
}

fn saw(text: &str) -> Option<String> {
    let (_, figures) = text.split_once(SAW)?;
    figures.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_behind_the_name_of_the_test() {
        assert_eq!(saw("test t ... the layer delivered 600 spans\nok\n").as_deref(), Some("600 spans"));
        assert_eq!(saw("lambda-flush: skipped: no layer\n"), None);
    }
}
