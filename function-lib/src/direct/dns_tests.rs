//! The resolver against servers that answer, lie, garble, and stay silent.

use std::net::UdpSocket;
use std::thread::JoinHandle;
use std::time::Duration;

use lambda_flush_proto::dns::message::{TYPE_A, TYPE_AAAA};

use super::*;

/// The name does not exist.
const RCODE_NXDOMAIN: u8 = 3;
/// Longer than any test takes unless something never happens.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers each datagram with what `reply` makes of it, until a datagram of one byte comes.
struct Server {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            loop {
                let (len, peer) = socket.recv_from(&mut buffer).unwrap();
                if len == 1 {
                    return;
                }
                for answer in reply(&buffer[..len]) {
                    // The client may have all it wants and be gone.
                    socket.send_to(&answer, peer).ok();
                }
            }
        });
        Self { address, thread: Some(thread) }
    }

    fn resolve(&self, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, DnsError> {
        let dns = Dns { hosts: "/nonexistent".into(), ..Dns::new(Some(self.address)) };
        dns.resolve(name, Instant::now() + timeout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(&[0], self.address).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn is_a(query: &[u8]) -> bool {
    query[query.len() - 3] == 1
}

/// A response to `query` with these records: type and data.
fn response(query: &[u8], rcode: u8, records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = query.to_vec();
    out[2] |= 0x80;
    out[3] = rcode;
    out[7] = u8::try_from(records.len()).unwrap();
    for (kind, data) in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

#[test]
fn an_ipv4_answer_is_enough_and_a_chain_of_names_is_stepped_over() {
    let server = Server::start(|query| {
        let cname: (u16, &[u8]) = (5, &[3, b'x', b'y', b'z', 0]);
        let all = response(query, 0, &[cname, (TYPE_A, &[10, 0, 0, 1]), (TYPE_A, &[10, 0, 0, 2])]);
        if is_a(query) { vec![all] } else { vec![] }
    });
    let found = server.resolve("Backend.Example.", PATIENCE).unwrap();
    assert_eq!(found, [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]);
}

#[test]
fn a_name_with_ipv6_only_has_that_address() {
    let six = Ipv6Addr::LOCALHOST;
    let server = Server::start(move |query| {
        let octets = six.octets();
        let records: &[(u16, &[u8])] = if is_a(query) { &[] } else { &[(TYPE_AAAA, &octets)] };
        vec![response(query, 0, records)]
    });
    assert_eq!(server.resolve("six.example", PATIENCE).unwrap(), [IpAddr::V6(six)]);
}

#[test]
fn a_name_that_does_not_exist_is_told_at_once() {
    let server = Server::start(|query| vec![response(query, RCODE_NXDOMAIN, &[])]);
    assert!(matches!(server.resolve("no.example", PATIENCE), Err(DnsError::NoSuchName)));
    let empty = Server::start(|query| vec![response(query, 0, &[])]);
    assert!(matches!(empty.resolve("empty.example", PATIENCE), Err(DnsError::NoSuchName)));
}

#[test]
fn a_refusal_of_one_question_does_not_discard_the_answer_to_the_other() {
    for rcode in [2, RCODE_NXDOMAIN] {
        for refused_first in [TYPE_A, TYPE_AAAA] {
            let first = std::sync::Mutex::new(Vec::new());
            // Answers both when both are asked, the refused one first.
            let server = Server::start(move |query| {
                if is_a(query) {
                    first.lock().unwrap().clone_from(&query.to_vec());
                    return vec![];
                }
                let a = first.lock().unwrap().clone();
                if refused_first == TYPE_A {
                    let good = response(query, 0, &[(TYPE_AAAA, &Ipv6Addr::LOCALHOST.octets())]);
                    vec![response(&a, rcode, &[]), good]
                } else {
                    vec![response(query, rcode, &[]), response(&a, 0, &[(TYPE_A, &[10, 0, 0, 1])])]
                }
            });
            let found = server.resolve("half.example", PATIENCE).unwrap();
            let expected: IpAddr =
                if refused_first == TYPE_A { Ipv6Addr::LOCALHOST.into() } else { [10, 0, 0, 1].into() };
            assert_eq!(found, [expected], "{rcode}");
        }
    }
}

#[test]
fn forged_and_garbled_packets_do_not_count() {
    let server = Server::start(|query| {
        let good = response(query, 0, &[(TYPE_A, &[10, 0, 0, 1])]);
        let (mut other_id, mut other_name) = (good.clone(), good.clone());
        other_id[0] ^= 1;
        other_name[13] ^= 1;
        let forged = [other_id, other_name].map(|mut packet| {
            let last = packet.len() - 1;
            packet[last] = 66;
            packet
        });
        let cut = (0..good.len() / 2).map(|len| good[..len].to_vec());
        let mut all: Vec<_> = forged.into_iter().chain(cut).chain([query.to_vec()]).collect();
        if is_a(query) {
            all.push(good);
        }
        all
    });
    assert_eq!(server.resolve("real.example", PATIENCE).unwrap(), [IpAddr::from([10, 0, 0, 1])]);
}

#[test]
fn a_silent_server_is_waited_for_until_the_deadline_only() {
    let server = Server::start(|_| vec![]);
    let (began, budget) = (Instant::now(), Duration::from_millis(100));
    assert!(matches!(server.resolve("silent.example", budget), Err(DnsError::NoAnswer)));
    let took = began.elapsed();
    assert!(took >= budget && took < budget * 20, "{took:?}");
}

#[test]
fn the_next_server_is_asked_when_one_fails_or_is_silent() {
    let bad = Server::start(|query| vec![response(query, 2, &[])]);
    let silent = Server::start(|_| vec![]);
    let good = Server::start(|query| vec![response(query, 0, &[(TYPE_A, &[10, 0, 0, 9])])]);
    let servers = [bad.address, silent.address, good.address];
    let found = ask(&servers, "third.example", Instant::now() + PATIENCE).unwrap();
    assert_eq!(found, [IpAddr::from([10, 0, 0, 9])]);
}

#[test]
fn nobody_to_ask_is_told() {
    assert!(matches!(ask(&[], "a.example", Instant::now() + PATIENCE), Err(DnsError::NoServer)));
}

#[test]
fn literals_and_localhost_are_asked_of_nobody() {
    let dns = Dns { hosts: "/nonexistent".into(), ..Dns::new(Some(([127, 0, 0, 1], 9).into())) };
    let now = Instant::now();
    assert_eq!(dns.resolve("10.1.2.3", now).unwrap(), [IpAddr::from([10, 1, 2, 3])]);
    assert_eq!(dns.resolve("[::1]", now).unwrap(), [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    assert_eq!(dns.resolve("api.localhost", now).unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
}

#[test]
fn what_is_no_host_name_is_refused() {
    let server = Server::start(|_| vec![]);
    let (long_label, long_name) = ("x".repeat(64), ["abcdefgh"; 40].join("."));
    for name in ["", "a..b", long_label.as_str(), long_name.as_str()] {
        assert!(matches!(server.resolve(name, PATIENCE), Err(DnsError::BadName)), "{name:?}");
    }
}
