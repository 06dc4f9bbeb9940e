//! Wiring: bind, register, run. No behaviour.

use std::process::ExitCode;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{self, Config, Fault, ProcessEnv, Source};
use crate::core::{Flusher, Level, Notice};
use crate::driver::{Driver, Inputs};
use crate::export::http::Exporter;
use crate::lambda::lifecycle::Gate;
use crate::lambda::turnstile;
use crate::output::Output;
use crate::panics;
use crate::receive::unix;

/// Events that may wait for the driver; a full queue holds the sockets back.
const INPUTS_MAX: usize = 64;

/// Runs the extension until SHUTDOWN.
#[must_use]
pub fn run(name: &str) -> ExitCode {
    let Some(runtime_api) = ProcessEnv.var("AWS_LAMBDA_RUNTIME_API") else {
        eprintln!("AWS_LAMBDA_RUNTIME_API is not set: this program runs inside AWS Lambda. See --help.");
        return ExitCode::from(64); // EX_USAGE
    };
    let output = Output::stdout();
    let (config, faults) = config::read(&ProcessEnv);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the extension could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(extension(name, &runtime_api, config, &faults, output));
    // A name that is still being resolved must not keep the process.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn extension(name: &str, runtime_api: &str, config: Config, faults: &[Fault], output: Output) {
    let clock = Clock::start();
    let (links_in, links) = mpsc::channel(INPUTS_MAX);
    let (events, lifecycle) = mpsc::channel(1);
    let (_doors_in, doors) = mpsc::channel(INPUTS_MAX);
    let (_platform_in, platform) = mpsc::channel(INPUTS_MAX);
    let mut inputs = Inputs { lifecycle, links, doors, platform };
    // Before `register`: the runtime is started only after it, so the library can connect at once.
    match unix::bind(&config.socket) {
        Ok(listener) => drop(tokio::spawn(unix::serve(listener, links_in.clone()))),
        Err(error) => error_notice(&output, format!("LAMBDA_FLUSH_SOCKET can't be bound: {error}")),
    }
    let exporter = Exporter::new(config.endpoints, config.headers);
    let mut driver = Driver::new(clock, Flusher::new(config.flush), exporter, output.clone());
    let driving = async {
        if let Err(panic) = panics::caught(driver.run(&mut inputs)).await {
            driver.limp(&panic, &mut inputs).await;
        }
    };
    let turning = async {
        for Fault { variable, message } in faults {
            error_notice(&output, format!("{variable} {message}"));
        }
        turnstile::run(name, runtime_api, Gate::new(events, clock), &output).await;
    };
    tokio::select! {
        () = driving => {}
        () = turning => {}
    }
    drop(links_in); // Kept so that the driver's end of the channel stays open without a socket.
}

fn error_notice(output: &Output, message: String) {
    output.notice(&Notice { level: Level::Error, message });
}
