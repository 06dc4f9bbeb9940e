//! A test that needs a process of its own: the test binary runs itself again, as one role.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child as Process, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lambda_flush::Telemetry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::FakeExtension;

const ROLE: &str = "LAMBDA_FLUSH_TEST_ROLE";
const ADDRESS: &str = "LAMBDA_FLUSH_TEST_ADDRESS";

/// What a role prints once it is ready for what the test does to it.
const READY: &str = "the role is ready";

/// The role this process has to play, if it is a [`Child`].
pub fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// What a role in Lambda begins with, connected to the parent's fake extension. Metrics are off: they would be counted.
pub fn init() -> Telemetry {
    init_with(&[("OTEL_METRICS_EXPORTER", "none")])
}

/// As [`init`], with these variables and with metrics.
pub fn init_with(more: &[(&str, &str)]) -> Telemetry {
    let address = std::env::var(ADDRESS).unwrap();
    let variables = [
        ("LAMBDA_FLUSH_SOCKET", address.as_str()),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9"),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
        ("LAMBDA_FLUSH_STDOUT", "off"),
    ];
    let all = variables.iter().chain(more);
    let source: HashMap<_, _> = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Telemetry::builder().source(source).init().unwrap()
}

pub fn ready() {
    println!("{READY}");
}

/// A process that plays a role.
#[derive(Debug)]
pub struct Child {
    process: Process,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
}

/// Its end.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// From the signal to the exit.
    pub after: Duration,
    pub stderr: String,
    /// The rest of it, after the line that said that the role was ready.
    pub stdout: Vec<u8>,
}

impl Child {
    /// Starts the test binary's `child` test in `role` and waits until it is ready.
    pub fn start(role: &str, extension: &FakeExtension) -> Self {
        Self::start_with(role, extension, &[])
    }

    /// As [`Self::start`], with more variables.
    pub fn start_with(role: &str, extension: &FakeExtension, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .envs(variables.iter().copied())
            .env(ROLE, role)
            .env(ADDRESS, &extension.address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = process.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(READY) {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{role} ended before it was ready");
        }
        Self { process, stdout, stderr: Some(stderr) }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(self) -> Ended {
        self.end_by(Signal::TERM)
    }

    pub fn end_by(mut self, signal: Signal) -> Ended {
        self.signal(signal);
        let sent = Instant::now();
        let mut stdout = Vec::new();
        // Its end closes the pipe, and what it had printed is not waited for by anybody else.
        self.stdout.read_to_end(&mut stdout).unwrap();
        let status = self.process.wait().unwrap();
        let after = sent.elapsed();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended { status, after, stderr, stdout }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Ended {
    /// It ended itself, in good order.
    #[track_caller]
    pub fn demand_exit(&self) {
        assert_eq!(self.status.code(), Some(0), "{:?}\n{}", self.status.signal(), self.stderr);
    }

    /// The lines that tell of hooks, by name: outcome and message.
    pub fn hooks(&self) -> HashMap<String, (String, String)> {
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let stdout = String::from_utf8_lossy(&self.stdout);
        let lines = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let hooks = lines.filter(|line| line["lambda_flush"] == "hook");
        hooks.map(|line| (text(&line, "hook"), (text(&line, "outcome"), text(&line, "message")))).collect()
    }
}
