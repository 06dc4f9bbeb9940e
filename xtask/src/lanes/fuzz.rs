//! The fuzz lane: coverage-guided fuzzing on the stable toolchain, a minute per target.
//!
//! `cargo fuzz` wants a nightly for its sanitizers. The decoders have no `unsafe`, so coverage is what matters,
//! and that the stable compiler instruments too.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

const SECONDS_PER_TARGET: u32 = 60;
/// What cargo-fuzz passes for coverage, without its sanitizers.
const COVERAGE_FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

pub(super) fn check(run: &mut Run) -> Outcome {
    let fuzz = paths::root().join("proto/fuzz");
    let targets = match targets(&fuzz) {
        Ok(targets) => targets,
        Err(fault) => return Outcome::Failed(fault),
    };
    for target in &targets {
        if let Err(fault) = fuzz_one(run, &fuzz, target) {
            return Outcome::Failed(fault);
        }
    }
    Outcome::Passed(format!("{} targets, {SECONDS_PER_TARGET} s each", targets.len()))
}

/// One target per file in `fuzz_targets`.
fn targets(fuzz: &Path) -> Result<Vec<String>, String> {
    let folder = fuzz.join("fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    let stem = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut targets: Vec<String> = entries.flatten().filter_map(stem).collect();
    targets.sort();
    if targets.is_empty() { Err(format!("{}: no targets", folder.display())) } else { Ok(targets) }
}

/// New inputs go into a scratch corpus, so that a run leaves the committed one as it is.
fn fuzz_one(run: &mut Run, fuzz: &Path, target: &str) -> Result<(), String> {
    let scratch = paths::target().join("fuzz-corpus").join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    for folder in [&scratch, &artifacts] {
        fs::create_dir_all(folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    }
    let mut fuzzer = Command::new(paths::cargo());
    fuzzer.args(["run", "--release", "--bin", target, "--manifest-path"]).arg(fuzz.join("Cargo.toml"));
    fuzzer.arg("--target-dir").arg(paths::target().join("fuzz")).args(["--target", &host()?, "--"]);
    fuzzer.arg(format!("-max_total_time={SECONDS_PER_TARGET}")).arg("-timeout=10").arg("-rss_limit_mb=1024");
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.arg(&scratch).arg(fuzz.join("corpus").join(target)).env("RUSTFLAGS", COVERAGE_FLAGS);
    run.command(&mut fuzzer)
}

/// Named so that the coverage flags reach the target's code and not build scripts.
fn host() -> Result<String, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(|fault| format!("rustc: {fault}"))?;
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV does not name its host".to_owned())
}
