//! What only the inside can show: a forked process has its own link, and a process that exits ends nothing more.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};

use lambda_flush_proto::{ExtensionLink, Received, Signal};
use opentelemetry::InstrumentationScope;

use super::*;
use crate::connection::Wanted;
use crate::scratch;
use crate::socket::Address;

/// Reads until an item has come; the process it came from, its number and its bytes.
fn next_item(stream: &mut UnixStream, link: &mut ExtensionLink) -> (Option<u64>, u64, Vec<u8>) {
    let (mut process, mut buffer) = (None, [0; 4096]);
    loop {
        while let Some(received) = link.poll().unwrap() {
            match received {
                Received::Hello(hello) => {
                    process = Some(hello.process);
                    stream.write_all(&link.welcome(1 << 20)).unwrap();
                }
                Received::Item(item) => return (process, item.seq, item.bytes.to_vec()),
                _ => {}
            }
        }
        let len = stream.read(&mut buffer).unwrap();
        assert!(len > 0, "the link was closed");
        link.receive(&buffer[..len]);
    }
}

#[test]
fn a_forked_child_opens_its_own_link_and_counts_anew() {
    let name = format!("lambda-flush-fork-test/{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let address = Address::Abstract(name.into_bytes());
    let target = Target {
        address,
        resource: bytes::Bytes::new(),
        resource_schema_url: String::new(),
        wanted: Wanted::Socket,
    };
    let (handoff, connected) = Handoff::open(Some(target));
    assert_eq!(connected, Ok(()));
    let scope = InstrumentationScope::builder("test").build();
    let item = |bytes: &[u8]| {
        scratch::encoded(
            |out| out.extend(bytes),
            |encoded| handoff.item(Item { signal: Signal::Traces, scope: &scope, encoded }),
        );
    };
    item(b"parent");
    let accept = || {
        // A connection is made before it is accepted, or it is not made at all.
        listener.set_nonblocking(true).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (stream, ExtensionLink::default())
    };
    let (mut first, mut first_link) = accept();
    let parent = next_item(&mut first, &mut first_link);
    assert_eq!((parent.1, parent.2.as_slice()), (1, b"parent".as_slice()));

    handoff.pretend_fork();
    item(b"child");
    let (mut second, mut second_link) = accept();
    let child = next_item(&mut second, &mut second_link);
    assert_eq!((child.1, child.2.as_slice()), (1, b"child".as_slice()));
    assert!(parent.0.is_some() && child.0.is_some() && parent.0 != child.0, "{parent:?} {child:?}");
    assert_eq!(handoff.stats().ended, 1);
}

#[test]
fn nothing_ends_between_the_last_word_and_the_exit() {
    let (handoff, _) = Handoff::open(None);
    let shared = handoff.0.0.clone();
    let (ended, news) = std::sync::mpsc::channel();
    let exit = || {
        let handoff = handoff.clone();
        std::thread::spawn(move || {
            let scope = InstrumentationScope::builder("test").build();
            scratch::encoded(
                |out| out.extend(b"late"),
                |encoded| handoff.item(Item { signal: Signal::Traces, scope: &scope, encoded }),
            );
            ended.send(()).unwrap();
        });
        // A process that goes on is the only way to look at one that has exited.
        panic!("ended: {:?}", news.recv_timeout(Duration::from_millis(100)).is_ok());
    };
    let exited = catch_unwind(AssertUnwindSafe(|| shared.exit_with_last_word(Instant::now(), exit)));
    let message = exited.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(*message, "ended: false");
}
