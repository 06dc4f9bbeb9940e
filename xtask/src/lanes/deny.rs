//! Two lanes of cargo-deny: what needs no network beyond the registry, and what needs RustSec's database.

use std::path::PathBuf;
use std::process::Command;

use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Pinned, so that a new release of the tool does not change what passes.
const VERSION: &str = "0.20.2";

pub(super) fn policy(run: &mut Run) -> Outcome {
    match installed(run) {
        Ok(tool) => Outcome::of(deny(run, tool, &["check", "licenses", "bans", "sources"])),
        Err(skip) => skip,
    }
}

pub(super) fn advisories(run: &mut Run) -> Outcome {
    let tool = match installed(run) {
        Ok(tool) => tool,
        Err(skip) => return skip,
    };
    let mut fetch = Command::new(&tool);
    fetch.args(["--workspace", "fetch", "db"]);
    // The database is a git repository; a server that is silent for half a minute counts as unreachable.
    fetch.env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "30");
    if let Err(fault) = run.command(&mut fetch) {
        run.note(&fault);
        return Outcome::Skipped("advisories: no database".to_owned());
    }
    Outcome::of(deny(run, tool, &["check", "--disable-fetch", "advisories"]))
}

fn deny(run: &mut Run, tool: PathBuf, args: &[&str]) -> Result<(), String> {
    run.command(Command::new(tool).args(["--workspace", "--all-features"]).args(args))
}

/// The tool under `target/tools`, built there first if need be (about three minutes on two cores).
fn installed(run: &mut Run) -> Result<PathBuf, Outcome> {
    let root = paths::tools().join("cargo-deny").join(VERSION);
    let tool = root.join("bin").join("cargo-deny");
    if tool.is_file() {
        return Ok(tool);
    }
    println!("   installing cargo-deny {VERSION}");
    let mut install = Command::new(paths::cargo());
    install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&root);
    match run.command(&mut install) {
        Ok(()) => Ok(tool),
        Err(_) => Err(Outcome::Skipped(format!("cargo-deny can't be installed: {}", run.last_line().trim()))),
    }
}
