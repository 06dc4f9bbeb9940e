//! `lambda-flush-extension`: the command line.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use lambda_flush_extension::config::ProcessEnv;
use lambda_flush_extension::{app, check, config};
use lexopt::prelude::*;

/// musl's own maps and unmaps pages for every few kilobytes, some twenty times before `register`.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let mut arguments = lexopt::Parser::from_env();
    match arguments.next() {
        Ok(None) => app::run(&name(arguments.bin_name())),
        Ok(Some(Long("version") | Short('V'))) => {
            println!("lambda-flush-extension {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Some(Long("help") | Short('h'))) => {
            println!("{}", help());
            ExitCode::SUCCESS
        }
        Ok(Some(Long("check"))) => match check_form(&mut arguments) {
            Ok(json) => doctor(json),
            Err(message) => usage(&message),
        },
        Ok(Some(other)) => usage(&other.unexpected().to_string()),
        Err(error) => usage(&error.to_string()),
    }
}

/// The platform knows an external extension by its file's name.
fn name(path: Option<&str>) -> String {
    let file = path.and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    file.unwrap_or("lambda-flush-extension").to_owned()
}

/// What may stand behind `--check`: whether it is to answer in JSON.
fn check_form(arguments: &mut lexopt::Parser) -> Result<bool, String> {
    let mut json = false;
    while let Some(argument) = arguments.next().map_err(|error| error.to_string())? {
        match argument {
            Long("json") => json = true,
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(json)
}

/// Not a part of `main`, whose frame would be as large as the doctor's: ten pages to be had from the kernel at each start.
#[inline(never)]
fn doctor(json: bool) -> ExitCode {
    let report = check::run(&ProcessEnv::read());
    let text = if json { report.json() + "\n" } else { report.human() };
    // Whoever closed the pipe has seen enough; the exit code stands.
    let _unseen = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(report.exit_code())
}

fn help() -> String {
    format!(
        "AWS Lambda extension that takes telemetry from lambda-flush, exports it over OTLP, and accounts for every \
         item at SHUTDOWN.\n\n\
         Usage: lambda-flush-extension [--check [--json] | --version | --help]\n\n\
         Without arguments it runs inside AWS Lambda, from /opt/extensions.\n\n\
         --check  reads the same configuration, here and now, and goes the way of an export to each backend: name, \
         connection,\n         TLS, one real item of each signal. Says what to change. --json: one object with stable \
         keys.\n         Exit codes: {} all well, {} a step failed, 64 wrong usage, {} faults in the \
         configuration.\n\n\
         It is configured by the environment:\n\n{}",
        check::EXIT_OK,
        check::EXIT_FAILED,
        check::EXIT_CONFIG,
        config::markdown()
    )
}

fn usage(message: &str) -> ExitCode {
    eprintln!("lambda-flush-extension: {message}; see --help");
    ExitCode::from(64) // EX_USAGE
}
