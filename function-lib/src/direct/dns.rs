//! Names to addresses without libc, with a deadline: the sockets and files below `lambda_flush_proto::dns`.
//!
//! `lambda_runtime` calls `set_var` in each invocation and `getaddrinfo` reads the environment without a lock, so
//! it must not run on a thread of ours. And it can't be told a deadline. UDP only: an answer that needs TCP is none.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Instant;

use lambda_flush_proto::dns::{
    ANSWER_BYTES_MAX, ASK_AGAIN_AFTER, DnsError, FILE_BYTES_MAX, Lookup, ROUNDS_MAX, ResolvConf, files,
    literal, loopback,
};

/// Where names are looked up.
#[derive(Debug, Clone)]
pub(crate) struct Dns {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// Instead of those in `resolv_conf`.
    server: Option<SocketAddr>,
}

impl Dns {
    /// The system's files, or `server` alone.
    pub(crate) fn new(server: Option<SocketAddr>) -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), server }
    }

    /// The addresses of `host`, IPv4 first; comes back by `until`.
    pub(crate) fn resolve(&self, host: &str, until: Instant) -> Result<Vec<IpAddr>, DnsError> {
        if let Some(address) = literal(host) {
            return Ok(vec![address]);
        }
        let listed = files::hosts(&read(&self.hosts), host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if let Some(address) = loopback(host) {
            return Ok(vec![address]);
        }
        let conf = self.server.map_or_else(|| ResolvConf::parse(&read(&self.resolv_conf)), ResolvConf::of);
        let mut error = DnsError::NoSuchName;
        for name in conf.names(host) {
            match ask(&conf.servers, &name, until) {
                Err(failure @ DnsError::NoSuchName) => error = failure,
                other => return other,
            }
        }
        Err(error)
    }
}

/// What can't be read says nothing.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn ask(servers: &[SocketAddr], name: &str, until: Instant) -> Result<Vec<IpAddr>, DnsError> {
    if servers.is_empty() {
        return Err(DnsError::NoServer);
    }
    let mut error = DnsError::NoAnswer;
    for server in std::iter::repeat_n(servers, ROUNDS_MAX).flatten() {
        let now = Instant::now();
        if now >= until {
            break;
        }
        match ask_one(*server, name, until.min(now + ASK_AGAIN_AFTER)) {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => return Err(DnsError::NoSuchName),
            Err(fatal @ (DnsError::BadName | DnsError::NoSuchName)) => return Err(fatal),
            Err(failure) => error = failure,
        }
    }
    Err(error)
}

fn ask_one(server: SocketAddr, name: &str, until: Instant) -> Result<Vec<IpAddr>, DnsError> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // The kernel picks a random port, and connected it lets through that server's packets only.
    let socket = UdpSocket::bind((any, 0)).map_err(DnsError::Io)?;
    socket.connect(server).map_err(DnsError::Io)?;
    let mut ids = [0; 4];
    getrandom::fill(&mut ids).map_err(|error| DnsError::Io(io::Error::other(error)))?;
    let [a, b, c, d] = ids;
    let mut lookup = Lookup::new(name, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])?;
    for query in lookup.queries() {
        socket.send(&query).map_err(DnsError::Io)?;
    }
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(DnsError::Io)?;
        match socket.recv(&mut buffer) {
            Ok(len) if lookup.receive(buffer.get(..len).unwrap_or_default()) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DnsError::Io(error)),
        }
    }
    lookup.end()
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
