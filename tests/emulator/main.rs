//! The testkit's own tests: the sandbox with the probe binaries, the backend, the check.

#[cfg(test)]
mod api;
#[cfg(test)]
mod artifacts;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod freeze;
#[cfg(test)]
mod init;
#[cfg(test)]
mod invoke;
#[cfg(test)]
mod orphans;
#[cfg(test)]
mod reset;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod support;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod verdict;
#[cfg(test)]
mod witness;
