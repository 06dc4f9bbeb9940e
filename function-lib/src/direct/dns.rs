//! Names to addresses without libc, with a deadline.
//!
//! `lambda_runtime` calls `set_var` in each invocation and `getaddrinfo` reads the environment without a lock, so
//! it must not run on a thread of ours. And it can't be told a deadline. What is needed of a stub resolver (RFC
//! 1035, RFC 3596) is little: `/etc/hosts`, the name servers of `/etc/resolv.conf`, A and AAAA over UDP. Search
//! domains and answers that need TCP are not supported; a truncated answer counts with what is in it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// As libc has it.
const SERVERS_MAX: usize = 3;
/// Of one answer; more are not looked at.
const ADDRESSES_MAX: usize = 8;
/// Of `/etc/hosts` and `/etc/resolv.conf`; the rest is not read.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// A name with its dots (RFC 1035, 3.1).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Without EDNS no answer is longer than 512; servers that don't care are let through.
const ANSWER_BYTES_MAX: usize = 1 << 12;
/// Then the question is asked again, of the next server.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(400);
/// How often each server is asked.
const ROUNDS_MAX: usize = 2;
const DNS_PORT: u16 = 53;

const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// The name does not exist.
const RCODE_NXDOMAIN: u8 = 3;

/// Why there is no address.
#[derive(Debug)]
pub(crate) enum DnsError {
    /// It is no host name.
    BadName,
    /// The servers say so.
    NoSuchName,
    /// Nobody answered in time.
    NoAnswer,
    /// `/etc/resolv.conf` names no server.
    NoServer,
    /// A socket can't be had.
    Io(io::Error),
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
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let listed = in_hosts(&read(&self.hosts), &name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        // RFC 6761, 6.3: never asked of a server.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        }
        let servers = match self.server {
            Some(server) => vec![server],
            None => servers(&read(&self.resolv_conf)),
        };
        ask(&servers, &name, until)
    }
}

/// What can't be read says nothing.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(['#', ';']).next().unwrap_or_default().split_whitespace()
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let line = |line| {
        let mut words = words(line);
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    let mut addresses: Vec<_> = hosts.lines().filter_map(line).take(ADDRESSES_MAX).collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
}

fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line| {
        let mut words = words(line);
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, DNS_PORT))
    };
    resolv_conf.lines().filter_map(server).take(SERVERS_MAX).collect()
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

/// Both questions at once; an answer with IPv4 addresses is enough. Some servers refuse AAAA and know A all the same:
/// a refusal counts once both are answered.
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
    let mut open = vec![
        Question { id: u16::from_be_bytes([a, b]), kind: TYPE_A },
        Question { id: u16::from_be_bytes([c, d]), kind: TYPE_AAAA },
    ];
    for question in &open {
        socket.send(&question.encode(name).ok_or(DnsError::BadName)?).map_err(DnsError::Io)?;
    }
    let (mut found, mut refused) = (Vec::new(), None);
    let mut buffer = [0; ANSWER_BYTES_MAX];
    while !open.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(DnsError::Io)?;
        let bytes = match socket.recv(&mut buffer) {
            Ok(len) => buffer.get(..len).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(DnsError::Io(error)),
        };
        // Anything else is a late or a forged packet, and does not count.
        let answered = open.iter().position(|question| question.is_answered_by(bytes, name));
        let Some(question) = answered.map(|index| open.swap_remove(index)) else { continue };
        match answer(bytes, question.kind) {
            Ok(addresses) if question.kind == TYPE_A && !addresses.is_empty() => return Ok(addresses),
            Ok(addresses) => found.extend(addresses),
            Err(refusal) => refused = refused.max(Some(refusal)),
        }
    }
    match refused {
        _ if !found.is_empty() => Ok(found),
        _ if !open.is_empty() => Err(DnsError::NoAnswer),
        None => Ok(found),
        Some(Refused::NoSuchName) => Err(DnsError::NoSuchName),
        // This server can't tell; another may.
        Some(Refused::Other) => Err(DnsError::NoAnswer),
    }
}

#[derive(Debug, Clone, Copy)]
struct Question {
    id: u16,
    kind: u16,
}

impl Question {
    /// `None` for what is no host name.
    fn encode(self, name: &str) -> Option<Vec<u8>> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
        // Recursion desired; one question.
        for word in [self.id, 0x0100, 1, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for label in name.split('.') {
            let len = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            out.push(len);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        Some(out)
    }

    /// Whether `bytes` are a response that repeats this question.
    fn is_answered_by(self, bytes: &[u8], name: &str) -> bool {
        let Some(asked) = self.encode(name) else { return false };
        let (Some(theirs), Some(ours)) = (bytes.get(HEADER_BYTES..asked.len()), asked.get(HEADER_BYTES..))
        else {
            return false;
        };
        let is_response = bytes.get(2).is_some_and(|flags| flags & 0x80 != 0);
        is_response && word(bytes, 0) == Some(self.id) && theirs.eq_ignore_ascii_case(ours)
    }
}

/// The later one says less.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refused {
    NoSuchName,
    Other,
}

/// The addresses of type `kind` in a response to one question. A part that makes no sense ends it.
fn answer(bytes: &[u8], kind: u16) -> Result<Vec<IpAddr>, Refused> {
    match bytes.get(3).map(|flags| flags & 0x0f) {
        Some(0) => {}
        Some(RCODE_NXDOMAIN) => return Err(Refused::NoSuchName),
        _ => return Err(Refused::Other),
    }
    let records = word(bytes, 6).ok_or(Refused::Other)?;
    let mut found = Vec::new();
    let Some(mut at) = after_name(bytes, HEADER_BYTES).map(|end| end + 4) else { return Ok(found) };
    for _ in 0..records {
        // Type, class, TTL, length of the data.
        let Some(head) = after_name(bytes, at) else { break };
        let Some(len) = word(bytes, head + 8).map(usize::from) else { break };
        let Some(data) = bytes.get(head + 10..head + 10 + len) else { break };
        if word(bytes, head) == Some(kind) && word(bytes, head + 2) == Some(CLASS_IN) {
            found.extend(address(data));
        }
        if found.len() >= ADDRESSES_MAX {
            break;
        }
        at = head + 10 + len;
    }
    Ok(found)
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Where the name that begins at `at` ends. A pointer ends a name; where it points to does not matter here.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xc0 == 0xc0 => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    <[u8; 2]>::try_from(pair).ok().map(u16::from_be_bytes)
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
