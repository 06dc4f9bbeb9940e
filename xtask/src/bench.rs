//! `cargo xtask bench`: builds the extension and its floors as the layer is built, and has the bench measure them.

mod carriers;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use lexopt::{Arg, ValueExt};

use crate::Fault;
use crate::layer::{self, Arch};
use crate::paths;
use crate::run::Run;

const USAGE: &str = "\
usage: cargo xtask bench [--extension FILE] [--json] [--instructions] [--start-only] [--runs N] [--mib N]
       cargo xtask bench --carriers [--extension FILE] [--json] [--runs N]

  --extension FILE  measure this file instead of the layer's extension
  --json            print JSON instead of the table
  --instructions    count instructions too (needs valgrind; minutes)
  --start-only      P5 without load
  --runs N          starts of each extension (60)
  --mib N           telemetry relayed in each case, in MiB (160)
  --carriers        what the library costs in a function: nothing, socket and ring beside each other (--runs: sessions
                    of each, 7)

A start is judged beside an extension that does nothing on AWS's crate lambda-extension, which ours is made on too;
the ratio to one on the standard library alone is told without a limit.

Writes target/bench.json and, when it measures our own extension whole, docs/bench.svg; with --carriers
target/carriers.json and docs/carriers.svg.";

/// With the builds.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// The package of the bench and of its floors.
const PACKAGE: &str = "lambda-flush-bench";
const BARE: &str = "bare-extension";
const ON_CRATE: &str = "crate-extension";
/// Of real-time scheduling: above ordinary processes, below what the kernel itself needs.
const PRIORITY: &str = "10";

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    extension: Option<PathBuf>,
    start_only: bool,
    carriers: bool,
    /// For the bench as they are.
    passed_on: Vec<String>,
}

/// What is measured, and with what.
pub(crate) struct Subjects {
    bench: PathBuf,
    on_crate: PathBuf,
    bare: PathBuf,
    extension: PathBuf,
    zip: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn main(args: lexopt::Parser) -> Result<ExitCode, Fault> {
    let Some(wanted) = parse(args)? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let mut run = Run::begin("bench", LIMIT)?;
    if wanted.carriers {
        return carriers::compare(&mut run, &wanted);
    }
    eprintln!("building the extension and the floors as the layer is built");
    let subjects = match subjects(&mut run, wanted.extension.as_deref()) {
        Ok(subjects) => subjects,
        Err(fault) => {
            run.show();
            return Err(fault);
        }
    };
    let mut bench = subjects.command();
    bench.args(&wanted.passed_on);
    if wanted.extension.is_none() && !wanted.start_only {
        bench.arg("--svg").arg(paths::root().join("docs").join("bench.svg"));
    }
    // Its progress and its table are for the terminal, not for a log.
    let status = bench.status().map_err(|fault| format!("{}: {fault}", subjects.bench.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `None`: help is wanted.
fn parse(mut args: lexopt::Parser) -> Result<Option<Wanted>, Fault> {
    let mut wanted = Wanted::default();
    let value = |args: &mut lexopt::Parser| {
        args.value().and_then(|value| value.string()).map_err(|fault| fault.to_string())
    };
    while let Some(arg) = args.next().map_err(|fault| fault.to_string())? {
        match arg {
            Arg::Long("extension") => wanted.extension = Some(value(&mut args)?.into()),
            Arg::Long("json") => wanted.passed_on.push("--json".to_owned()),
            Arg::Long("instructions") => wanted.passed_on.push("--instructions".to_owned()),
            Arg::Long("carriers") => wanted.carriers = true,
            Arg::Long("start-only") => {
                wanted.start_only = true;
                wanted.passed_on.push("--start-only".to_owned());
            }
            Arg::Long(number @ ("runs" | "mib")) => {
                let option = format!("--{number}");
                let number = value(&mut args)?;
                if number.parse::<u32>().is_err() {
                    return Err(format!("{option} takes a number, not {number:?}"));
                }
                wanted.passed_on.extend([option, number]);
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(format!("{}\n{USAGE}", other.unexpected())),
        }
    }
    Ok(Some(wanted))
}

/// Builds the layer (unless there is an extension already), the floors and the bench.
pub(crate) fn subjects(run: &mut Run, extension: Option<&Path>) -> Result<Subjects, Fault> {
    let (extension, zip, toolchain) = match extension {
        Some(extension) if extension.is_file() => {
            (extension.to_owned(), None, layer::toolchain(run, Arch::native()?)?)
        }
        Some(extension) => return Err(format!("there is no file {}", extension.display())),
        None => {
            let layer = layer::make_native(run)?;
            (layer.file, Some(layer.zip), layer.toolchain)
        }
    };
    let on_crate = layer::build_like(run, &toolchain, PACKAGE, ON_CRATE)?;
    let bare = layer::build_like(run, &toolchain, PACKAGE, BARE)?;
    let bench = layer::build_like(run, &toolchain, PACKAGE, PACKAGE)?;
    Ok(Subjects { bench, on_crate, bare, extension, zip })
}

impl Subjects {
    /// The bench with all that it is told each time.
    pub(crate) fn command(&self) -> Command {
        let mut bench = if has_priority() { prioritised() } else { Command::new("env") };
        bench.arg(&self.bench);
        bench.arg("--extension").arg(&self.extension);
        bench.arg("--crate").arg(&self.on_crate).arg("--bare").arg(&self.bare);
        bench.args(self.zip.iter().flat_map(|zip| [Path::new("--zip"), zip]));
        bench.arg("--json-file").arg(paths::target().join("bench.json"));
        bench.current_dir(paths::root());
        bench
    }
}

/// Before all other processes, where that is permitted: a neighbour's load would be measured with each wake-up.
fn prioritised() -> Command {
    let mut chrt = Command::new("chrt");
    chrt.args(["--fifo", PRIORITY]);
    chrt
}

fn has_priority() -> bool {
    let tried = prioritised().arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_bad_ones_named() {
        let parse = |args: &[&str]| parse(lexopt::Parser::from_args(args));
        assert_eq!(parse(&[]).unwrap(), Some(Wanted::default()));
        assert_eq!(parse(&["--help"]).unwrap(), None);
        let asked = parse(&["--extension", "x", "--start-only", "--runs=5"]).unwrap().unwrap();
        assert_eq!(asked.extension, Some(PathBuf::from("x")));
        assert_eq!(asked.passed_on, ["--start-only", "--runs", "5"]);
        assert!(parse(&["--carriers"]).unwrap().unwrap().carriers);
        assert!(parse(&["--runs", "many"]).unwrap_err().contains("many"));
        assert!(parse(&["--nonsense"]).unwrap_err().contains("nonsense"));
    }
}
