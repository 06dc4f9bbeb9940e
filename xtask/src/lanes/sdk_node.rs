//! The lane of Node's stock SDK: npm's `aws-lambda-ric`, which is compiled here, and the OpenTelemetry SDK for the
//! `sdk` test target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sdk;
use crate::lane::Outcome;
use crate::paths;
use crate::run::Run;

/// Pinned to the last releases that run on Node 20.
const PACKAGES: [&str; 4] = [
    "aws-lambda-ric@3.3.0",
    "@opentelemetry/api@1.9.1",
    "@opentelemetry/api-logs@0.223.0",
    "@opentelemetry/sdk-node@0.223.0",
];
/// What `aws-lambda-ric` is compiled with, and Debian's package of each.
const TOOLS: [(&str, &str); 6] = [
    ("make", "make"),
    ("g++", "g++"),
    ("cmake", "cmake"),
    ("autoreconf", "autoconf"),
    ("automake", "automake"),
    ("libtoolize", "libtool"),
];
/// Tells the test target where the packages are; without it those tests pass without doing anything.
const NODE: &str = "LAMBDA_FLUSH_SDK_NODE";

pub(super) fn check(run: &mut Run) -> Outcome {
    match modules(run) {
        Ok(modules) => sdk::check(run, "node", NODE, &modules),
        Err(reason) => Outcome::Skipped(reason),
    }
}

/// The packages' folder under `target/tools`, filled first if need be (about 90 seconds on two cores).
fn modules(run: &mut Run) -> Result<PathBuf, String> {
    run.command(Command::new("node").arg("--version")).map_err(|_| "Node.js is not installed".to_owned())?;
    let folder = paths::tools().join("sdk-node");
    let modules = folder.join("node_modules");
    if has_packages(run, &modules) {
        return Ok(modules);
    }
    compiler(run)?;
    // A half-finished installation is not repaired but replaced.
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--foreground-scripts", "--prefix"]).arg(&folder);
    if let Some(headers) = headers(run) {
        install.env("npm_config_nodedir", headers);
    }
    let installed = run.command(install.args(PACKAGES));
    if has_packages(run, &modules) {
        return Ok(modules);
    }
    Err(format!("npm: {}", installed.err().unwrap_or_else(|| "aws-lambda-ric was not compiled".to_owned())))
}

/// Where Node's own headers are; without them the compilation would have to download some.
fn headers(run: &mut Run) -> Option<PathBuf> {
    run.command(Command::new("node").args(["--print", "process.execPath"])).ok()?;
    let prefix = Path::new(run.last_line().trim()).parent()?.parent()?.to_owned();
    prefix.join("include/node/node_version.h").is_file().then_some(prefix)
}

/// Installs what is missing of [`TOOLS`], where that is possible.
fn compiler(run: &mut Run) -> Result<(), String> {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| !is_on_path(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = format!("aws-lambda-ric is compiled with {}", missing.join(", "));
    let mut update = Command::new("apt-get");
    // Without root, or off Debian, this says why not.
    run.command(update.args(["update", "--quiet"])).map_err(|fault| format!("{wanted}: {fault}"))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run.command(&mut install).map_err(|fault| format!("{wanted}: {fault}"))
}

fn is_on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// Whether the installation is finished, and of these versions.
fn has_packages(run: &mut Run, modules: &Path) -> bool {
    let versions = PACKAGES.map(|package| {
        let (name, version) = package.rsplit_once('@').unwrap_or((package, ""));
        format!("check('{name}','{version}')")
    });
    let program = format!(
        "const check=(name,version)=>{{if(require(`${{process.argv[1]}}/${{name}}/package.json`).version!==version)\
         throw name}};{}",
        versions.join(";")
    );
    modules.join("aws-lambda-ric/dist/rapid-client.node").is_file()
        && run.command(Command::new("node").args(["-e", &program]).arg(modules)).is_ok()
}
