//! P7: the CPU time of relaying telemetry beside that of compressing the same bytes. Peak memory on the way.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Fault;
use crate::arguments::Wanted;
use crate::backend::{Backend, Exported};
use crate::figures::{Figure, Figures};
use crate::floor::{self, Codec};
use crate::http1;
use crate::link::Link;
use crate::otlp;
use crate::platform::{Call, Platform};
use crate::process::Extension;
use crate::start;

const RATIO_MAX: f64 = 1.7;
/// The default buffer and what P5 allows for bodies in flight.
const PEAK_OVER_IDLE_MIB_MAX: f64 = 16.0 + 12.0;
/// What one invocation produces: well within the buffer.
const INVOCATION_BYTES: usize = 4 << 20;
/// Spans in one OTLP request.
const REQUEST_SPANS: usize = 100;
/// Different spans; they are used again and again, at distances no compressor looks back.
const SPANS: usize = 24_000;
/// The most that may be left for SHUTDOWN.
const EXPORTED_PERCENT_MIN: usize = 90;
/// An invocation is always ended before its deadline.
const INVOCATION: Duration = Duration::from_secs(300);

/// How telemetry gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// One span in a frame, over the hand-off socket.
    Frames,
    /// 100 spans in an OTLP/HTTP request.
    Http,
}

impl Door {
    pub(crate) const ALL: [Self; 2] = [Self::Frames, Self::Http];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Frames => "single spans",
            Self::Http => "requests of 100",
        }
    }
}

/// What a session cost and brought out.
pub(crate) struct Relayed {
    pub(crate) exported: Vec<Exported>,
    cpu: Duration,
    idle_bytes: u64,
    peak_bytes: u64,
}

/// Every door with every compressor.
pub(crate) fn measure(wanted: &Wanted, figures: &mut Figures) -> Result<(), Fault> {
    let spans = otlp::spans(SPANS);
    let extension = path(&wanted.extension)?;
    let everywhere = on_one_cpu()?;
    for door in Door::ALL {
        for codec in Codec::ALL {
            let name = format!("relay of {}, {}", door.name(), codec.name());
            eprintln!("{name}: {} MiB", wanted.relayed_bytes >> 20);
            let relayed = session(&[extension], door, codec, &spans, wanted.relayed_bytes);
            match relayed.and_then(|relayed| rows(&name, codec, &relayed)) {
                Ok(rows) => figures.rows.extend(rows),
                // An extension without this door or compressor still has its other figures.
                Err(fault) => figures.skipped.push(format!("{name}: {fault}")),
            }
        }
    }
    sched_setaffinity(None, &everywhere).map_err(|fault| format!("sched_setaffinity: {fault}"))
}

/// From here on, this thread and what it starts share one CPU, as in a function of 1769 MB, which has the equivalent
/// of one. On two, each request and each read would be charged with waking the other CPU and with fetching the other's
/// cache lines: on a virtual machine that takes several times what the relay does. Returns where it might run before.
fn on_one_cpu() -> Result<CpuSet, Fault> {
    let show = |fault: rustix::io::Errno| format!("one CPU for the relay: {fault}");
    let before = sched_getaffinity(None).map_err(show)?;
    let mut one = CpuSet::new();
    // The last one: the first takes most of the machine's interrupts.
    if let Some(cpu) = (0..CpuSet::MAX_CPU).rev().find(|cpu| before.is_set(*cpu)) {
        one.set(cpu);
        sched_setaffinity(None, &one).map_err(show)?;
    }
    Ok(before)
}

fn rows(name: &str, codec: Codec, relayed: &Relayed) -> Result<[Figure; 2], Fault> {
    let bodies = floor::expand(&relayed.exported, codec)?;
    let level = floor::level(&relayed.exported, &bodies, codec)?;
    let floor = floor::cpu(&bodies, codec, level)?;
    let bytes = |bodies: &mut dyn Iterator<Item = usize>| start::mebibytes(bodies.sum::<usize>() as u64);
    let note = format!(
        "{:.0} MiB in {} requests, {:.1} MiB compressed, level {level}",
        bytes(&mut bodies.iter().map(Vec::len)),
        bodies.len(),
        bytes(&mut relayed.exported.iter().map(|one| one.body.len())),
    );
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let cpu = Figure {
        promise: "P7",
        name: format!("CPU, {name}"),
        value: milliseconds(relayed.cpu),
        floor: Some(milliseconds(floor)),
        unit: "ms",
        limit: RATIO_MAX,
        noisy: true,
        note,
    };
    let memory = Figure {
        promise: "P5",
        name: format!("memory over rest, {name}"),
        value: start::mebibytes(relayed.peak_bytes.saturating_sub(relayed.idle_bytes)),
        floor: None,
        unit: "MiB",
        limit: PEAK_OVER_IDLE_MIB_MAX,
        noisy: false,
        note: format!("at its highest {:.1} MiB", start::mebibytes(relayed.peak_bytes)),
    };
    Ok([cpu, memory])
}

/// Relays `bytes` of `spans` through an extension, invocation by invocation.
pub(crate) fn session(
    program: &[&str],
    door: Door,
    codec: Codec,
    spans: &[Vec<u8>],
    bytes: usize,
) -> Result<Relayed, Fault> {
    let show = |fault: std::io::Error| fault.to_string();
    let (platform, backend) = (Platform::start().map_err(show)?, Backend::start().map_err(show)?);
    let http = free_port().map_err(show)?;
    let mut variables = start::variables(&backend.endpoint);
    variables.retain(|(name, _)| *name != "LAMBDA_FLUSH_OTLP_HTTP_ADDR");
    variables.push(("LAMBDA_FLUSH_OTLP_HTTP_ADDR", http.clone()));
    variables.push(("LAMBDA_FLUSH_OTLP_COMPRESSION", codec.name().to_owned()));
    variables.push(("LAMBDA_FLUSH_MAX_BILLED_MS", "300000".to_owned()));
    let extension = Extension::start(program, &platform, &variables)?;
    platform.called(Call::Next)?;
    let mut link = Link::open(&platform.address)?;
    let mut way = Way::open(door, &http, spans)?;
    let (idle_bytes, _) = extension.memory()?;
    let before = extension.cpu()?;
    let (mut sent, mut invocation) = (0, 0);
    while sent < bytes {
        invocation += 1;
        let request_id = format!("00000000-0000-4000-8000-{invocation:012}");
        platform.invoke(&request_id);
        link.started(&request_id, deadline_unix_ms())?;
        sent += way.push(&mut link, INVOCATION_BYTES.min(bytes - sent))?;
        link.done(&request_id)?;
        platform.called(Call::Next)?;
    }
    let (cpu, (_, peak_bytes)) = (extension.cpu()?.saturating_sub(before), extension.memory()?);
    let exported = backend.taken();
    platform.shut_down();
    extension.ended()?;
    let whole: usize = floor::expand(&exported, codec)?.iter().map(Vec::len).sum();
    if whole * 100 < sent * EXPORTED_PERCENT_MIN {
        return Err(format!("of {sent} bytes only {whole} were exported before SHUTDOWN"));
    }
    Ok(Relayed { exported, cpu, idle_bytes, peak_bytes })
}

/// The load, on its way in.
enum Way<'a> {
    Frames(std::iter::Cycle<std::slice::Iter<'a, Vec<u8>>>),
    Http { connection: BufReader<TcpStream>, requests: Vec<Vec<u8>>, next: usize },
}

impl<'a> Way<'a> {
    fn open(door: Door, http: &str, spans: &'a [Vec<u8>]) -> Result<Self, Fault> {
        if door == Door::Frames {
            return Ok(Self::Frames(spans.iter().cycle()));
        }
        let connect = || {
            let stream = TcpStream::connect(http)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(INVOCATION))?;
            Ok(BufReader::new(stream))
        };
        let connection = connect().map_err(|fault: std::io::Error| format!("no OTLP/HTTP door: {fault}"))?;
        let head = |body: &[u8]| {
            let length = body.len();
            format!(
                "POST /v1/traces HTTP/1.1\r\nHost: {http}\r\nContent-Type: application/x-protobuf\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        let requests = spans.chunks(REQUEST_SPANS).map(otlp::request);
        let requests = requests.map(|body| [head(&body).as_bytes(), &body].concat()).collect();
        Ok(Self::Http { connection, requests, next: 0 })
    }

    /// Sends at least `bytes`, or as much as is taken now; returns how much that was.
    fn push(&mut self, link: &mut Link, bytes: usize) -> Result<usize, Fault> {
        let mut sent = 0;
        while sent < bytes {
            match self {
                Self::Frames(spans) => {
                    let span = spans.next().ok_or("no spans")?;
                    link.span(span)?;
                    sent += span.len();
                }
                Self::Http { connection, requests, next } => {
                    let request = requests.get(*next % requests.len().max(1)).ok_or("no requests")?;
                    *next += 1;
                    let answer =
                        connection.get_mut().write_all(request).and_then(|()| http1::read(connection));
                    let answer = answer.map_err(|fault| format!("the OTLP/HTTP door: {fault}"))?;
                    let answer = answer.ok_or("the OTLP/HTTP door hung up")?;
                    match answer.first.split(' ').nth(1) {
                        Some("200") => sent += request.len(),
                        // Full: the invocation's end makes room. The same request is sent again then.
                        Some("429" | "503") if sent > 0 => {
                            *next -= 1;
                            return Ok(sent);
                        }
                        _ => return Err(format!("the OTLP/HTTP door said {}", answer.first.trim())),
                    }
                }
            }
        }
        Ok(sent)
    }
}

/// Free a moment ago; the extension binds it next.
fn free_port() -> std::io::Result<String> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string())
}

fn deadline_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from((now + INVOCATION).as_millis()).unwrap_or(u64::MAX)
}

/// As a word of a command line.
pub(crate) fn path(path: &Path) -> Result<&str, Fault> {
    path.to_str().ok_or_else(|| format!("{}: not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_runs_on_one_cpu() {
        let before = on_one_cpu().unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        sched_setaffinity(None, &before).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
