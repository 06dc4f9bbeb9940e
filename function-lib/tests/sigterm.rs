//! SIGTERM: everything is handed over, the goodbye counts it, and the process is gone in time, whatever is in its way.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "common/child.rs"]
mod process;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::{Command, FakeExtension, Manners, PATIENCE};
use lambda_flush_proto::Received;
use lambda_flush_proto::wire::Counters;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use process::{Child, init, ready};
use rustix::process::Signal;

/// The library's 260 ms, and what a busy machine may add.
const GONE_MAX: Duration = Duration::from_millis(260 + 400);

/// Not a test by itself: what the other tests start as a process of its own.
#[test]
fn child() {
    match process::role().as_deref() {
        Some("idle") => idle(3, 0),
        Some("full") => idle(4_000, 32),
        Some("busy") => busy(),
        Some("own_handler") => own_handler(),
        Some("second") => second(),
        #[cfg(feature = "metrics")]
        Some("observer_hangs") => observer_hangs(false),
        #[cfg(feature = "metrics")]
        Some("observer_hangs_before") => observer_hangs(true),
        _ => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "it waits for a signal that ends it")]
fn wait() -> ! {
    ready();
    std::thread::sleep(PATIENCE);
    panic!("nobody ended this process");
}

fn idle(spans: usize, attributes: usize) {
    let telemetry = init();
    let tracer = telemetry.tracer_provider().tracer("test");
    for number in 0..spans {
        let mut span = tracer.start(format!("span {number}"));
        for attribute in 0..attributes {
            span.set_attribute(KeyValue::new(format!("attribute {attribute}"), "a value of some length"));
        }
        span.end();
    }
    wait();
}

/// Prints the id of each span after its end.
fn busy() {
    let telemetry = init();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        // Nobody drives it, so the hook takes its whole budget.
        let _entered = runtime.enter();
        telemetry.on_shutdown("window", Duration::from_millis(30), std::future::pending());
    }
    let tracer = telemetry.tracer_provider().tracer("test");
    ready();
    let mut stdout = std::io::stdout().lock();
    loop {
        let mut span = tracer.start("work");
        let line = format!("{}\n", span.span_context().span_id());
        span.end();
        stdout.write_all(line.as_bytes()).unwrap();
    }
}

fn own_handler() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let telemetry = init();
        let mut sigterm = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        // Keeps the process for long enough to let the handler speak.
        telemetry.on_shutdown("window", Duration::from_millis(100), std::future::pending());
        ready();
        sigterm.recv().await;
        println!("own handler");
        std::future::pending::<()>().await;
    });
}

fn second() {
    let first = init();
    let _second = init();
    first.tracer_provider().tracer("test").start("of the first").end();
    wait();
}

/// At SIGTERM, or in another collection that is still under way then.
#[cfg(feature = "metrics")]
fn observer_hangs(before: bool) {
    use opentelemetry::metrics::MeterProvider;
    let telemetry = process::init_with(&[]);
    let meter = telemetry.meter_provider().meter("test");
    let (begins, begun) = std::sync::mpsc::sync_channel(1);
    let _gauge = meter
        .u64_observable_gauge("stuck")
        .with_callback(move |_| {
            begins.try_send(()).ok();
            loop {
                std::thread::park();
            }
        })
        .build();
    let mut span = telemetry.tracer_provider().tracer("test").start("before");
    span.end();
    if before {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(telemetry.flush())
        });
        begun.recv_timeout(PATIENCE).unwrap();
    }
    wait();
}

fn goodbye(extension: &FakeExtension) -> Counters {
    extension.wait_for("Goodbye", |received| {
        received.iter().find_map(|message| match message {
            Received::Goodbye(goodbye) => Some(goodbye.clone()),
            _ => None,
        })
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_idle_function_says_goodbye_and_is_gone_at_once() {
    let extension = FakeExtension::start(Manners::default());
    let child = Child::start("idle", &extension);
    let ended = child.terminate();
    ended.demand_exit();
    assert!(ended.after < GONE_MAX, "{:?}", ended.after);
    println!("gone after {:?}", ended.after);
    let counters = goodbye(&extension);
    assert_eq!((counters.ended, counters.written, counters.buffered), (3, 3, 0));
    assert!(counters.dropped.is_empty());
    assert_eq!(ended.stderr, "", "an orderly end needs no words");
}

#[test]
fn an_extension_that_reads_nothing_holds_nobody_up() {
    let extension = FakeExtension::start(Manners::default());
    extension.stall(true);
    let child = Child::start("full", &extension);
    let ended = child.terminate();
    ended.demand_exit();
    assert!(ended.after < GONE_MAX, "{:?}", ended.after);
    assert!(ended.after > Duration::from_millis(200), "it did not try: {:?}", ended.after);
}

#[test]
fn an_extension_without_credit_gets_a_goodbye_that_counts_what_is_dropped() {
    let extension = FakeExtension::start(Manners { credit_bytes: 0, regrants: false, ..Manners::default() });
    let child = Child::start("idle", &extension);
    let ended = child.terminate();
    ended.demand_exit();
    assert!(ended.after < GONE_MAX, "{:?}", ended.after);
    let counters = goodbye(&extension);
    assert_eq!((counters.ended, counters.written, counters.buffered), (3, 0, 0));
    assert_eq!(counters.dropped["shut_down"], 3);
}

#[test]
fn no_span_ends_between_the_goodbye_and_the_exit() {
    for _ in 0..5 {
        let extension = FakeExtension::start(Manners::default());
        let ended = Child::start("busy", &extension).terminate();
        ended.demand_exit();
        let printed = String::from_utf8(ended.stdout).unwrap();
        let is_id = |line: &&str| line.len() == 16 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ended_ids: Vec<_> = printed.split_terminator('\n').filter(is_id).collect();
        assert!(ended_ids.len() > 100, "{}", ended_ids.len());
        let counters = goodbye(&extension);
        let handed_over: HashSet<_> =
            extension.spans().into_iter().map(|(.., span)| hex(&span.span_id)).collect();
        let lost = ended_ids.iter().filter(|id| !handed_over.contains(**id)).count();
        assert_eq!(counters.ended, counters.written + counters.dropped.values().sum::<u64>());
        println!("{} spans ended, {lost} lost", ended_ids.len());
        assert!(lost as u64 <= counters.dropped.values().sum::<u64>(), "{lost} are lost: {counters:?}");
        assert_eq!(counters.written, handed_over.len() as u64);
    }
}

#[test]
fn a_handler_of_the_functions_own_is_called_as_well() {
    let extension = FakeExtension::start(Manners::default());
    let ended = Child::start("own_handler", &extension).terminate();
    ended.demand_exit();
    assert!(String::from_utf8_lossy(&ended.stdout).contains("own handler"));
}

#[test]
fn a_second_telemetry_is_told_that_sigterm_is_not_its_own() {
    let extension = FakeExtension::start(Manners::default());
    let ended = Child::start("second", &extension).terminate();
    ended.demand_exit();
    let told = ended.stderr.matches("another Telemetry of this process has it").count();
    assert_eq!(told, 1, "{}", ended.stderr);
}

#[test]
fn an_extension_that_is_slow_to_welcome_costs_no_sigterm() {
    let extension = FakeExtension::start(Manners { welcomes: false, ..Manners::default() });
    let child = Child::start("idle", &extension);
    extension.command(Command::Welcome);
    extension.wait_for_spans(3);
    let ended = child.terminate();
    ended.demand_exit();
    assert_eq!(ended.stderr, "");
    assert_eq!(goodbye(&extension).written, 3);
}

/// Whether this process ignores it.
fn ignores(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
}

#[test]
fn sigint_is_left_alone() {
    if ignores(Signal::INT) {
        // As what a shell starts in the background inherits it.
        println!("lambda-flush: skipped: SIGINT is ignored here, and so it is in every child");
        return;
    }
    let extension = FakeExtension::start(Manners::default());
    let ended = Child::start("idle", &extension).end_by(Signal::INT);
    assert_eq!(ended.status.signal(), Some(2));
}

#[cfg(feature = "metrics")]
#[test]
fn an_observer_that_hangs_costs_no_more_than_its_measurements() {
    for role in ["observer_hangs", "observer_hangs_before"] {
        let extension = FakeExtension::start(Manners::default());
        let ended = Child::start(role, &extension).terminate();
        ended.demand_exit();
        assert!(ended.after < GONE_MAX, "{role}: {:?}", ended.after);
        assert_eq!(goodbye(&extension).written, 1, "{role}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{role}: {lines:?}");
        assert!(lines[0].contains("metrics since the last collection were not collected"), "{lines:?}");
        assert!(lines[0].contains("stuck"), "{lines:?}");
    }
}
