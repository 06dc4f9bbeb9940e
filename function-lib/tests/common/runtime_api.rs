//! A Runtime API in threads: hands out events as they are queued, to as many at a time as ask, and goes away when told.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::common::PATIENCE;

/// One invocation to be.
#[derive(Debug, Clone)]
pub struct Event {
    pub request_id: String,
    /// `Lambda-Runtime-Trace-Id`.
    pub trace: String,
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// How many ask for an event right now, and the most there ever were.
    asking: usize,
    asked_at_once: usize,
    /// Request ids in the order of their responses, each with the last part of its path.
    answers: Vec<(String, String)>,
    connections: Vec<TcpStream>,
    gone: bool,
}

/// See the module's description.
#[derive(Debug, Clone)]
pub struct RuntimeApi {
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl RuntimeApi {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let api = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let theirs = api.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut state = theirs.state.0.lock().unwrap();
                if state.gone {
                    return;
                }
                state.connections.push(stream.try_clone().unwrap());
                let api = theirs.clone();
                // A connection that ends has its reasons.
                std::thread::spawn(move || api.serve(&stream).ok());
            }
        });
        api
    }

    pub fn invoke(&self, event: Event) {
        self.state.0.lock().unwrap().events.push_back(event);
        self.state.1.notify_all();
    }

    /// Waits until `count` ask for an event at the same time.
    pub fn wait_for_asking(&self, count: usize) {
        self.wait(&format!("{count} that ask"), |state| state.asking >= count);
    }

    /// Waits for `count` answers and returns all of them.
    pub fn wait_for_answers(&self, count: usize) -> Vec<(String, String)> {
        self.wait(&format!("{count} answers"), |state| state.answers.len() >= count);
        self.state.0.lock().unwrap().answers.clone()
    }

    /// How many asked for an event at the same time, at most.
    pub fn asked_at_once(&self) -> usize {
        self.state.0.lock().unwrap().asked_at_once
    }

    /// Closes all connections and takes no more.
    pub fn go_away(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.gone = true;
        for connection in state.connections.drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
        drop(state);
        self.state.1.notify_all();
        // The listener sees it with the next connection, and closes.
        drop(TcpStream::connect(self.address));
    }

    fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.0.lock().unwrap();
        while !reached(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: did not come");
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            reader.read_line(&mut head)?;
            if head.is_empty() {
                return Ok(());
            }
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            let answer = self.answer(head.split(' ').nth(1).unwrap());
            let mut writer = stream;
            writer.write_all(answer.as_bytes())?;
        }
    }

    fn answer(&self, path: &str) -> String {
        let mut state = self.state.0.lock().unwrap();
        if !path.ends_with("/invocation/next") {
            let mut parts = path.rsplit('/');
            let (kind, id) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
            state.answers.push((id, kind));
            self.state.1.notify_all();
            return "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}".to_owned();
        }
        state.asking += 1;
        state.asked_at_once = state.asked_at_once.max(state.asking);
        self.state.1.notify_all();
        let event = loop {
            if state.gone {
                return String::new();
            }
            match state.events.pop_front() {
                Some(event) => break event,
                None => state = self.state.1.wait(state).unwrap(),
            }
        };
        state.asking -= 1;
        let Event { request_id, trace, body } = event;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let deadline = (now + Duration::from_secs(60)).as_millis();
        format!(
            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {request_id}\r\nLambda-Runtime-Deadline-Ms: \
             {deadline}\r\nLambda-Runtime-Invocation-Id: of-{request_id}\r\nLambda-Runtime-Trace-Id: {trace}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:123456789012:function:orders\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
        )
    }
}
