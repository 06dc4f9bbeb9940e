//! The project's own commands: `cargo verify`, `cargo demo` and what stands behind them.

mod bench;
mod demo;
mod kill;
mod lane;
mod lanes;
mod layer;
mod paths;
mod rie;
mod run;
mod verify;

use std::process::ExitCode;

use lexopt::Arg;

/// A message for the person at the terminal: what failed, and where that is known, what to do.
type Fault = String;

const USAGE: &str = "\
usage: cargo xtask <command>

  verify [--ci|--all] [--strict] [--list] [--lane NAME]...   run the checks, lane by lane
  demo [--json] ...                                          see it work on a local Lambda
  layer [--arch x86_64|arm64]                                build the Lambda layer's zip
  bench [--extension FILE] [--json] ...                      what the extension costs, beside a floor
  rie                                                        print the path of AWS's own emulator";

fn main() -> ExitCode {
    let mut args = lexopt::Parser::from_env();
    let done = match args.next() {
        Ok(Some(Arg::Value(command))) if command == "verify" => verify::main(args),
        Ok(Some(Arg::Value(command))) if command == "demo" => demo::main(args),
        Ok(Some(Arg::Value(command))) if command == "layer" => layer::main(args),
        Ok(Some(Arg::Value(command))) if command == "bench" => bench::main(args),
        Ok(Some(Arg::Value(command))) if command == "rie" => print_emulator(args),
        Ok(Some(Arg::Long("help") | Arg::Short('h'))) | Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Some(other)) => Err(format!("{}\n{USAGE}", other.unexpected())),
        Err(fault) => Err(fault.to_string()),
    };
    match done {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("xtask: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo xtask rie`: the path alone on stdout, so that a script can use it.
fn print_emulator(mut args: lexopt::Parser) -> Result<ExitCode, Fault> {
    if let Some(arg) = args.next().map_err(|fault| fault.to_string())? {
        return Err(arg.unexpected().to_string());
    }
    let emulator = rie::emulator(&mut |line| eprintln!("{line}"))?;
    println!("{}", emulator.display());
    Ok(ExitCode::SUCCESS)
}
