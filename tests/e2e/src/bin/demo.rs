//! `cargo demo`: the command line.

use std::process::ExitCode;

use lambda_flush_e2e::demo::{self, Options, Own};
use lexopt::prelude::*;

const USAGE: &str = "\
usage: cargo demo [--json] [--scenario NAME]
       cargo demo --function PATH [--event FILE] [--endpoint OTLP_URL]   your own function on the local Lambda";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match options() {
        Ok(Some(options)) => demo::run(options).await.map_err(|fault| fault.to_string()),
        Ok(None) => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => Err(format!("{fault}\n{USAGE}")),
    };
    ended.unwrap_or_else(|fault| {
        eprintln!("demo: {fault}");
        ExitCode::FAILURE
    })
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::default();
    let (mut function, mut event, mut endpoint) = (None, None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("json") => options.json = true,
            Long("scenario") => options.only = Some(arguments.value()?.string()?),
            Long("function") => function = Some(arguments.value()?.into()),
            Long("event") => event = Some(arguments.value()?.into()),
            Long("endpoint") => endpoint = Some(arguments.value()?.string()?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if function.is_none() && (event.is_some() || endpoint.is_some()) {
        return Err("--event and --endpoint go with --function".into());
    }
    options.own = function.map(|function| Own { function, event, endpoint });
    Ok(Some(options))
}
