//! Memory that functions offer: what is taken, what is not, and that nothing of it stays behind.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use lambda_flush_proto::FunctionLink;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tokio::net::UnixStream;

use super::rings::{RING_BYTES, Rig, send};
use super::*;
use crate::receive::link;

const BYTES: u64 = RING_BYTES + lambda_flush_proto::limits::RING_HEADER_BYTES as u64;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Memory of a name that is nobody else's in this process.
fn memfd(name: &str, bytes: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, bytes).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

/// Descriptors of it and mappings of it in this process.
fn uses(name: &str) -> (usize, usize) {
    let wanted = format!("/memfd:{name} (deleted)");
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter(is_it).count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (descriptors, maps.lines().filter(|line| line.ends_with(&wanted)).count())
}

#[tokio::test]
async fn memory_that_is_of_no_use_leaves_the_socket_and_no_descriptor() {
    let (null, sealed) = (std::fs::File::open("/dev/null").unwrap(), SEALS | SealFlags::WRITE);
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES).unwrap();
    let good = memfd("of-no-use", BYTES, SEALS);
    let unsealed = memfd("of-no-use", BYTES, SealFlags::empty());
    let small = memfd("of-no-use", BYTES - 8, SEALS);
    let read_only = memfd("of-no-use", BYTES, sealed);
    let offers: [(&str, u64, &[BorrowedFd<'_>]); 9] = [
        ("no descriptor", RING_BYTES, &[]),
        ("two", RING_BYTES, &[good.as_fd(), good.as_fd()]),
        ("four", RING_BYTES, &[good.as_fd(), good.as_fd(), good.as_fd(), good.as_fd()]),
        ("no seals", RING_BYTES, &[unsealed.as_fd()]),
        ("smaller than it says", RING_BYTES, &[small.as_fd()]),
        ("not to be written to", RING_BYTES, &[read_only.as_fd()]),
        ("a file", RING_BYTES, &[file.as_fd()]),
        ("a device", RING_BYTES, &[null.as_fd()]),
        ("too large", u64::MAX, &[good.as_fd()]),
    ];
    for (name, ring_bytes, descriptors) in offers {
        let mut rig = Rig::new().await;
        let mut function = rig.function(ring_bytes, descriptors).await;
        assert_eq!((function.link.ring_bytes(), rig.driver.link_faults), (0, 1), "{name}");
        let frame = function.item(300);
        send(&function.stream, &frame, &[]);
        rig.turn().await;
        assert_eq!(rig.accepted(), 1, "{name}: the socket goes on");
        assert_eq!(uses("of-no-use"), (4, 0), "{name}");
    }
}

#[tokio::test]
async fn a_descriptor_that_nobody_asked_for_is_closed() {
    let file = memfd("unasked", BYTES, SEALS);
    let mut rig = Rig::new().await;
    let mut function = rig.function(0, &[file.as_fd()]).await;
    assert_eq!((uses("unasked"), rig.driver.link_faults), ((1, 0), 0));
    let frame = function.item(300);
    send(&function.stream, &frame, &[file.as_fd()]);
    rig.turn().await;
    assert_eq!((rig.accepted(), uses("unasked")), (1, (1, 0)));
}

#[tokio::test]
async fn a_mapping_lasts_as_long_as_its_link() {
    let file = memfd("lasting", BYTES, SEALS);
    let mut rig = Rig::new().await;
    let function = rig.function(RING_BYTES, &[file.as_fd()]).await;
    assert_eq!(
        (function.link.ring_bytes(), uses("lasting")),
        (RING_BYTES, (1, 1)),
        "no descriptor, one mapping"
    );
    drop(function);
    rig.turn().await;
    assert_eq!(uses("lasting"), (1, 0));
    // Also when we end it.
    let mut function = rig.function(RING_BYTES, &[file.as_fd()]).await;
    assert_eq!(uses("lasting"), (1, 1));
    rig.driver.limp("panic: injected", &mut closed_inputs()).await;
    assert_eq!(uses("lasting"), (1, 0));
    assert!(function.hung_up().await);
}

fn closed_inputs() -> Inputs {
    Inputs {
        lifecycle: mpsc::channel(1).1,
        links: mpsc::channel(1).1,
        doors: mpsc::channel(1).1,
        platform: mpsc::channel(1).1,
    }
}

#[tokio::test]
async fn a_hello_in_pieces_brings_its_ring() {
    let file = memfd("pieces", BYTES, SEALS);
    let (links, mut inputs) = mpsc::channel(64);
    let (stream, ours) = UnixStream::pair().unwrap();
    tokio::spawn(link::run(LinkId(1), ours, links));
    let mut link = FunctionLink::new(1);
    let hello = link.connect_offering(&Bytes::from(vec![0; 20_000]), "", RING_BYTES).unwrap();
    for (number, piece) in hello.chunks(7_001).enumerate() {
        let descriptors = [file.as_fd()];
        send(&stream, piece, if number == 0 { &descriptors } else { &[] });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    let mut came = Vec::new();
    while let Some(input) = inputs.recv().await {
        came.push(input);
    }
    came.retain(|input| !matches!(input, LinkInput::Received(_, messages) if messages.is_empty()));
    let [LinkInput::Opened(..), LinkInput::Offered(_, Ok(_)), LinkInput::Received(_, messages), closed] =
        &came[..]
    else {
        panic!("{came:?}")
    };
    assert!(matches!(&messages[..], [Received::Hello(hello)] if hello.ring_bytes == RING_BYTES));
    assert!(matches!(closed, LinkInput::Closed { torn: false, fault: None, .. }));
    assert_eq!(uses("pieces"), (1, 1));
    drop(came);
    assert_eq!(uses("pieces"), (1, 0));
}
