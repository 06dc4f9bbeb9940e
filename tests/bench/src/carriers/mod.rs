//! P6 with real processes: what the library adds to a function over no telemetry, by the socket and by the ring, and what
//! the extension spends to take it. Function and extension share one CPU, as in Lambda; then 7 % of one.
//!
//! Sessions of the three take turns within one run. Each has its own extension and its own function; an invocation is
//! driven from end to end, so that the extension exports as it does in Lambda, to a backend on another CPU if there is
//! one. What the extension does for an invocation without telemetry is taken off its CPU time.

mod cgroup;
mod function;
mod picture;
mod report;
mod session;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Fault;
use crate::arguments::Compared;
use cgroup::Cgroup;
use report::Report;
use session::{Carrier, Load, Sample};

/// Of one CPU: what Lambda gives to a function of 128 MB.
const STARVED_PERCENT: u32 = 7;

/// Where function and extension run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    OneCpu,
    Starved,
}

impl Room {
    fn name(self) -> String {
        match self {
            Self::OneCpu => "one CPU for both".to_owned(),
            Self::Starved => format!("{STARVED_PERCENT} % of a CPU for both"),
        }
    }

    fn load(self) -> Load {
        match self {
            Self::OneCpu => Load { warmups: 20, invocations: 200, span_invocations: 30, bursts: 20 },
            // A minute of it is four seconds of CPU time.
            Self::Starved => Load { warmups: 5, invocations: 40, span_invocations: 8, bursts: 20 },
        }
    }
}

/// Measures, and writes what was asked for.
pub(crate) fn measure(wanted: &Compared) -> Result<(), Fault> {
    let mut report = Report::default();
    let before = sched_getaffinity(None).map_err(|fault| format!("sched_getaffinity: {fault}"))?;
    let ours = last(&before);
    let others = without(&before, &ours);
    for room in [Room::OneCpu, Room::Starved] {
        let group = match room {
            Room::OneCpu => None,
            Room::Starved => match Cgroup::make(STARVED_PERCENT) {
                Ok(group) => Some(group),
                Err(fault) => {
                    report.skipped.push(format!("{}: {fault}", room.name()));
                    continue;
                }
            },
        };
        let mut samples: [Vec<Sample>; 3] = Default::default();
        for run in 0..wanted.runs {
            eprintln!("{}: run {} of {}", room.name(), run + 1, wanted.runs);
            for (carrier, samples) in Carrier::ALL.into_iter().zip(&mut samples) {
                let placed = |there| pin(if there { &ours } else { &others });
                samples.push(session::run(wanted, carrier, room.load(), group.as_ref(), placed)?);
            }
        }
        report.add(&room.name(), room == Room::OneCpu, &samples);
    }
    pin(&before)?;
    report.tell(wanted)
}

/// The last CPU: the first takes most of the machine's interrupts.
fn last(cpus: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    if let Some(cpu) = (0..CpuSet::MAX_CPU).rev().find(|cpu| cpus.is_set(*cpu)) {
        one.set(cpu);
    }
    one
}

/// The others, or the same one if there are none.
fn without(cpus: &CpuSet, taken: &CpuSet) -> CpuSet {
    let mut others = CpuSet::new();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| cpus.is_set(*cpu) && !taken.is_set(*cpu))
        .for_each(|cpu| others.set(cpu));
    if others.count() == 0 { *taken } else { others }
}

/// This thread, and what it starts from now on.
fn pin(cpus: &CpuSet) -> Result<(), Fault> {
    sched_setaffinity(None, cpus).map_err(|fault| format!("sched_setaffinity: {fault}"))
}
