//! One extension and one function, by one carrier: some invocations, and what they cost.

use std::time::Duration;

use crate::Fault;
use crate::arguments::Compared;
use crate::backend::Backend;
use crate::carriers::cgroup::Cgroup;
use crate::carriers::function::{Function, Took};
use crate::platform::{Call, Platform};
use crate::process::{Extension, cpu_nanos};
use crate::{relay, start};

/// As the bench's function has it.
const BURST_SPANS: u32 = 100;
const FEW_SPANS: u32 = 20;

/// By what telemetry leaves the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Nothing: processor and reader do nothing.
    None,
    Socket,
    Ring,
}

impl Carrier {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Socket, Self::Ring];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no-op",
            Self::Socket => "socket",
            Self::Ring => "ring",
        }
    }

    fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::None => ("OTEL_SDK_DISABLED", "true"),
            Self::Socket => ("LAMBDA_FLUSH_CARRIER", "socket"),
            Self::Ring => ("LAMBDA_FLUSH_CARRIER", "ring"),
        }
    }
}

/// How much a session does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) warmups: u32,
    /// Of 21 spans and 10 counters.
    pub(crate) invocations: u32,
    /// Of `bursts` bursts of 100 spans.
    pub(crate) span_invocations: u32,
    pub(crate) bursts: u32,
}

/// What a session cost, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// A span, in the function.
    pub(crate) span: f64,
    /// One of the few of an invocation.
    pub(crate) span_of_few: f64,
    /// An invocation of 21 spans and 10 counters, in the function, until `InvocationDone` is written.
    pub(crate) invocation: f64,
    /// The same until its response is on its way.
    pub(crate) response: f64,
    /// CPU time of the function for it.
    pub(crate) function_invocation: f64,
    /// CPU time of the extension for a span, and for such an invocation.
    pub(crate) extension_span: f64,
    pub(crate) extension_invocation: f64,
    pub(crate) dropped: u64,
}

/// Runs a session. `placed` puts this thread, and what it starts, to the measured CPU, and away from it again.
pub(crate) fn run(
    wanted: &Compared,
    carrier: Carrier,
    load: Load,
    group: Option<&Cgroup>,
    placed: impl Fn(bool) -> Result<(), Fault>,
) -> Result<Sample, Fault> {
    let show = |fault: std::io::Error| fault.to_string();
    let (backend, platform) = (Backend::start().map_err(show)?, Platform::start().map_err(show)?);
    placed(true)?;
    let variables = start::variables(&backend.endpoint);
    let extension = Extension::start(&[relay::path(&wanted.extension)?], &platform, &variables)?;
    platform.called(Call::Next)?;
    let function = Function::start(&wanted.function, &platform.address, &[carrier.variable()])?;
    placed(false)?;
    if let Some(group) = group {
        group.add(extension.pid())?;
        group.add(function.pid())?;
    }
    let mut session = Session { platform, extension, function, number: 0 };
    session.repeat(load.warmups, 0)?;
    if session.has_ring()? != (carrier == Carrier::Ring) {
        return Err(format!("{}: the two processes use another carrier", carrier.name()));
    }
    let invocations = session.repeat(load.invocations, 0)?;
    let spans = session.repeat(load.span_invocations, load.bursts)?;
    session.end()?;
    let count = f64::from(load.bursts * BURST_SPANS);
    Ok(Sample {
        span: median(spans.took.iter().map(|took| took.spans / count)),
        span_of_few: median(invocations.took.iter().map(|took| took.spans / f64::from(FEW_SPANS))),
        invocation: median(invocations.took.iter().map(|took| took.invocation)),
        response: median(invocations.took.iter().map(|took| took.response)),
        function_invocation: invocations.function,
        extension_span: spans.extension / count,
        extension_invocation: invocations.extension,
        dropped: spans.took.last().map_or(0, |took| took.dropped),
    })
}

/// Some invocations.
struct Repeated {
    took: Vec<Took>,
    /// CPU time of the extension for one of them.
    extension: f64,
    /// CPU time of the function for one of them.
    function: f64,
}

struct Session {
    platform: Platform,
    extension: Extension,
    function: Function,
    number: u64,
}

impl Session {
    fn repeat(&mut self, times: u32, bursts: u32) -> Result<Repeated, Fault> {
        let before = self.cpu_times()?;
        let mut took = Vec::new();
        for _ in 0..times {
            self.number += 1;
            let request_id = format!("00000000-0000-4000-8000-{:012}", self.number);
            self.platform.invoke(&request_id);
            took.push(self.function.invoke(&request_id, bursts)?);
            self.platform.called(Call::Next)?;
        }
        let after = self.cpu_times()?;
        let of_one = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e9 / f64::from(times)
        };
        let (extension, function) = (of_one(before.0, after.0), of_one(before.1, after.1));
        Ok(Repeated { took, extension, function })
    }

    /// Of the extension and of the function, since they were started.
    fn cpu_times(&self) -> Result<(Duration, Duration), Fault> {
        let of = |pid| cpu_nanos(pid).map(Duration::from_nanos);
        Ok((of(self.extension.pid())?, of(self.function.pid())?))
    }

    /// Whether both have mapped memory that can be shared.
    fn has_ring(&self) -> Result<bool, Fault> {
        let maps = |pid| {
            let path = format!("/proc/{pid}/maps");
            std::fs::read_to_string(&path).map_err(|fault| format!("{path}: {fault}"))
        };
        let has = |pid| maps(pid).map(|maps| maps.contains("/memfd:"));
        Ok(has(self.extension.pid())? && has(self.function.pid())?)
    }

    /// The function goes first, as its telemetry should be exported, not dead-lettered.
    fn end(self) -> Result<(), Fault> {
        drop(self.function);
        self.platform.shut_down();
        self.extension.ended()
    }
}

/// The middle one, or the upper of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), 2.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
