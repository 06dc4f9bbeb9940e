//! Which compiler, C compiler and linker make a static file for an architecture, and how they are had.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Flavour;
use super::install;
use crate::Fault;
use crate::run::Run;

/// Debian's own compiler; `rustup` puts its in front of it on the path.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// For the download of one standard library.
const RUSTUP_SECONDS_MAX: &str = "180";

/// Lambda's architectures, by Lambda's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Arm64,
}

impl Arch {
    /// As Lambda calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Fault> {
        match name {
            "x86_64" => Ok(Self::X86_64),
            "arm64" => Ok(Self::Arm64),
            other => Err(format!("Lambda has no architecture {other:?}; there are x86_64 and arm64")),
        }
    }

    /// This machine's.
    pub(crate) fn native() -> Result<Self, Fault> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(format!("Lambda does not run on {other}")),
        }
    }

    fn is_native(self) -> bool {
        Self::native() == Ok(self)
    }

    /// As compilers call it.
    pub(super) fn machine(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// As Debian calls it.
    fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// Everything a build is told.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    pub(super) arch: Arch,
    pub(super) flavour: Flavour,
    target: String,
    cc: Option<String>,
}

impl Toolchain {
    fn new(arch: Arch, flavour: Flavour) -> Self {
        let libc = if flavour == Flavour::Musl { "musl" } else { "gnu" };
        let cross = format!("{}-linux-gnu-gcc", arch.machine());
        let cc = match (flavour, arch.is_native()) {
            (Flavour::Musl, true) => Some("musl-gcc".to_owned()),
            (_, true) => None,
            (_, false) => Some(cross),
        };
        Self { arch, flavour, target: format!("{}-unknown-linux-{libc}", arch.machine()), cc }
    }

    /// For people.
    pub(crate) fn about(&self) -> String {
        let compiler = if self.flavour == Flavour::Debian { "Debian's rustc" } else { "rustup's rustc" };
        format!("{}, {compiler}: static, needs no loader and no library", self.target)
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// The C compiler, where it is not the machine's own.
    pub(super) fn cc(&self) -> Option<&str> {
        self.cc.as_deref()
    }

    /// rustc brings its own musl; a foreign architecture needs a linker that knows it.
    pub(super) fn linker(&self) -> Option<&str> {
        self.cc.as_deref().filter(|_| !self.arch.is_native())
    }

    pub(super) fn rustc(&self) -> Option<&'static str> {
        (self.flavour == Flavour::Debian).then_some(DEBIAN_RUSTC)
    }

    pub(super) fn flags(&self) -> &'static [&'static str] {
        // A cross compiler's own start files are glibc's.
        if self.flavour == Flavour::Musl && !self.arch.is_native() {
            &["-Clink-self-contained=yes"]
        } else {
            &[]
        }
    }

    /// The folder of LLVM's linker as rustup's compilers bring it, if it can what we want of it. A layer is linked
    /// without it as well, and is some percent larger.
    pub(super) fn lld(&self) -> Option<PathBuf> {
        if self.flavour == Flavour::Debian {
            return None;
        }
        let told = |option: &str| {
            let output = Command::new(running_rustc()).args(option.split(' ')).output().ok()?;
            String::from_utf8(output.stdout).ok()
        };
        let about = told("--version --verbose")?;
        let host = about.lines().find_map(|line| line.strip_prefix("host: "))?;
        let sysroot = told("--print sysroot")?;
        let folder = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld");
        let help = Command::new(folder.join("ld.lld")).arg("--help").output().ok()?;
        String::from_utf8_lossy(&help.stdout).contains("--bp-compression-sort").then_some(folder)
    }

    /// Has everything, or says why not.
    fn provide(&self, run: &mut Run) -> Result<(), String> {
        match self.flavour {
            Flavour::Musl | Flavour::Gnu => self.provide_std(run)?,
            Flavour::Debian => self.provide_debian(run)?,
        }
        let Some(cc) = &self.cc else { return Ok(()) };
        if install::program(cc).is_some() {
            return Ok(());
        }
        let cross = [
            format!("gcc-{}-linux-gnu", self.arch.machine().replace('_', "-")),
            format!("libc6-dev-{}-cross", self.arch.debian()),
        ];
        let names: Vec<&str> =
            if cc == "musl-gcc" { vec!["musl-tools"] } else { cross.iter().map(String::as_str).collect() };
        install::packages(run, &names, None).map_err(|fault| format!("there is no {cc}: {fault}"))
    }

    fn provide_std(&self, run: &mut Run) -> Result<(), String> {
        let has_std = || install::has_std(&running_rustc(), &self.target);
        if has_std() {
            return Ok(());
        }
        let add = ["target", "add", &self.target];
        let added = match install::program("rustup") {
            // Without a way to its server it may try for very long.
            Some(rustup) => {
                run.command(Command::new("timeout").arg(RUSTUP_SECONDS_MAX).arg(rustup).args(add))
            }
            None => Err("there is no rustup".to_owned()),
        };
        let lacking = || format!("no standard library for {}; run: rustup {}", self.target, add.join(" "));
        added.map_err(|fault| format!("{} ({fault})", lacking()))?;
        if has_std() { Ok(()) } else { Err(lacking()) }
    }

    fn provide_debian(&self, run: &mut Run) -> Result<(), String> {
        if install::has_std(Path::new(DEBIAN_RUSTC), &self.target) {
            return Ok(());
        }
        let foreign = self.arch.debian();
        let library = format!("libstd-rust-web-dev:{foreign}");
        let foreign = (!self.arch.is_native()).then_some(foreign);
        install::packages(run, &["rustc-web", &library], foreign)
    }
}

/// The compiler that cargo will take.
fn running_rustc() -> PathBuf {
    std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}

/// The asked toolchain, or the first that can be had; an error says what each of them lacks.
pub(super) fn find(run: &mut Run, arch: Arch, asked: Option<Flavour>) -> Result<Toolchain, Fault> {
    let mut lacking = Vec::new();
    for flavour in Flavour::ALL.into_iter().filter(|flavour| asked.is_none_or(|asked| asked == *flavour)) {
        let toolchain = Toolchain::new(arch, flavour);
        match toolchain.provide(run) {
            Ok(()) => return Ok(toolchain),
            Err(reason) => {
                let reason = format!("{}: {reason}", flavour.name());
                eprintln!("xtask: {reason}");
                run.note(&reason);
                lacking.push(reason);
            }
        }
    }
    Err(format!("no toolchain for {}:\n  {}", arch.name(), lacking.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_architecture_is_linked_by_its_own_compiler() {
        let foreign = if Arch::native() == Ok(Arch::Arm64) { Arch::X86_64 } else { Arch::Arm64 };
        for flavour in Flavour::ALL {
            let linker = Toolchain::new(foreign, flavour).linker().map(str::to_owned);
            assert_eq!(linker, Some(format!("{}-linux-gnu-gcc", foreign.machine())));
        }
        let own = Toolchain::new(Arch::native().unwrap(), Flavour::Gnu);
        assert_eq!((own.linker(), own.cc()), (None, None));
    }

    #[test]
    fn targets_are_those_of_the_c_library() {
        let target = |flavour| Toolchain::new(Arch::Arm64, flavour).target;
        assert_eq!(target(Flavour::Musl), "aarch64-unknown-linux-musl");
        assert_eq!(target(Flavour::Debian), "aarch64-unknown-linux-gnu");
    }
}
