//! The same figures in instructions, counted by callgrind: slow, and the same on any load of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;
use crate::arguments::Wanted;
use crate::figures::{Figure, Figures};
use crate::floor::{self, Codec};
use crate::otlp;
use crate::platform::{Call, Platform};
use crate::process::Extension;
use crate::relay::{self, Door};
use crate::start;

/// Callgrind makes a program about fifty times as slow.
const RELAYED_BYTES: usize = 8 << 20;
const SPANS: usize = 24_000;
const RELAY_RATIO_MAX: f64 = 1.7;
/// No promise: the start's is about times, most of which the kernel takes.
const START_RATIO_MAX: f64 = f64::MAX;

/// Where callgrind writes; removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // In the worst case some files stay in the temporary directory.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Adds a row for the start and for each way of relaying.
pub(crate) fn measure(wanted: &Wanted, figures: &mut Figures) -> Result<(), Fault> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        figures.skipped.push("instructions: there is no valgrind; run: apt-get install valgrind".to_owned());
        return Ok(());
    }
    let folder = Folder(std::env::temp_dir().join(format!("lambda-flush-bench-{}", std::process::id())));
    fs::create_dir_all(&folder.0).map_err(|fault| fault.to_string())?;
    let ours = started(&wanted.extension, &folder)?;
    let bare = started(&wanted.bare, &folder)?;
    figures.rows.push(row("P5", "instructions, start to exit".to_owned(), ours, bare, START_RATIO_MAX));
    let spans = otlp::spans(SPANS);
    for door in if wanted.start_only { &[][..] } else { &Door::ALL } {
        for codec in Codec::ALL {
            let name = format!("instructions, relay of {}, {}", door.name(), codec.name());
            eprintln!("{name}");
            match relayed(wanted, &folder, *door, codec, &spans) {
                Ok((relayed, floor)) => {
                    figures.rows.push(row("P7", name, relayed - ours, floor, RELAY_RATIO_MAX));
                }
                Err(fault) => figures.skipped.push(format!("{name}: {fault}")),
            }
        }
    }
    Ok(())
}

fn row(promise: &'static str, name: String, value: f64, floor: f64, limit: f64) -> Figure {
    let note = String::new();
    Figure {
        promise,
        name,
        value: value / 1e6,
        floor: Some(floor / 1e6),
        unit: "M",
        limit,
        noisy: false,
        note,
    }
}

/// From the start over the first `next` to the exit at SHUTDOWN.
fn started(program: &Path, folder: &Folder) -> Result<f64, Fault> {
    let platform = Platform::start().map_err(|fault| fault.to_string())?;
    let out = format!("--callgrind-out-file={}", folder.0.join("start").display());
    let command = ["valgrind", "--quiet", "--tool=callgrind", &out, relay::path(program)?];
    let extension = Extension::start(&command, &platform, &start::variables("http://127.0.0.1:9"))?;
    platform.called(Call::Next)?;
    start::pause(std::time::Duration::from_millis(500));
    platform.shut_down();
    extension.ended()?;
    counted(&folder.0.join("start"))
}

/// The relay's instructions, and its floor's.
fn relayed(
    wanted: &Wanted,
    folder: &Folder,
    door: Door,
    codec: Codec,
    spans: &[Vec<u8>],
) -> Result<(f64, f64), Fault> {
    let out = format!("--callgrind-out-file={}", folder.0.join("relay").display());
    let command = ["valgrind", "--quiet", "--tool=callgrind", &out, relay::path(&wanted.extension)?];
    let relayed = relay::session(&command, door, codec, spans, RELAYED_BYTES)?;
    let ours = counted(&folder.0.join("relay"))?;
    let bodies = floor::expand(&relayed.exported, codec)?;
    let level = floor::level(&relayed.exported, &bodies, codec)?;
    let kept = folder.0.join("bodies");
    fs::create_dir_all(&kept).map_err(|fault| fault.to_string())?;
    for (number, body) in bodies.iter().enumerate() {
        fs::write(kept.join(format!("{number:06}")), body).map_err(|fault| fault.to_string())?;
    }
    let floor = floored(folder, &kept, codec, level, 1)? - floored(folder, &kept, codec, level, 0)?;
    fs::remove_dir_all(&kept).map_err(|fault| fault.to_string())?;
    Ok((ours, floor))
}

/// This program itself, compressing the bodies `rounds` times.
fn floored(folder: &Folder, bodies: &Path, codec: Codec, level: i32, rounds: usize) -> Result<f64, Fault> {
    let out = folder.0.join("floor");
    let own = std::env::current_exe().map_err(|fault| fault.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(own).arg("--floor").arg(bodies).args(["--codec", codec.name()]);
    valgrind.arg(format!("--level={level}")).args(["--rounds", &rounds.to_string()]);
    let status = valgrind.status().map_err(|fault| fault.to_string())?;
    if !status.success() {
        return Err(format!("the floor under valgrind: {status}"));
    }
    counted(&out)
}

/// Of all threads.
fn counted(out: &Path) -> Result<f64, Fault> {
    let text = fs::read_to_string(out).map_err(|fault| format!("{}: {fault}", out.display()))?;
    total(&text).ok_or_else(|| "callgrind wrote no total".to_owned())
}

fn total(text: &str) -> Option<f64> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line("totals:").or_else(|| line("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total("events: Ir\nfn=(1) a\n1 2\ntotals: 1234\n"), Some(1234.0));
        assert_eq!(total("events: Ir\nsummary: 7\n"), Some(7.0));
        assert_eq!(total("nothing"), None);
    }
}
