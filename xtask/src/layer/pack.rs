//! The zip, written by the workspace's own packer, which xtask itself does not link: it has to compile fast.

use std::path::Path;
use std::process::Command;

use crate::Fault;
use crate::paths;
use crate::run::Run;

/// Packs `file` as the layer's only entry.
pub(super) fn pack(run: &mut Run, file: &Path, zip: &Path) -> Result<(), Fault> {
    let mut packer = Command::new(paths::cargo());
    packer.args(["run", "--quiet", "--package", "layer-pack", "--target-dir"]);
    // Its own, so that it waits for nobody else's build.
    packer.arg(paths::target().join("layer").join("build").join("pack"));
    packer.arg("--").arg(file).arg(zip);
    run.command(&mut packer)
}
