//! Many senders that push more through a door than the extension may hold, and the memory it takes (promise P5).

use std::io;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::door::{connect, json, post, request, span};
use crate::rig::Fault;

/// Senders at a time.
const SENDERS: u64 = 16;
/// The buffer to set; it is the default too.
pub const BUFFER_BYTES: u64 = 16 << 20;
/// What the peak may be above the idle extension and its buffer.
pub const ABOVE_BYTES: u64 = 12 << 20;

/// What the senders saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pushed {
    /// Requests that were taken.
    pub accepted: u64,
    /// Items in them.
    pub accepted_items: u64,
    /// Requests that were refused for want of room.
    pub refused: u64,
    /// Bytes of all bodies.
    pub bytes: u64,
}

/// A line of `/proc/<pid>/status`, for instance `VmHWM:`, in bytes.
///
/// # Errors
/// There is no such process, or no such line.
pub fn memory_bytes(pid: u32, line: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb =
        status.lines().find_map(|of| of.strip_prefix(line)?.split_whitespace().next()?.parse::<u64>().ok());
    kb.map(|kb| kb << 10).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Pushes `bytes` in all, in requests of different sizes and formats.
///
/// # Errors
/// A request was not answered, or neither taken nor refused properly.
pub async fn push(address: SocketAddr, bytes: u64) -> Result<Pushed, Fault> {
    let senders = (0..SENDERS)
        .map(|sender| tokio::task::spawn_blocking(move || push_share(address, sender, bytes / SENDERS)));
    let mut all = Pushed::default();
    for sender in senders.collect::<Vec<_>>() {
        let one = sender.await??;
        all.accepted += one.accepted;
        all.accepted_items += one.accepted_items;
        all.refused += one.refused;
        all.bytes += one.bytes;
    }
    Ok(all)
}

fn push_share(address: SocketAddr, sender: u64, share_bytes: u64) -> io::Result<Pushed> {
    let spans = |count: u64| -> Vec<Span> {
        let id = |number: u64| (sender << 32) + number;
        (0..count).map(|number| Span { name: "n".repeat(300), ..span(id(number)) }).collect()
    };
    let sizes = [100, 1_000, 10_000];
    let bodies = sizes.map(|count| ("application/x-protobuf", count, request(&spans(count))));
    let json = format!(r#"{{"pad":"{}",{}"#, "p".repeat(1 << 20), json(sender, "1").trim_start_matches('{'));
    let bodies = [bodies.as_slice(), &[("application/json", 1, json.into_bytes())]].concat();
    let mut stream = connect(address)?;
    let mut pushed = Pushed::default();
    for (kind, items, body) in bodies.iter().cycle() {
        match post(&mut stream, kind, body)? {
            (200, _) => {
                pushed.accepted += 1;
                pushed.accepted_items += *items;
            }
            (429, _) => pushed.refused += 1,
            (status, text) => return Err(io::Error::other(format!("HTTP {status}: {text}"))),
        }
        pushed.bytes += body.len() as u64;
        if pushed.bytes >= share_bytes {
            break;
        }
    }
    Ok(pushed)
}
