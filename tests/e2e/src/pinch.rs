//! Takes something away from a process while the library connects: descriptors, memory, the right to pass descriptors.
//!
//! The witness function does it to itself, or to the extension beside it, around `lambda_flush::init`; so the library
//! and the extension meet the kernel's own refusals. What was taken is given back afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Names the pinch for the witness function.
pub const PINCH_ENV: &str = "LAMBDA_FLUSH_E2E_PINCH";

/// Descriptors that may still be opened: the hand-off socket's own, at either end.
const DESCRIPTORS_LEFT: usize = 1;
/// Address space that is left: less than a ring, enough for a thread's stack and what an init allocates.
const BYTES_LEFT: u64 = 3 << 20;
/// The kernel passes no further descriptor when more than this are on their way, and no more than this can be open.
const DESCRIPTORS_MAX: usize = 64;
/// An extension whose descriptors did not change for so long has done what it does at its start.
const SETTLED: Duration = Duration::from_millis(50);
const SETTLED_WAIT_MAX: Duration = Duration::from_secs(5);
/// As `/proc/<pid>/comm` cuts the extension's name.
const EXTENSION_COMM: &str = "lambda-flush-ex";

/// What is taken away, and from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinch {
    /// `memfd_create` fails in the function (EMFILE).
    FunctionDescriptors,
    /// `mmap` fails in the function (ENOMEM).
    FunctionMemory,
    /// `sendmsg` with a descriptor fails in the function (ETOOMANYREFS).
    FunctionRights,
    /// The descriptor is cut off in the extension's `recvmsg` (MSG_CTRUNC).
    ExtensionDescriptors,
    /// `mmap` fails in the extension (ENOMEM).
    ExtensionMemory,
}

impl Pinch {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::FunctionDescriptors,
        Self::FunctionMemory,
        Self::FunctionRights,
        Self::ExtensionDescriptors,
        Self::ExtensionMemory,
    ];

    /// For [`PINCH_ENV`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FunctionDescriptors => "function-descriptors",
            Self::FunctionMemory => "function-memory",
            Self::FunctionRights => "function-rights",
            Self::ExtensionDescriptors => "extension-descriptors",
            Self::ExtensionMemory => "extension-memory",
        }
    }

    /// Runs `work`, which is all that is pinched.
    ///
    /// # Errors
    /// The process has no right to do that, or there is no extension.
    pub fn around<T>(self, work: impl FnOnce() -> T) -> io::Result<T> {
        match self {
            Self::FunctionDescriptors => limited(None, Resource::Nofile, lowest(None)?, work),
            Self::FunctionMemory => limited(None, Resource::As, memory("self")? + BYTES_LEFT, work),
            Self::FunctionRights => without_rights(work),
            Self::ExtensionDescriptors => {
                let extension = settled_extension()?;
                limited(Some(extension), Resource::Nofile, lowest(Some(extension))?, work)
            }
            Self::ExtensionMemory => {
                let extension = settled_extension()?;
                let pid = extension.as_raw_nonzero().to_string();
                limited(Some(extension), Resource::As, memory(&pid)? + BYTES_LEFT, work)
            }
        }
    }
}

/// Runs `work` in the pinch that the environment names, if it does.
///
/// # Errors
/// There is no such pinch, or as [`Pinch::around`].
pub fn from_env<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let Ok(name) = std::env::var(PINCH_ENV) else { return Ok(work()) };
    let pinch = Pinch::ALL.into_iter().find(|pinch| pinch.name() == name);
    pinch.ok_or_else(|| io::Error::other(format!("there is no pinch {name:?}")))?.around(work)
}

/// With the soft limit of a process at `limit`, which needs no privilege, nor does its return.
fn limited<T>(pid: Option<Pid>, resource: Resource, limit: u64, work: impl FnOnce() -> T) -> io::Result<T> {
    let was = match pid {
        // The old limits come with new ones only.
        Some(pid) => prlimit(Some(pid), resource, rustix::process::getrlimit(resource))?,
        None => rustix::process::getrlimit(resource),
    };
    prlimit(pid, resource, Rlimit { current: Some(limit), maximum: was.maximum })?;
    let done = work();
    prlimit(pid, resource, was)?;
    Ok(done)
}

/// A limit under which [`DESCRIPTORS_LEFT`] numbers are free.
fn lowest(pid: Option<Pid>) -> io::Result<u64> {
    let taken = descriptors(pid)?;
    let last = (0..).filter(|number| !taken.contains(number)).nth(DESCRIPTORS_LEFT - 1);
    Ok(last.unwrap_or_default() + 1)
}

fn descriptors(pid: Option<Pid>) -> io::Result<BTreeSet<u64>> {
    let pid = pid.map_or("self".to_owned(), |pid| pid.as_raw_nonzero().to_string());
    let listed = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let numbers: Vec<u64> =
        listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The listing's own descriptor is gone by now.
    Ok(numbers
        .into_iter()
        .filter(|number| fs::symlink_metadata(format!("/proc/{pid}/fd/{number}")).is_ok())
        .collect())
}

/// The address space of a process, in bytes.
fn memory(pid: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or_else(|| io::Error::other("no VmSize"))? * 1024)
}

/// The extension of this environment, once it has opened all that it opens at its start.
fn settled_extension() -> io::Result<Pid> {
    let until = Instant::now() + SETTLED_WAIT_MAX;
    let (mut extension, mut seen, mut since) = (None, BTreeSet::new(), Instant::now());
    while Instant::now() < until {
        extension = extension.or_else(find_extension);
        let now = extension.and_then(|pid| descriptors(Some(pid)).ok()).unwrap_or_default();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        match extension {
            Some(pid) if since.elapsed() > SETTLED && !seen.is_empty() => return Ok(pid),
            _ => std::thread::yield_now(),
        }
    }
    Err(io::Error::other("there is no extension that stands still"))
}

/// By its name, and by the platform that both belong to.
fn find_extension() -> Option<Pid> {
    let ours = format!("AWS_LAMBDA_RUNTIME_API={}", std::env::var("AWS_LAMBDA_RUNTIME_API").ok()?);
    let is_it = |pid: &str| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let is_of_ours = environment.split(|byte| *byte == 0).any(|pair| pair == ours.as_bytes());
        (comm.trim_end() == EXTENSION_COMM && is_of_ours).then_some(())
    };
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok());
    let pid = pids.filter(|name| is_it(name).is_some()).find_map(|name| name.parse().ok())?;
    Pid::from_raw(pid)
}

/// With more descriptors on their way than an unprivileged user may send.
fn without_rights<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let (here, _there) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    send_many(&here)?;
    let was = capabilities(None)?;
    // Either one makes the kernel look away.
    let privileges = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_RESOURCE;
    set_capabilities(None, CapabilitySets { effective: was.effective - privileges, ..was })?;
    let limit = u64::try_from(DESCRIPTORS_MAX).map_err(io::Error::other)?;
    let done = limited(None, Resource::Nofile, limit, work);
    set_capabilities(None, was)?;
    done
}

fn send_many(here: &OwnedFd) -> io::Result<()> {
    let descriptors = [here.as_fd(); DESCRIPTORS_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let pushed = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors as &[BorrowedFd<'_>]));
    if !pushed {
        return Err(io::Error::other("no space for descriptors"));
    }
    sendmsg(here, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty())?;
    Ok(())
}
