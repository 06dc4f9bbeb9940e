//! AWS's Runtime Interface Emulator: taken out of the PyPI wheel `aws-sam-cli`, checked, cached.
//!
//! The wheel is the one place of AWS's own where the binary is had from a package registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;
use crate::paths;

/// The wheel's release; with it the checksums below change.
const WHEEL_VERSION: &str = "1.170.0";

/// One build of the emulator inside the wheel.
struct Build {
    /// As in `std::env::consts::ARCH`.
    arch: &'static str,
    /// File inside the wheel.
    member: &'static str,
    /// Of that file.
    sha256: &'static str,
}

const BUILDS: [Build; 2] = [
    Build {
        arch: "x86_64",
        member: "samcli/local/rapid/aws-lambda-rie-x86_64",
        sha256: "6b1e686e62ab2baf5759c412c4864276ef2a88b094fca53ec070637ccba9b9a5",
    },
    Build {
        arch: "aarch64",
        member: "samcli/local/rapid/aws-lambda-rie-arm64",
        sha256: "ec2e5d09633d853834c008b1ef264bf834b258a94d551d2b2074966494b39a21",
    },
];

/// The emulator's path, fetched first if it is not in the cache; an error says why it can't be had.
pub(crate) fn emulator(say: &mut dyn FnMut(&str)) -> Result<PathBuf, Fault> {
    let arch = std::env::consts::ARCH;
    let build = BUILDS.iter().find(|build| build.arch == arch);
    let build = build.ok_or_else(|| format!("the emulator is not built for {arch}"))?;
    let cached = paths::tools().join("rie").join(format!("aws-lambda-rie-{WHEEL_VERSION}-{arch}"));
    if !cached.is_file() {
        say(&format!("fetching aws-sam-cli {WHEEL_VERSION} from PyPI for its emulator"));
        fetch(build, &cached)?;
    }
    // Checked at each use: what lies in the cache is about to be run.
    let found = sha256(&cached)?;
    if found == build.sha256 {
        Ok(cached)
    } else {
        Err(format!("{}: checksum {found} instead of {}; remove it", cached.display(), build.sha256))
    }
}

fn fetch(build: &Build, cached: &Path) -> Result<(), Fault> {
    let folder = paths::tools().join("rie").join("download");
    let show = |fault: std::io::Error| format!("{}: {fault}", folder.display());
    fs::create_dir_all(&folder).map_err(show)?;
    let wanted = format!("aws-sam-cli=={WHEEL_VERSION}");
    let mut pip = python(&["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", &wanted]);
    output(pip.arg("--dest").arg(&folder))?;
    let wheel = folder.join(format!("aws_sam_cli-{WHEEL_VERSION}-py3-none-any.whl"));
    output(python(&["-m", "zipfile", "--extract"]).arg(&wheel).arg(&folder))?;
    let member = folder.join(build.member);
    output(Command::new("chmod").arg("755").arg(&member))?;
    // Last and in one step, so that a broken download never looks like a cached emulator.
    fs::rename(&member, cached).map_err(show)?;
    fs::remove_dir_all(&folder).map_err(show)
}

fn python(args: &[&str]) -> Command {
    let mut python = Command::new("python3");
    python.args(args);
    python
}

pub(crate) fn sha256(file: &Path) -> Result<String, Fault> {
    let printed = output(Command::new("sha256sum").arg(file))?;
    printed.split_whitespace().next().map(str::to_owned).ok_or_else(|| "sha256sum printed nothing".to_owned())
}

/// What a command printed; its complaint's last line if it failed.
fn output(command: &mut Command) -> Result<String, Fault> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|fault| format!("{program}: {fault}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("{program}: {last}"))
}
