//! The lane of the library's features: every set of them builds without a warning, tests and examples included.

use std::fs;
use std::process::Command;

use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

const PACKAGE: &str = "lambda-flush";
const MANIFEST: &str = "function-lib/Cargo.toml";

pub(super) fn check(run: &mut Run) -> Outcome {
    let manifest = match fs::read_to_string(paths::root().join(MANIFEST)) {
        Ok(manifest) => manifest,
        Err(fault) => return Outcome::Failed(format!("{MANIFEST}: {fault}")),
    };
    let features = features(&manifest);
    let sets = sets(&features);
    for set in &sets {
        // Clippy checks all that `cargo check` does; the library alone first, without what tests switch on.
        for targets in ["--lib", "--all-targets"] {
            let args = ["clippy", "-p", PACKAGE, "--no-default-features", "--features", set, targets];
            if let Err(fault) = run.cargo(&[&args[..], &["--", "-D", "warnings"]].concat()) {
                return Outcome::Failed(format!("{fault}, with features [{set}]"));
            }
        }
    }
    let mut note = format!("{} sets of {} features", sets.len(), features.len());
    if run.command(Command::new(paths::cargo()).args(["hack", "--version"])).is_ok() {
        if let Err(fault) = run.cargo(&["hack", "check", "-p", PACKAGE, "--lib", "--feature-powerset"]) {
            return Outcome::Failed(fault);
        }
        note.push_str(", cargo-hack too");
    }
    Outcome::Passed(note)
}

/// The names in a manifest's `[features]`, but `default`.
fn features(manifest: &str) -> Vec<&str> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[features]").skip(1);
    let entries = section.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    entries.map(|(name, _)| name.trim()).filter(|name| !name.starts_with('#') && *name != "default").collect()
}

/// All sets of `features`, each as `--features` takes it.
fn sets(features: &[&str]) -> Vec<String> {
    let mut sets = vec![String::new()];
    for feature in features {
        let with: Vec<String> = sets.iter().map(|set| format!("{set},{feature}")).collect();
        sets.extend(with);
    }
    sets.iter().map(|set| set.trim_start_matches(',').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_there_once() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\ndefault = [\"b\"]\n# about b = c\nb = []\nc = [\"dep:d\"]\n\n[dependencies]\nd = \"1\"\n";
        let features = features(manifest);
        assert_eq!(features, ["b", "c"]);
        assert_eq!(sets(&features), ["", "b", "c", "b,c"]);
    }
}
