//! `lambda-flush-extension`: the command line.

use std::path::Path;
use std::process::ExitCode;

use lambda_flush_extension::{app, config};
use lexopt::prelude::*;

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
        Ok(Some(other)) => usage(&other.unexpected().to_string()),
        Err(error) => usage(&error.to_string()),
    }
}

/// The platform knows an external extension by its file's name.
fn name(path: Option<&str>) -> String {
    let file = path.and_then(|path| Path::new(path).file_name()).and_then(|name| name.to_str());
    file.unwrap_or("lambda-flush-extension").to_owned()
}

fn help() -> String {
    format!(
        "AWS Lambda extension that takes telemetry from lambda-flush, exports it over OTLP, and accounts for every \
         item at SHUTDOWN.\n\nUsage: lambda-flush-extension [--version | --help]\n\nWithout arguments it runs inside \
         AWS Lambda, from /opt/extensions. It is configured by the environment:\n\n{}",
        config::markdown()
    )
}

fn usage(message: &str) -> ExitCode {
    eprintln!("lambda-flush-extension: {message}; see --help");
    ExitCode::from(64) // EX_USAGE
}
