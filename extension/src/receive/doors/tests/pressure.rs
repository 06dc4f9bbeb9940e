//! Doors under pressure: what is refused before it costs anything, what is done beside the loop, who makes place.

use super::*;
use crate::limits::{DOOR_ANSWER_WAIT, DOOR_INLINE_JSON_BYTES};
use crate::receive::doors::connections::Connections;

/// A JSON document with one span that is worth compressing.
fn json_span(bytes: usize) -> Vec<u8> {
    JSON_SPAN.replace("\"a\"", &format!("{:?}", "z".repeat(bytes))).into_bytes()
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const GZIPPED: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn without_room_in_the_core_nothing_is_read() {
    let mut stand = stand().await;
    let sign = stand.door.sign();
    // Not OTLP at all: whoever looks at it says 400.
    let ask = |headers: &[(&str, &str)], body: &[u8]| {
        send(stand.address, Version::HTTP_11, post("/v1/traces", headers, body.to_vec()))
    };
    sign.show(Some(0));
    for headers in [&[PROTOBUF][..], &[JSON], &[PROTOBUF, GZIPPED], &[JSON, GZIPPED]] {
        let reply = ask(headers, b"\xff").await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{headers:?}");
        assert!(reply.headers.contains_key("retry-after"));
    }
    let grpc = send(stand.address, Version::HTTP_2, post(GRPC, &[GRPC_TYPE], framed(0, b"\xff"))).await;
    assert_eq!((details(&grpc).code, details(&grpc).details.len()), (8, 1));
    assert_eq!(ask(&[PROTOBUF], b"").await.status, StatusCode::OK, "nothing in it needs no room");
    sign.show(Some(500));
    let large = spans(1, 1_000);
    assert_eq!(ask(&[PROTOBUF], &large).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(&[PROTOBUF], b"\xff").await.status, StatusCode::BAD_REQUEST, "it might fit");
    sign.show(Some(5_000));
    let asked = tokio::spawn(ask(&[PROTOBUF], &large));
    stand.requests.recv().await.unwrap().answer.send(Admission::Accepted).unwrap();
    assert_eq!(asked.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn when_the_core_closes_the_doors_nobody_stands_there_any_more() {
    let stand = stand().await;
    let mut idle = TcpStream::connect(stand.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: door\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    stand.door.sign().show(None);
    let rest = tokio::time::timeout(BODY_WAIT, idle.read(&mut [0; 1024])).await;
    assert_eq!(rest.expect("closed at once").unwrap(), 0);
    assert!(TcpStream::connect(stand.address).await.is_err(), "nobody listens");
}

/// The loop that the doors share with the driver goes on while a body of few bytes becomes a large one.
#[tokio::test]
async fn large_bodies_are_expanded_and_read_beside_the_loop() {
    let (address, door, mut seen) = answering(Admission::Accepted).await;
    let small = json_span(DOOR_INLINE_JSON_BYTES / 2);
    let large = gzip(&json_span(1_500_000));
    assert!(large.len() < 8_000, "{} bytes in one piece", large.len());
    for (body, items) in [(gzip(&small), 1), (large, 1)] {
        let asked = tokio::spawn(send(address, Version::HTTP_11, post("/v1/traces", &[JSON, GZIPPED], body)));
        let mut turns = 0;
        while !asked.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            turns += 1;
        }
        let reply = asked.await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        let (_, found, body) = seen.recv().await.unwrap();
        assert_eq!(found, items);
        println!("{} bytes of protobuf: {turns} turns", body.len());
        assert!(body.len() < 20_000 || turns >= 5, "everything else stood still: {turns} turns");
    }
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn expanding_for_nothing_is_not_repeated_at_once() {
    let retry_after = Duration::from_secs(1);
    let (address, door, mut seen) = answering(Admission::Refused { retry_after }).await;
    let large = gzip(&json_span(1_500_000));
    let ask =
        |body: &[u8]| send(address, Version::HTTP_11, post("/v1/traces", &[JSON, GZIPPED], body.to_vec()));
    // How many of them depends on the machine; how long the pause is, `work` knows.
    let (mut reached, mut turned_away) = (0, 0);
    let until = tokio::time::Instant::now() + PATIENCE;
    while reached < 2 || turned_away < 3 {
        assert!(
            tokio::time::Instant::now() < until,
            "{reached} were expanded for nothing, {turned_away} not"
        );
        assert_eq!(ask(&large).await.status, StatusCode::TOO_MANY_REQUESTS);
        *(if seen.try_recv().is_ok() { &mut reached } else { &mut turned_away }) += 1;
    }
    let plain = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))).await;
    assert_eq!(plain.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(seen.try_recv().is_ok(), "what costs nothing is always offered");
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn what_can_never_fit_is_too_large_in_both_protocols() {
    let (address, _door, _seen) = answering(Admission::TooLarge).await;
    let reply = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!reply.headers.contains_key("retry-after"));
    let reply = send(address, Version::HTTP_2, post(GRPC, &[GRPC_TYPE], framed(0, &spans(1, 1)))).await;
    assert_eq!((details(&reply).code, details(&reply).details.len()), (8, 0));
}

/// Clients that take no byte of their answers, over HTTP/2.
#[tokio::test]
async fn who_takes_no_answer_makes_place_in_the_end() {
    let (input, mut requests) = mpsc::channel(64);
    let busy_max = Duration::from_millis(300);
    assert!(busy_max < DOOR_ANSWER_WAIT);
    let door = Door { connections: Connections::new(busy_max), ..Door::new(input, Output::default()) };
    tokio::spawn(async move {
        while let Some(input) = requests.recv().await {
            input.answer.send(Admission::Accepted).ok();
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(door.serve(listener));
    let mut stuck = Vec::new();
    for _ in 0..DOOR_CONNECTIONS_MAX {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let builder =
            http2::Builder::new(TokioExecutor::new()).initial_stream_window_size(0).handshake(io).await;
        let (mut sender, connection) = builder.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(post(GRPC, &[GRPC_TYPE], framed(0, &spans(1, 1)))).await.unwrap();
        stuck.push((sender, answer));
    }
    let next = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1)));
    let next = tokio::time::timeout(Duration::from_secs(20), next).await;
    assert_eq!(next.expect("a place").status, StatusCode::OK);
}

/// The longest idle connection sends in the moment in which a further one comes: its request is either not begun, or
/// it gets its answer.
#[tokio::test]
async fn what_came_to_the_core_is_answered_whoever_comes() {
    let body = spans(1, 1);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    for _ in 0..20 {
        let mut stand = stand().await;
        let mut idle = Vec::new();
        for _ in 0..DOOR_CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(stand.address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            idle.push(stream);
        }
        let _further = std::net::TcpStream::connect(stand.address).unwrap();
        idle[0].try_write(&request).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Ok(input) = stand.requests.try_recv() {
            assert!(!input.answer.is_closed(), "the core has it, and its sender hears nothing");
        }
    }
}
