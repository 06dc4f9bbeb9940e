//! Lanes that are one cargo command each: format, lints, documentation.

use std::process::Command;

use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

pub(super) fn fmt(run: &mut Run) -> Outcome {
    Outcome::of(run.cargo(&["fmt", "--all", "--check"]))
}

pub(super) fn clippy(run: &mut Run) -> Outcome {
    Outcome::of(run.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

pub(super) fn docs(run: &mut Run) -> Outcome {
    let mut doc = Command::new(paths::cargo());
    doc.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings");
    Outcome::of(run.command(&mut doc))
}
