//! The build of a static binary that is the same, byte for byte, wherever the sources lie.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain::Toolchain;
use crate::Fault;
use crate::paths;
use crate::run::Run;

/// Between two flags in `CARGO_ENCODED_RUSTFLAGS`, so that a flag may contain spaces.
const FLAG_SEPARATOR: &str = "\u{1f}";
/// 1980-01-01, the first moment that a zip can name.
const EPOCH_SECONDS: &str = "315532800";

/// zstd's slower strategies: level 1 needs none but the fastest. Higher levels then fall back to that one.
const ZSTD_WITHOUT: [&str; 7] = ["DFAST", "GREEDY", "LAZY", "LAZY2", "BTLAZY2", "BTOPT", "BTULTRA"];
/// zstd's inner loops are not compiled a second time, for newer processors: that saves a hundredth of their instructions.
const ZSTD_ONCE: &str = "-DDYNAMIC_BMI2=0";
/// Nothing unwinds through C.
const C_WITHOUT_TABLES: [&str; 2] = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
/// Of LLVM's linker: equal functions once, and similar ones side by side, where deflate finds what they share.
const LLD_FLAGS: [&str; 2] = ["--icf=all", "--bp-compression-sort=both"];
/// For LLVM's linker too: puts what runs at the start on few pages.
const START_SCRIPT: &str = include_str!("start.ld");

/// Where the compiler and the C library come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// rustup's target, static musl.
    Musl,
    /// rustup's target, glibc linked statically.
    Gnu,
    /// Debian's `rustc-web`, glibc linked statically.
    Debian,
}

impl Flavour {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 3] = [Self::Musl, Self::Gnu, Self::Debian];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Musl => "musl",
            Self::Gnu => "gnu",
            Self::Debian => "debian",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Fault> {
        let found = Self::ALL.into_iter().find(|flavour| flavour.name() == name);
        found.ok_or_else(|| format!("no toolchain is called {name:?}; there are musl, gnu and debian"))
    }
}

/// Builds `bin` of `package` with the release profile and these of its features; returns the executable.
pub(super) fn build(
    run: &mut Run,
    toolchain: &Toolchain,
    package: &str,
    bin: &str,
    features: &str,
) -> Result<PathBuf, Fault> {
    let folder = paths::target().join("layer").join("build").join(toolchain.flavour.name());
    let target = toolchain.target();
    let mut cargo = Command::new(paths::cargo());
    cargo.args(["rustc", "--release", "--package", package, "--bin", bin, "--target", target]);
    cargo.args(["--features", features]);
    cargo.arg("--target-dir").arg(&folder).current_dir(paths::root());
    if toolchain.lld().is_some() {
        cargo.args(["--", &format!("-Clink-arg=-Wl,-T,{}", start_script()?.display())]);
    }
    cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", rust_flags(toolchain));
    cargo.env("SOURCE_DATE_EPOCH", EPOCH_SECONDS);
    let variable = target.replace('-', "_");
    cargo.env(format!("CFLAGS_{variable}"), c_flags(toolchain));
    if let Some(cc) = toolchain.cc() {
        cargo.env(format!("CC_{variable}"), cc);
    }
    if let Some(linker) = toolchain.linker() {
        cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), linker);
    }
    if let Some(rustc) = toolchain.rustc() {
        cargo.env("RUSTC", rustc);
    }
    run.command(&mut cargo)?;
    Ok(folder.join(target).join("release").join(bin))
}

/// No path of this machine may end up in the binary.
fn renamed_folders() -> Vec<(PathBuf, &'static str)> {
    let mut folders = vec![(paths::root().to_owned(), "lambda-flush")];
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    folders
        .extend(std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).map(|home| (home, "cargo")));
    folders
}

/// As a file that has another name when it says something else, for Cargo does not know it as an input. Relative where
/// that is possible: the path is part of what symbols are named after.
fn start_script() -> Result<PathBuf, Fault> {
    let mut hasher = DefaultHasher::new();
    START_SCRIPT.hash(&mut hasher);
    let folder = paths::target().join("layer").join("build");
    let path = folder.join(format!("start-{:016x}.ld", hasher.finish()));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, START_SCRIPT));
    written.map_err(|fault| format!("{}: {fault}", path.display()))?;
    Ok(path.strip_prefix(paths::root()).map(Path::to_owned).unwrap_or(path))
}

fn rust_flags(toolchain: &Toolchain) -> String {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // A file that may be loaded anywhere is relocated page by page before `main`, at the cost of each cold start.
    flags.push("-Crelocation-model=static".to_owned());
    flags.extend(toolchain.flags().iter().map(|flag| (*flag).to_owned()));
    if let Some(folder) = toolchain.lld() {
        flags.push("-Clink-arg=-fuse-ld=lld".to_owned());
        flags.push(format!("-Clink-arg=-B{}", folder.display()));
        flags.extend(LLD_FLAGS.map(|flag| format!("-Clink-arg=-Wl,{flag}")));
    }
    let folders = renamed_folders();
    flags.extend(folders.iter().map(|(from, to)| format!("--remap-path-prefix={}=/{to}", from.display())));
    flags.join(FLAG_SEPARATOR)
}

/// `cc` splits these at spaces: a folder with one keeps its name, and only byte-for-byte equality is lost.
fn c_flags(toolchain: &Toolchain) -> String {
    let folders = renamed_folders();
    let renamed = folders.iter().map(|(from, to)| format!("-ffile-prefix-map={}=/{to}", from.display()));
    let mut flags: Vec<String> = renamed.filter(|flag| !flag.contains(' ')).collect();
    flags.extend(C_WITHOUT_TABLES.map(str::to_owned));
    flags.push(ZSTD_ONCE.to_owned());
    flags.extend(ZSTD_WITHOUT.map(|strategy| format!("-DZSTD_EXCLUDE_{strategy}_BLOCK_COMPRESSOR")));
    if toolchain.flavour == Flavour::Musl {
        // Fortified functions are glibc's.
        flags.push("-U_FORTIFY_SOURCE".to_owned());
    }
    flags.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavours_go_by_their_names() {
        for flavour in Flavour::ALL {
            assert_eq!(Flavour::named(flavour.name()), Ok(flavour));
        }
    }
}
