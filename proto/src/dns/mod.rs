//! Names to addresses without libc: the parts of a stub resolver that need no socket (RFC 1035, RFC 3596).
//!
//! `getaddrinfo` can't be told a deadline, reads the environment without a lock, and is not there in a static binary.
//! What is needed is little: `/etc/hosts`, the name servers and search domains of `/etc/resolv.conf`, A and AAAA.
//! - [`files`]: what the two files say.
//! - [`message`]: questions and answers.
//! - [`lookup`]: one name asked of one server.

pub mod files;
pub mod lookup;
pub mod message;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub use files::ResolvConf;
pub use lookup::Lookup;

/// Of a name server.
pub const PORT: u16 = 53;
/// Of one name; more are not looked at.
pub const ADDRESSES_MAX: usize = 8;
/// Of `/etc/hosts` and `/etc/resolv.conf`; the rest is not to be read.
pub const FILE_BYTES_MAX: u64 = 64 << 10;
/// Without EDNS no answer over UDP is longer than 512; servers that don't care are let through.
pub const ANSWER_BYTES_MAX: usize = 4 << 10;
/// Then the question is asked again, of the next server.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_millis(400);
/// How often each server is asked.
pub const ROUNDS_MAX: usize = 2;

/// Why there is no address.
#[derive(Debug)]
pub enum DnsError {
    /// It is no host name.
    BadName,
    /// The servers say so.
    NoSuchName,
    /// Nobody answered in time.
    NoAnswer,
    /// `/etc/resolv.conf` names no server.
    NoServer,
    /// A socket can't be had.
    Io(std::io::Error),
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName => f.write_str("this is no host name"),
            Self::NoSuchName => f.write_str("no such name"),
            Self::NoAnswer => f.write_str("no name server answered in time"),
            Self::NoServer => f.write_str("/etc/resolv.conf names no server"),
            Self::Io(error) => write!(f, "the name servers can't be asked: {error}"),
        }
    }
}

impl std::error::Error for DnsError {}

/// What needs no file and no server: an address itself, with brackets or without.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// What no server is asked for, unless `/etc/hosts` knows better (RFC 6761, 6.3).
#[must_use]
pub fn loopback(host: &str) -> Option<IpAddr> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost")).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
