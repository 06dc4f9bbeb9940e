//! `cargo xtask layer`: the extension as one static file, zipped as Lambda wants a layer.

mod build;
mod elf;
pub(crate) mod install;
mod pack;
mod toolchain;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::{Arg, ValueExt};

use crate::Fault;
use crate::paths;
use crate::run::Run;

pub(crate) use build::Flavour;
pub(crate) use toolchain::{Arch, Toolchain};

const USAGE: &str = "\
usage: cargo xtask layer [--arch x86_64|arm64] [--toolchain musl|gnu|debian]

  --arch ARCH         x86_64 (the default) or arm64
  --toolchain NAME    musl: static musl; gnu: glibc, linked statically; debian: the same with Debian's rustc.
                      Without it the first of these that can be had

Writes target/layer/lambda-flush-<arch>.zip; publish it with `aws lambda publish-layer-version`.";

/// Limits of a layer's size (promise P5), in bytes.
const FILE_BYTES_MAX: u64 = 4_000_000;
/// Of the zip.
const ZIP_BYTES_MAX: u64 = 1_800_000;
/// A first build compiles every dependency with fat LTO.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// The package and the binary in it, which is the extension's name in Lambda.
const EXTENSION: (&str, &str) = ("lambda-flush-extension", "lambda-flush-extension");
/// Of the extension, for the layer.
const FEATURES: &str = "untraced";
/// Columns of the drawn sizes.
const BAR_COLUMNS: u64 = 40;

/// A finished layer.
pub(crate) struct Layer {
    /// The executable.
    pub(crate) file: PathBuf,
    /// The layer.
    pub(crate) zip: PathBuf,
    /// Size of `file`.
    pub(crate) file_bytes: u64,
    /// Size of `zip`.
    pub(crate) zip_bytes: u64,
    /// Of `zip`.
    pub(crate) sha256: String,
    /// What it was built with.
    pub(crate) toolchain: Toolchain,
}

/// Runs the command.
pub(crate) fn main(args: lexopt::Parser) -> Result<ExitCode, Fault> {
    let Some((arch, flavour)) = parse(args)? else {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    };
    let mut run = Run::begin("layer", LIMIT)?;
    match make(&mut run, arch, flavour) {
        Ok(layer) => {
            println!("{}", layer.table());
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            run.show();
            Err(fault)
        }
    }
}

/// `None`: help is wanted.
fn parse(mut args: lexopt::Parser) -> Result<Option<(Arch, Option<Flavour>)>, Fault> {
    let (mut arch, mut flavour) = (Arch::X86_64, None);
    let value = |args: &mut lexopt::Parser| {
        args.value().and_then(|value| value.string()).map_err(|fault| fault.to_string())
    };
    while let Some(arg) = args.next().map_err(|fault| fault.to_string())? {
        match arg {
            Arg::Long("arch") => arch = Arch::named(&value(&mut args)?)?,
            Arg::Long("toolchain") => flavour = Some(Flavour::named(&value(&mut args)?)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(format!("{}\n{USAGE}", other.unexpected())),
        }
    }
    Ok(Some((arch, flavour)))
}

/// Builds, inspects and packs; `flavour` or the first toolchain that can be had.
pub(crate) fn make(run: &mut Run, arch: Arch, flavour: Option<Flavour>) -> Result<Layer, Fault> {
    let toolchain = toolchain::find(run, arch, flavour)?;
    make_with(run, toolchain)
}

/// As [`make`], with a toolchain that is there.
pub(crate) fn make_with(run: &mut Run, toolchain: Toolchain) -> Result<Layer, Fault> {
    let arch = toolchain.arch;
    let (package, bin) = EXTENSION;
    let file = build::build(run, &toolchain, package, bin, FEATURES)?;
    elf::check_static(&file, arch)?;
    let zip = paths::target().join("layer").join(format!("lambda-flush-{}.zip", arch.name()));
    pack::pack(run, &file, &zip)?;
    let size = |path: &PathBuf| {
        std::fs::metadata(path)
            .map(|found| found.len())
            .map_err(|fault| format!("{}: {fault}", path.display()))
    };
    let (file_bytes, zip_bytes) = (size(&file)?, size(&zip)?);
    let sha256 = crate::rie::sha256(&zip)?;
    Ok(Layer { file, zip, file_bytes, zip_bytes, sha256, toolchain })
}

/// A binary of the workspace, built as the layer's is.
pub(crate) fn build_like(
    run: &mut Run,
    toolchain: &Toolchain,
    package: &str,
    bin: &str,
) -> Result<PathBuf, Fault> {
    build::build(run, toolchain, package, bin, "")
}

/// A layer for this machine itself.
pub(crate) fn make_native(run: &mut Run) -> Result<Layer, Fault> {
    make(run, Arch::native()?, None)
}

/// The first toolchain for `arch` that can be had.
pub(crate) fn toolchain(run: &mut Run, arch: Arch) -> Result<Toolchain, Fault> {
    toolchain::find(run, arch, None)
}

/// A static program that runs files of `arch` here.
pub(crate) fn emulator(run: &mut Run, arch: Arch) -> Result<PathBuf, Fault> {
    let name = format!("qemu-{}-static", arch.machine());
    if install::program(&name).is_none() {
        install::packages(run, &["qemu-user-static"], None)
            .map_err(|fault| format!("there is no {name}: {fault}"))?;
    }
    install::program(&name).ok_or_else(|| format!("there is no {name}"))
}

impl Layer {
    /// What is over its limit; empty when nothing is.
    pub(crate) fn over(&self) -> String {
        let over = |what: &str, bytes: u64, max: u64| {
            (bytes > max).then(|| format!("the {what} has {bytes} bytes, at most {max}"))
        };
        let parts =
            [over("file", self.file_bytes, FILE_BYTES_MAX), over("zip", self.zip_bytes, ZIP_BYTES_MAX)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn table(&self) -> String {
        let mut table = format!(
            "{}\n  built for  {}\n  {}\n  {}\n  sha256     {}",
            self.zip.display(),
            self.toolchain.about(),
            row("file", self.file_bytes, FILE_BYTES_MAX),
            row("zip", self.zip_bytes, ZIP_BYTES_MAX),
            self.sha256
        );
        let over = self.over();
        if !over.is_empty() {
            table.push_str(&format!("\n  TOO LARGE  {over}"));
        }
        table
    }
}

/// A size as a bar within its limit.
fn row(what: &str, bytes: u64, max: u64) -> String {
    let full = usize::try_from((bytes * BAR_COLUMNS / max).min(BAR_COLUMNS)).unwrap_or_default();
    let free = usize::try_from(BAR_COLUMNS).unwrap_or_default() - full;
    let megabytes = |bytes: u64| format!("{}.{:02} MB", bytes / 1_000_000, bytes / 10_000 % 100);
    format!("{what:<10} {}{} {} of {}", "█".repeat(full), "░".repeat(free), megabytes(bytes), megabytes(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_bad_ones_named() {
        let parse = |args: &[&str]| parse(lexopt::Parser::from_args(args));
        assert_eq!(parse(&[]).unwrap(), Some((Arch::X86_64, None)));
        let asked = parse(&["--arch", "arm64", "--toolchain=debian"]).unwrap();
        assert_eq!(asked, Some((Arch::Arm64, Some(Flavour::Debian))));
        assert_eq!(parse(&["--help"]).unwrap(), None);
        assert!(parse(&["--arch", "mips"]).unwrap_err().contains("mips"));
        assert!(parse(&["--toolchain", "clang"]).unwrap_err().contains("clang"));
    }

    #[test]
    fn a_size_is_drawn_within_its_limit() {
        assert_eq!(row("zip", 900_000, 1_800_000).matches('█').count(), 20);
        assert_eq!(row("zip", 9_000_000, 1_800_000).matches('█').count(), 40);
        assert!(row("zip", 1_234_567, 1_800_000).ends_with("1.23 MB of 1.80 MB"));
    }
}
