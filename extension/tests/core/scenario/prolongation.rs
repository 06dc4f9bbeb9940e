//! By how much `/next` is held beyond the end of the function, whatever the Telemetry API does: each record may be
//! late by anything, or never come. The sandbox is frozen between invocations, and what was due comes with the thaw.

use std::time::Duration;

use lambda_flush_extension::core::{Action, Platform, RequestId};

use super::{FlushConfig, Story, config, ms, runtime_done};

const CAP: Duration = Duration::from_millis(100);
const DELAYS_MS: [u64; 14] = [0, 1, 25, 50, 90, 99, 100, 101, 150, 500, 1_000, 3_000, 10_000, 60_000];

/// What the Telemetry API does.
#[derive(Debug, Clone, Copy)]
struct Telemetry {
    subscribed: bool,
    /// `platform.start` is late by this; `None`: it never comes.
    start: Option<u64>,
    /// `platform.runtimeDone` as well.
    done: Option<u64>,
    /// Whether it says how long the invocation took.
    durations: bool,
}

const GOOD: Telemetry = Telemetry { subscribed: true, start: Some(25), done: Some(25), durations: true };

/// One invocation as it went.
#[derive(Debug, Clone, Copy)]
struct Past {
    prolonged: Duration,
    /// Its report never came.
    lost: bool,
}

struct Life {
    story: Story,
    telemetry: Telemetry,
    library: bool,
    /// Records on their way, by the wall time at which they are due.
    records: Vec<(Duration, Platform)>,
    /// Of each invocation, items that were exported before its end in the extension.
    fresh: u64,
}

impl Life {
    fn new(telemetry: Telemetry, library: bool) -> Self {
        let mut story = if library { Story::usual() } else { Story::new(config()) };
        if telemetry.subscribed {
            story.platform(Platform::Subscribed);
        }
        Self { story, telemetry, library, records: Vec::new(), fresh: 0 }
    }

    /// Lets time pass and delivers what is due.
    fn run(&mut self, by: Duration) {
        let until = self.story.driver.mono + by;
        loop {
            let now = self.story.driver.now().wall;
            let due =
                self.records.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(n, (at, _))| (n, *at));
            let Some((next, at)) = due.filter(|(_, at)| *at <= now + (until - self.story.driver.mono)) else {
                break;
            };
            self.story.driver.run_until(self.story.driver.mono + at.saturating_sub(now));
            let (_, record) = self.records.remove(next);
            self.story.platform(record);
        }
        self.story.driver.run_until(until);
    }

    fn invocation(&mut self, n: u64, took: Duration, lost: bool, frozen: Duration) -> Past {
        let id = format!("r{n}");
        let (began, wall) = (self.story.driver.mono, self.story.driver.now().wall);
        self.story.driver.invoke(&id, 30_000);
        if let Some(late) = self.telemetry.start {
            let request_id = RequestId(id.clone());
            self.records.push((wall + ms(late), Platform::InvocationStarted { request_id }));
        }
        if let Some(late) = self.telemetry.done.filter(|_| !lost) {
            let took_told = self.telemetry.durations.then_some(took);
            self.records.push((wall + took + ms(late), runtime_done(&id, took_told)));
        }
        if self.library {
            self.story.started(&id);
        }
        self.run(took / 2);
        self.hand_over();
        self.run(took - took / 2);
        if self.library {
            self.story.done(&id);
        }
        while !self.story.parked() {
            self.run(ms(1));
        }
        let calls = self.story.times(|action| *action == Action::CallNext);
        let called = ms(*calls.last().expect("/next was called"));
        self.fresh += u64::from(self.story.driver.core.held() == 0);
        self.story.driver.freeze(frozen);
        Past { prolonged: called.saturating_sub(began + took), lost: lost || self.telemetry.done.is_none() }
    }

    fn hand_over(&mut self) {
        if self.library {
            self.story.spans(2);
        } else {
            assert!(self.story.request(2, 300));
        }
    }

    fn shut_down(mut self) {
        self.story.driver.log.retain(|(_, action)| !matches!(action, Action::CallNext));
        self.story.shutdown(2_000).run(2_000);
        self.story.accounted();
    }
}

/// Fifty invocations of these durations.
fn fifty(
    telemetry: Telemetry,
    frozen: u64,
    took: impl Fn(u64) -> u64,
    lost: impl Fn(u64) -> bool,
) -> Vec<Past> {
    let mut life = Life::new(telemetry, false);
    let past = (0..50).map(|n| life.invocation(n, ms(took(n)), lost(n), ms(frozen))).collect();
    life.shut_down();
    past
}

/// Durations from one millisecond to twenty seconds.
fn durations() -> [fn(u64) -> u64; 6] {
    [
        |_| 1,
        |_| 99,
        |_| 101,
        |n| if n % 7 == 3 { 20_000 } else { 5 },
        |n| if n % 2 == 0 { 2_000 } else { 10 },
        |n| [1, 40, 160, 700, 2_500, 20_000][usize::try_from(n * n * 31 % 6).expect("small")],
    ]
}

#[test]
fn late_telemetry_never_prolongs_an_invocation_beyond_the_cap() {
    for late in DELAYS_MS {
        for took in durations() {
            for (frozen, told) in [(0, true), (5_000, true), (5_000, false)] {
                let telemetry = Telemetry { start: Some(late), done: Some(late), durations: told, ..GOOD };
                for (n, past) in fifty(telemetry, frozen, took, |_| false).iter().enumerate() {
                    assert!(past.prolonged <= CAP, "{late} ms late, invocation {n}: {past:?}");
                }
            }
        }
    }
}

#[test]
fn ends_that_are_later_than_starts_cost_one_invocation_at_the_most() {
    for (start, done) in [0, 25, 99].into_iter().flat_map(|start| DELAYS_MS.map(|done| (start, done))) {
        for took in durations() {
            for told in [true, false] {
                let telemetry = Telemetry { start: Some(start), done: Some(done), durations: told, ..GOOD };
                let past = fifty(telemetry, 5_000, took, |_| false);
                let over: Vec<&Past> = past.iter().filter(|past| past.prolonged > CAP).collect();
                assert!(over.len() <= usize::from(told), "{telemetry:?}: {over:?}");
                assert!(
                    over.iter().all(|past| past.prolonged <= CAP + ms(20_000)),
                    "{telemetry:?}: {over:?}"
                );
            }
        }
    }
}

#[test]
fn silence_and_refusal_cost_no_more_than_the_cap() {
    for took in durations() {
        for telemetry in [
            Telemetry { subscribed: false, ..GOOD },
            Telemetry { start: None, done: None, ..GOOD },
            Telemetry { done: None, ..GOOD },
            Telemetry { start: None, ..GOOD },
        ] {
            for past in fifty(telemetry, 5_000, took, |_| false) {
                assert!(past.prolonged <= CAP, "{telemetry:?}: {past:?}");
            }
        }
    }
}

#[test]
fn a_lost_end_costs_that_invocation_only_and_no_more_than_is_usual() {
    for took in durations() {
        for every in [2, 3, 10, 25] {
            let past = fifty(GOOD, 5_000, took, |n| n % every == every - 1);
            let longest = (0..50).map(took).max().expect("fifty");
            for (n, past) in past.iter().enumerate() {
                assert!(
                    past.prolonged <= CAP || past.lost,
                    "every {every}th is lost, invocation {n}: {past:?}"
                );
                assert!(past.prolonged <= CAP + ms(longest), "invocation {n}: {past:?}");
            }
        }
    }
}

/// What one line of the table expects: invocations of ten after which nothing was held any more.
type Row = (&'static str, bool, Telemetry, std::ops::RangeInclusive<u64>);

#[test]
fn the_hold_rules_with_and_without_library_and_telemetry() {
    let late = |by: u64| Telemetry { start: Some(by), done: Some(by), ..GOOD };
    let silent = Telemetry { start: None, done: None, ..GOOD };
    let forbidden = Telemetry { subscribed: false, ..GOOD };
    let table: [Row; 10] = [
        ("library, good", true, GOOD, 10..=10),
        ("library, silent", true, silent, 10..=10),
        ("library, late", true, late(3_000), 10..=10),
        ("library, 403", true, forbidden, 10..=10),
        ("no library, good", false, GOOD, 9..=10),
        ("no library, silent", false, silent, 0..=1),
        ("no library, late by 200 ms", false, late(200), 0..=1),
        ("no library, late by 3 s", false, late(3_000), 0..=1),
        ("no library, no ends", false, Telemetry { done: None, ..GOOD }, 0..=1),
        ("no library, 403", false, forbidden, 0..=1),
    ];
    for (name, library, telemetry, fresh) in table {
        for took in [30, 1_500] {
            let mut life = Life::new(telemetry, library);
            for n in 0..10 {
                let past = life.invocation(n, ms(took), false, ms(60_000));
                assert!(past.prolonged <= CAP, "{name}: {past:?}");
            }
            assert!(fresh.contains(&life.fresh), "{name}, {took} ms: {} times nothing was held", life.fresh);
            // What nobody told the end of is exported one invocation later.
            assert!(life.story.ledger().exported >= 18, "{name}, {took} ms: {:?}", life.story.ledger());
            let resets = life.story.times(|action| *action == Action::ResetConnections).len();
            assert_eq!(resets, 9, "{name}: each thaw");
            life.shut_down();
        }
    }
}

#[test]
fn a_cap_of_zero_is_never_passed() {
    let mut story = Story::new(FlushConfig { billed_max: Duration::ZERO, ..config() });
    story.platform(Platform::Subscribed);
    for n in 0..5 {
        let id = format!("r{n}");
        assert!(story.request(1, 300));
        story.invoke(&id);
        assert!(story.parked());
        story.run(25).start(&id).run(500).runtime_done(&id, 510);
    }
    assert!(story.exports().is_empty());
}
