//! Wiring: bind, register, run. No behaviour.

use std::process::ExitCode;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{self, Config, Fault, Listen, ProcessEnv, Source};
use crate::core::{Flusher, Level, Notice};
use crate::driver::{Driver, Inputs};
use crate::export::Exporter;
use crate::lambda::lifecycle::Gate;
use crate::lambda::telemetry::records::Schema;
use crate::lambda::turnstile::Registration;
use crate::lambda::{telemetry, turnstile};
use crate::limits::BLOCKING_THREADS_MAX;
use crate::output::Output;
use crate::panics;
use crate::receive::doors::{self, Door};
use crate::receive::unix;

/// Events that may wait for the driver; a full queue holds the sockets back.
const INPUTS_MAX: usize = 64;

/// Runs the extension until SHUTDOWN.
#[must_use]
pub fn run(name: &str) -> ExitCode {
    let environment = ProcessEnv::read();
    let Some(runtime_api) = environment.var("AWS_LAMBDA_RUNTIME_API") else {
        eprintln!("AWS_LAMBDA_RUNTIME_API is not set: this program runs inside AWS Lambda. See --help.");
        return ExitCode::from(64); // EX_USAGE
    };
    let output = Output::stdout();
    let (config, faults) = config::read(&environment);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the extension could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // On the heap: on its way down it would be copied from frame to frame, each of them pages to be had from the kernel.
    runtime.block_on(Box::pin(extension(name, &runtime_api, config, &faults, output)));
    // A name that is still being resolved must not keep the process.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn extension(name: &str, runtime_api: &str, config: Config, faults: &[Fault], output: Output) {
    let clock = Clock::start();
    let (links_in, links) = mpsc::channel(INPUTS_MAX);
    let (events, lifecycle) = mpsc::channel(1);
    let (doors_in, doors) = mpsc::channel(INPUTS_MAX);
    let (platform_in, platform) = mpsc::channel(INPUTS_MAX);
    let mut inputs = Inputs { lifecycle, links, doors, platform };
    // Before `register`: the runtime is started only after it, so the library can connect at once.
    match unix::bind(&config.socket) {
        Ok(listener) => drop(tokio::spawn(unix::serve(listener, links_in.clone()))),
        Err(error) => error_notice(&output, format!("LAMBDA_FLUSH_SOCKET can't be bound: {error}")),
    }
    let door = Door::new(doors_in, output.clone());
    let sign = door.sign();
    open_doors(config.listen, door, &output).await;
    // The platform sends only to who listens already.
    let schema = if config.flush.managed { Schema::Managed } else { Schema::OnDemand };
    let telemetry = telemetry::open(config.listen.telemetry, schema, &platform_in, &output);
    let managed = config.flush.managed;
    let exporter = Exporter::new(config.export);
    let mut driver = Driver::new(clock, Flusher::new(config.flush), exporter, output.clone()).showing(sign);
    let driving = async {
        if let Err(panic) = panics::caught(driver.run(&mut inputs)).await {
            driver.limp(&panic, &mut inputs).await;
        }
    };
    let turning = async {
        for Fault { variable, message } in faults {
            error_notice(&output, format!("{variable} {message}"));
        }
        let registration = Registration { name, runtime_api, managed, telemetry };
        turnstile::run(registration, Gate::new(events, clock), &output).await;
    };
    tokio::select! {
        () = driving => {}
        () = turning => {}
    }
    drop(links_in); // Kept so that the driver's end of the channel stays open without a socket.
}

/// A door that can't be opened costs only itself.
async fn open_doors(listen: Listen, door: Door, output: &Output) {
    let doors = [
        ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", listen.otlp_http),
        ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", listen.otlp_grpc),
    ];
    for (variable, address) in doors {
        let Some(address) = address else { continue };
        match doors::bind(address).await {
            Ok(listener) => drop(tokio::spawn(door.clone().serve(listener))),
            Err(error) => {
                let advice = "set it to another IP:port, or to off if no SDK sends there";
                error_notice(output, format!("{variable}: {address} can't be bound ({error}); {advice}"));
            }
        }
    }
}

fn error_notice(output: &Output, message: String) {
    output.notice(&Notice { level: Level::Error, message });
}
