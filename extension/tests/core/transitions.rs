//! The phase x event table as a committed snapshot: a changed transition is a visible diff.
//! `UPDATE_SNAPSHOT=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use lambda_flush_extension::core::{
    Action, Admission, Event, FlushConfig, LinkId, Outcome, Platform, RequestId,
};
use lambda_flush_proto::Signal;

use super::driver::{Backend, Driver, Printer, config};
use super::function::Function;

/// Something done to an environment.
type Act = fn(&mut Driver);

/// Ways to bring an environment to where an event meets it.
const STATES: [(&str, Act); 15] = [
    ("Init", |_| {}),
    ("Init, linked", |d| linked(d)),
    ("Parked", |d| parked(d)),
    ("Invoking, nobody announced", |d| {
        parked(d);
        d.invoke("r1", 3_000);
    }),
    ("Invoking, announced", |d| invoking(d)),
    ("Invoking, announced by the platform", |d| {
        stock(d);
        platform(d, started());
    }),
    ("Parked again, the platform missed its cue", |d| {
        stock(d);
        d.run(1_000);
        raw_invoke(d);
    }),
    ("Invoking, by a platform that has been right", |d| {
        stock(d);
        platform(d, started());
        d.run(100);
        platform(d, done("success"));
        d.run(1_000);
        raw_invoke(d);
        platform(d, started());
        d.run(150);
    }),
    ("Settling, export in flight", |d| settling(d)),
    ("Settling, waiting for a retry", |d| {
        settling(d);
        answer(d, Outcome::Retry { after: None, maybe_sent: false, message: String::new() });
    }),
    ("Serving", |d| serving(d)),
    ("Serving, export in flight", |d| {
        serving(d);
        d.run(1_000);
    }),
    ("ShuttingDown, export in flight", |d| {
        parked(d);
        d.shutdown(2_000);
    }),
    ("ShuttingDown, writing", |d| {
        parked(d);
        d.backend = Backend::Hangs;
        d.shutdown(2_000);
        d.run(1_955);
    }),
    ("Exited", |d| {
        d.handle(Event::Registered);
        d.shutdown(2_000);
    }),
];

/// Events as they may come.
const EVENTS: [(&str, Act); 20] = [
    ("Registered", |d| d.handle(Event::Registered)),
    ("Invoke", |d| raw_invoke(d)),
    ("Shutdown", |d| d.shutdown(2_000)),
    ("LinkOpened + Hello", |d| connect(d, 1, LinkId(2))),
    ("Item", |d| function(d, |f| f.item(99, Signal::Traces, 16))),
    ("InvocationStarted r1", |d| function(d, |f| f.started("r1", "1"))),
    ("InvocationDone r1", |d| function(d, |f| f.done("r1", "1"))),
    ("Goodbye", |d| function(d, Function::goodbye)),
    ("LinkClosed", |d| function(d, Function::disconnect)),
    ("Request", |d| d.request(vec![98], 16)),
    ("Request, too large", |d| d.request(vec![98], 17 << 20)),
    ("Platform start r1", |d| platform(d, started())),
    ("Platform runtimeDone r1", |d| platform(d, done("error"))),
    ("ExportDone Exported", |d| answer(d, Outcome::Exported)),
    ("ExportDone Retry", |d| {
        answer(d, Outcome::Retry { after: None, maybe_sent: false, message: String::new() });
    }),
    ("ExportDone Refused", |d| answer(d, Outcome::Refused { message: String::new() })),
    ("DeadLetterPrepared", |d| {
        let took = std::time::Duration::from_millis(1);
        let batch = lambda_flush_extension::core::BatchId(1);
        d.handle(Event::DeadLetterPrepared { batch, line_bytes: 100, took });
    }),
    ("DeadLettersWritten", |d| {
        let written = d.printing();
        d.handle(Event::DeadLettersWritten { written, failed: Vec::new() });
    }),
    ("Wake too early", |d| d.handle(Event::Wake)),
    ("Wake in time", |d| {
        if let Some(at) = d.armed {
            d.run_until(at);
        }
    }),
];

fn linked(d: &mut Driver) {
    connect(d, 0, LinkId(1));
    function(d, |f| f.item(1, Signal::Traces, 16));
}

fn parked(d: &mut Driver) {
    d.handle(Event::Registered);
    linked(d);
}

fn invoking(d: &mut Driver) {
    parked(d);
    d.invoke("r1", 3_000);
    function(d, |f| f.started("r1", "1"));
}

/// An invocation of a function without the library; one item is held.
fn stock(d: &mut Driver) {
    d.handle(Event::Registered);
    platform(d, Platform::Subscribed);
    d.request(vec![1], 16);
    raw_invoke(d);
}

fn platform(d: &mut Driver, event: Platform) {
    d.handle(Event::Platform(event));
}

fn started() -> Platform {
    Platform::InvocationStarted { request_id: RequestId("r1".to_owned()) }
}

fn done(status: &str) -> Platform {
    let (request_id, status) = (RequestId("r1".to_owned()), status.to_owned());
    let took = Some(std::time::Duration::from_millis(400));
    Platform::InvocationDone { request_id, status, error_type: None, took }
}

fn serving(d: &mut Driver) {
    *d = environment(FlushConfig { managed: true, ..config() });
    d.handle(Event::Registered);
    linked(d);
}

fn settling(d: &mut Driver) {
    invoking(d);
    function(d, |f| f.done("r1", "1"));
}

fn connect(d: &mut Driver, index: usize, link: LinkId) {
    d.functions[index].connect(link);
    d.handle(Event::LinkOpened(link));
}

fn function(d: &mut Driver, act: impl FnOnce(&mut Function)) {
    act(&mut d.functions[0]);
    d.read_all();
}

fn answer(d: &mut Driver, outcome: Outcome) {
    if let Some(batch) = d.flights.keys().next().copied() {
        d.handle(Event::ExportDone(batch, outcome));
    }
}

fn raw_invoke(d: &mut Driver) {
    let request_id = RequestId("r1".to_owned());
    let deadline = d.now().wall + std::time::Duration::from_secs(3);
    d.handle(Event::Invoke { request_id, deadline });
}

fn environment(config: FlushConfig) -> Driver {
    let mut driver = Driver::new(config);
    driver.backend = Backend::Silent;
    driver.printer = Printer::Hangs;
    driver.functions = vec![Function::new(1), Function::new(2)];
    driver
}

fn name(action: &Action) -> String {
    let text = format!("{action:?}");
    let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    match action {
        Action::Answer(_, Admission::Accepted) => "Accepted".to_owned(),
        Action::Answer(_, Admission::TooLarge) => "TooLarge".to_owned(),
        Action::Answer(_, Admission::Refused { .. }) => "Refused".to_owned(),
        Action::Reply(_, reply) => {
            let reply = format!("{reply:?}");
            reply.split(' ').next().unwrap_or_default().to_owned()
        }
        _ => name,
    }
}

fn table() -> String {
    let mut table = String::new();
    for (state, arrange) in STATES {
        writeln!(table, "{state}").expect("a String grows");
        for (event, act) in EVENTS {
            let mut driver = environment(config());
            arrange(&mut driver);
            let before = (driver.log.len(), driver.core.phase().clone());
            act(&mut driver);
            let actions: Vec<String> = driver
                .log
                .get(before.0..)
                .unwrap_or_default()
                .iter()
                .map(|(_, action)| name(action))
                .collect();
            if actions.is_empty() && before.1 == *driver.core.phase() {
                continue;
            }
            let phase = driver.core.phase().name();
            writeln!(table, "    {event:<24} -> {phase:<13} {}", actions.join(", ")).expect("a String grows");
        }
    }
    table
}

#[test]
fn the_table_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/transitions.txt");
    let table = table();
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        std::fs::write(&path, &table).expect("the snapshot is written");
    }
    let committed = std::fs::read_to_string(&path).expect("tests/core/transitions.txt");
    assert!(committed == table, "a transition changed; UPDATE_SNAPSHOT=1 takes it over. Now:\n{table}");
}
