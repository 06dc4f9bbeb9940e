//! Where things are: the workspace, its target directory, the tools cached there.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The workspace's root: the parent of this package.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` beside the root manifest.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(set) => root().join(set),
        None => root().join("target"),
    }
}

/// Tools that lanes install for themselves: gone with the target directory.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The cargo that runs us, else the one on the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}
