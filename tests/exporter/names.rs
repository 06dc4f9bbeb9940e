//! Names of backends, asked of a name server of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use lambda_flush_extension::core::Outcome;
use lambda_testkit::Backend;
use lambda_testkit::sandbox::free_address;

use crate::{exporter, send, spans};

/// What the server does with a name, by its first letter.
fn answer(query: &[u8], over_tcp: bool) -> Vec<u8> {
    let is_a = query[query.len() - 3] == 1;
    let first_letter = query[13];
    let mut out = query.to_vec();
    out[2] |= 0x80;
    match (first_letter, is_a) {
        // Nobody listens on the first address.
        (b's', true) => {
            out[7] = 2;
            for last in [9, 1] {
                out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, last]);
            }
        }
        (b't', _) if !over_tcp => out[2] |= 0x02,
        (b'b' | b't', true) => {
            out[7] = 1;
            out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        (b'b' | b's' | b't', false) => {}
        _ => out[3] = 3,
    }
    out
}

/// Its threads end with the process: they only ever wait.
fn name_server() -> SocketAddr {
    let address = free_address().unwrap();
    let (tcp, udp) = (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((len, peer)) = udp.recv_from(&mut buffer) {
            udp.send_to(&answer(&buffer[..len], false), peer).ok();
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            let mut len = [0; 2];
            while stream.read_exact(&mut len).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut query).unwrap();
                let answer = answer(&query, true);
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_name_is_resolved_over_udp_over_tcp_and_to_the_address_that_answers() {
    let server = name_server().to_string();
    let backend = Backend::start().unwrap();
    let port = backend.address().port();
    for name in ["backend.example", "tcp.example", "several.example"] {
        let endpoint = format!("http://{name}:{port}");
        let exporter =
            exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint), ("LAMBDA_FLUSH_NAME_SERVER", &server)]);
        assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported, "{name}");
        assert_eq!(backend.requests().pop().unwrap().headers["host"], format!("{name}:{port}").as_str());
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told() {
    let server = name_server().to_string();
    let exporter = exporter(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://nowhere.example"),
        ("LAMBDA_FLUSH_NAME_SERVER", &server),
    ]);
    let outcome = send(&exporter, &spans(1)).await;
    let Outcome::Retry { maybe_sent: false, message, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(message, "the name nowhere.example can't be resolved: no such name");
}
