//! Wiring: bind, register, run. No behaviour.
//!
//! The function's start waits for `register` and for the first `/next`, so before them there is only what they need;
//! the rest is made while the platform starts the function.

use std::process::ExitCode;

use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::{self, Early, Fault, ProcessEnv, Source};
use crate::core::{Flusher, Level, Notice};
use crate::driver::{self, Driver, Inputs};
use crate::export::Exporter;
use crate::lambda::lifecycle::Gate;
use crate::lambda::telemetry::listener::Sink;
use crate::lambda::telemetry::records::Schema;
use crate::lambda::telemetry::subscription::Subscription;
use crate::lambda::turnstile::{self, Registration};
use crate::limits::{BLOCKING_THREADS_MAX, REGISTER_WAIT};
use crate::listeners::{Listeners, Receivers};
use crate::output::Output;
use crate::panics;
use crate::receive::doors::Door;

/// Events that may wait for the driver; a full queue holds the sockets back.
const INPUTS_MAX: usize = 64;
/// Turns of the scheduler in which the first `/next` is connected and written.
const NEXT_TURNS: usize = 4;
/// Turns in which links that wait in the backlog are accepted and heard: the first INVOKE must not be judged without.
const BACKLOG_TURNS: usize = 8;

/// Runs the extension until SHUTDOWN.
#[must_use]
pub fn run(name: &str) -> ExitCode {
    let environment = ProcessEnv::read();
    let Some(runtime_api) = environment.var("AWS_LAMBDA_RUNTIME_API") else {
        eprintln!("AWS_LAMBDA_RUNTIME_API is not set: this program runs inside AWS Lambda. See --help.");
        return ExitCode::from(64); // EX_USAGE
    };
    let early = config::early(&environment);
    let listeners = Listeners::bind(&early);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX);
    // As `build`, but for the scheduler of many threads, which would be linked.
    let runtime = match runtime.build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the extension could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(extension(name, &runtime_api, &early, environment, listeners));
    // A name that is still being resolved must not keep the process.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

async fn extension(
    name: &str,
    runtime_api: &str,
    early: &Early,
    environment: ProcessEnv,
    listeners: Listeners,
) {
    let (clock, output) = (Clock::start(), Output::stdout());
    let (events, lifecycle) = mpsc::channel(1);
    let (platform_in, platform) = mpsc::channel(INPUTS_MAX);
    let (registered, begin) = oneshot::channel();
    let schema = if early.managed { Schema::Managed } else { Schema::OnDemand };
    let telemetry = listeners.telemetry_port().map(|port| Subscription {
        port,
        schema,
        events: platform_in.clone(),
        output: output.clone(),
    });
    let registration = Registration { name, runtime_api, managed: early.managed, telemetry, registered };
    // On the heap, what is large: on its way down it would be copied from frame to frame, each of them pages to be had
    // from the kernel.
    let turning = Box::pin(turnstile::run(registration, Gate::new(events, clock), &output));
    let driving = Box::pin(async {
        // Whoever connected is not kept waiting by a platform that does not let us in.
        let _registered = tokio::time::timeout(REGISTER_WAIT, begin).await;
        for _ in 0..NEXT_TURNS {
            tokio::task::yield_now().await;
        }
        let sink = Sink::new(platform_in, schema, output.clone());
        let (links_in, links) = mpsc::channel(INPUTS_MAX);
        let (doors_in, doors) = mpsc::channel(INPUTS_MAX);
        let inputs = Inputs { lifecycle, links, doors, platform };
        let door = Door::new(doors_in, output.clone());
        let receivers = Receivers { links: links_in, door, telemetry: sink, output: output.clone() };
        Box::pin(drive(&environment, clock, inputs, listeners, receivers)).await;
    });
    tokio::select! {
        biased;
        () = turning => {}
        () = driving => {}
    }
}

async fn drive(
    environment: &ProcessEnv,
    clock: Clock,
    mut inputs: Inputs,
    listeners: Listeners,
    to: Receivers,
) {
    let output = to.output.clone();
    let made = panics::caught(async {
        let (config, faults) = config::read(environment);
        for Fault { variable, message } in faults {
            output.notice(&Notice { level: Level::Error, message: format!("{variable} {message}") });
        }
        let exporter = Exporter::new(config.export);
        let driver = Driver::new(clock, Flusher::new(config.flush), exporter, output.clone());
        driver.showing(to.door.sign())
    });
    let mut driver = match made.await {
        Ok(driver) => driver,
        Err(panic) => {
            // Refused at once rather than never answered.
            drop((listeners, to));
            return driver::without(&panic, &mut inputs, &output).await;
        }
    };
    // Kept so that the driver's end of each channel stays open without a listener.
    let (_links, _door) = (to.links.clone(), to.door.clone());
    listeners.serve(to);
    for _ in 0..BACKLOG_TURNS {
        tokio::task::yield_now().await;
    }
    if let Err(panic) = panics::caught(driver.run(&mut inputs)).await {
        driver.limp(&panic, &mut inputs).await;
    }
}
