//! Programs and packages that a build needs: looked for, installed by apt-get where that may be, else named.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::Run;

/// The first executable of this name on the path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let is_executable = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&path).map(|folder| folder.join(name)).find(is_executable)
}

/// Installs Debian packages; an error says what a person has to type.
pub(crate) fn packages(run: &mut Run, names: &[&str], foreign_arch: Option<&str>) -> Result<(), String> {
    let mut wanted: Vec<String> = Vec::new();
    if let Some(arch) = foreign_arch {
        wanted.push(format!("dpkg --add-architecture {arch} && apt-get update &&"));
    }
    wanted.push(format!("apt-get install {}", names.join(" ")));
    let by_hand = || format!("run (as root, on Debian or Ubuntu): {}", wanted.join(" "));
    if !is_root() || program("apt-get").is_none() {
        return Err(by_hand());
    }
    run.note(&format!("installing {}", names.join(", ")));
    if let Some(arch) = foreign_arch {
        run.command(Command::new("dpkg").args(["--add-architecture", arch]))?;
    }
    // Lists may be old or missing; an update that fails shows in the install.
    drop(run.command(Command::new("apt-get").args(["update", "--quiet"])));
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(names);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run.command(&mut install).map_err(|fault| format!("{fault}; {}", by_hand()))
}

/// Whether `rustc` has a standard library for `target`.
pub(super) fn has_std(rustc: &Path, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = output else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_std))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_only() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-of-ours").is_none());
    }

    #[test]
    fn the_running_compiler_has_its_own_std() {
        let rustc = program("rustc").unwrap();
        assert!(has_std(&rustc, &format!("{}-unknown-linux-gnu", env::consts::ARCH)));
        assert!(!has_std(&rustc, "no-such-target"));
    }
}
