//! P5: from the start of the process to `register` and to the first `next`, beside extensions that do nothing; memory
//! at rest.
//!
//! There are two floors. Judged is the ratio to an extension that does nothing on AWS's crate `lambda-extension`, which
//! ours is made on as well: an async runtime, an HTTP client and JSON, with the same allocator and flags. Told beside
//! it, without a limit, is the ratio to one that writes its two requests to a socket by hand, on the standard library
//! alone: the least that any process can take, and what the crate itself costs is in that ratio too.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::Fault;
use crate::arguments::Wanted;
use crate::figures::{Figure, Figures};
use crate::platform::{Call, Platform};
use crate::process::Extension;

const REGISTER_RATIO_MAX: f64 = 1.25;
const NEXT_RATIO_MAX: f64 = 1.5;
/// The floors, for people.
const ON_CRATE: &str = "nothing on AWS's crate";
const BARE: &str = "nothing on std alone";
const IDLE_MIB_MAX: f64 = 5.0;
/// After the first `next`, until memory is looked at.
const SETTLE: Duration = Duration::from_millis(100);
/// Runs whose memory is looked at.
const MEMORY_EVERY: usize = 10;

/// What an extension is given so that everything is bound: its default ports, for having the kernel look for free ones
/// takes longer than binding, and a backend it need not reach.
pub(crate) fn variables(endpoint: &str) -> Vec<(&'static str, String)> {
    let ours = own_address();
    vec![
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.to_owned()),
        ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", format!("{ours}:4318")),
        ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", format!("{ours}:4317")),
        ("LAMBDA_FLUSH_TELEMETRY_ADDR", format!("{ours}:4319")),
    ]
}

/// A loopback address that no other process uses.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 0x80, middle, low)
}

/// The times of many starts, in milliseconds.
#[derive(Default)]
struct Starts {
    register: Vec<f64>,
    next: Vec<f64>,
    memory_mib: Vec<f64>,
}

/// Takes turns between the three, so that all see the same machine.
pub(crate) fn measure(wanted: &Wanted, figures: &mut Figures) -> Result<(), Fault> {
    let (mut ours, mut on_crate, mut bare) = (Starts::default(), Starts::default(), Starts::default());
    let platform = Platform::start().map_err(|fault| fault.to_string())?;
    eprintln!("start: {} starts of each extension in turn", wanted.runs);
    for run in 0..wanted.runs {
        let memory = run % MEMORY_EVERY == 0;
        once(&platform, &wanted.bare, memory, &mut bare)?;
        once(&platform, &wanted.on_crate, memory, &mut on_crate)?;
        once(&platform, &wanted.extension, memory, &mut ours)?;
    }
    for (floor, starts, judged) in [(ON_CRATE, &on_crate, true), (BARE, &bare, false)] {
        let limit = |limit| if judged { limit } else { f64::MAX };
        let rows = [
            ("register", &ours.register, &starts.register, limit(REGISTER_RATIO_MAX)),
            ("first next", &ours.next, &starts.next, limit(NEXT_RATIO_MAX)),
        ];
        for (name, ours, starts, limit) in rows {
            figures.rows.push(Figure {
                promise: "P5",
                name: format!("{name}, beside {}", if judged { "AWS's crate" } else { "std alone" }),
                value: quantile(ours, 2),
                floor: Some(quantile(starts, 2)),
                unit: "ms",
                limit,
                noisy: true,
                note: format!(
                    "middle half of {}: {}; floor, {floor}: {}",
                    wanted.runs,
                    middle(ours),
                    middle(starts)
                ),
            });
        }
    }
    figures.rows.push(Figure {
        promise: "P5",
        name: "memory at rest (RSS)".to_owned(),
        value: quantile(&ours.memory_mib, 2),
        floor: None,
        unit: "MiB",
        limit: IDLE_MIB_MAX,
        noisy: false,
        note: format!(
            "{ON_CRATE}: {:.2} MiB; {BARE}: {:.2} MiB",
            quantile(&on_crate.memory_mib, 2),
            quantile(&bare.memory_mib, 2)
        ),
    });
    Ok(())
}

fn once(platform: &Platform, program: &Path, memory: bool, starts: &mut Starts) -> Result<(), Fault> {
    let program = program.to_str().ok_or("a path that is not UTF-8")?;
    let extension = Extension::start(&[program], platform, &variables("http://127.0.0.1:9"))?;
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    starts.register.push(milliseconds(platform.called(Call::Register)? - extension.started));
    starts.next.push(milliseconds(platform.called(Call::Next)? - extension.started));
    if memory {
        pause(SETTLE);
        starts.memory_mib.push(mebibytes(extension.memory()?.0));
    }
    platform.shut_down();
    extension.ended()
}

/// Bytes for people.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// Lets the measured process come to rest.
#[expect(clippy::disallowed_methods, reason = "there is no event to wait for: nothing is to happen")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// The `quarter`th quartile of `samples`; 2 is the median.
fn quantile(samples: &[f64], quarter: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = sorted.len().saturating_sub(1) * quarter / 4;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn middle(samples: &[f64]) -> String {
    format!("{:.2} to {:.2} ms", quantile(samples, 1), quantile(samples, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_few_and_many() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([1, 2, 3].map(|quarter| quantile(&samples, quarter)), [2.0, 3.0, 4.0]);
        assert_eq!(quantile(&[7.0], 2), 7.0);
        assert!(quantile(&[], 2).is_nan());
    }
}
