//! A group of processes that gets a share of one CPU, by whichever version of cgroups there is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Fault;

/// The kernel hands out the share in periods of this length.
const PERIOD_MICROS: u32 = 100_000;
/// Where the first version has its controller, and where the second one has everything.
const V1: &str = "/sys/fs/cgroup/cpu";
const V2: &str = "/sys/fs/cgroup";

/// See the module's description. Removed when dropped, which works once its processes have ended.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// `percent` of one CPU.
    pub(crate) fn make(percent: u32) -> Result<Self, Fault> {
        let name = format!("lambda-flush-bench-{}", std::process::id());
        let quota = PERIOD_MICROS / 100 * percent;
        let first = Path::new(V1);
        if first.join("cpu.cfs_quota_us").is_file() {
            let group = Self::new(first.join(name))?;
            group.set("cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
            group.set("cpu.cfs_quota_us", &quota.to_string())?;
            return Ok(group);
        }
        let group = Self::new(Path::new(V2).join(name))?;
        group.set("cpu.max", &format!("{quota} {PERIOD_MICROS}"))?;
        Ok(group)
    }

    fn new(path: PathBuf) -> Result<Self, Fault> {
        fs::create_dir(&path).map_err(|fault| format!("{}: {fault}", path.display()))?;
        Ok(Self(path))
    }

    /// From now on the process shares the group's time.
    pub(crate) fn add(&self, pid: u32) -> Result<(), Fault> {
        self.set("cgroup.procs", &pid.to_string())
    }

    fn set(&self, file: &str, value: &str) -> Result<(), Fault> {
        let path = self.0.join(file);
        fs::write(&path, value).map_err(|fault| format!("{}: {fault}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(fault) = fs::remove_dir(&self.0) {
            eprintln!("bench: {}: {fault}", self.0.display());
        }
    }
}
